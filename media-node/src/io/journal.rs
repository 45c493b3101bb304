//! What happened, to everybody who wants to know: the log, the metrics, the spans, and the calls
//! that the admin API shows.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::admin::{Calls, Reachability};
use crate::call::media::Turn;
use crate::call::{AdvertisedView, AgentView, CallView, OptionsView, Phase, Reason, Refusal};
use crate::sip::Flow;
use crate::telemetry::{CallSpans, Metrics, SipDirection};

pub(crate) struct Journal {
    calls: Arc<Calls>,
    metrics: Arc<Metrics>,
    spans: CallSpans,
    /// Where `/v1/status` looks.
    reachability: watch::Sender<Reachability>,
}

impl Journal {
    pub(crate) fn new(
        calls: Arc<Calls>,
        metrics: Arc<Metrics>,
        reachability: watch::Sender<Reachability>,
    ) -> Self {
        Self { calls, metrics, spans: CallSpans::new(), reachability }
    }

    pub(crate) fn received(&self, flow: &Flow, bytes: &Bytes) {
        self.metrics.sip_message(SipDirection::Received, flow.transport.as_str());
        message("received", flow, bytes);
    }

    pub(crate) fn sent(&self, flow: &Flow, bytes: &Bytes) {
        self.metrics.sip_message(SipDirection::Sent, flow.transport.as_str());
        message("sent", flow, bytes);
    }

    pub(crate) fn phase(&mut self, phase: Phase, view: CallView) {
        match phase {
            Phase::Routed => {
                self.metrics.call_started();
                self.spans.begin(&view);
            }
            Phase::AgentReplaced => self.spans.agent_replaced(&view),
            Phase::AgentReady => self.spans.agent_ready(&view.id),
            Phase::Answered => self.spans.answered(&view.id),
            Phase::Established => {}
            Phase::FirstAudio => self.spans.first_audio(&view.id),
            Phase::OneWayAudio => {
                if let Some(one_way) = view.media.one_way_audio.last() {
                    self.metrics.one_way(one_way.kind.label());
                    self.spans.one_way_audio(&view, one_way);
                }
            }
            Phase::Ended => {
                self.metrics.call_ended(&view);
                self.spans.end(&view);
            }
        }
        self.calls.put(Instant::now(), view);
    }

    pub(crate) fn turn(&self, turn: &Turn) {
        self.metrics.turn(turn);
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.metrics.call_refused(refusal.label);
        info!(
            target: "trunkline::call",
            status = refusal.status,
            reason = refusal.label,
            trunk = refusal.trunk,
            field = refusal.field,
            remote = refusal.remote.map(tracing::field::display),
            "call refused: {}", refusal.text
        );
    }

    pub(crate) fn stranger(&self, remote: SocketAddr) {
        self.metrics.stranger();
        info!(%remote, field = "spec.inbound.sources", "no trunk has this source: not answered");
    }

    pub(crate) fn malformed(&self, remote: SocketAddr, field: &str, problem: &str) {
        self.metrics.sip_malformed();
        info!(%remote, field, problem, "message cannot be read");
    }

    pub(crate) fn private_address(&self, trunk: &str, advertised: IpAddr, peer: IpAddr) {
        warn!(
            trunk, %advertised, %peer,
            "a private address was told to a public peer: there will be no audio \
             (MediaPool spec.exposure.address, or --advertise)"
        );
    }
}

impl Journal {
    pub(crate) fn probed(
        &self,
        trunk: &str,
        server: &str,
        reason: Reason,
        message: &str,
        changed: bool,
    ) {
        self.metrics.probed(reason.label());
        match (changed, reason.is_ok()) {
            (false, _) => {}
            (true, true) => info!(trunk, server, %reason, "the carrier answers: {message}"),
            (true, false) => {
                let field = "spec.outbound";
                warn!(trunk, server, field, %reason, "the carrier is out of reach: {message}");
            }
        }
    }

    pub(crate) fn reachable(&self, trunk: String, options: Option<Box<OptionsView>>) {
        self.reachability.send_modify(|known| match options {
            Some(options) => {
                known.trunks.insert(trunk, *options);
            }
            None => {
                known.trunks.remove(&trunk);
            }
        });
    }

    pub(crate) fn agent_reachable(&self, agent: String, view: Option<Box<AgentView>>) {
        let before = self.reachability.borrow().agents.get(&agent).map(|it| it.reason);
        match &view {
            Some(view) if before == Some(view.reason) => {}
            Some(view) if view.ok => info!(agent, "the agent takes connections"),
            Some(view) => {
                let (field, reason) = ("spec.endpoint", view.reason);
                warn!(agent, field, ?reason, "the agent is out of reach: {}", view.message);
            }
            None => {}
        }
        self.reachability.send_modify(|known| match view {
            Some(view) => drop(known.agents.insert(agent, *view)),
            None => drop(known.agents.remove(&agent)),
        });
    }

    pub(crate) fn self_checked(&self, advertised: Vec<AdvertisedView>) {
        let before = self.reachability.borrow().advertised.clone();
        for view in advertised.iter().filter(|view| !before.contains(view)) {
            match view.reaches_us {
                Some(true) => info!(address = %view.address, "self-check: {}", view.message),
                Some(false) => warn!(address = %view.address, "self-check: {}", view.message),
                None => {}
            }
        }
        self.reachability.send_modify(|known| known.advertised = advertised);
    }
}

/// A message's first line without what it says of people, and its size: enough for a ladder.
fn message(way: &str, flow: &Flow, bytes: &Bytes) {
    if !tracing::enabled!(target: "trunkline::sip", tracing::Level::DEBUG) {
        return;
    }
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    // A request's second word is an address; a response begins with its version.
    let shown = match line.strip_prefix(b"SIP/2.0 ") {
        Some(status) => String::from_utf8_lossy(status).chars().take(80).collect(),
        None => line
            .split(|byte| *byte == b' ')
            .next()
            .map(|method| String::from_utf8_lossy(method).chars().take(20).collect::<String>())
            .unwrap_or_default(),
    };
    tracing::debug!(
        target: "trunkline::sip",
        remote = %flow.remote,
        transport = flow.transport.as_str(),
        len_bytes = bytes.len(),
        "{way} {shown:?}"
    );
}
