use proptest::prelude::*;

use super::*;

fn call(number: u64) -> CallKey {
    CallKey(number)
}

/// What the SDP of call `number` names.
fn named(number: u16) -> [SocketAddr; 2] {
    let at = |port| SocketAddr::from(([203, 0, 113, 7], port));
    [at(2 * number), at(2 * number + 1)]
}

fn next(pool: &mut PortPool, now: Instant, number: u16) -> Option<RtpPorts> {
    pool.allocate(now, call(number.into()), named(number))
}

#[test]
fn pairs_are_even_and_stay_inside_the_range() {
    let now = Instant::now();
    let mut pool = PortPool::new(20001..=20006);
    assert_eq!(next(&mut pool, now, 1), Some(RtpPorts::Pair(20002)));
    assert_eq!(next(&mut pool, now, 2), Some(RtpPorts::Pair(20004)));
    // 20006 has no odd partner, and nobody on it.
    assert_eq!(next(&mut pool, now, 3), Some(RtpPorts::Shared(20001)));
    assert_eq!(next(&mut pool, now, 4), Some(RtpPorts::Shared(20006)));
}

#[test]
fn the_longest_unused_pair_comes_first_and_a_closed_one_rests() {
    let now = Instant::now();
    let mut pool = PortPool::new(20000..=20005);
    let first = next(&mut pool, now, 1).unwrap();
    pool.release(now, first, call(1));
    assert_eq!(next(&mut pool, now, 2), Some(RtpPorts::Pair(20002)));
    assert_eq!(next(&mut pool, now, 3), Some(RtpPorts::Pair(20004)));
    assert_eq!(next(&mut pool, now + REST, 4), Some(RtpPorts::Pair(20000)));
}

#[test]
fn the_last_port_of_all_never_overflows() {
    let now = Instant::now();
    let mut pool = PortPool::new(65534..=65535);
    assert_eq!(next(&mut pool, now, 1), Some(RtpPorts::Pair(65534)));
    assert_eq!(next(&mut pool, now, 2), Some(RtpPorts::Shared(65534)));
    let mut pool = PortPool::new(65535..=65535);
    assert_eq!(next(&mut pool, now, 1), Some(RtpPorts::Shared(65535)));
    pool.release(now, RtpPorts::Shared(65535), call(1));
    assert_eq!(next(&mut pool, now, 2), Some(RtpPorts::Shared(65535)));
}

#[test]
fn all_calls_share_a_range_of_one_port() {
    let now = Instant::now();
    for port in [40000, 40001] {
        let mut pool = PortPool::new(port..=port);
        for number in 1..=50 {
            assert_eq!(next(&mut pool, now, number), Some(RtpPorts::Shared(port)));
        }
    }
}

#[test]
fn a_new_call_goes_where_fewest_calls_wait_and_never_where_its_address_is_named() {
    let now = Instant::now();
    let mut pool = PortPool::new(20000..=20001);
    let pair = next(&mut pool, now, 1).unwrap();
    assert_eq!(next(&mut pool, now, 2), Some(RtpPorts::Shared(20000)));
    assert_eq!(next(&mut pool, now, 3), Some(RtpPorts::Shared(20001)));
    pool.handle_heard(RtpPorts::Shared(20001), call(3));
    assert_eq!(next(&mut pool, now, 4), Some(RtpPorts::Shared(20001)));
    pool.handle_heard(pair, call(1));
    // On 20000 one waits, on 20001 one does; 20000 has fewer calls on it.
    assert_eq!(next(&mut pool, now, 5), Some(RtpPorts::Shared(20000)));

    // Another call that names what calls 2 and 3 name has nowhere to go, RTP or RTCP.
    let twin = [named(2)[1], named(3)[0]];
    assert_eq!(pool.allocate(now, call(9), twin), None);
    let mapped = twin.map(|at| format!("[::ffff:{}]:{}", at.ip(), at.port()).parse().unwrap());
    assert_eq!(pool.allocate(now, call(9), mapped), None);
    pool.handle_retarget(RtpPorts::Shared(20000), call(2), named(70));
    assert_eq!(pool.allocate(now, call(9), twin), Some(RtpPorts::Shared(20000)));
}

#[test]
fn what_another_program_has_is_not_tried_again_at_once() {
    let now = Instant::now();
    let mut pool = PortPool::new(20000..=20001);
    let ports = next(&mut pool, now, 1).unwrap();
    pool.release_taken(now, ports, call(1));
    assert_eq!(next(&mut pool, now, 1), None);
    assert_eq!(next(&mut pool, now + REST, 1), Some(RtpPorts::Pair(20000)));
}

proptest! {
    #[test]
    fn no_port_has_two_calls_that_name_one_address(
        start in 20000_u16..20004,
        len in 1_u16..9,
        steps in proptest::collection::vec((0_u16..12, 0_u64..4), 1..200),
    ) {
        let start_at = Instant::now();
        let mut pool = PortPool::new(start..=start + len - 1);
        let mut live: Vec<(CallKey, RtpPorts)> = Vec::new();
        for (step, (name, action)) in steps.into_iter().enumerate() {
            let now = start_at + Duration::from_millis(step as u64 * 300);
            let key = call(step as u64);
            if action == 0 && !live.is_empty() {
                let (ended, ports) = live.swap_remove(usize::from(name) % live.len());
                pool.release(now, ports, ended);
            } else if let Some(ports) = pool.allocate(now, key, named(name)) {
                live.push((key, ports));
            }
            let ports: usize = live.iter().map(|(_, it)| 1 + usize::from(it.rtp() != it.rtcp())).sum();
            let tenants: usize = pool.ports.iter().map(|port| port.tenants.len()).sum();
            prop_assert_eq!(tenants, ports);
            for port in &pool.ports {
                let mut seen = std::collections::HashSet::new();
                for tenant in &port.tenants {
                    prop_assert!(tenant.named.iter().all(|at| seen.insert(*at)));
                }
            }
            for (even, _) in &pool.free {
                let at = usize::from(even - start);
                prop_assert!(pool.ports[at].tenants.is_empty());
                prop_assert!(pool.ports[at + 1].tenants.is_empty());
            }
        }
    }
}
