//! The router, asked without a socket; and one test with, for what only a connection shows.
#![expect(clippy::disallowed_methods, reason = "calls are put in as the node does, by its clock")]

use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::call::cause::Cause;
use crate::call::record::{CallDirection, CallState, End, MediaView};
use crate::call::{AdvertisedView, CallView, OptionsView, Reason, Traffic};
use crate::media::KeyTiming;

fn call(id: &str, state: CallState) -> CallView {
    let cause = Cause::CallerHungUp;
    CallView {
        id: id.to_owned(),
        direction: CallDirection::Inbound,
        state,
        trunk: if id.ends_with('b') { "carrier-b" } else { "carrier-a" }.to_owned(),
        agent: "support".to_owned(),
        from: "+44********23".to_owned(),
        to: "+15*******01".to_owned(),
        sip_call_id: "abc@198.51.100.7".to_owned(),
        started_at: "2026-11-23T10:00:00.25Z".parse().unwrap(),
        answered_at: None,
        ended_at: None,
        end: (state == CallState::Ended).then(|| End {
            by: cause.by(),
            cause: cause.label(),
            reason: cause.text(),
            sip_status: 200,
        }),
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

fn trunk_status() -> TrunkStatus {
    let options = OptionsView {
        ok: true,
        server: "sip.carrier.example".to_owned(),
        rtt_milliseconds: Some(41),
        reason: Reason::OptionsOk,
        message: "OPTIONS 200 in 41 ms".to_owned(),
        at: "2026-11-23T10:00:00Z".parse().unwrap(),
    };
    TrunkStatus { calls: 17, options: Some(options), effective: None }
}

/// A node with a token (or none), and the commands that it gets.
struct Node {
    state: AdminState,
    commands: Arc<tokio::sync::Mutex<mpsc::Receiver<AdminCommand>>>,
    status: Arc<Mutex<Status>>,
}

impl Node {
    fn new(token: Option<&str>) -> Self {
        let (commands, received) = mpsc::channel(4);
        let status = Arc::new(Mutex::new(Status {
            slot: Some(3),
            revision: Some("7d9f4c".to_owned()),
            config_hash: "51c0be".to_owned(),
            version: "0.1.0".to_owned(),
            state: State::Ready,
            reasons: Vec::new(),
            calls: CallCounts { active: 21, setup: 1 },
            capacity: 100,
            accepted: 1893,
            refused: 0,
            drained: 0,
            saturated: false,
            strain: StrainView::default(),
            advertised: vec![AdvertisedView {
                address: "192.0.2.10".parse().unwrap(),
                carries: vec![Traffic::Sip, Traffic::Media],
                reaches_us: Some(true),
                message: "192.0.2.10:5061 over TLS leads to this node".to_owned(),
            }],
            trunks: [("carrier-a".to_owned(), trunk_status())].into(),
            agents: [("support".to_owned(), AgentStatus { calls: 9, connection: None })].into(),
            rejected: vec![RejectedObject {
                kind: "Trunk".to_owned(),
                name: "carrier-b".to_owned(),
                namespace: String::new(),
                field: "spec.transport".to_owned(),
                message: "write TLS, TCP or UDP".to_owned(),
                outcome: "LeftOut".to_owned(),
            }],
        }));
        let token = token.map(Secret::from);
        let shown = status.clone();
        let state = AdminState {
            calls: Arc::new(Calls::new()),
            metrics: Arc::new(Metrics::new()),
            status: Arc::new(move || shown.lock().unwrap().clone()),
            token: Arc::new(move || token.clone()),
            commands,
            relay: Arc::new(|sealed| match sealed {
                b"ours" => Relayed::Taken,
                b"much" => Relayed::Busy,
                _ => Relayed::Foreign,
            }),
        };
        Self { state, commands: Arc::new(tokio::sync::Mutex::new(received)), status }
    }

    async fn ask(&self, method: &str, path: &str, token: Option<&str>) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        router(self.state.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn json(&self, method: &str, path: &str) -> (u16, Value) {
        let response = self.ask(method, path, None).await;
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&bytes(response).await).unwrap())
    }
}

async fn bytes(response: Response<Body>) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

#[tokio::test]
async fn probes_need_no_token_and_readiness_says_why_not() {
    let node = Node::new(Some("s3cret"));
    assert_eq!(node.ask("GET", "/livez", None).await.status(), StatusCode::OK);
    assert_eq!(node.ask("HEAD", "/livez", None).await.status(), StatusCode::OK);
    assert_eq!(node.ask("GET", "/readyz", None).await.status(), StatusCode::OK);

    let reason = "no certificate: tls.certificateRef names Secret sip-cert, which is not there";
    let set = |state, reasons| {
        let mut status = node.status.lock().unwrap();
        (status.state, status.reasons) = (state, reasons);
    };
    set(State::NotReady, vec![reason.to_owned()]);
    let (status, body) = node.json("GET", "/readyz").await;
    assert_eq!((status, &body), (503, &json!({"error": {"code": "not_ready", "message": reason}})));

    set(State::Draining, Vec::new());
    assert_eq!(node.json("GET", "/readyz").await.0, 503);
    assert_eq!(node.ask("GET", "/livez", None).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn everything_else_wants_the_token() {
    let node = Node::new(Some("s3cret"));
    for path in ["/metrics", "/v1/status", "/v1/calls", "/v1/calls/0-1", "/v1/openapi.json"] {
        for wrong in [
            None,
            Some("Bearer s3cre"),
            Some("Bearer s3cret2"),
            Some("Bearer "),
            Some("Basic s3cret"),
            Some("s3cret"),
        ] {
            let response = node.ask("GET", path, wrong).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path} {wrong:?}");
            assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
            let body: Value = serde_json::from_slice(&bytes(response).await).unwrap();
            assert_eq!(body["error"]["code"], "unauthorized");
        }
        for right in ["Bearer s3cret", "bearer s3cret"] {
            let status = node.ask("GET", path, Some(right)).await.status();
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{path}");
        }
    }
    let response = node.ask("DELETE", "/v1/calls/0-1", None).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    // An empty token opens nothing.
    let node = Node::new(Some(""));
    let response = node.ask("GET", "/v1/status", Some("Bearer ")).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn status_has_the_shape_the_operator_reads() {
    let (status, body) = Node::new(None).json("GET", "/v1/status").await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({
            "slot": 3, "revision": "7d9f4c", "configHash": "51c0be", "version": "0.1.0",
            "state": "Ready", "calls": {"active": 21, "setup": 1}, "capacity": 100,
            "accepted": 1893, "refused": 0, "drained": 0, "saturated": false, "strain": { "busyPermille": 0, "latePermille": 0 },
            "advertised": [{"address": "192.0.2.10", "carries": ["SIP", "Media"], "reachesUs": true,
                            "message": "192.0.2.10:5061 over TLS leads to this node"}],
            "trunks": {"carrier-a": {"calls": 17, "options": {
                "ok": true, "server": "sip.carrier.example", "rttMilliseconds": 41,
                "reason": "OptionsOK", "message": "OPTIONS 200 in 41 ms",
                "at": "2026-11-23T10:00:00Z"}}},
            "agents": {"support": {"calls": 9}},
            "rejected": [{"kind": "Trunk", "name": "carrier-b", "field": "spec.transport",
                          "message": "write TLS, TCP or UDP", "outcome": "LeftOut"}],
        })
    );
}

#[tokio::test]
async fn calls_are_listed_filtered_and_shown() {
    let node = Node::new(None);
    let now = Instant::now();
    for (id, state) in
        [("0-1a", CallState::Active), ("0-2b", CallState::Ringing), ("0-3a", CallState::Ended)]
    {
        node.state.calls.put(now, call(id, state));
    }
    let ids = async |query: &str| -> Vec<String> {
        let (status, body) = node.json("GET", &format!("/v1/calls{query}")).await;
        assert_eq!(status, 200, "{query}: {body}");
        let items = body["items"].as_array().unwrap().clone();
        items.iter().map(|call| call["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("").await, ["0-2b", "0-1a", "0-3a"]);
    assert_eq!(ids("?state=Active").await, ["0-1a"]);
    assert_eq!(ids("?trunk=carrier-a").await, ["0-1a", "0-3a"]);
    assert_eq!(ids("?trunk=carrier-a&state=Ended&agent=support").await, ["0-3a"]);
    assert_eq!(ids("?limit=1").await, ["0-2b"]);
    for bad in ["?state=active", "?stat=Active", "?limit=-1"] {
        let (status, body) = node.json("GET", &format!("/v1/calls{bad}")).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!("bad_query")), "{bad}");
    }
    let (status, body) = node.json("GET", "/v1/calls/0-3a").await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({
            "id": "0-3a", "direction": "Inbound", "state": "Ended", "trunk": "carrier-a",
            "agent": "support", "from": "+44********23", "to": "+15*******01",
            "sipCallId": "abc@198.51.100.7", "startedAt": "2026-11-23T10:00:00.25Z",
            "end": {"by": "Caller", "cause": "caller_hung_up", "reason": "the caller hung up", "sipStatus": 200},
            "media": {"codec": "PCMU", "encryption": "AES_CM_128_HMAC_SHA1_80", "packetTimeMilliseconds": 20,
                "localAddress": "192.0.2.10:20000", "remoteAddress": "198.51.100.7:40000"},
        })
    );
    let (status, body) = node.json("GET", "/v1/calls/nope").await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("call_not_found")));
}

#[tokio::test]
async fn hanging_up_asks_the_signalling_task() {
    let node = Node::new(None);
    let now = Instant::now();
    node.state.calls.put(now, call("0-1", CallState::Active));
    node.state.calls.put(now, call("0-2", CallState::Ended));
    let commands = node.commands.clone();
    let signalling = tokio::spawn(async move {
        let mut commands = commands.lock().await;
        for live in [true, false] {
            let Some(AdminCommand::HangUp { id, reply }) = commands.recv().await else { panic!() };
            assert_eq!(id, "0-1");
            reply.send(live).unwrap();
        }
    });
    let (status, body) = node.json("DELETE", "/v1/calls/0-1").await;
    assert_eq!((status, &body["id"]), (202, &json!("0-1")));
    // It had ended between two looks.
    assert_eq!(node.json("DELETE", "/v1/calls/0-1").await.1["error"]["code"], "call_ended");
    signalling.await.unwrap();
    assert_eq!(node.json("DELETE", "/v1/calls/0-2").await.0, 409);
    assert_eq!(node.json("DELETE", "/v1/calls/0-3").await.0, 404);
}

/// Status and error code of a request for keys.
async fn press(node: &Node, id: &str, body: &str) -> (u16, Value) {
    let request = Request::post(format!("/v1/calls/{id}/dtmf"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = router(node.state.clone()).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&bytes(response).await).unwrap())
}

#[tokio::test]
async fn keys_are_asked_of_the_signalling_task() {
    let node = Node::new(None);
    node.state.calls.put(Instant::now(), call("0-1", CallState::Active));
    let commands = node.commands.clone();
    let answers = [Ok(()), Ok(()), Err(Unsendable::NotActive), Err(Unsendable::NoWay)];
    let signalling = tokio::spawn(async move {
        let mut commands = commands.lock().await;
        let mut asked = Vec::new();
        for answer in answers {
            let Some(AdminCommand::SendDigits { id, digits, reply }) = commands.recv().await else {
                panic!()
            };
            assert_eq!(id, "0-1");
            reply.send(answer).unwrap();
            asked.push(digits);
        }
        asked
    });
    let (status, body) = press(&node, "0-1", r#"{"digits":"42w#"}"#).await;
    assert_eq!((status, &body["id"]), (202, &json!("0-1")));
    let body = r#"{"digits":"1","toneMilliseconds":200,"gapMilliseconds":40}"#;
    assert_eq!(press(&node, "0-1", body).await.0, 202);
    for code in ["call_not_active", "dtmf_not_agreed"] {
        let (status, body) = press(&node, "0-1", r#"{"digits":"1"}"#).await;
        assert_eq!((status, &body["error"]["code"]), (409, &json!(code)));
    }
    let asked = signalling.await.unwrap();
    assert!(asked[0] == Digits::parse("42w#", KeyTiming::default()).unwrap());
    assert!(asked[1] == Digits::parse("1", KeyTiming::new(200, 40).unwrap()).unwrap());
}

#[tokio::test]
async fn what_is_wrong_with_keys_is_said_and_reaches_nobody() {
    let node = Node::new(None);
    node.state.calls.put(Instant::now(), call("0-1", CallState::Active));
    for (body, says) in [
        (r#"{"digits":"4x2"}"#, "digits: character 2 ('x') is no key"),
        (r#"{"digits":""}"#, "digits: there is no key in it"),
        (r#"{"digits":"1","toneMilliseconds":39}"#, "toneMilliseconds (39)"),
        (r#"{"digits":"1","gapMilliseconds":6000}"#, "gapMilliseconds (6000)"),
        (r#"{"digits":42}"#, "write JSON"),
        (r#"{"digits":"1","tone":3}"#, "write JSON"),
        ("{", "write JSON"),
    ] {
        let (status, answer) = press(&node, "0-1", body).await;
        let error = &answer["error"];
        assert_eq!((status, &error["code"]), (400, &json!("bad_body")), "{body}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(says), "{body}: {message}");
    }
    assert!(node.commands.lock().await.try_recv().is_err());
    assert_eq!(press(&node, "0-2", r#"{"digits":"1"}"#).await.0, 404);
}

#[tokio::test]
async fn a_signalling_task_that_is_gone_or_full_is_told_as_busy() {
    let node = Node::new(None);
    node.state.calls.put(Instant::now(), call("0-1", CallState::Active));
    node.commands.lock().await.close();
    let (status, body) = node.json("DELETE", "/v1/calls/0-1").await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("busy")));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_errors_in_the_same_shape() {
    let node = Node::new(None);
    for path in ["/", "/v1", "/v1/calls/0-1/ladder", "/v2/status", "/v1/calls/", "/%ff"] {
        let (status, body) = node.json("GET", path).await;
        assert_eq!((status, &body["error"]["code"]), (404, &json!("not_found")), "{path}");
    }
    for (method, path, allow) in [
        ("POST", "/v1/calls", "GET,HEAD"),
        ("PUT", "/v1/calls/0-1", "GET,HEAD,DELETE"),
        ("DELETE", "/livez", "GET,HEAD"),
    ] {
        let response = node.ask(method, path, None).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert_eq!(response.headers()[header::ALLOW], allow);
        let body: Value = serde_json::from_slice(&bytes(response).await).unwrap();
        assert_eq!(body["error"]["code"], "method_not_allowed");
    }
}

#[tokio::test]
async fn metrics_are_openmetrics_text() {
    let node = Node::new(None);
    let response = node.ask("GET", "/metrics", None).await;
    let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = String::from_utf8(bytes(response).await).unwrap();
    assert!(text.contains("trunkline_calls{state=\"active\"} 21\n"), "{text}");
    assert!(text.contains("trunkline_ready 1\n") && text.contains("trunkline_draining 0\n"));
    assert!(text.ends_with("# EOF\n"));
}

/// The description names every route, every operation answers, and every reference leads somewhere.
#[tokio::test]
async fn the_openapi_description_is_whole_and_true() {
    let node = Node::new(Some("s3cret"));
    let response = node.ask("GET", "/v1/openapi.json", Some("Bearer s3cret")).await;
    let document: Value = serde_json::from_slice(&bytes(response).await).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));

    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.push(format!("{} {path}", method.to_uppercase()));
            let open = ["/livez", "/readyz"].contains(&path.as_str());
            let sealed = path == "/v1/relay";
            assert_eq!(operation.get("security").is_none(), open || sealed, "{path}");
            assert!(operation["responses"].as_object().is_some_and(|r| !r.is_empty()), "{path}");
            assert!(
                operation["operationId"].is_string() && operation["summary"].is_string(),
                "{path}"
            );
            // It is routed, and guarded as it says.
            let asked = path.replace("{id}", "0-1");
            let status = node.ask(&method.to_uppercase(), &asked, None).await.status().as_u16();
            assert_eq!(status, if open { 200 } else { 401 }, "{method} {path}");
        }
    }
    operations.sort();
    assert_eq!(
        operations,
        [
            "DELETE /v1/calls/{id}",
            "GET /livez",
            "GET /metrics",
            "GET /readyz",
            "GET /v1/calls",
            "GET /v1/calls/{id}",
            "GET /v1/openapi.json",
            "GET /v1/status",
            "POST /v1/calls/{id}/dtmf",
            "POST /v1/relay",
        ]
    );
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 10);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    // The shapes are those that are served.
    let properties = |schema: &str| -> Vec<String> {
        let pointer = format!("/components/schemas/{schema}/properties");
        document.pointer(&pointer).unwrap().as_object().unwrap().keys().cloned().collect()
    };
    let served = serde_json::to_value(call("0-1", CallState::Ended)).unwrap();
    for key in served.as_object().unwrap().keys() {
        assert!(properties("CallView").contains(key), "{key}");
    }
    let served = serde_json::to_value((node.state.status)()).unwrap();
    for (schema, at) in [
        ("Status", ""),
        ("AdvertisedView", "/advertised/0"),
        ("TrunkStatus", "/trunks/carrier-a"),
        ("OptionsView", "/trunks/carrier-a/options"),
    ] {
        for key in served.pointer(at).unwrap().as_object().unwrap().keys() {
            assert!(properties(schema).contains(key), "{schema}.{key}");
        }
    }
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| match (key.as_str(), value) {
            ("$ref", Value::String(reference)) => found.push(reference.clone()),
            (_, value) => collect_references(value, found),
        }),
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}

#[test]
fn ended_calls_are_kept_for_ten_minutes_and_no_more_than_a_thousand() {
    let calls = Calls::new();
    let start = Instant::now();
    let all = Filter::default();
    calls.put(start, call("live", CallState::Active));
    for n in 0..1500 {
        calls.put(start, call(&format!("{n:04}"), CallState::Ended));
    }
    assert_eq!(calls.list(start, &all).len(), 1001);
    assert!(calls.find(start, "0499").is_none() && calls.find(start, "0500").is_some());
    let almost = start + Duration::from_secs(599);
    assert_eq!(calls.list(almost, &all).len(), 1001);
    let later = start + Duration::from_secs(600);
    assert_eq!(calls.list(later, &all).len(), 1);
    assert!(calls.find(later, "1499").is_none() && calls.find(later, "live").is_some());
}

#[test]
fn an_ended_call_leaves_the_live_ones_and_does_not_come_back() {
    let calls = Calls::new();
    let now = Instant::now();
    let states = || -> Vec<CallState> {
        calls.list(now, &Filter::default()).iter().map(|call| call.state).collect()
    };
    calls.put(now, call("1", CallState::Ringing));
    calls.put(now, call("1", CallState::Active));
    assert_eq!(states(), [CallState::Active]);
    calls.put(now, call("1", CallState::Ended));
    calls.put(now, call("1", CallState::Active));
    calls.put(now, call("1", CallState::Ended));
    assert_eq!(states(), [CallState::Ended]);
}

#[tokio::test]
async fn connections_are_served_and_finished_at_shutdown() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = router(Node::new(None).state);
    let server = tokio::spawn(trunkline_service::http::serve(listener, router, async move {
        drop(stopped.await)
    }));

    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n";
    idle.write_all(request).await.unwrap();
    let mut buffer = vec![0; 4096];
    let len = idle.read(&mut buffer).await.unwrap();
    assert!(buffer[..len].starts_with(b"HTTP/1.1 200 OK\r\n"));

    let mut greedy = tokio::net::TcpStream::connect(address).await.unwrap();
    let long = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    // The server may close before it has read all.
    let _ = greedy.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = greedy.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"));

    stop.send(()).unwrap();
    // The idle connection is closed, and the server returns though its client never did.
    server.await.unwrap();
    assert_eq!(idle.read(&mut buffer).await.unwrap(), 0);
}

#[tokio::test]
async fn what_peers_pass_on_needs_no_token_but_their_seal() {
    let node = Node::new(Some("secret-token"));
    for (body, status) in [("ours", 204), ("much", 503), ("theirs", 401), ("", 401)] {
        let request = Request::post("/v1/relay").body(Body::from(body)).unwrap();
        let response = router(node.state.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{body}");
    }
}
