//! What Kubernetes tells a pod about itself: the downward API's files `annotations` and `labels` in
//! the directory of `--pod-info`, refreshed by the kubelet when the operator changes an annotation.

#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use super::read::Files;

/// Addresses to advertise, separated by commas, one a family at most.
pub const ADDRESS: &str = "trunkline.dev/address";
/// The same for SIP, where it comes in by another address than audio.
pub const SIP_ADDRESS: &str = "trunkline.dev/sip-address";
/// Present while the pod should take no new calls; any value (`manual` when a person wrote it).
pub const DRAIN: &str = "trunkline.dev/drain";
/// The hash of the manifests the pod should have.
pub const CONFIG_HASH: &str = "trunkline.dev/config-hash";
/// The pods of the pool, this one included, as JSON: see [`Peer`].
pub const PEERS: &str = "trunkline.dev/peers";
/// The pod's number within its pool: port block and admin port.
pub const SLOT: &str = "trunkline.dev/slot";
/// Labels.
pub const POOL: &str = "trunkline.dev/pool";
pub const REVISION: &str = "trunkline.dev/revision";

/// Larger files are not read; the kubelet writes a few hundred bytes (annotations are limited to
/// 256 KiB in all).
const MAX_LEN_BYTES: usize = 1 << 20;

/// What the operator wrote on the pod. A value that cannot be read is as if it were not there, and is
/// named in `problems`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodInfo {
    pub addresses: Vec<IpAddr>,
    /// Empty where SIP comes in by [`Self::addresses`] too, or is not known yet.
    pub sip_addresses: Vec<IpAddr>,
    /// `Some` while draining: the annotation's value.
    pub drain: Option<String>,
    pub config_hash: Option<String>,
    pub slot: Option<u16>,
    pub peers: Vec<Peer>,
    pub pool: Option<String>,
    pub revision: Option<String>,
    pub problems: Vec<String>,
}

/// A pod of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Peer {
    pub slot: u16,
    /// Of its admin API.
    pub address: SocketAddr,
    /// It takes no new calls.
    #[serde(default)]
    pub draining: bool,
}

impl PodInfo {
    pub fn parse(files: &Files) -> Self {
        let mut info = Self::default();
        let mut read = |name: &str| -> BTreeMap<String, String> {
            let Some(bytes) = files.get(name) else { return BTreeMap::new() };
            let (values, problems) = key_values(bytes);
            info.problems.extend(problems.into_iter().map(|problem| format!("{name}:{problem}")));
            values
        };
        let (annotations, labels) = (read("annotations"), read("labels"));
        let mut addresses = |name: &str| -> Vec<IpAddr> {
            let list = annotations.get(name).map_or("", String::as_str);
            let texts = list.split(',').map(str::trim).filter(|text| !text.is_empty());
            let (good, bad): (Vec<_>, Vec<_>) = texts.map(str::parse).partition(Result::is_ok);
            let problem = |_| format!("annotation {name}: not an IP address");
            info.problems.extend(bad.into_iter().map(problem));
            good.into_iter().flatten().collect()
        };
        info.addresses = addresses(ADDRESS);
        info.sip_addresses = addresses(SIP_ADDRESS);
        if let Some(slot) = annotations.get(SLOT) {
            info.slot = slot.parse().ok();
            if info.slot.is_none() {
                info.problems.push(format!("annotation {SLOT}: not a number from 0 to 65535"));
            }
        }
        if let Some(peers) = annotations.get(PEERS) {
            match serde_json::from_str(peers) {
                Ok(peers) => info.peers = peers,
                Err(error) => info.problems.push(format!("annotation {PEERS}: {error}")),
            }
        }
        let filled = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
        info.drain = annotations.get(DRAIN).cloned();
        info.config_hash = filled(annotations.get(CONFIG_HASH));
        info.pool = filled(labels.get(POOL));
        info.revision = filled(labels.get(REVISION));
        info
    }

    pub fn draining(&self) -> bool {
        self.drain.is_some()
    }
}

/// Lines of `key="value"`, the value escaped as Go's `strconv.Quote` does.
fn key_values(bytes: &[u8]) -> (BTreeMap<String, String>, Vec<String>) {
    let mut values = BTreeMap::new();
    let mut problems = Vec::new();
    let text = String::from_utf8_lossy(bytes.get(..MAX_LEN_BYTES).unwrap_or(bytes));
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let pair =
            line.split_once('=').and_then(|(key, value)| Some((key, unquote(value.trim())?)));
        match pair {
            Some((key, value)) => {
                values.insert(key.trim().to_owned(), value);
            }
            None => problems.push(format!("{}: not key=\"value\"", index + 1)),
        }
    }
    (values, problems)
}

fn unquote(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == '"' {
            return None;
        }
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let code = |chars: &mut std::str::Chars<'_>, len: usize, radix: u32, first: &str| {
            let digits: String =
                first.chars().chain(chars.by_ref().take(len - first.len())).collect();
            if digits.len() == len { u32::from_str_radix(&digits, radix).ok() } else { None }
        };
        let single = match chars.next()? {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            '\'' => b'\'',
            '"' => b'"',
            'x' => u8::try_from(code(&mut chars, 2, 16, "")?).ok()?,
            octal @ '0'..='7' => {
                u8::try_from(code(&mut chars, 3, 8, octal.encode_utf8(&mut [0; 4]))?).ok()?
            }
            wide @ ('u' | 'U') => {
                let len = if wide == 'u' { 4 } else { 8 };
                let c = char::from_u32(code(&mut chars, len, 16, "")?)?;
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        bytes.push(single);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may fail")]
mod tests {
    use super::*;

    fn files(annotations: &str, labels: &str) -> Files {
        Files::from_iter([
            ("annotations".to_owned(), annotations.as_bytes().to_vec()),
            ("labels".to_owned(), labels.as_bytes().to_vec()),
        ])
    }

    #[test]
    fn annotations_and_labels_become_typed() {
        let info = PodInfo::parse(&files(
            "kubernetes.io/config.seen=\"2026-11-23T08:00:00.123Z\"\n\
             trunkline.dev/address=\"198.51.100.20, 2001:db8::20\"\n\
             trunkline.dev/sip-address=\"198.51.100.1\"\n\
             trunkline.dev/config-hash=\"51c0be\"\n\
             trunkline.dev/slot=\"3\"",
            "trunkline.dev/pool=\"default\"\ntrunkline.dev/revision=\"7d9f4c\"\n",
        ));
        assert_eq!(
            info,
            PodInfo {
                addresses: vec!["198.51.100.20".parse().unwrap(), "2001:db8::20".parse().unwrap()],
                sip_addresses: vec!["198.51.100.1".parse().unwrap()],
                drain: None,
                config_hash: Some("51c0be".into()),
                slot: Some(3),
                peers: vec![],
                pool: Some("default".into()),
                revision: Some("7d9f4c".into()),
                problems: vec![],
            }
        );
        assert!(!info.draining());
    }

    #[test]
    fn any_drain_mark_drains_even_an_empty_one() {
        assert!(PodInfo::parse(&files("trunkline.dev/drain=\"manual\"", "")).draining());
        assert!(PodInfo::parse(&files("trunkline.dev/drain=\"\"", "")).draining());
    }

    #[test]
    fn peers_are_read_with_what_is_new_to_us_passed_over() {
        let info = PodInfo::parse(&files(
            r#"trunkline.dev/peers="[{\"slot\":0,\"address\":\"10.0.1.5:8080\"},{\"slot\":2,\"address\":\"[2001:db8::7]:18082\",\"draining\":true,\"zone\":\"a\"}]""#,
            "",
        ));
        let peer = |slot, address: &str, draining| Peer {
            slot,
            address: address.parse().unwrap(),
            draining,
        };
        let expected = [peer(0, "10.0.1.5:8080", false), peer(2, "[2001:db8::7]:18082", true)];
        assert_eq!(info.peers, expected, "{:?}", info.problems);
        let broken = PodInfo::parse(&files("trunkline.dev/peers=\"[{}]\"", ""));
        assert!(broken.peers.is_empty());
        assert_eq!(broken.problems.len(), 1);
    }

    #[test]
    fn values_are_unescaped_as_go_escaped_them() {
        let (values, problems) = key_values(
            b"a=\"line\\nbreak \\\"q\\\" \\\\ \\t\"\nb=\"\\u00e9\\xc3\\xa9\\303\\251\"\nc=\"x=y\"\n",
        );
        assert_eq!(values["a"], "line\nbreak \"q\" \\ \t");
        assert_eq!(values["b"], "ééé");
        assert_eq!(values["c"], "x=y");
        assert!(problems.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_counts() {
        let info = PodInfo::parse(&files(
            "nonsense\ntrunkline.dev/slot=\"three\"\ntrunkline.dev/address=\"host.example,192.0.2.1\"\nx=\"\\q\"",
            "",
        ));
        assert_eq!(info.addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(info.problems.len(), 4, "{:?}", info.problems);
    }

    #[test]
    fn no_change_of_a_byte_panics() {
        let good = b"a=\"x\\u00e9\\x41\\101\\n\"\nb=\"y\"";
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut changed = good.to_vec();
                changed[at] = byte;
                let _ = key_values(&changed);
                let _ = key_values(&changed[..at]);
            }
        }
    }
}
