use proptest::prelude::*;

use super::super::media::Remote;
use super::*;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn remotes(address: SocketAddr, latched: bool, encrypted: bool) -> Remotes {
    Remotes { rtp: Remote { address, latched }, rtcp: None, encrypted, source: None }
}

fn packet(source: u32) -> Vec<u8> {
    [&[0x80, 0, 0, 1, 0, 0, 0, 1][..], &source.to_be_bytes(), &[0xff; 160]].concat()
}

fn nobody(_: CallKey) -> bool {
    false
}

#[test]
fn an_address_is_the_call_s_that_names_it_and_that_has_heard_from_it_first_of_all() {
    let (now, mut demux) = (Instant::now(), Demux::default());
    let (a, b) = (at("203.0.113.7:4000"), at("203.0.113.8:4000"));
    demux.update(CallKey(1), remotes(a, false, false));
    demux.update(CallKey(2), remotes(b, false, false));
    assert_eq!(demux.route(now, a, &packet(1), nobody), Some(CallKey(1)));
    let mapped = at("[::ffff:203.0.113.8]:4000");
    assert_eq!(demux.route(now, mapped, &packet(1), nobody), Some(CallKey(2)));
    demux.update(CallKey(1), remotes(b, true, false));
    assert_eq!(demux.route(now, b, &packet(1), nobody), Some(CallKey(1)));
    demux.update(CallKey(3), remotes(at("203.0.113.9:1"), false, false));
    demux.update(CallKey(4), remotes(at("203.0.113.9:1"), false, false));
    assert_eq!(demux.route(now, at("203.0.113.9:1"), &packet(1), nobody), None);
}

#[test]
fn a_stray_without_srtp_is_taken_only_where_just_one_call_waits() {
    let (now, mut demux) = (Instant::now(), Demux::default());
    let stray = at("198.51.100.1:9");
    demux.update(CallKey(1), remotes(at("203.0.113.7:4000"), true, false));
    demux.update(CallKey(2), remotes(at("203.0.113.7:4002"), false, false));
    assert_eq!(demux.route(now, stray, &packet(1), nobody), Some(CallKey(2)));
    demux.update(CallKey(3), remotes(at("203.0.113.7:4004"), false, false));
    assert_eq!(demux.route(now, stray, &packet(1), nobody), None);
    demux.leave(now, CallKey(3));
    demux.update(CallKey(2), remotes(at("203.0.113.7:4002"), false, true));
    assert_eq!(demux.route(now, stray, &packet(1), nobody), None, "its tag would prove it");
}

#[test]
fn the_one_of_many_whose_tag_is_good_gets_the_stray_within_a_few_packets() {
    let (now, mut demux) = (Instant::now(), Demux::default());
    for call in 0..50 {
        demux.update(
            CallKey(call),
            remotes(SocketAddr::from(([10, 0, 0, 1], call as u16)), false, true),
        );
    }
    let mut taken = None;
    let mut packets = 0;
    while taken.is_none() {
        packets += 1;
        let mut offers = 0;
        let given = demux.route(now, at("198.51.100.1:9"), &packet(1), |call| {
            offers += 1;
            taken = (call == CallKey(37)).then_some(call);
            taken.is_some()
        });
        assert_eq!(given, None);
        assert!(offers <= OFFERS_A_PACKET && packets <= 4);
    }
}

#[test]
fn a_flood_of_strangers_costs_no_more_than_its_budget() {
    let (now, mut demux) = (Instant::now(), Demux::default());
    for call in 0..50 {
        demux.update(
            CallKey(call),
            remotes(SocketAddr::from(([10, 0, 0, 1], call as u16)), true, true),
        );
    }
    let mut offers = 0;
    for port in 0..10_000 {
        let from = SocketAddr::from(([198, 51, 100, 1], port));
        let given = demux.route(now, from, &packet(port.into()), |_| {
            offers += 1;
            false
        });
        assert_eq!(given, None);
    }
    assert_eq!(offers, OFFERS_AN_INTERVAL);
    demux.route(now + INTERVAL, at("198.51.100.1:9"), &packet(1), |_| {
        offers += 1;
        false
    });
    assert!(offers > OFFERS_AN_INTERVAL);
}

#[test]
fn late_packets_of_an_ended_call_are_nobody_s() {
    let (now, mut demux) = (Instant::now(), Demux::default());
    let (old, new) = (at("203.0.113.7:4000"), at("203.0.113.7:4002"));
    let heard = Remotes { source: Some(Ssrc(7)), ..remotes(old, true, false) };
    demux.update(CallKey(1), heard);
    demux.leave(now, CallKey(1));
    demux.update(CallKey(2), remotes(new, false, false));
    assert_eq!(demux.route(now, old, &packet(7), nobody), None);
    assert_eq!(demux.route(now, old, &packet(8), nobody), None);
    assert_eq!(demux.route(now, new, &packet(7), nobody), Some(CallKey(2)));
    // The next call from the very same port of the gateway is heard, the old one is not.
    demux.leave(now, CallKey(2));
    demux.update(CallKey(3), remotes(old, false, false));
    assert_eq!(demux.route(now, old, &packet(7), nobody), None);
    assert_eq!(demux.route(now, old, &packet(8), nobody), Some(CallKey(3)));
    assert_eq!(demux.route(now + REST, old, &packet(7), nobody), Some(CallKey(3)));
}

#[test]
fn a_call_that_comes_back_is_not_haunted_by_itself() {
    let (now, mut demux) = (Instant::now(), Demux::default());
    let from = at("203.0.113.7:4000");
    let heard = Remotes { source: Some(Ssrc(7)), ..remotes(from, true, false) };
    demux.update(CallKey(1), heard);
    demux.leave(now, CallKey(1));
    demux.update(CallKey(1), remotes(from, false, false));
    assert_eq!(demux.route(now, from, &packet(7), nobody), Some(CallKey(1)));
}

#[test]
fn reports_behind_a_nat_are_the_call_s_whose_audio_comes_from_there() {
    let (now, mut demux) = (Instant::now(), Demux::default());
    let rtcp = Some(Remote { address: at("10.0.0.1:4001"), latched: false });
    let one = Remotes { rtcp, ..remotes(at("198.51.100.1:9000"), true, false) };
    demux.update(CallKey(1), one);
    let rtcp = Some(Remote { address: at("203.0.113.7:4001"), latched: false });
    demux.update(CallKey(2), Remotes { rtcp, ..remotes(at("203.0.113.7:4000"), false, false) });
    let report = [&[0x80, 200, 0, 6][..], &[0; 24]].concat();
    assert_eq!(demux.route(now, at("198.51.100.1:9001"), &report, nobody), Some(CallKey(1)));
    assert_eq!(demux.route(now, at("198.51.100.2:9001"), &report, nobody), None);
}

proptest! {
    #[test]
    fn an_address_never_has_two_calls_and_a_latched_one_hears_nobody_else(
        steps in proptest::collection::vec((0_u64..6, 0_u16..8, any::<bool>(), 0_u8..4), 1..60),
        from in 0_u16..10,
    ) {
        let now = Instant::now();
        let address = |port: u16| SocketAddr::from(([203, 0, 113, 7], port));
        let mut demux = Demux::default();
        let mut live = HashMap::new();
        for (call, port, latched, action) in steps {
            if action == 0 {
                demux.leave(now, CallKey(call));
                live.remove(&call);
            } else {
                demux.update(CallKey(call), remotes(address(port), latched, false));
                live.insert(call, (port, latched));
            }
            prop_assert_eq!(demux.len(), live.len());
        }
        let given = demux.route(now, address(from), &packet(1), nobody);
        let latched = live.values().filter(|it| **it == (from, true)).count();
        match given {
            // Who is alone judges for itself.
            Some(_) if live.len() == 1 => {}
            Some(CallKey(call)) => {
                let (port, heard) = live[&call];
                prop_assert!(port == from || !heard);
                prop_assert!(latched == 0 || (port, heard) == (from, true));
            }
            None => prop_assert!(latched != 1 || !demux.ghosts.is_empty()),
        }
    }
}
