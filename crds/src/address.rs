//! What an address says of who can reach it.

use std::net::IpAddr;

/// Whether an address can be reached from the public internet. Documentation networks (RFC 5737,
/// RFC 3849) count as public, so that examples behave as what they stand for.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(it) => {
            let [a, b, ..] = it.octets();
            !(it.is_private()
                || it.is_loopback()
                || it.is_link_local()
                || it.is_unspecified()
                || it.is_multicast()
                || it.is_broadcast()
                || (a == 100 && (64..128).contains(&b)))
        }
        IpAddr::V6(it) => {
            !(it.is_loopback()
                || it.is_unspecified()
                || it.is_multicast()
                || it.is_unique_local()
                || it.is_unicast_link_local())
        }
    }
}
