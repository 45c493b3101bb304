//! A Trunk, effective and with its secrets, as the call machines use it.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use trunkline_crds::effective::{Contradiction, Effective, Origin};
use trunkline_crds::trunk::{self as api, TrunkSpec};

use super::references::References;
use super::{Fault, count, networks, seconds};
use crate::config::{
    CalledHeader, CalledNumber, Credentials, Dtmf, Encryption, IdleAudio, Inbound, NumberPattern,
    Outbound, Pool, Route, Server, Transport, Trunk, TrunkLimits,
};
use crate::media::Codec;

pub(super) fn resolve(
    namespace: &str,
    name: &str,
    created: Option<String>,
    spec: &TrunkSpec,
    pool: &Pool,
    references: &References<'_>,
    now: UnixTime,
) -> Result<Trunk, Vec<Fault>> {
    let mut faults = Vec::new();
    let effective = Effective::of(spec);
    let faults_of = |it: &Contradiction| Fault::new(&it.field, &it.message);
    faults.extend(effective.contradictions.iter().map(faults_of));

    let transport = match effective.transport {
        api::Transport::Tls => Transport::Tls,
        api::Transport::Tcp => Transport::Tcp,
        api::Transport::Udp => Transport::Udp,
    };
    let (open, port_field) = match transport {
        Transport::Udp => (pool.sip.udp.is_some(), "udp"),
        Transport::Tcp => (pool.sip.tcp.is_some(), "tcp"),
        Transport::Tls => (pool.sip.tls.is_some(), "tls"),
    };
    if !open {
        let message = format!(
            "MediaPool {} has {transport} turned off: write a port for exposure.sip.{port_field}, or \
             another transport",
            pool.name
        );
        faults.push(Fault::new("spec.transport", &message));
    }
    let codecs: Vec<_> = effective.codecs.iter().filter_map(|codec| spoken(*codec)).collect();
    if codecs.is_empty() {
        let message = "no codec of this trunk is spoken yet: write codecs: [PCMU, PCMA]";
        faults.push(Fault::new("spec.media.codecs", message));
    }
    let dtmf = match effective.dtmf {
        api::Dtmf::Rfc4733 => Dtmf::Rfc4733,
        api::Dtmf::Auto => Dtmf::Auto,
        api::Dtmf::Info => Dtmf::Info,
        api::Dtmf::InBand => Dtmf::InBand,
    };
    let inbound = spec
        .inbound
        .as_ref()
        .and_then(|it| inbound(namespace, it, &effective, references, &mut faults));
    let outbound = spec
        .outbound
        .as_ref()
        .map(|it| outbound(namespace, it, &effective, transport, references, now, &mut faults));
    let trunk = Trunk {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        created,
        preset: effective.preset.as_str(),
        filled: effective
            .origins
            .iter()
            .filter(|(_, origin)| **origin == Origin::Preset)
            .map(|(field, _)| *field)
            .collect(),
        transport,
        encryption: match effective.encryption {
            api::Encryption::Required => Encryption::Required,
            api::Encryption::Preferred => Encryption::Preferred,
            api::Encryption::Disabled => Encryption::Disabled,
        },
        codecs,
        packet_time_ms: u8::try_from(effective.packet_time_ms).unwrap_or(20),
        dtmf,
        inactivity: seconds(effective.inactivity_seconds),
        idle_audio: match effective.idle_audio {
            api::IdleAudio::ComfortNoise => IdleAudio::ComfortNoise,
            api::IdleAudio::Silence => IdleAudio::Silence,
            api::IdleAudio::None => IdleAudio::None,
        },
        inbound,
        outbound,
        limits: TrunkLimits {
            concurrent_calls: effective.concurrent_calls.map(count),
            calls_per_second: effective.calls_per_second.map(count),
            call_duration: seconds(effective.call_duration_seconds),
        },
        routes: spec.routes.iter().enumerate().map(|(index, it)| route(index, it)).collect(),
    };
    if faults.is_empty() { Ok(trunk) } else { Err(faults) }
}

/// `None`: this program was built without it. Written ones are refused before; of a preset's, which
/// may list it, the others are offered.
fn spoken(codec: api::Codec) -> Option<Codec> {
    match codec {
        api::Codec::Pcmu => Some(Codec::Pcmu),
        api::Codec::Pcma => Some(Codec::Pcma),
        api::Codec::G722 => Some(Codec::G722),
        #[cfg(feature = "opus")]
        api::Codec::Opus => Some(Codec::Opus),
        #[cfg(not(feature = "opus"))]
        api::Codec::Opus => None,
    }
}

fn inbound(
    namespace: &str,
    written: &api::Inbound,
    effective: &Effective,
    references: &References<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Inbound> {
    let sources =
        networks(effective.sources.iter().map(|it| &it.0), "spec.inbound.sources", faults);
    let credentials = written.auth_secret_ref.as_ref().and_then(|it| {
        let field = "spec.inbound.authSecretRef";
        let mut line = |key: &str| {
            references.line(namespace, &it.name, key, field).map_err(|f| faults.push(f)).ok()
        };
        let username = line("username");
        // A Secret that is not there is named once.
        let password = username.is_some().then(|| line("password")).flatten();
        let (username, password) = (username?, password?);
        Some(Credentials { username: username.expose_text()?.to_owned(), password })
    });
    if sources.is_empty() && credentials.is_none() && faults.is_empty() {
        let message = "this trunk would know nobody: write sources or authSecretRef";
        faults.push(Fault::new("spec.inbound", message));
    }
    let called_number = CalledNumber {
        header: match effective.called_header {
            api::CalledNumberHeader::RequestUri => CalledHeader::RequestUri,
            api::CalledNumberHeader::To => CalledHeader::To,
            api::CalledNumberHeader::PCalledPartyId => CalledHeader::PCalledPartyId,
        },
        country_code: effective.country_code.clone(),
        strip_prefix: effective.strip_prefix.clone(),
    };
    Some(Inbound { sources, credentials, called_number })
}

fn outbound(
    namespace: &str,
    written: &api::Outbound,
    effective: &Effective,
    transport: Transport,
    references: &References<'_>,
    now: UnixTime,
    faults: &mut Vec<Fault>,
) -> Outbound {
    let ca = written.ca_ref.as_ref().and_then(|it| {
        references
            .authorities(namespace, &it.name, &it.key, "spec.outbound.caRef")
            .map_err(|fault| faults.push(fault))
            .ok()
    });
    let identity = written.client_certificate_ref.as_ref().and_then(|it| {
        let field = "spec.outbound.clientCertificateRef";
        references
            .identity(namespace, &it.name, field, now)
            .map_err(|fault| faults.push(fault))
            .ok()
            .map(Arc::new)
    });
    let mut servers = Vec::new();
    for (index, text) in effective.addresses.iter().enumerate() {
        match host_and_port(text) {
            Some((host, written_port)) => servers.push(Arc::new(Server {
                transport,
                host,
                written_port,
                ca: ca.clone(),
                identity: identity.clone(),
            })),
            None => faults.push(Fault::new(
                &format!("spec.outbound.addresses[{index}]"),
                "write a SIP server as sip.carrier.example, 192.0.2.10:5060 or [2001:db8::10]:5060",
            )),
        }
    }
    let period = seconds(effective.options_period_seconds);
    Outbound { servers, options_period: (!period.is_zero()).then_some(period) }
}

/// `sip.carrier.example`, `192.0.2.10:5060`, `2001:db8::10`, `[2001:db8::10]:5061`. The dot that may
/// end a name is left out, for no certificate has it.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text.to_owned(), None));
    }
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) = bracketed.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            (address, rest)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest {
        "" => None,
        rest => Some(rest.strip_prefix(':')?.parse::<u16>().ok().filter(|port| *port > 0)?),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

fn route(index: usize, written: &api::Route) -> Route {
    let agents = match (&written.agent_ref, &written.agents) {
        (Some(agent), _) => vec![(agent.name.0.clone(), 1)],
        (None, agents) => agents
            .iter()
            .flatten()
            .filter(|it| it.weight > 0)
            .map(|it| (it.name.0.clone(), count(it.weight)))
            .collect(),
    };
    Route {
        name: written.name.0.clone(),
        index,
        patterns: written.numbers.iter().flatten().map(|it| NumberPattern::parse(it)).collect(),
        agents,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_come_apart() {
        for (text, host, port) in [
            ("sip.carrier.example", "sip.carrier.example", None),
            ("sip.carrier.example.:5070", "sip.carrier.example", Some(5070)),
            ("192.0.2.10", "192.0.2.10", None),
            ("192.0.2.10:5080", "192.0.2.10", Some(5080)),
            ("2001:db8::10", "2001:db8::10", None),
            ("[2001:db8::10]", "2001:db8::10", None),
            ("[2001:db8::10]:5061", "2001:db8::10", Some(5061)),
        ] {
            assert_eq!(host_and_port(text), Some((host.to_owned(), port)), "{text}");
        }
        for text in ["", ".", ":5060", "a:", "a:0", "a:70000", "[192.0.2.1]", "[::1", "[::1]x"] {
            assert_eq!(host_and_port(text), None, "{text}");
        }
    }

    #[test]
    fn a_server_shows_as_in_a_uri_and_has_its_transports_port() {
        let server = |transport, host: &str, written_port| Server {
            transport,
            host: host.to_owned(),
            written_port,
            ca: None,
            identity: None,
        };
        let tls = server(Transport::Tls, "2001:db8::10", None);
        assert_eq!((tls.to_string().as_str(), tls.port()), ("[2001:db8::10]", 5061));
        let udp = server(Transport::Udp, "sip.example", Some(5080));
        assert_eq!((udp.to_string().as_str(), udp.port()), ("sip.example:5080", 5080));
        assert_eq!(server(Transport::Tcp, "sip.example", None).port(), 5060);
    }
}
