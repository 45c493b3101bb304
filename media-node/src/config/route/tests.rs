use super::super::{
    CalledNumber, Config, Credentials, Dtmf, Encryption, IdleAudio, Inbound, NumberPattern,
    TrunkLimits,
};
use super::*;
use crate::config::{Manifests, Options, read::Files};
use crate::media::Codec;

/// A trunk over TLS; `routes` as (pattern or "" for the catch-all, agent).
fn trunk(name: &str, sources: &[&str], username: Option<&str>, routes: &[(&str, &str)]) -> Trunk {
    Trunk {
        name: name.into(),
        namespace: "default".into(),
        created: None,
        preset: "Generic",
        filled: vec![],
        transport: Transport::Tls,
        encryption: Encryption::Required,
        codecs: vec![Codec::Pcmu],
        packet_time_ms: 20,
        dtmf: Dtmf::Auto,
        inactivity: std::time::Duration::from_secs(60),
        idle_audio: IdleAudio::ComfortNoise,
        inbound: Some(Inbound {
            sources: sources.iter().map(|it| it.parse().unwrap()).collect(),
            credentials: username
                .map(|it| Credentials { username: it.into(), password: Secret::from("pw") }),
            called_number: CalledNumber { country_code: "44".into(), ..Default::default() },
        }),
        outbound: None,
        limits: TrunkLimits {
            concurrent_calls: None,
            calls_per_second: None,
            call_duration: std::time::Duration::from_secs(7200),
        },
        routes: routes
            .iter()
            .enumerate()
            .map(|(index, (pattern, agent))| Route {
                name: format!("r{index}"),
                index,
                patterns: pattern
                    .split(' ')
                    .filter(|it| !it.is_empty())
                    .map(NumberPattern::parse)
                    .collect(),
                agents: vec![((*agent).into(), 1)],
            })
            .collect(),
    }
}

fn config(trunks: Vec<Trunk>) -> Config {
    let files = Files::from_iter([]);
    let now = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::ZERO);
    let mut config = Config::clone(&Manifests::new(Options::default()).load(&files, now));
    config.trunks = trunks.into_iter().map(Arc::new).collect();
    config
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// "trunk/agent" or why not.
fn go(config: &Config, from: &str, to: &str) -> String {
    let candidates = config.candidates_by_source(ip(from), Transport::Tls);
    match choose(&candidates, Transport::Tls, |_| Some(to.into())) {
        Ok(choice) => format!("{}/{}", choice.trunk.name, choice.route().agents[0].0),
        Err(unrouted) => unrouted.label().to_owned(),
    }
}

#[test]
fn the_most_specific_number_decides_then_the_longest_source_then_the_order() {
    let config = config(vec![
        trunk(
            "wide",
            &["203.0.0.0/8"],
            None,
            &[("+44207*", "wide-london"), ("+442079460000", "wide-exact")],
        ),
        trunk(
            "narrow",
            &["203.0.113.0/24"],
            None,
            &[("+44207*", "narrow-london"), ("", "narrow-rest")],
        ),
        trunk(
            "twin",
            &["203.0.113.0/24"],
            None,
            &[("+44207*", "twin-london"), ("+4420*", "twin-short")],
        ),
        trunk("six", &["2001:db8::/32", "2001:db8:1::/48"], None, &[("", "six-rest")]),
    ]);
    let table = [
        ("203.0.113.9", "02079460000", "wide/wide-exact"),
        ("203.0.113.9", "02070000000", "narrow/narrow-london"),
        ("203.0.113.9", "02081111111", "twin/twin-short"),
        ("203.0.113.9", "+15551230001", "narrow/narrow-rest"),
        ("203.9.9.9", "02070000000", "wide/wide-london"),
        ("203.9.9.9", "02081111111", "no_route"),
        ("::ffff:203.0.113.9", "02070000000", "narrow/narrow-london"),
        ("2001:db8:1::5", "100", "six/six-rest"),
        ("198.51.100.1", "02079460000", "no_trunk"),
        ("2001:db9::1", "100", "no_trunk"),
    ];
    for (from, to, expected) in table {
        assert_eq!(go(&config, from, to), expected, "{to} from {from}");
    }
}

#[test]
fn a_refusal_names_trunk_and_field() {
    let mut plain = trunk("plain", &["203.0.113.0/24"], None, &[("+44*", "a")]);
    plain.inbound.as_mut().unwrap().called_number.country_code.clear();
    let config = config(vec![plain]);
    let refuse = |transport, to: &str| {
        let candidates = config.candidates_by_source(ip("203.0.113.9"), transport);
        let unrouted = choose(&candidates, transport, |_| Some(to.into())).unwrap_err();
        (unrouted.field(), unrouted.to_string())
    };
    assert_eq!(
        refuse(Transport::Tls, "+15551230001"),
        ("spec.routes", "trunk plain has no route for the called number (spec.routes)".into())
    );
    let (_, text) = refuse(Transport::Tls, "02079460000");
    assert!(text.contains("without +") && text.contains("countryCode"), "{text}");
    assert_eq!(
        refuse(Transport::Udp, "+44"),
        ("spec.transport", "trunk plain uses TLS, this came over UDP (spec.transport)".into())
    );
}

#[test]
fn a_udp_trunk_takes_tcp_and_no_other_trunk_takes_what_is_not_its_own() {
    let takes = |trunk: Transport, came: Transport| trunk.takes(came);
    for (trunk, came, yes) in [
        (Transport::Udp, Transport::Udp, true),
        (Transport::Udp, Transport::Tcp, true),
        (Transport::Udp, Transport::Tls, false),
        (Transport::Tcp, Transport::Tcp, true),
        (Transport::Tcp, Transport::Udp, false),
        (Transport::Tls, Transport::Tls, true),
        (Transport::Tls, Transport::Tcp, false),
    ] {
        assert_eq!(takes(trunk, came), yes, "{trunk} {came}");
    }
}

#[test]
fn digest_finds_trunks_without_sources_and_is_wanted_on_top_where_there_are_some() {
    let config = config(vec![
        trunk("roaming", &[], Some("alice"), &[("", "a")]),
        trunk("both", &["203.0.113.0/24"], Some("bob"), &[("", "b")]),
    ]);
    let find = |from: &str, username: Option<&str>| -> Vec<(String, bool)> {
        let peer = Peer { address: ip(from), transport: Transport::Tls, username };
        let found = config.candidates(peer);
        found.trunks.iter().map(|it| (it.trunk.name.clone(), it.needs_digest)).collect()
    };
    assert_eq!(find("198.51.100.1", None), []);
    assert_eq!(find("198.51.100.1", Some("alice")), [("roaming".into(), false)]);
    assert_eq!(find("198.51.100.1", Some("bob")), []);
    assert_eq!(find("203.0.113.9", None), [("both".into(), true)]);
    assert_eq!(find("203.0.113.9", Some("bob")), [("both".into(), false)]);
    assert_eq!(
        find("203.0.113.9", Some("alice")),
        [("roaming".into(), false), ("both".into(), true)]
    );
    assert_eq!(config.password("alice").and_then(Secret::expose_text), Some("pw"));
    assert!(config.password("carol").is_none());
    assert!(config.challenges_strangers(Transport::Tls));
    assert!(!config.challenges_strangers(Transport::Udp));
}

#[test]
fn the_header_a_trunk_goes_by_is_the_one_asked_for() {
    let mut by_to = trunk("by-to", &["203.0.113.0/24"], None, &[("+442079460000", "a")]);
    by_to.inbound.as_mut().unwrap().called_number.header = CalledHeader::To;
    let config = config(vec![by_to]);
    let candidates = config.candidates_by_source(ip("203.0.113.9"), Transport::Tls);
    let choice = choose(&candidates, Transport::Tls, |header| match header {
        CalledHeader::To => Some("02079460000".into()),
        _ => Some("trunk-user".into()),
    })
    .unwrap();
    assert_eq!(choice.called, "+442079460000");
}

#[test]
fn agents_are_picked_by_weight_among_those_that_can_take_a_call() {
    let route = Route {
        name: "r".into(),
        index: 0,
        patterns: vec![],
        agents: vec![("a".into(), 1), ("b".into(), 3)],
    };
    let shares = |usable: fn(&str) -> bool| {
        let mut seen = std::collections::BTreeMap::new();
        for n in 0..1000_u32 {
            let random = n.wrapping_mul(u32::MAX / 1000);
            *seen.entry(route.pick(random, usable).unwrap_or("nobody").to_owned()).or_insert(0) +=
                1;
        }
        seen.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(shares(|_| true), [("a".into(), 251), ("b".into(), 749)]);
    assert_eq!(shares(|name| name == "b"), [("b".into(), 1000)]);
    assert_eq!(shares(|_| false), [("nobody".into(), 1000)]);
    assert_eq!(route.pick(u32::MAX, |_| true), Some("b"));
}
