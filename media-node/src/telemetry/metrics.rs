//! What Prometheus reads: `trunkline_…` in the OpenMetrics text format.
//!
//! Labels come from fixed sets, never from what a peer wrote. Nothing here is touched per packet:
//! a call's figures are added when it ends, from its record.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::call::CallView;
use crate::call::cause::EndedBy;
use crate::call::media::Turn;

/// What `/metrics` calls its content.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Seconds = Counter<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    by: &'static str,
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    direction: &'static str,
    transport: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

/// Which way a SIP message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SipDirection {
    Received,
    Sent,
}

/// Every metric of a node. Cheap to update: a lookup among a few labels and an atomic.
pub struct Metrics {
    registry: Registry,
    calls: Family<StateLabel, Gauge>,
    capacity: Gauge,
    media_busy: Gauge<f64, AtomicU64>,
    media_late: Gauge<f64, AtomicU64>,
    ready: Gauge,
    draining: Gauge,
    rejected_objects: Gauge,
    started: Counter,
    ended: Family<EndLabels, Counter>,
    refused: Family<ReasonLabel, Counter>,
    strangers: Counter,
    malformed: Counter,
    messages: Family<MessageLabels, Counter>,
    reloads: Counter,
    probes: Family<ReasonLabel, Counter>,
    carriers: Family<StateLabel, Gauge>,
    agents: Family<StateLabel, Gauge>,
    setup: Histogram,
    duration: Histogram,
    first_audio: Histogram,
    response: Histogram,
    interruption_reaction: Histogram,
    interruption_effect: Histogram,
    round_trip: Histogram,
    jitter: Histogram,
    mos: Family<DirectionLabel, Histogram>,
    one_way: Family<KindLabel, Counter>,
    packets: Family<DirectionLabel, Counter>,
    bytes: Family<DirectionLabel, Counter>,
    lost: Counter,
    late: Counter,
    discarded: Family<ReasonLabel, Counter>,
    agent_audio_dropped: Seconds,
    skipped_frames: Counter,
    digits: Counter,
    digits_sent: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn by_label(by: EndedBy) -> &'static str {
    match by {
        EndedBy::Caller => "caller",
        EndedBy::Callee => "callee",
        EndedBy::Agent => "agent",
        EndedBy::Node => "node",
        EndedBy::Carrier => "carrier",
    }
}

impl Metrics {
    pub fn new() -> Self {
        let seconds = |bounds: &[f64]| Histogram::new(bounds.iter().copied());
        let metrics = Self {
            registry: Registry::with_prefix("trunkline"),
            calls: Family::default(),
            capacity: Gauge::default(),
            media_busy: Gauge::default(),
            media_late: Gauge::default(),
            ready: Gauge::default(),
            draining: Gauge::default(),
            rejected_objects: Gauge::default(),
            started: Counter::default(),
            ended: Family::default(),
            refused: Family::default(),
            strangers: Counter::default(),
            malformed: Counter::default(),
            messages: Family::default(),
            reloads: Counter::default(),
            probes: Family::default(),
            carriers: Family::default(),
            agents: Family::default(),
            setup: seconds(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
            duration: seconds(&[
                1.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
            ]),
            first_audio: seconds(&[0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0]),
            response: seconds(&[0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0]),
            interruption_reaction: seconds(&[0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 4.0]),
            interruption_effect: seconds(&[0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1]),
            round_trip: seconds(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0]),
            jitter: seconds(&[0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2]),
            mos: Family::new_with_constructor(|| {
                Histogram::new([1.5, 2.0, 2.5, 3.0, 3.3, 3.6, 3.8, 4.0, 4.2, 4.4])
            }),
            one_way: Family::default(),
            packets: Family::default(),
            bytes: Family::default(),
            lost: Counter::default(),
            late: Counter::default(),
            discarded: Family::default(),
            agent_audio_dropped: Seconds::default(),
            skipped_frames: Counter::default(),
            digits: Counter::default(),
            digits_sent: Counter::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let r = &mut self.registry;
        r.register("build", "The version of this node", build);
        r.register("calls", "Calls there are now, by state", self.calls.clone());
        r.register("capacity_calls", "Calls this node takes at once", self.capacity.clone());
        let help = "Share of a core used by the media thread that would get the next call";
        r.register("media_busy_ratio", help, self.media_busy.clone());
        let help = "Share of that thread's turns that come half a frame late or later";
        r.register("media_late_ratio", help, self.media_late.clone());
        r.register("ready", "1 when new calls are taken", self.ready.clone());
        r.register("draining", "1 when this node takes no new call", self.draining.clone());
        let help = "Objects of the manifests that are not obeyed";
        r.register("rejected_objects", help, self.rejected_objects.clone());
        r.register(
            "config_reloads",
            "Times a new configuration came in force",
            self.reloads.clone(),
        );
        r.register("calls_started", "Calls that were routed to an agent", self.started.clone());
        r.register("calls_ended", "Calls that ended, by whom and why", self.ended.clone());
        r.register("calls_refused", "Requests that were refused, by reason", self.refused.clone());
        let help = "Requests that match no trunk and were met with silence";
        r.register("strangers", help, self.strangers.clone());
        r.register("sip_malformed", "Messages that could not be read", self.malformed.clone());
        r.register("sip_messages", "SIP messages", self.messages.clone());
        let help = "OPTIONS to carriers' servers, by what they came to";
        r.register("options_probes", help, self.probes.clone());
        let help =
            "Trunks whose carrier is asked by OPTIONS, by whether one of its servers answers";
        r.register("probed_trunks", help, self.carriers.clone());
        let help = "Agents, by whether they take connections";
        r.register("probed_agents", help, self.agents.clone());
        let (seconds, bytes) = (|| Unit::Seconds, || Unit::Bytes);
        let help = "From the INVITE to the answer";
        r.register_with_unit("call_setup", help, seconds(), self.setup.clone());
        let help = "From the answer to the end";
        r.register_with_unit("call_duration", help, seconds(), self.duration.clone());
        let help = "From the answer to the agent's first sound on the wire";
        r.register_with_unit("first_audio_delay", help, seconds(), self.first_audio.clone());
        let help = "From the end of a caller's speech to the agent's first sound on the wire, each time (G.711)";
        r.register_with_unit("agent_response", help, seconds(), self.response.clone());
        let help = "From the begin of a caller's speech to the agent's clear, each time (G.711)";
        let reaction = self.interruption_reaction.clone();
        r.register_with_unit("interruption_reaction", help, seconds(), reaction);
        let help = "From an agent's clear to the last packet of what it cut off, each time (G.711)";
        let effect = self.interruption_effect.clone();
        r.register_with_unit("interruption_effect", help, seconds(), effect);
        let help = "Round trip to the carrier as RTCP tells, once a call";
        r.register_with_unit("rtp_round_trip", help, seconds(), self.round_trip.clone());
        let help = "Jitter of the caller's audio, once a call";
        r.register_with_unit("rtp_jitter", help, seconds(), self.jitter.clone());
        let help = "Estimated quality of telephone speech (MOS, 1 to 4.5), once a call: received from callers, \
                    sent to carriers";
        r.register("mos", help, self.mos.clone());
        let help = "Calls in which one side was not heard, by whose sound was missing";
        r.register("one_way_audio", help, self.one_way.clone());
        r.register("rtp_packets", "RTP packets of ended calls", self.packets.clone());
        let help = "RTP payload of ended calls";
        r.register_with_unit("rtp_payload", help, bytes(), self.bytes.clone());
        r.register("rtp_packets_lost", "Packets of callers that never came", self.lost.clone());
        r.register("rtp_packets_late", "Packets of callers that came too late", self.late.clone());
        let help = "Packets that were not used, by reason";
        r.register("rtp_packets_discarded", help, self.discarded.clone());
        let help = "Agents' audio dropped because it came faster than it can be played";
        let dropped = self.agent_audio_dropped.clone();
        r.register_with_unit("agent_audio_dropped", help, seconds(), dropped);
        let help = "Frames left out because a media thread was served too late";
        r.register("skipped_frames", help, self.skipped_frames.clone());
        r.register("digits", "Keys that callers pressed", self.digits.clone());
        r.register("digits_sent", "Keys that were sent to carriers", self.digits_sent.clone());
        self
    }

    /// The numbers of now, set whenever `/metrics` is asked. `ready` is what `/readyz` says.
    pub fn set_load(&self, setup: u32, active: u32, capacity: u32, ready: bool, draining: bool) {
        let state = |state| self.calls.get_or_create_owned(&StateLabel { state });
        state("ringing").set(i64::from(setup));
        state("active").set(i64::from(active));
        self.capacity.set(i64::from(capacity));
        self.ready.set(i64::from(ready));
        self.draining.set(i64::from(draining));
    }

    /// What the media threads have to do, in thousandths; set as [`Self::set_load`].
    pub fn set_strain(&self, busy_permille: u32, late_permille: u32) {
        self.media_busy.set(f64::from(busy_permille) / 1000.0);
        self.media_late.set(f64::from(late_permille) / 1000.0);
    }

    /// For each trunk whether its carrier answered OPTIONS when it was last asked; set as
    /// [`Self::set_load`].
    pub fn set_carriers(&self, reachable: impl Iterator<Item = bool>) {
        set_reachable(&self.carriers, reachable);
    }

    /// For each agent whether it took a connection when it was last tried; set as [`Self::set_load`].
    pub fn set_agents(&self, reachable: impl Iterator<Item = bool>) {
        set_reachable(&self.agents, reachable);
    }

    /// `reason` is the label of what an OPTIONS came to, from a fixed set.
    pub fn probed(&self, reason: &'static str) {
        self.probes.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A configuration came in force.
    pub fn config_loaded(&self, rejected: usize) {
        self.reloads.inc();
        self.rejected_objects.set(i64::try_from(rejected).unwrap_or(i64::MAX));
    }

    pub fn sip_message(&self, direction: SipDirection, transport: &'static str) {
        let direction = match direction {
            SipDirection::Received => "received",
            SipDirection::Sent => "sent",
        };
        self.messages.get_or_create(&MessageLabels { direction, transport }).inc();
    }

    pub fn sip_malformed(&self) {
        self.malformed.inc();
    }

    pub fn stranger(&self) {
        self.strangers.inc();
    }

    /// `reason` is the label of a refusal, from a fixed set.
    pub fn call_refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub fn call_started(&self) {
        self.started.inc();
    }

    /// `kind` is the label of whose sound is missing in a call.
    pub fn one_way(&self, kind: &'static str) {
        self.one_way.get_or_create(&KindLabel { kind }).inc();
    }

    pub fn turn(&self, turn: &Turn) {
        match turn {
            Turn::Response { after } => self.response.observe(after.as_secs_f64()),
            Turn::Interruption { reaction, effect } => {
                if let Some(reaction) = reaction {
                    self.interruption_reaction.observe(reaction.as_secs_f64());
                }
                self.interruption_effect.observe(effect.as_secs_f64());
            }
        }
    }

    /// Adds an ended call's record.
    pub fn call_ended(&self, view: &CallView) {
        if let Some(end) = &view.end {
            self.ended.get_or_create(&EndLabels { by: by_label(end.by), cause: end.cause }).inc();
        }
        let between = |from: jiff::Timestamp, to: jiff::Timestamp| {
            Duration::try_from(to.duration_since(from)).unwrap_or_default().as_secs_f64()
        };
        if let Some(answered) = view.answered_at {
            self.setup.observe(between(view.started_at, answered));
            if let Some(ended) = view.ended_at {
                self.duration.observe(between(answered, ended));
            }
        }
        let Some(report) = &view.media.report else { return };
        if let Some(delay) = report.first_audio_delay_ms {
            self.first_audio.observe(delay as f64 / 1000.0);
        }
        if let Some(round_trip) = report.round_trip_ms {
            self.round_trip.observe(round_trip / 1000.0);
        }
        if report.packets_in > 0 {
            self.jitter.observe(report.jitter_ms / 1000.0);
        }
        for (direction, mos) in [("received", report.mos), ("sent", report.remote_mos)] {
            if let Some(mos) = mos {
                self.mos.get_or_create_owned(&DirectionLabel { direction }).observe(mos);
            }
        }
        let packets = |direction| self.packets.get_or_create_owned(&DirectionLabel { direction });
        let bytes = |direction| self.bytes.get_or_create_owned(&DirectionLabel { direction });
        packets("received").inc_by(report.packets_in);
        packets("sent").inc_by(report.packets_out);
        bytes("received").inc_by(report.bytes_in);
        bytes("sent").inc_by(report.bytes_out);
        self.lost.inc_by(report.lost);
        self.late.inc_by(report.late);
        for (reason, count) in [
            ("stranger", report.strangers),
            ("bad_tag", report.bad_tags),
            ("replayed", report.replayed),
            ("duplicate", report.duplicates),
            ("unusable", report.unusable),
        ] {
            if count > 0 {
                self.discarded.get_or_create(&ReasonLabel { reason }).inc_by(count);
            }
        }
        self.agent_audio_dropped.inc_by(report.dropped_ms as f64 / 1000.0);
        self.skipped_frames.inc_by(report.skipped_frames);
        self.digits.inc_by(report.digits);
        self.digits_sent.inc_by(report.digits_sent);
    }

    /// The text that `/metrics` answers with.
    pub fn write(&self) -> String {
        let mut out = String::with_capacity(8 * 1024);
        // Writing to a String cannot fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

fn set_reachable(family: &Family<StateLabel, Gauge>, reachable: impl Iterator<Item = bool>) {
    let mut counts = [0; 2];
    reachable.for_each(|it| counts[usize::from(it)] += 1);
    for (state, count) in ["unreachable", "reachable"].into_iter().zip(counts) {
        family.get_or_create_owned(&StateLabel { state }).set(count);
    }
}
