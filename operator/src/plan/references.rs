//! What objects name: Secrets and their keys, Agents, Trunks. Always in their own namespace.

use std::collections::BTreeSet;

use trunkline_crds::agent::{AgentSpec, TokenRef};
use trunkline_crds::conditions::reasons;
use trunkline_crds::media_pool::MediaPoolSpec;
use trunkline_crds::refs::{CaRef, KeyRef, ObjectRef};
use trunkline_crds::trunk::{Route, TrunkSpec};

/// A Secret that a field names, and the keys that are read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretUse<'a> {
    pub(super) field: String,
    pub(super) name: &'a str,
    pub(super) keys: Vec<&'a str>,
    /// It is to hold a certificate authority.
    pub(super) authority: bool,
}

/// Something named that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

const CREDENTIALS: [&str; 2] = ["username", "password"];
const CERTIFICATE: [&str; 2] = ["tls.crt", "tls.key"];

#[derive(Default)]
struct Uses<'a>(Vec<SecretUse<'a>>);

impl<'a> Uses<'a> {
    fn add(&mut self, field: &str, name: &'a str, keys: &[&'a str], authority: bool) {
        self.0.push(SecretUse { field: field.to_owned(), name, keys: keys.to_vec(), authority });
    }

    fn object(&mut self, field: &str, it: Option<&'a ObjectRef>, keys: &[&'static str]) {
        if let Some(it) = it {
            self.add(field, &it.name, keys, false);
        }
    }

    fn key(&mut self, field: &str, it: Option<&'a KeyRef>) {
        if let Some(it) = it {
            self.add(field, &it.name, &[&*it.key], false);
        }
    }

    fn token(&mut self, field: &str, it: Option<&'a TokenRef>) {
        if let Some(it) = it {
            self.add(field, &it.name, &[&*it.key], false);
        }
    }

    fn authority(&mut self, field: &str, it: Option<&'a CaRef>) {
        if let Some(it) = it {
            self.add(field, &it.name, &[&*it.key], true);
        }
    }
}

pub(super) fn of_trunk(spec: &TrunkSpec) -> Vec<SecretUse<'_>> {
    let mut uses = Uses::default();
    if let Some(it) = &spec.inbound {
        uses.object("spec.inbound.authSecretRef", it.auth_secret_ref.as_ref(), &CREDENTIALS);
        uses.authority("spec.inbound.clientCARef", it.client_ca_ref.as_ref());
    }
    if let Some(it) = &spec.outbound {
        uses.object("spec.outbound.authSecretRef", it.auth_secret_ref.as_ref(), &CREDENTIALS);
        let certificate = it.client_certificate_ref.as_ref();
        uses.object("spec.outbound.clientCertificateRef", certificate, &CERTIFICATE);
        uses.authority("spec.outbound.caRef", it.ca_ref.as_ref());
    }
    uses.0
}

pub(super) fn of_agent(spec: &AgentSpec) -> Vec<SecretUse<'_>> {
    let mut uses = Uses::default();
    if let Some(it) = &spec.endpoint.web_socket {
        uses.token("spec.endpoint.webSocket.authSecretRef", it.auth_secret_ref.as_ref());
        uses.authority("spec.endpoint.webSocket.caRef", it.ca_ref.as_ref());
        for (index, header) in it.headers.iter().enumerate() {
            let field = format!("spec.endpoint.webSocket.headers[{index}].valueFrom.secretKeyRef");
            uses.key(&field, header.value_from.as_ref().map(|it| &it.secret_key_ref));
        }
    }
    if let Some(it) = &spec.endpoint.sip {
        uses.object("spec.endpoint.sip.authSecretRef", it.auth_secret_ref.as_ref(), &CREDENTIALS);
        let inbound = it.inbound.as_ref().and_then(|it| it.auth_secret_ref.as_ref());
        uses.object("spec.endpoint.sip.inbound.authSecretRef", inbound, &CREDENTIALS);
    }
    if let Some(it) = &spec.endpoint.web_rtc {
        if let Some(it) = &it.live_kit {
            let field = "spec.endpoint.webRTC.liveKit.authSecretRef";
            uses.object(field, Some(&it.auth_secret_ref), &["apiKey", "apiSecret"]);
        }
        if let Some(it) = &it.small_web_rtc {
            let field = "spec.endpoint.webRTC.smallWebRTC";
            uses.token(&format!("{field}.authSecretRef"), it.auth_secret_ref.as_ref());
            uses.authority(&format!("{field}.caRef"), it.ca_ref.as_ref());
        }
        if let Some(it) = &it.open_ai {
            uses.token("spec.endpoint.webRTC.openAI.authSecretRef", Some(&it.auth_secret_ref));
        }
        if let Some(it) = &it.whip {
            let field = "spec.endpoint.webRTC.whip";
            uses.token(&format!("{field}.authSecretRef"), it.auth_secret_ref.as_ref());
            uses.authority(&format!("{field}.caRef"), it.ca_ref.as_ref());
        }
    }
    uses.0
}

pub(super) fn of_pool(spec: &MediaPoolSpec) -> Vec<SecretUse<'_>> {
    let mut uses = Uses::default();
    let certificate = spec.tls.as_ref().map(|it| &it.certificate_ref);
    uses.object("spec.tls.certificateRef", certificate, &CERTIFICATE);
    let webhook = spec.records.webhook.as_ref().and_then(|it| it.secret_ref.as_ref());
    uses.object("spec.records.webhook.secretRef", webhook, &["secret"]);
    uses.0
}

/// The agents of one route, in the order written.
pub(super) fn agents_of_route(route: &Route) -> impl Iterator<Item = &str> {
    let one = route.agent_ref.iter().map(|it| &*it.name);
    let several = route.agents.iter().flatten().map(|it| &*it.name);
    one.chain(several)
}

/// The agents that a trunk's calls may reach, fallbacks of fallbacks included; only those that exist.
pub(super) fn agents_reached<'a>(
    spec: &'a TrunkSpec,
    agent: impl Fn(&str) -> Option<&'a AgentSpec>,
) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = spec.routes.iter().flat_map(agents_of_route).collect();
    while let Some(name) = open.pop() {
        let Some(spec) = agent(name) else { continue };
        if reached.insert(name) {
            let fallback = spec.fallback.as_ref().and_then(|it| it.agent_ref.as_ref());
            open.extend(fallback.map(|it| &*it.name));
        }
    }
    reached
}

/// What `uses` lack among the Secrets there are. `keys_of` gives the keys of a Secret, or `None`.
pub(super) fn missing(
    uses: &[SecretUse<'_>],
    keys_of: impl Fn(&str) -> Option<BTreeSet<String>>,
) -> Vec<Missing> {
    let mut found = Vec::new();
    for it in uses {
        let (reason, message) = match keys_of(it.name) {
            None if it.authority => (
                reasons::CA_NOT_FOUND,
                format!(
                    "Secret {:?} not found ({}): make it, or correct the name",
                    it.name, it.field
                ),
            ),
            None => (
                reasons::SECRET_NOT_FOUND,
                format!(
                    "Secret {:?} not found ({}): make it, or correct the name",
                    it.name, it.field
                ),
            ),
            Some(there) => {
                let lacking: Vec<_> = it.keys.iter().filter(|key| !there.contains(**key)).collect();
                if lacking.is_empty() {
                    continue;
                }
                let lacking: Vec<_> = lacking.iter().map(|key| format!("{key:?}")).collect();
                let there: Vec<_> = there.iter().map(String::as_str).collect();
                let there = if there.is_empty() { "none".into() } else { there.join(", ") };
                (
                    reasons::SECRET_KEY_MISSING,
                    format!(
                        "Secret {:?} has no key {} ({}); its keys are: {there}",
                        it.name,
                        lacking.join(" and "),
                        it.field
                    ),
                )
            }
        };
        let it = Missing { reason, message };
        if !found.contains(&it) {
            found.push(it);
        }
    }
    found
}
