//! One span a call, its phases as children:
//!
//! ```text
//! call ───────────────────────────────────────────────
//!   setup ──────────────          from INVITE to the 200
//!   agent connect ───────         from routing to the agent's readiness
//!                       first audio ──      from the 200 to the agent's first sound on the wire
//!                       talk ────────────────────────   from the 200 to the end
//! ```
//!
//! The owner of the calls says when each phase begins and ends; nothing here is asked per packet.

use std::collections::HashMap;

use tracing::field::Empty;
use tracing::{Span, error_span, field, info, warn};

use super::CALL_TARGET;
use crate::call::CallView;
use crate::call::cause::EndedBy;
use crate::call::record::OneWayView;

/// The open spans of all calls, by call id. One task owns it.
#[derive(Default)]
pub struct CallSpans {
    calls: HashMap<String, Open>,
}

/// A phase's span is closed by dropping it.
struct Open {
    call: Span,
    setup: Option<Span>,
    agent_connect: Option<Span>,
    first_audio: Option<Span>,
    talk: Option<Span>,
}

// Spans are made at level ERROR so that no log filter takes them away: the level says nothing of
// the call, and the traces filter by target.
impl CallSpans {
    pub fn new() -> Self {
        Self::default()
    }

    /// The span of a call, for events that belong to it; a disabled one when it is not known.
    pub fn of(&self, id: &str) -> Span {
        self.calls.get(id).map_or_else(Span::none, |open| open.call.clone())
    }

    /// Trunk, agent and codec are chosen; the phone rings and the agent is being called.
    pub fn begin(&mut self, view: &CallView) {
        let call = error_span!(
            target: CALL_TARGET,
            parent: None,
            "call",
            call_id = view.id,
            trunk = view.trunk,
            agent = view.agent,
            fallback_agent = Empty,
            direction = field::debug(view.direction),
            from = view.from,
            to = view.to,
            sip_call_id = view.sip_call_id,
            codec = view.media.codec,
            encryption = view.media.encryption,
            ended_by = Empty,
            cause = Empty,
            sip_status = Empty,
            otel.kind = "server",
            otel.status_code = Empty,
            otel.status_description = Empty,
        );
        let setup = error_span!(target: CALL_TARGET, parent: &call, "setup");
        let agent_connect = error_span!(target: CALL_TARGET, parent: &call, "agent connect");
        info!(target: CALL_TARGET, parent: &call, "call began");
        let open = Open {
            call,
            setup: Some(setup),
            agent_connect: Some(agent_connect),
            first_audio: None,
            talk: None,
        };
        self.calls.insert(view.id.clone(), open);
    }

    /// Another agent takes over before the answer: its connection is a span of its own, and the call
    /// keeps the name of the one that its route meant beside the one it got.
    pub fn agent_replaced(&mut self, view: &CallView) {
        let Some(open) = self.calls.get_mut(&view.id) else { return };
        open.call.record("fallback_agent", &view.agent);
        open.agent_connect =
            Some(error_span!(target: CALL_TARGET, parent: &open.call, "agent connect"));
    }

    pub fn agent_ready(&mut self, id: &str) {
        if let Some(open) = self.calls.get_mut(id) {
            open.agent_connect = None;
        }
    }

    /// The 200 was sent. Says nothing twice.
    pub fn answered(&mut self, id: &str) {
        let Some(open) = self.calls.get_mut(id) else { return };
        if open.setup.take().is_some() {
            open.first_audio =
                Some(error_span!(target: CALL_TARGET, parent: &open.call, "first audio"));
            open.talk = Some(error_span!(target: CALL_TARGET, parent: &open.call, "talk"));
        }
    }

    /// The agent's first sound left for the caller.
    pub fn first_audio(&mut self, id: &str) {
        if let Some(open) = self.calls.get_mut(id) {
            open.first_audio = None;
        }
    }

    /// One side is not heard.
    pub fn one_way_audio(&self, view: &CallView, one_way: &OneWayView) {
        let CallView { id: call_id, trunk, agent, .. } = view;
        let kind = one_way.kind.label();
        warn!(
            target: CALL_TARGET, parent: &self.of(call_id),
            call_id, trunk, agent, kind, "one-way audio: {}", one_way.reason
        );
    }

    /// The call is over: its record goes to the log, its spans to the collector.
    pub fn end(&mut self, view: &CallView) {
        let open = self.calls.remove(&view.id);
        let call = open.as_ref().map_or_else(Span::none, |open| open.call.clone());
        if let Some(end) = &view.end {
            call.record("ended_by", field::debug(end.by));
            call.record("cause", end.cause);
            call.record("sip_status", end.sip_status);
            // What callers and agents do is no fault; what the node or the carrier failed to do is.
            if matches!(end.by, EndedBy::Node | EndedBy::Carrier) {
                call.record("otel.status_code", "ERROR");
                call.record("otel.status_description", &end.reason);
            }
        }
        let record = serde_json::to_string(view).unwrap_or_default();
        match call.is_none() {
            true => info!(target: CALL_TARGET, call_id = view.id, record, "call ended"),
            false => info!(target: CALL_TARGET, parent: &call, record, "call ended"),
        }
        // Children first, so that none outlives its parent.
        drop(open.map(|open| (open.setup, open.agent_connect, open.first_audio, open.talk)));
    }

    /// How many calls have open spans.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}
