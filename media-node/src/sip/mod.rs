//! SIP (RFC 3261 and friends) as machines without I/O.
//!
//! ```text
//! bytes ─▶ framing (streams) ─▶ message ─▶ transaction ─▶ dialog ─▶ call
//!               Framer           Message    Transactions    Dialog
//! ```
//!
//! A datagram is one message; a stream is cut into messages by [`framing::Framer`]. What the grammar
//! says of a message is in [`message`] and [`uri`]; who answers what, and when, is in
//! [`transaction`] and [`dialog`].

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub mod await_ack;
pub mod dialog;
pub mod digest;
pub mod framing;
pub mod message;
pub mod owner;
pub mod transaction;
pub mod uri;

pub use framing::{Frame, Framer, FramingError};
pub use message::{
    Branch, CSeq, CallId, HeaderName, HeaderValue, Headers, Malformed, MediaType, Message, Method,
    NameAddr, Params, Reason, Request, Response, StatusCode, Tag, Via, ViaTransport, limits,
};
pub use uri::{Host, Scheme, Uri};

/// What carries a message between us and a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    /// TCP and TLS deliver every byte or say that they do not; UDP needs retransmissions.
    pub fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// As Via spells it: `UDP`, `TCP`, `TLS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }
}

/// The way a message came, and the way its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// The node of our pool that holds the socket and passes messages on; `None` is this one. Not
    /// written: it is whoever one hears of the flow from.
    #[serde(skip)]
    pub holder: Option<u16>,
    /// One per connection; one per listening socket for UDP.
    pub id: u64,
    pub transport: Transport,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// A datagram that only keeps a NAT binding open: nothing but CR, LF and NUL bytes (RFC 5626 §3.5.1
/// and what user agents really send). It is not a message and gets no answer over UDP.
pub fn is_keep_alive(datagram: &[u8]) -> bool {
    datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0))
}
