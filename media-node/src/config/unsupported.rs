//! What the schema has and this release does not do. An object that asks for it is left out whole,
//! for half a promise is worse than none.

use trunkline_crds::agent::{AgentSpec, Dialect, Encoding};
use trunkline_crds::media_pool::{AddressSource, MediaPoolSpec};
use trunkline_crds::trunk::{Codec, TrunkSpec};

use super::NOT_SUPPORTED;
use super::resolve::Fault;

fn fault(field: &str, more: &str) -> Fault {
    Fault { field: field.to_owned(), message: format!("{NOT_SUPPORTED}{field}{more}") }
}

/// What is written; what a preset fills in is the preset's affair.
pub(super) fn of_trunk(spec: &TrunkSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(outbound) = &spec.outbound {
        let more = "; this release asks the carrier by OPTIONS and calls it not yet";
        for (field, written) in [
            ("authSecretRef", outbound.auth_secret_ref.is_some()),
            ("registration", outbound.registration.is_some()),
            ("callerId", outbound.caller_id.is_some()),
            ("ringTimeoutSeconds", outbound.ring_timeout_seconds.is_some()),
        ] {
            if written {
                faults.push(fault(&format!("spec.outbound.{field}"), more));
            }
        }
    }
    if let Some(inbound) = &spec.inbound
        && inbound.client_ca_ref.is_some()
    {
        let more = "; write sources, authSecretRef or both";
        faults.push(fault("spec.inbound.clientCARef", more));
    }
    if let Some(media) = &spec.media {
        for (index, codec) in media.codecs.iter().flatten().enumerate() {
            if *codec == Codec::Opus && cfg!(not(feature = "opus")) {
                let field = format!("spec.media.codecs[{index}]");
                let more = " (Opus); this program was built without the feature opus: write PCMU, \
                            PCMA or G722";
                faults.push(fault(&field, more));
            }
        }
    }
    faults
}

pub(super) fn of_agent(spec: &AgentSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    let endpoint = &spec.endpoint;
    if endpoint.sip.is_some() {
        faults.push(fault("spec.endpoint.sip", "; write webSocket"));
    }
    if endpoint.web_rtc.is_some() {
        faults.push(fault("spec.endpoint.webRTC", "; write webSocket"));
    }
    if let Some(socket) = &endpoint.web_socket {
        if socket.dialect != Dialect::TwilioMediaStreams {
            let more = format!(" ({}); write TwilioMediaStreams", socket.dialect);
            faults.push(fault("spec.endpoint.webSocket.dialect", &more));
        } else if socket.session.as_ref().is_some_and(|session| !session.is_empty()) {
            let more = "; TwilioMediaStreams has no session, use variables";
            faults.push(fault("spec.endpoint.webSocket.session", more));
        }
    }
    if let Some(audio) = &spec.audio {
        if let Some(encoding) = audio.encoding.filter(|it| *it != Encoding::Pcmu) {
            let more = format!(" ({encoding}); write PCMU");
            faults.push(fault("spec.audio.encoding", &more));
        }
        if let Some(rate) = audio.sample_rate_hertz.filter(|it| *it != 8000) {
            let more = format!(" ({rate}); write 8000");
            faults.push(fault("spec.audio.sampleRateHertz", &more));
        }
    }
    if spec.fallback.as_ref().is_some_and(|it| it.transfer_to.is_some()) {
        faults.push(fault("spec.fallback.transferTo", "; write agentRef or sipStatus"));
    }
    if spec.hold_prompt_ref.is_some() {
        faults.push(fault("spec.holdPromptRef", ""));
    }
    faults
}

/// Replicas, autoscaling, placement, resources and exposure service are the operator's affair and mean
/// nothing to one node.
pub(super) fn of_pool(spec: &MediaPoolSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    if spec.records.webhook.is_some() {
        faults.push(fault("spec.records.webhook", "; records go to the log"));
    }
    if spec.exposure.address.source == AddressSource::Stun {
        let more = " (STUN); write Static with the address that carriers are told";
        faults.push(fault("spec.exposure.address.source", more));
    }
    faults
}
