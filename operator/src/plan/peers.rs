//! What the pods of a pool know of each other: where to pass on what came to the wrong one.

use std::net::SocketAddr;

use serde::Serialize;

use super::admin_address;
use super::seen::Seen;

/// One pod. The media node's `config::pod_info` reads it.
#[derive(Serialize)]
struct Peer {
    slot: u16,
    /// Of its admin API.
    address: SocketAddr,
    /// It takes no new calls, or none yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    draining: bool,
}

/// The value of [`crate::names::PEERS`], the same for each pod; `None` before one has an address.
pub(super) fn peers<'a>(pods: impl Iterator<Item = &'a Seen<'a>>) -> Option<String> {
    let mut peers: Vec<_> = pods
        .filter(|it| !it.finished())
        .filter_map(|it| {
            let address = admin_address(it.pod)?;
            Some(Peer { slot: it.slot?, address, draining: it.leaving() || !it.ready() })
        })
        .collect();
    peers.sort_unstable_by_key(|it| it.slot);
    (!peers.is_empty())
        .then(|| serde_json::to_string(&peers).expect("numbers and texts are always JSON"))
}
