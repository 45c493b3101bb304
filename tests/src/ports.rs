//! Loopback ports that are free right now.
//!
//! A port is found by binding it and letting it go, so another program may take it in between. Tests
//! of one process never do: a port is handed out once in a process's life.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Mutex, PoisonError};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

static HANDED_OUT: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port free on 127.0.0.1 for both TCP and UDP.
pub fn free() -> u16 {
    for _ in 0..1000 {
        let listener = TcpListener::bind((LOOPBACK, 0)).expect("loopback has a free TCP port");
        let port = listener.local_addr().expect("bound above").port();
        if UdpSocket::bind((LOOPBACK, port)).is_ok() && claim(port) {
            return port;
        }
    }
    panic!("no port is free for both TCP and UDP on 127.0.0.1");
}

/// First port of a block of `length` UDP ports, below the range the kernel picks ephemeral ports from.
pub fn free_block(length: u16) -> u16 {
    let offset = (std::process::id() % 40) as u16 * 200;
    for step in 0..200_u16 {
        let start = 10_000 + (offset + step * 200) % 20_000;
        let block = start..start + length;
        if block.clone().all(|port| UdpSocket::bind((LOOPBACK, port)).is_ok()) && claim_all(block) {
            return start;
        }
    }
    panic!("no {length} neighbouring UDP ports are free on 127.0.0.1");
}

fn claim(port: u16) -> bool {
    HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner).insert(port)
}

fn claim_all(block: std::ops::Range<u16>) -> bool {
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    if block.clone().any(|port| handed_out.contains(&port)) {
        return false;
    }
    handed_out.extend(block);
    true
}
