//! Logs as lines, metrics as text, and traces at a collector: an HTTP server that reads OTLP.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::Value;
use tracing::{info, warn};

use trunkline_service::telemetry::subscriber;

use super::*;
use crate::call::CallView;
use crate::call::cause::Cause;
use crate::call::media::{Report, Turn};
use crate::call::record::{CallDirection, CallState, End, MediaView};

fn call(id: &str) -> CallView {
    CallView {
        id: id.to_owned(),
        direction: CallDirection::Inbound,
        state: CallState::Ringing,
        trunk: "carrier-a".to_owned(),
        agent: "support".to_owned(),
        from: "+44********23".to_owned(),
        to: "+15*******01".to_owned(),
        sip_call_id: "abc@198.51.100.7".to_owned(),
        started_at: "2026-11-23T10:00:00Z".parse().unwrap(),
        answered_at: None,
        ended_at: None,
        end: None,
        digits: None,
        media: MediaView {
            codec: "PCMU".to_owned(),
            encryption: Some("AES_CM_128_HMAC_SHA1_80".to_owned()),
            packet_time_milliseconds: 20,
            local_address: "192.0.2.10:20000".parse().unwrap(),
            remote_address: "198.51.100.7:40000".parse().unwrap(),
            one_way_audio: Vec::new(),
            report: None,
        },
    }
}

fn ended(id: &str, cause: &Cause) -> CallView {
    let report = Report {
        packets_in: 3000,
        packets_out: 2900,
        bytes_in: 480_000,
        lost: 7,
        bad_tags: 2,
        jitter_ms: 4.0,
        first_audio_delay_ms: Some(650),
        dropped_ms: 1500,
        mos: Some(4.1),
        remote_mos: Some(3.0),
        ..Report::default()
    };
    CallView {
        state: CallState::Ended,
        answered_at: Some("2026-11-23T10:00:00.04Z".parse().unwrap()),
        ended_at: Some("2026-11-23T10:01:00Z".parse().unwrap()),
        end: Some(End {
            by: cause.by(),
            cause: cause.label(),
            reason: cause.text(),
            sip_status: 200,
        }),
        digits: None,
        media: MediaView { report: Some(report), ..call(id).media },
        ..call(id)
    }
}

/// A writer whose lines can be read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn options(format: LogFormat, otlp: Option<String>) -> Options {
    Options { format, filter: None, otlp, instance: "node-0".to_owned() }
}

/// Runs `work` under a subscriber and returns what was logged.
fn logged(options: &Options, work: impl FnOnce()) -> Log {
    let log = Log::default();
    let writer = log.clone();
    let (subscriber, guard) = subscriber(&SERVICE, options, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, work);
    guard.shutdown();
    log
}

fn one_call(spans: &mut CallSpans, id: &str, cause: &Cause) {
    spans.begin(&call(id));
    spans.agent_ready(id);
    spans.answered(id);
    spans.answered(id);
    spans.first_audio(id);
    spans.end(&ended(id, cause));
    spans.end(&ended(id, cause));
}

#[test]
fn json_lines_are_flat_and_hold_the_fields_of_the_call() {
    let log = logged(&options(LogFormat::Json, None), || {
        let mut spans = CallSpans::new();
        spans.begin(&call("0-1"));
        info!(parent: &spans.of("0-1"), rtt = 4.5, port = 20_000_u16, up = true, "latched");
        warn!(error = %io::Error::other("broken"), "no call \"here\"\n");
        tracing::debug!("not shown at info");
        spans.end(&ended("0-1", &Cause::CallerHungUp));
        assert!(spans.is_empty() && spans.of("0-1").is_none());
    });
    let lines = log.lines();
    let messages: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["call began", "latched", "no call \"here\"\n", "call ended"]);
    let latched = &lines[1];
    assert_eq!((&latched["call_id"], &latched["trunk"]), (&"0-1".into(), &"carrier-a".into()));
    assert_eq!((&latched["rtt"], &latched["port"]), (&4.5.into(), &20_000.into()));
    assert_eq!(latched["up"], true);
    assert_eq!((&lines[2]["level"], &lines[2]["error"]), (&"WARN".into(), &"broken".into()));
    assert!(lines[2].get("call_id").is_none());
    let record = &lines[3]["record"];
    assert_eq!(record["id"], "0-1");
    assert_eq!(record["end"]["cause"], "caller_hung_up");
    assert_eq!(record["media"]["report"]["packetsIn"], 3000);
    assert_eq!(lines[3]["cause"], "caller_hung_up");
    let time: jiff::Timestamp = lines[0]["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(time > "2026-01-01T00:00:00Z".parse().unwrap());
}

#[test]
fn a_filter_is_obeyed_and_a_wrong_one_is_refused_with_a_hint() {
    let quiet = Options { filter: Some("error".to_owned()), ..options(LogFormat::Json, None) };
    let log = logged(&quiet, || {
        one_call(&mut CallSpans::new(), "0-1", &Cause::CallerHungUp);
        tracing::error!("this one");
    });
    assert_eq!(log.lines().len(), 1);
    let wrong = Options { filter: Some("a=b=c".to_owned()), ..quiet };
    let Err(error) = subscriber(&SERVICE, &wrong, io::sink) else { panic!("accepted") };
    assert!(error.to_string().contains("write for example"), "{error}");
}

#[test]
fn text_lines_name_the_call() {
    let log = logged(&options(LogFormat::Text, None), || {
        one_call(&mut CallSpans::new(), "0-1", &Cause::CallerHungUp);
    });
    assert!(log.text().contains("call_id=\"0-1\""), "{}", log.text());
    assert!(log.text().contains("call ended"));
}

type Collected = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// A collector on a port of its own, on a thread of its own.
fn collector() -> (String, Collected) {
    let collected = Collected::default();
    let shown = collected.clone();
    let (ready, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            ready.send(listener.local_addr().unwrap()).unwrap();
            let router = Router::new().route("/v1/traces", post(collect)).with_state(collected);
            axum::serve(listener, router).await.unwrap();
        });
    });
    (format!("http://{}", address.recv().unwrap()), shown)
}

async fn collect(
    State(collected): State<Collected>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            collected.lock().unwrap().push(request);
            StatusCode::OK
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let value = span.attributes.iter().find(|pair| pair.key == key)?.value.clone()?.value?;
    match value {
        Any::StringValue(text) => Some(text),
        Any::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

#[test]
fn a_collector_gets_one_span_a_call_with_its_phases_as_children() {
    let (endpoint, collected) = collector();
    let log = logged(&options(LogFormat::Json, Some(endpoint)), || {
        let mut spans = CallSpans::new();
        one_call(&mut spans, "0-1", &Cause::CallerHungUp);
        // Cancelled while it rings: no talk.
        spans.begin(&call("0-2"));
        spans.agent_replaced(&CallView { agent: "reception".to_owned(), ..call("0-2") });
        spans.end(&CallView { answered_at: None, ..ended("0-2", &Cause::CallerCancelled) });
        one_call(&mut spans, "0-3", &Cause::CarrierInactive);
        // Nobody else's spans are exported.
        let _other = tracing::info_span!("other", secret = "x").entered();
        info!("within another span");
    });
    assert!(!log.text().contains("not all exported"), "{}", log.text());

    let requests = collected.lock().unwrap();
    let resource = requests[0].resource_spans[0].resource.as_ref().unwrap();
    let named = |key: &str| {
        let pair = resource.attributes.iter().find(|pair| pair.key == key).unwrap();
        pair.value.clone().unwrap().value.unwrap()
    };
    assert_eq!(named("service.name"), Any::StringValue("trunkline-media-node".to_owned()));
    assert_eq!(named("service.instance.id"), Any::StringValue("node-0".to_owned()));
    let spans: Vec<&Span> = requests
        .iter()
        .flat_map(|request| &request.resource_spans)
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .collect();
    let phases = |id: &str| -> (&Span, Vec<String>) {
        let parent =
            *spans.iter().find(|s| attribute(s, "call_id").as_deref() == Some(id)).unwrap();
        assert_eq!(parent.name, "call");
        assert!(parent.parent_span_id.is_empty());
        let children = spans.iter().filter(|span| span.parent_span_id == parent.span_id);
        let mut names: Vec<String> = children
            .inspect(|child| {
                assert_eq!(child.trace_id, parent.trace_id);
                assert!(child.start_time_unix_nano >= parent.start_time_unix_nano);
                assert!(child.end_time_unix_nano <= parent.end_time_unix_nano);
            })
            .map(|child| child.name.clone())
            .collect();
        names.sort();
        (parent, names)
    };
    let (first, names) = phases("0-1");
    assert_eq!(names, ["agent connect", "first audio", "setup", "talk"]);
    for (key, value) in [
        ("trunk", "carrier-a"),
        ("agent", "support"),
        ("from", "+44********23"),
        ("encryption", "AES_CM_128_HMAC_SHA1_80"),
        ("cause", "caller_hung_up"),
        ("ended_by", "Caller"),
        ("sip_status", "200"),
    ] {
        assert_eq!(attribute(first, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(first.kind, 2, "a server's span");
    assert_eq!(first.status.as_ref().map_or(0, |status| status.code), 0);
    let (second, names) = phases("0-2");
    assert_eq!(names, ["agent connect", "agent connect", "setup"]);
    assert_eq!(attribute(second, "agent").as_deref(), Some("support"));
    assert_eq!(attribute(second, "fallback_agent").as_deref(), Some("reception"));
    let third = phases("0-3").0.status.clone().unwrap();
    assert_eq!((third.code, third.message.as_str()), (2, "no RTP or RTCP from the carrier"));
    assert_eq!(spans.len(), 5 + 4 + 5);
}

#[test]
fn a_collector_that_is_not_there_holds_up_nothing() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        logged(&options(LogFormat::Json, Some(format!("http://{free}"))), || {
            one_call(&mut CallSpans::new(), "0-1", &Cause::CallerHungUp);
        });
        done.send(()).unwrap();
    });
    finished.recv_timeout(Duration::from_secs(20)).unwrap();
}

#[test]
fn metrics_add_up_from_the_records_of_calls() {
    let metrics = Metrics::new();
    metrics.set_load(1, 21, 500, true, false);
    metrics.config_loaded(2);
    metrics.call_started();
    metrics.call_refused("no_common_codec");
    metrics.call_refused("no_common_codec");
    metrics.sip_message(SipDirection::Received, "udp");
    metrics.sip_message(SipDirection::Sent, "tls");
    metrics.sip_malformed();
    metrics.stranger();
    metrics.one_way("caller_not_heard");
    metrics.turn(&Turn::Response { after: Duration::from_millis(700) });
    metrics.turn(&Turn::Interruption { reaction: None, effect: Duration::from_millis(15) });
    metrics.call_ended(&ended("0-1", &Cause::CallerHungUp));
    let text = metrics.write();
    for line in [
        concat!("trunkline_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "trunkline_calls{state=\"active\"} 21",
        "trunkline_calls{state=\"ringing\"} 1",
        "trunkline_capacity_calls 500",
        "trunkline_ready 1",
        "trunkline_rejected_objects 2",
        "trunkline_calls_started_total 1",
        "trunkline_calls_ended_total{by=\"caller\",cause=\"caller_hung_up\"} 1",
        "trunkline_calls_refused_total{reason=\"no_common_codec\"} 2",
        "trunkline_sip_messages_total{direction=\"received\",transport=\"udp\"} 1",
        "trunkline_sip_malformed_total 1",
        "trunkline_strangers_total 1",
        "trunkline_call_setup_seconds_bucket{le=\"0.05\"} 1",
        "trunkline_call_setup_seconds_bucket{le=\"0.025\"} 0",
        "trunkline_call_duration_seconds_sum 59.96",
        "trunkline_first_audio_delay_seconds_sum 0.65",
        "trunkline_rtp_packets_total{direction=\"received\"} 3000",
        "trunkline_rtp_payload_bytes_total{direction=\"received\"} 480000",
        "trunkline_rtp_packets_lost_total 7",
        "trunkline_agent_response_seconds_sum 0.7",
        "trunkline_interruption_reaction_seconds_count 0",
        "trunkline_interruption_effect_seconds_bucket{le=\"0.02\"} 1",
        "trunkline_one_way_audio_total{kind=\"caller_not_heard\"} 1",
        "trunkline_mos_bucket{le=\"4.2\",direction=\"received\"} 1",
        "trunkline_mos_sum{direction=\"sent\"} 3.0",
        "trunkline_rtp_packets_discarded_total{reason=\"bad_tag\"} 2",
        "trunkline_agent_audio_dropped_seconds_total 1.5",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
    }
    let shown = text.lines().filter(|line| !line.starts_with('#'));
    shown.for_each(|line| assert!(line.starts_with("trunkline_"), "{line}"));
}
