//! What nodes of one pool pass to each other: a SIP message that came to the wrong one, what its owner
//! says in return, and that a connection is gone.
//!
//! A [`Frame`] travels as the body of `POST /v1/relay` to the peer's admin API, sealed under a key of
//! the pool: SDP holds SRTP keys, and who can seal is believed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};
use trunkline_service::client::{Client, ClientError};

use super::queue;
use super::sip::Inbound;
use crate::admin::Relayed;
use crate::call::Peers;
use crate::config::{Config, Secret};
use crate::sip::Flow;

/// A peer answers from memory; the carrier waits meanwhile.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What has waited for longer is no news any more: its sender has said it again, or given up.
const STALE: Duration = Duration::from_secs(4);
/// What waits for one peer.
const QUEUE_BYTES: usize = 2 << 20;
/// Of it, what nobody but trunks' sources may fill.
const RESERVED_BYTES: usize = QUEUE_BYTES / 2;
/// How far the clocks of two nodes may be apart, and for how long somebody who saw a frame pass may
/// repeat it. SIP itself knows a copy for that long.
const MAX_AGE: Duration = Duration::from_secs(30);

/// What one node tells another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) from: Sender,
    pub(crate) what: What,
    /// As its holder knows it.
    pub(crate) flow: Flow,
    pub(crate) bytes: Bytes,
}

/// Who wrote a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sender {
    pub(crate) slot: u16,
    /// Where it takes frames itself, when it knows that.
    pub(crate) address: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    /// This came to me on a flow of mine.
    Message,
    /// Send this on a flow of yours.
    Transmit,
    /// That flow of mine is gone.
    Closed,
}

/// One line of JSON before the message itself, which need not be text.
#[derive(Serialize, Deserialize)]
struct Head {
    from: Sender,
    /// The slot of whom it is for: nobody else takes it.
    to: u16,
    /// When it was sealed, in milliseconds since 1970.
    at: u64,
    what: What,
    flow: Flow,
}

impl Frame {
    fn seal(&self, key: &Secret, to: u16, now: SystemTime) -> Option<Bytes> {
        let Self { from, what, flow, ref bytes } = *self;
        let head = Head { from, to, at: milliseconds(now), what, flow };
        let mut text = serde_json::to_vec(&head).ok()?;
        text.push(b'\n');
        text.extend_from_slice(bytes);
        let nonce = sealing(key).seal_in_place_append_tag(Aad::empty(), &mut text).ok()?;
        Some([nonce.as_ref().as_slice(), text.as_slice()].concat().into())
    }

    /// `None` for what no node of the pool has sealed, or not for us, or not now.
    fn open(sealed: &[u8], key: &Secret, own_slot: u16, now: SystemTime) -> Option<Self> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let text = sealing(key).open_in_place(nonce, Aad::empty(), &mut text).ok()?;
        let (head, bytes) = text.split_at_checked(memchr::memchr(b'\n', text)?)?;
        let Head { from, to, at, what, flow } = serde_json::from_slice(head).ok()?;
        let fresh = u128::from(milliseconds(now).abs_diff(at)) <= MAX_AGE.as_millis();
        let bytes = Bytes::copy_from_slice(bytes.get(1..)?);
        (to == own_slot && fresh).then_some(Self { from, what, flow, bytes })
    }
}

/// All nodes of the pool have `pool_key`, and nobody else.
fn sealing(pool_key: &Secret) -> RandomizedNonceKey {
    let key = hmac::Key::new(hmac::HMAC_SHA256, pool_key.expose());
    let key = hmac::sign(&key, b"trunkline relay");
    let key = RandomizedNonceKey::new(&AES_256_GCM, key.as_ref());
    key.expect("SHA-256 gives as many bytes as AES-256 wants")
}

fn milliseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What becomes of a body that came to `POST /v1/relay`.
pub(crate) fn receive(
    config: &Config,
    own_slot: Option<u16>,
    inbound: &mpsc::Sender<Inbound>,
    sealed: &[u8],
) -> Relayed {
    let frame = own_slot
        .zip(config.pool_key.as_ref())
        .and_then(|(slot, key)| Frame::open(sealed, key, slot, SystemTime::now()));
    let Some(frame) = frame else { return Relayed::Foreign };
    match inbound.try_send(Inbound::Frame(frame)) {
        Ok(()) => Relayed::Taken,
        Err(_) => Relayed::Busy,
    }
}

/// A frame on its way.
struct Letter {
    frame: Frame,
    written_at: Instant,
    on_failure: OnFailure,
}

/// What is told when a frame cannot be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFailure {
    /// The frame was one of many, or no more than news.
    Nothing,
    /// [`Inbound::Undelivered`] brings the message back.
    GiveBack,
    /// [`Inbound::Closed`]: the peer's flow cannot be used.
    FlowClosed,
}

/// The ways to all peers.
pub(crate) struct Relay {
    configs: watch::Receiver<Arc<Config>>,
    own: Option<Sender>,
    addresses: HashMap<u16, SocketAddr>,
    /// Made when the first frame is for a peer, and dropped with it.
    links: HashMap<u16, queue::Sender<Letter>>,
    carriers: JoinSet<()>,
    inbound: mpsc::Sender<Inbound>,
}

impl Relay {
    pub(crate) fn new(
        configs: watch::Receiver<Arc<Config>>,
        peers: &Peers,
        inbound: mpsc::Sender<Inbound>,
    ) -> Self {
        let (addresses, links) = (HashMap::new(), HashMap::new());
        let carriers = JoinSet::new();
        let mut relay = Self { configs, own: None, addresses, links, carriers, inbound };
        relay.handle_peers(peers);
        relay
    }

    pub(crate) fn handle_peers(&mut self, peers: &Peers) {
        let addresses: HashMap<_, _> =
            peers.others().iter().map(|it| (it.slot, it.address)).collect();
        self.links.retain(|slot, _| addresses.get(slot) == self.addresses.get(slot));
        self.addresses = addresses;
        self.own = peers.slot().map(|slot| Sender { slot, address: peers.own_address() });
        while self.carriers.try_join_next().is_some() {}
    }

    /// Gives a message that came on `flow` to a peer; `false` when that cannot be. With `owner` it
    /// comes back as [`Inbound::Undelivered`] when it turns out later. What a `stranger` sent may
    /// take half of the room.
    pub(crate) fn pass_on(
        &mut self,
        to: u16,
        flow: Flow,
        bytes: Bytes,
        owner: bool,
        stranger: bool,
    ) -> bool {
        let on_failure = if owner { OnFailure::GiveBack } else { OnFailure::Nothing };
        let reserve_bytes = if stranger { RESERVED_BYTES } else { 0 };
        self.send(to, What::Message, flow, bytes, on_failure, reserve_bytes)
    }

    /// Sends a message on a flow of a peer; [`Inbound::Closed`] tells when it cannot be. `false` when
    /// that is known now.
    pub(crate) fn transmit(&mut self, to: u16, flow: Flow, bytes: Bytes) -> bool {
        self.send(to, What::Transmit, flow, bytes, OnFailure::FlowClosed, 0)
    }

    /// Tells a peer that a flow of ours is gone.
    pub(crate) fn closed(&mut self, to: u16, flow: Flow) {
        self.send(to, What::Closed, flow, Bytes::new(), OnFailure::Nothing, 0);
    }

    /// `false` when there is no such peer, or too much waits for it.
    fn send(
        &mut self,
        to: u16,
        what: What,
        flow: Flow,
        bytes: Bytes,
        on_failure: OnFailure,
        reserve_bytes: usize,
    ) -> bool {
        let (Some(from), Some(address)) = (self.own, self.addresses.get(&to).copied()) else {
            return false;
        };
        let link = self.links.entry(to).or_insert_with(|| {
            let (link, letters) = queue::bounded(QUEUE_BYTES);
            let (configs, inbound) = (self.configs.clone(), self.inbound.clone());
            self.carriers.spawn(deliver(to, address, configs, letters, inbound));
            link
        });
        let len_bytes = bytes.len();
        let frame = Frame { from, what, flow: Flow { holder: None, ..flow }, bytes };
        let letter = Letter { frame, written_at: Instant::now(), on_failure };
        link.send_leaving(reserve_bytes, letter, len_bytes)
    }

    /// Delivers what waits, and takes no more.
    pub(crate) async fn finish(&mut self) {
        self.links.clear();
        self.addresses.clear();
        while self.carriers.join_next().await.is_some() {}
    }
}

async fn deliver(
    to: u16,
    address: SocketAddr,
    configs: watch::Receiver<Arc<Config>>,
    mut letters: queue::Receiver<Letter>,
    inbound: mpsc::Sender<Inbound>,
) {
    let mut client = Client::new(address);
    let mut reached = true;
    while let Some(Letter { frame, written_at, on_failure }) = letters.recv().await {
        let delivered = match written_at.elapsed() {
            waited if waited > STALE => Err(Undelivered::Late),
            _ => {
                let key = configs.borrow().pool_key.clone();
                let sealed = key.and_then(|key| frame.seal(&key, to, SystemTime::now()));
                deliver_one(&mut client, sealed).await
            }
        };
        if reached != delivered.is_ok() {
            reached = delivered.is_ok();
            match &delivered {
                Ok(()) => info!(peer = to, "what is for a peer reaches it again"),
                Err(why) => warn!(peer = to, %why, "what is for a peer does not reach it"),
            }
        }
        let Frame { flow, bytes, .. } = frame;
        let Err(why) = delivered else { continue };
        let news = match on_failure {
            OnFailure::Nothing => continue,
            OnFailure::GiveBack => {
                let gone = matches!(why, Undelivered::Client(ClientError::Connect(_)));
                Inbound::Undelivered { flow, bytes, gone }
            }
            OnFailure::FlowClosed => Inbound::Closed { flow: Flow { holder: Some(to), ..flow } },
        };
        if inbound.send(news).await.is_err() {
            return;
        }
    }
}

/// Why a frame did not get to its peer.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    #[error("it waited too long")]
    Late,
    #[error("it cannot be sealed")]
    Unsealed,
    #[error("answer {0}")]
    Refused(StatusCode),
    #[error(transparent)]
    Client(#[from] ClientError),
}

async fn deliver_one(client: &mut Client, sealed: Option<Bytes>) -> Result<(), Undelivered> {
    let body = sealed.ok_or(Undelivered::Unsealed)?;
    let status = client.post("/v1/relay", body, TIMEOUT).await?;
    if status.is_success() { Ok(()) } else { Err(Undelivered::Refused(status)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Transport;

    const NOW: SystemTime = UNIX_EPOCH;

    fn key() -> Secret {
        "what the pool shares".into()
    }

    fn frame(bytes: &'static [u8]) -> Frame {
        let address = |text: &str| text.parse().expect("an address");
        let (local, remote) = (address("[::]:5061"), address("203.0.113.1:40001"));
        let flow = Flow { holder: None, id: 7, transport: Transport::Tls, local, remote };
        let from = Sender { slot: 3, address: Some(address("10.0.0.1:8080")) };
        Frame { from, what: What::Message, flow, bytes: Bytes::from_static(bytes) }
    }

    fn sealed(bytes: &'static [u8]) -> Bytes {
        frame(bytes).seal(&key(), 5, NOW).expect("it fits")
    }

    #[test]
    fn a_frame_comes_out_as_it_went_in_whatever_is_in_it() {
        for bytes in [b"BYE sip:x\r\n\r\n\xff\n\0".as_slice(), b""] {
            assert_eq!(Frame::open(&sealed(bytes), &key(), 5, NOW), Some(frame(bytes)));
        }
    }

    #[test]
    fn what_another_pool_sealed_or_somebody_changed_is_nothing() {
        let sealed = sealed(b"BYE");
        assert_eq!(Frame::open(&sealed, &"another key".into(), 5, NOW), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert_eq!(Frame::open(&changed, &key(), 5, NOW), None, "byte {at}");
            assert_eq!(Frame::open(&sealed[..at], &key(), 5, NOW), None, "{at} bytes");
        }
    }

    #[test]
    fn a_frame_is_for_one_node_and_for_now() {
        let sealed = sealed(b"BYE");
        assert_eq!(Frame::open(&sealed, &key(), 6, NOW), None);
        assert!(Frame::open(&sealed, &key(), 5, NOW + MAX_AGE).is_some());
        let late = NOW + MAX_AGE + Duration::from_millis(1);
        assert_eq!(Frame::open(&sealed, &key(), 5, late), None);
    }

    #[test]
    fn no_two_seals_of_one_frame_are_alike() {
        assert_ne!(sealed(b"BYE"), sealed(b"BYE"));
    }
}
