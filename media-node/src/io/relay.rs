//! What nodes of one pool pass to each other: a SIP message that came to the wrong one, what its owner
//! says in return, and that a connection is gone.
//!
//! A [`Frame`] travels as the body of `POST /v1/relay` to the peer's admin API, sealed under a key of
//! the pool: SDP holds SRTP keys, and who can seal is believed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::{info, warn};
use trunkline_service::client::{Client, ClientError};

use super::sip::Inbound;
use crate::admin::Relayed;
use crate::call::Peers;
use crate::sip::{Flow, Transport};

/// A peer answers from memory; the carrier waits meanwhile.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What has waited for longer is no news any more: its sender has said it again, or given up.
const STALE: Duration = Duration::from_secs(4);
/// Frames that wait for one peer.
const QUEUE: usize = 1024;

/// What one node tells another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The slot of who sends it.
    pub(crate) from: u16,
    pub(crate) what: What,
    /// As its holder knows it.
    pub(crate) flow: Flow,
    pub(crate) bytes: Bytes,
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
    from: u16,
    what: What,
    flow: u64,
    transport: WireTransport,
    local: SocketAddr,
    remote: SocketAddr,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Transport")]
enum TransportNames {
    Udp,
    Tcp,
    Tls,
}

#[derive(Serialize, Deserialize)]
struct WireTransport(#[serde(with = "TransportNames")] Transport);

impl Frame {
    fn write(&self) -> Vec<u8> {
        let Flow { holder: _, id, transport, local, remote } = self.flow;
        let (from, what, transport) = (self.from, self.what, WireTransport(transport));
        let head = Head { from, what, flow: id, transport, local, remote };
        let mut text = serde_json::to_vec(&head).expect("numbers and names are always JSON");
        text.push(b'\n');
        text.extend_from_slice(&self.bytes);
        text
    }

    fn read(text: &[u8]) -> Option<Self> {
        let (head, bytes) = text.split_at_checked(memchr::memchr(b'\n', text)?)?;
        let head: Head = serde_json::from_slice(head).ok()?;
        Some(Self {
            from: head.from,
            what: head.what,
            flow: Flow {
                holder: None,
                id: head.flow,
                transport: head.transport.0,
                local: head.local,
                remote: head.remote,
            },
            bytes: Bytes::copy_from_slice(bytes.get(1..)?),
        })
    }
}

/// Seals and opens frames.
pub(crate) struct Seal(RandomizedNonceKey);

impl Seal {
    /// All nodes of the pool have `pool_key`, and nobody else.
    pub(crate) fn new(pool_key: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, pool_key);
        let key = hmac::sign(&key, b"trunkline relay");
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.as_ref());
        Self(key.expect("SHA-256 gives as many bytes as AES-256 wants"))
    }

    fn close(&self, frame: &Frame) -> Option<Bytes> {
        let mut text = frame.write();
        let nonce = self.0.seal_in_place_append_tag(Aad::empty(), &mut text).ok()?;
        Some([nonce.as_ref().as_slice(), text.as_slice()].concat().into())
    }

    /// `None` for what nobody of the pool has sealed.
    pub(crate) fn open(&self, sealed: &[u8]) -> Option<Frame> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        Frame::read(self.0.open_in_place(nonce, Aad::empty(), &mut text).ok()?)
    }
}

/// What becomes of a body that came to `POST /v1/relay`.
pub(crate) fn receive(seal: &Seal, inbound: &mpsc::Sender<Inbound>, sealed: &[u8]) -> Relayed {
    let Some(frame) = seal.open(sealed) else { return Relayed::Foreign };
    match inbound.try_send(Inbound::Frame(frame)) {
        Ok(()) => Relayed::Taken,
        Err(_) => Relayed::Busy,
    }
}

/// A frame on its way.
struct Letter {
    frame: Frame,
    written_at: Instant,
    /// It comes back as [`Inbound::Undelivered`] when it cannot be delivered.
    or_back: bool,
}

/// The ways to all peers.
pub(crate) struct Relay {
    slot: Option<u16>,
    seal: Arc<Seal>,
    addresses: HashMap<u16, SocketAddr>,
    /// Made when the first frame is for a peer, and dropped with it.
    links: HashMap<u16, mpsc::Sender<Letter>>,
    inbound: mpsc::Sender<Inbound>,
}

impl Relay {
    pub(crate) fn new(
        slot: Option<u16>,
        seal: Arc<Seal>,
        peers: &Peers,
        inbound: mpsc::Sender<Inbound>,
    ) -> Self {
        let (addresses, links) = (HashMap::new(), HashMap::new());
        let mut relay = Self { slot, seal, addresses, links, inbound };
        relay.handle_peers(peers);
        relay
    }

    pub(crate) fn handle_peers(&mut self, peers: &Peers) {
        let addresses: HashMap<_, _> =
            peers.others().iter().map(|it| (it.slot, it.address)).collect();
        self.links.retain(|slot, _| addresses.get(slot) == self.addresses.get(slot));
        self.addresses = addresses;
    }

    /// Gives a frame to a peer; `false` when there is no such peer, or too much waits for it. With
    /// `or_back` a message that cannot be delivered comes back as [`Inbound::Undelivered`].
    pub(crate) fn send(
        &mut self,
        to: u16,
        what: What,
        flow: Flow,
        bytes: Bytes,
        or_back: bool,
    ) -> bool {
        let (Some(from), Some(address)) = (self.slot, self.addresses.get(&to).copied()) else {
            return false;
        };
        let (seal, inbound) = (&self.seal, &self.inbound);
        let link = self.links.entry(to).or_insert_with(|| {
            let (link, letters) = mpsc::channel(QUEUE);
            tokio::spawn(deliver(to, address, seal.clone(), letters, inbound.clone()));
            link
        });
        let frame = Frame { from, what, flow: Flow { holder: None, ..flow }, bytes };
        link.try_send(Letter { frame, written_at: Instant::now(), or_back }).is_ok()
    }
}

async fn deliver(
    to: u16,
    address: SocketAddr,
    seal: Arc<Seal>,
    mut letters: mpsc::Receiver<Letter>,
    inbound: mpsc::Sender<Inbound>,
) {
    let mut client = Client::new(address);
    let mut reached = true;
    while let Some(Letter { frame, written_at, or_back }) = letters.recv().await {
        let delivered = match written_at.elapsed() {
            waited if waited > STALE => Err(Undelivered::Late),
            _ => deliver_one(&mut client, &seal, &frame).await,
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
        let gone = matches!(why, Undelivered::Client(ClientError::Connect(_)));
        if or_back && inbound.send(Inbound::Undelivered { flow, bytes, gone }).await.is_err() {
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

async fn deliver_one(client: &mut Client, seal: &Seal, frame: &Frame) -> Result<(), Undelivered> {
    let body = seal.close(frame).ok_or(Undelivered::Unsealed)?;
    let status = client.post("/v1/relay", body, TIMEOUT).await?;
    if status.is_success() { Ok(()) } else { Err(Undelivered::Refused(status)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &'static [u8]) -> Frame {
        let (local, remote) = ("[::]:5061".parse(), "203.0.113.1:40001".parse());
        let (local, remote) = (local.expect("an address"), remote.expect("an address"));
        let flow = Flow { holder: None, id: 7, transport: Transport::Tls, local, remote };
        Frame { from: 3, what: What::Message, flow, bytes: Bytes::from_static(bytes) }
    }

    #[test]
    fn a_frame_comes_out_as_it_went_in_whatever_is_in_it() {
        let seal = Seal::new(b"the pool's token");
        for bytes in [b"BYE sip:x\r\n\r\n\xff\n\0".as_slice(), b""] {
            let sealed = seal.close(&frame(bytes)).expect("it fits");
            assert_eq!(seal.open(&sealed), Some(frame(bytes)));
        }
    }

    #[test]
    fn what_another_pool_sealed_or_somebody_changed_is_nothing() {
        let seal = Seal::new(b"the pool's token");
        let sealed = seal.close(&frame(b"BYE")).expect("it fits");
        assert_eq!(Seal::new(b"another token").open(&sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert_eq!(seal.open(&changed), None, "byte {at}");
            assert_eq!(seal.open(&sealed[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn no_two_seals_of_one_frame_are_alike() {
        let seal = Seal::new(b"the pool's token");
        assert_ne!(seal.close(&frame(b"BYE")), seal.close(&frame(b"BYE")));
    }
}
