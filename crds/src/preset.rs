//! Presets: what is known of a carrier, as data (`presets.json`), never as code.
//!
//! A preset fills only what its carrier documents; whatever is uncertain stays with the built-in
//! default, and a note says what to look at. Carriers' networks are never filled in: they change,
//! and a wrong one would let a stranger call.

use crate::trunk::{CalledNumber, Codec, Dtmf, SipServer, Transport, TrunkMedia};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::OnceLock;

words! {
    /// A carrier whose habits are known.
    PresetName {
        /// Nothing is known; nothing is filled in.
        Generic = "Generic",
        /// Bitcall.
        Bitcall = "Bitcall",
        /// Twilio Elastic SIP Trunking.
        Twilio = "Twilio",
        /// Telnyx.
        Telnyx = "Telnyx",
        /// Plivo Zentrunk.
        Plivo = "Plivo",
        /// Vonage SIP.
        Vonage = "Vonage",
        /// Exotel vSIP.
        Exotel = "Exotel",
        /// Bandwidth.
        Bandwidth = "Bandwidth",
        /// DIDWW.
        Didww = "DIDWW",
    }
}

// Not derived: the words come from one macro, and only this set has a default.
#[allow(clippy::derivable_impls)]
impl Default for PresetName {
    fn default() -> Self {
        Self::Generic
    }
}

/// What is known of a carrier.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Preset {
    /// The carrier's name for people.
    pub carrier: String,
    /// Values for fields that are not written.
    pub fills: Fills,
    /// What the carrier takes; a trunk that asks for something else contradicts itself.
    pub takes: Takes,
    /// What to write into `outbound.addresses` where every customer has a server of their own.
    #[serde(default)]
    pub needs_addresses: Option<String>,
    /// What a person should know, a sentence each.
    pub notes: Vec<String>,
}

/// Values that a preset gives to fields that are not written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fills {
    /// `transport`
    pub transport: Option<Transport>,
    /// `media`
    pub media: TrunkMedia,
    /// `inbound.calledNumber`
    pub called_number: CalledNumber,
    /// `outbound.addresses`
    pub addresses: Option<Vec<SipServer>>,
    /// `outbound.optionsPeriodSeconds`
    pub options_period_seconds: Option<i32>,
    /// `outbound.ringTimeoutSeconds`
    pub ring_timeout_seconds: Option<i32>,
}

/// What a carrier takes. `None`: nothing is known, so nothing is refused.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Takes {
    /// How SIP may travel.
    pub transports: Option<Vec<Transport>>,
    /// Codecs of which one must be there.
    pub codecs: Option<Vec<Codec>>,
    /// How key presses may travel.
    pub digits: Option<Vec<Dtmf>>,
    /// Whether it has a registrar.
    pub registration: Option<bool>,
    /// Whether it knows its customers by password.
    pub passwords: Option<bool>,
}

impl PresetName {
    /// What is known of the carrier.
    pub fn preset(self) -> &'static Preset {
        static PRESETS: OnceLock<BTreeMap<PresetName, Preset>> = OnceLock::new();
        PRESETS
            .get_or_init(|| {
                serde_json::from_str(include_str!("presets.json"))
                    .expect("presets.json is compiled in, and a test reads it")
            })
            .get(&self)
            .expect("presets.json has every name, and a test counts them")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions;
    use serde_json::{Value, json};

    #[test]
    fn every_name_has_a_preset_and_every_preset_a_name() {
        let file: BTreeMap<PresetName, Preset> =
            serde_json::from_str(include_str!("presets.json")).unwrap();
        assert_eq!(file.into_keys().collect::<Vec<_>>(), PresetName::ALL);
    }

    #[test]
    fn generic_fills_and_refuses_nothing() {
        let preset = PresetName::Generic.preset();
        assert_eq!(preset.fills, Fills::default());
        assert_eq!(preset.takes, Takes::default());
    }

    #[test]
    fn what_a_preset_fills_could_have_been_written() {
        for name in PresetName::ALL {
            let fills = &name.preset().fills;
            let mut outbound = json!({ "authSecretRef": { "name": "a" } });
            outbound["addresses"] = match &fills.addresses {
                Some(addresses) => json!(addresses),
                None => json!(["sip.carrier.example"]),
            };
            let mut spec = json!({ "preset": name, "outbound": outbound, "media": fills.media });
            if let Some(transport) = fills.transport {
                spec["transport"] = json!(transport);
            }
            let trunk = json!({
                "apiVersion": crate::API_VERSION, "kind": "Trunk",
                "metadata": { "name": "a" }, "spec": spec,
            });
            assert_eq!(crate::validate::validate_object(&trunk), [], "{name}");
        }
    }

    #[test]
    fn the_schema_lists_the_same_names() {
        let schema = definitions::schema("Trunk").unwrap();
        let names: Vec<Value> = PresetName::ALL.iter().map(|name| json!(name)).collect();
        assert_eq!(schema["properties"]["spec"]["properties"]["preset"]["enum"], json!(names));
    }
}
