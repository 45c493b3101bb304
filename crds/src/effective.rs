//! What a trunk really does: written, else the preset's, else built-in.
//!
//! The one place where these three meet. Nothing here fails: what does not fit together, and only
//! shows once the preset is known, is listed as a [`Contradiction`], which makes a Trunk
//! `Accepted=False` and `check` fail.

use crate::preset::PresetName;
use crate::refs::Network;
use crate::trunk::{
    CalledNumberHeader, Codec, Dtmf, Encryption, IdleAudio, NumberPattern, SipServer, Transport,
    TrunkSpec,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Built-in: codecs in order of preference.
pub const CODECS: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];
/// Built-in: audio in one packet.
pub const PACKET_TIME_MS: i32 = 20;
/// Built-in: how long a carrier may be silent on the wire.
pub const INACTIVITY_SECONDS: i32 = 60;
/// Built-in: the longest call.
pub const CALL_DURATION_SECONDS: i32 = 14_400;
/// Built-in: between two OPTIONS.
pub const OPTIONS_PERIOD_SECONDS: i32 = 30;
/// Built-in: how long a called phone may ring.
pub const RING_TIMEOUT_SECONDS: i32 = 60;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Origin {
    /// It stands in the Trunk.
    Written,
    /// The preset fills it.
    Preset,
    /// Nobody said anything.
    BuiltIn,
}

/// A field that does not fit the rest once the preset is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contradiction {
    /// As `spec.media.encryption`.
    pub field: String,
    /// What does not fit, and what to write instead.
    pub message: String,
}

/// Every setting of a trunk that a preset may fill, settled. References, registration, caller id
/// and routes have no other source than the Trunk itself and stay there.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// The preset in use.
    pub preset: PresetName,
    /// How SIP travels.
    pub transport: Transport,
    /// Whether audio is encrypted.
    pub encryption: Encryption,
    /// Codecs in order of preference.
    pub codecs: Vec<Codec>,
    /// Audio in one packet: 10, 20, 30 or 40 ms.
    pub packet_time_ms: i32,
    /// How key presses travel.
    pub dtmf: Dtmf,
    /// How long the carrier may be silent on the wire.
    pub inactivity_seconds: i32,
    /// What is heard while the agent thinks.
    pub idle_audio: IdleAudio,
    /// Networks of the carrier; empty for an outbound-only trunk.
    pub sources: Vec<Network>,
    /// Where the called number stands.
    pub called_header: CalledNumberHeader,
    /// Country code without +; empty: numbers stay as they come.
    pub country_code: String,
    /// What is taken off the front of a called number.
    pub strip_prefix: String,
    /// The carrier's servers; empty for an inbound-only trunk.
    pub addresses: Vec<SipServer>,
    /// Between two OPTIONS; 0 sends none.
    pub options_period_seconds: i32,
    /// How long a called phone may ring.
    pub ring_timeout_seconds: i32,
    /// Calls at once; `None` as many as the pool takes.
    pub concurrent_calls: Option<i32>,
    /// New calls a second; `None` without limit.
    pub calls_per_second: Option<i32>,
    /// The longest call.
    pub call_duration_seconds: i32,
    /// Where each of these comes from, by field: `media.encryption`.
    pub origins: BTreeMap<&'static str, Origin>,
    /// What does not fit together although each field alone passed validation: what only the
    /// preset reveals, and numbers that stand in two routes. Such a trunk is not accepted.
    pub contradictions: Vec<Contradiction>,
}

impl Effective {
    /// Settles a trunk.
    pub fn of(spec: &TrunkSpec) -> Self {
        let fills = &spec.preset.preset().fills;
        let media = spec.media.clone().unwrap_or_default();
        let inbound = spec.inbound.clone().unwrap_or_default();
        let called = inbound.called_number.unwrap_or_default();
        let outbound = spec.outbound.clone().unwrap_or_default();
        let limits = spec.limits.clone().unwrap_or_default();
        let mut settle = Settle::default();

        let transport =
            settle.pick("transport", spec.transport, fills.transport, || Transport::Tls);
        let by_transport = || match transport {
            Transport::Tls => Encryption::Required,
            Transport::Tcp | Transport::Udp => Encryption::Disabled,
        };
        let mut effective = Self {
            preset: spec.preset,
            transport,
            encryption: settle.pick(
                "media.encryption",
                media.encryption,
                fills.media.encryption,
                by_transport,
            ),
            codecs: settle
                .pick("media.codecs", media.codecs, fills.media.codecs.clone(), || CODECS.to_vec()),
            packet_time_ms: settle.pick(
                "media.packetTimeMilliseconds",
                media.packet_time_milliseconds,
                fills.media.packet_time_milliseconds,
                || PACKET_TIME_MS,
            ),
            dtmf: settle.pick("media.dtmf", media.dtmf, fills.media.dtmf, || Dtmf::Auto),
            inactivity_seconds: settle.pick(
                "media.inactivityTimeoutSeconds",
                media.inactivity_timeout_seconds,
                fills.media.inactivity_timeout_seconds,
                || INACTIVITY_SECONDS,
            ),
            idle_audio: settle.pick(
                "media.idleAudio",
                media.idle_audio,
                fills.media.idle_audio,
                || IdleAudio::ComfortNoise,
            ),
            sources: inbound.sources.unwrap_or_default(),
            called_header: settle.pick(
                "inbound.calledNumber.header",
                called.header,
                fills.called_number.header,
                || CalledNumberHeader::RequestUri,
            ),
            country_code: settle.pick(
                "inbound.calledNumber.countryCode",
                called.country_code,
                fills.called_number.country_code.clone(),
                String::new,
            ),
            strip_prefix: settle.pick(
                "inbound.calledNumber.stripPrefix",
                called.strip_prefix,
                fills.called_number.strip_prefix.clone(),
                String::new,
            ),
            addresses: match spec.outbound {
                Some(_) => settle.pick(
                    "outbound.addresses",
                    outbound.addresses,
                    fills.addresses.clone(),
                    Vec::new,
                ),
                None => Vec::new(),
            },
            options_period_seconds: settle.pick(
                "outbound.optionsPeriodSeconds",
                outbound.options_period_seconds,
                fills.options_period_seconds,
                || OPTIONS_PERIOD_SECONDS,
            ),
            ring_timeout_seconds: settle.pick(
                "outbound.ringTimeoutSeconds",
                outbound.ring_timeout_seconds,
                fills.ring_timeout_seconds,
                || RING_TIMEOUT_SECONDS,
            ),
            concurrent_calls: limits.concurrent_calls,
            calls_per_second: limits.calls_per_second,
            call_duration_seconds: settle.pick(
                "limits.callDurationSeconds",
                limits.call_duration_seconds,
                None,
                || CALL_DURATION_SECONDS,
            ),
            origins: settle.origins,
            contradictions: Vec::new(),
        };
        let mut found = Vec::new();
        effective.check_transport(spec, &mut found);
        effective.check_carrier(spec, &mut found);
        check_numbers(spec, &mut found);
        effective.contradictions = found;
        effective
    }

    /// What a person should know of this carrier, a sentence each.
    pub fn notes(&self) -> &'static [String] {
        &self.preset.preset().notes
    }

    fn check_transport(&self, spec: &TrunkSpec, found: &mut Vec<Contradiction>) {
        let Self { preset, transport, encryption, .. } = self;
        if *transport == Transport::Tls {
            return;
        }
        if *encryption == Encryption::Required {
            say(
                found,
                "spec.media.encryption",
                format!(
                    "SRTP keys travel in SDP, so Required needs TLS, and preset {preset} uses {transport}: write transport: TLS if the carrier takes it, or leave out encryption"
                ),
            );
        }
        let asks_client = spec.inbound.as_ref().is_some_and(|it| it.client_ca_ref.is_some());
        if asks_client {
            say(
                found,
                "spec.inbound.clientCARef",
                format!(
                    "a client certificate is only shown over TLS, and preset {preset} uses {transport}: write transport: TLS if the carrier takes it, or leave out clientCARef"
                ),
            );
        }
        let shows = spec.outbound.as_ref().is_some_and(|it| it.client_certificate_ref.is_some());
        if shows {
            say(
                found,
                "spec.outbound.clientCertificateRef",
                format!(
                    "a client certificate is only shown over TLS, and preset {preset} uses {transport}: write transport: TLS if the carrier takes it, or leave out clientCertificateRef"
                ),
            );
        }
    }

    fn check_carrier(&self, spec: &TrunkSpec, found: &mut Vec<Contradiction>) {
        let preset = self.preset.preset();
        let (carrier, takes) = (&preset.carrier, &preset.takes);
        if let Some(known) = takes.transports.as_ref().filter(|it| !it.contains(&self.transport)) {
            say(
                found,
                "spec.transport",
                format!("{carrier} does not take {}: write {}", self.transport, list(known)),
            );
        }
        if let Some(known) = &takes.codecs
            && !self.codecs.iter().any(|codec| known.contains(codec))
        {
            say(
                found,
                "spec.media.codecs",
                format!(
                    "{carrier} takes none of {}: write one of {}",
                    list(&self.codecs),
                    list(known)
                ),
            );
        }
        if let Some(known) = takes.digits.as_ref().filter(|it| !it.contains(&self.dtmf)) {
            say(
                found,
                "spec.media.dtmf",
                format!("{carrier} does not take {}: write {}", self.dtmf, list(known)),
            );
        }
        let Some(outbound) = &spec.outbound else { return };
        if outbound.registration.is_some() && takes.registration == Some(false) {
            say(
                found,
                "spec.outbound.registration",
                format!("{carrier} has no registrar: leave out registration"),
            );
        }
        if outbound.auth_secret_ref.is_some() && takes.passwords == Some(false) {
            say(
                found,
                "spec.outbound.authSecretRef",
                format!("{carrier} knows its customers by address alone: leave out authSecretRef"),
            );
        }
        if self.addresses.is_empty() {
            let what = preset.needs_addresses.as_deref().unwrap_or("the carrier's SIP servers");
            say(
                found,
                "spec.outbound.addresses",
                format!("preset {} does not know the server: write {what}", self.preset),
            );
        }
    }

    /// The settings as lines for people: `media.encryption: Required (built-in)`.
    pub fn lines(&self) -> Vec<String> {
        let value = serde_json::to_value(self).unwrap_or_default();
        self.origins
            .iter()
            .map(|(field, origin)| {
                let shown = match value.get(key_of(field)) {
                    Some(serde_json::Value::String(text)) if text.is_empty() => {
                        "nothing".to_owned()
                    }
                    Some(serde_json::Value::String(text)) => text.clone(),
                    Some(serde_json::Value::Array(items)) => {
                        let items: Vec<_> = items
                            .iter()
                            .map(|item| {
                                item.as_str().map_or_else(|| item.to_string(), str::to_owned)
                            })
                            .collect();
                        items.join(", ")
                    }
                    Some(other) => other.to_string(),
                    None => String::new(),
                };
                let origin = match origin {
                    Origin::Written => "written",
                    Origin::Preset => "preset",
                    Origin::BuiltIn => "built-in",
                };
                format!("{field}: {shown} ({origin})")
            })
            .collect()
    }
}

/// The key of [`Effective`] that holds a field of the Trunk.
fn key_of(field: &str) -> &str {
    match field {
        "media.packetTimeMilliseconds" => "packetTimeMs",
        "media.inactivityTimeoutSeconds" => "inactivitySeconds",
        "inbound.calledNumber.header" => "calledHeader",
        _ => field.rsplit('.').next().unwrap_or(field),
    }
}

#[derive(Default)]
struct Settle {
    origins: BTreeMap<&'static str, Origin>,
}

impl Settle {
    fn pick<T>(
        &mut self,
        field: &'static str,
        written: Option<T>,
        preset: Option<T>,
        built_in: impl FnOnce() -> T,
    ) -> T {
        let (value, origin) = match (written, preset) {
            (Some(value), _) => (value, Origin::Written),
            (None, Some(value)) => (value, Origin::Preset),
            (None, None) => (built_in(), Origin::BuiltIn),
        };
        self.origins.insert(field, origin);
        value
    }
}

/// A number that stands in two routes has two answers. (One list alone the schema keeps unique;
/// across lists a rule would cost the API server more than it allows.)
fn check_numbers(spec: &TrunkSpec, found: &mut Vec<Contradiction>) {
    let mut seen: BTreeMap<&NumberPattern, &str> = BTreeMap::new();
    for (route_index, route) in spec.routes.iter().enumerate() {
        for (index, number) in route.numbers.iter().flatten().enumerate() {
            if let Some(first) = seen.insert(number, &route.name) {
                say(
                    found,
                    &format!("spec.routes[{route_index}].numbers[{index}]"),
                    format!(
                        "{number} stands in route {first} already: leave it out of one of the two"
                    ),
                );
            }
        }
    }
}

fn say(found: &mut Vec<Contradiction>, field: &str, message: String) {
    found.push(Contradiction { field: field.to_owned(), message });
}

fn list<T: ToString>(words: &[T]) -> String {
    words.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn trunk(spec: Value) -> TrunkSpec {
        let object = json!({
            "apiVersion": crate::API_VERSION, "kind": "Trunk", "metadata": { "name": "a" }, "spec": spec,
        });
        assert_eq!(crate::validate::validate_object(&object), [], "the test's own trunk is valid");
        let object = crate::validate::with_defaults(&object).unwrap();
        serde_json::from_value::<crate::Trunk>(object).unwrap().spec
    }

    fn fields(spec: Value) -> Vec<String> {
        Effective::of(&trunk(spec)).contradictions.into_iter().map(|it| it.field).collect()
    }

    #[test]
    fn encryption_follows_the_transport_when_nothing_is_written() {
        let table = [
            (json!({}), Transport::Tls, Encryption::Required),
            (json!({ "transport": "TLS" }), Transport::Tls, Encryption::Required),
            (json!({ "transport": "UDP" }), Transport::Udp, Encryption::Disabled),
            (json!({ "transport": "TCP" }), Transport::Tcp, Encryption::Disabled),
            (
                json!({ "transport": "UDP", "media": { "encryption": "Preferred" } }),
                Transport::Udp,
                Encryption::Preferred,
            ),
            (json!({ "preset": "Bitcall" }), Transport::Udp, Encryption::Disabled),
            (
                json!({ "preset": "Bitcall", "transport": "TLS" }),
                Transport::Tls,
                Encryption::Required,
            ),
            (json!({ "preset": "Twilio" }), Transport::Tls, Encryption::Required),
            (
                json!({ "preset": "Twilio", "transport": "TCP" }),
                Transport::Tcp,
                Encryption::Disabled,
            ),
            (json!({ "preset": "Exotel" }), Transport::Tls, Encryption::Required),
        ];
        for (mut spec, transport, encryption) in table {
            spec["inbound"] = json!({ "sources": ["203.0.113.0/24"] });
            let effective = Effective::of(&trunk(spec.clone()));
            assert_eq!(
                (effective.transport, effective.encryption),
                (transport, encryption),
                "{spec}"
            );
        }
    }

    #[test]
    fn written_wins_over_preset_and_preset_over_built_in() {
        let spec = trunk(json!({
            "preset": "Exotel",
            "media": { "dtmf": "Auto" },
            "inbound": { "sources": ["203.0.113.0/24"] },
        }));
        let effective = Effective::of(&spec);
        assert_eq!(effective.dtmf, Dtmf::Auto);
        assert_eq!(effective.origins["media.dtmf"], Origin::Written);
        assert_eq!(effective.codecs, [Codec::Pcma, Codec::Pcmu]);
        assert_eq!(effective.origins["media.codecs"], Origin::Preset);
        assert_eq!(effective.packet_time_ms, 20);
        assert_eq!(effective.origins["media.packetTimeMilliseconds"], Origin::BuiltIn);
    }

    #[test]
    fn the_built_in_defaults_are_those_of_the_documentation() {
        let effective =
            Effective::of(&trunk(json!({ "inbound": { "sources": ["203.0.113.0/24"] } })));
        assert_eq!(
            effective.lines(),
            [
                "inbound.calledNumber.countryCode: nothing (built-in)",
                "inbound.calledNumber.header: RequestURI (built-in)",
                "inbound.calledNumber.stripPrefix: nothing (built-in)",
                "limits.callDurationSeconds: 14400 (built-in)",
                "media.codecs: PCMU, PCMA (built-in)",
                "media.dtmf: Auto (built-in)",
                "media.encryption: Required (built-in)",
                "media.idleAudio: ComfortNoise (built-in)",
                "media.inactivityTimeoutSeconds: 60 (built-in)",
                "media.packetTimeMilliseconds: 20 (built-in)",
                "outbound.optionsPeriodSeconds: 30 (built-in)",
                "outbound.ringTimeoutSeconds: 60 (built-in)",
                "transport: TLS (built-in)",
            ]
        );
    }

    #[test]
    fn what_only_the_preset_reveals_is_a_contradiction() {
        let table = [
            (
                json!({ "preset": "Bitcall", "media": { "encryption": "Required" }, "outbound": {} }),
                vec!["spec.media.encryption"],
            ),
            (
                json!({ "preset": "Bitcall", "outbound": { "clientCertificateRef": { "name": "c" } } }),
                vec!["spec.outbound.clientCertificateRef"],
            ),
            (
                json!({ "preset": "Bitcall", "inbound": { "clientCARef": { "name": "c" }, "clientNames": ["a"] } }),
                vec!["spec.inbound.clientCARef"],
            ),
            (json!({ "preset": "Bitcall", "outbound": {} }), vec![]),
            (json!({ "preset": "Telnyx", "outbound": {} }), vec![]),
            (json!({ "preset": "Twilio", "outbound": {} }), vec!["spec.outbound.addresses"]),
            (
                json!({ "preset": "Exotel", "transport": "UDP", "inbound": { "sources": ["203.0.113.0/24"] } }),
                vec!["spec.transport"],
            ),
            (
                json!({ "preset": "Exotel", "outbound": { "addresses": ["a:443"], "authSecretRef": { "name": "s" } } }),
                vec!["spec.outbound.authSecretRef"],
            ),
            (
                json!({ "preset": "Plivo", "outbound": { "addresses": ["a.zt.plivo.com"], "authSecretRef": { "name": "s" }, "registration": {} } }),
                vec!["spec.outbound.registration"],
            ),
            (
                json!({ "preset": "Plivo", "media": { "codecs": ["G722"], "dtmf": "Info" }, "inbound": { "sources": ["203.0.113.0/24"] } }),
                vec!["spec.media.codecs", "spec.media.dtmf"],
            ),
            (
                json!({ "preset": "Plivo", "media": { "codecs": ["G722", "PCMA"] }, "inbound": { "sources": ["203.0.113.0/24"] } }),
                vec![],
            ),
        ];
        for (spec, expected) in table {
            assert_eq!(fields(spec.clone()), expected, "{spec}");
        }
    }

    #[test]
    fn a_number_in_two_routes_is_a_contradiction() {
        let spec = json!({
            "inbound": { "sources": ["203.0.113.0/24"] },
            "routes": [
                { "name": "a", "numbers": ["+15551230001", "+1555*"], "agentRef": { "name": "a" } },
                { "name": "b", "numbers": ["+15551230002", "+1555*"], "agentRef": { "name": "b" } },
            ],
        });
        assert_eq!(fields(spec), ["spec.routes[1].numbers[1]"]);
    }
}
