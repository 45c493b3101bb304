//! Calls: the machine that joins SIP, SDP, RTP and the agent.
//!
//! ```text
//!  SIP runtime                                   shard (a thread)
//!  Switchboard ── Session ◀── Event, Command ──▶ Media ◀──▶ agent, RTP
//! ```
//!
//! [`Switchboard`] owns signalling: admission, routing, and a [`session`] for each call. [`media`]
//! is the other half of a call, which lives where its sockets are. [`probes`] are the questions that
//! we ask by ourselves. None of them reads a clock, draws a random number or touches a socket.

mod advertised;
pub mod cause;
mod demux;
pub mod info;
mod limits;
pub mod media;
mod overload;
mod peers;
mod ports;
mod probes;
pub mod record;
mod session;
mod strangers;
mod switchboard;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::{self, Agent};
use crate::sip::{Flow, HeaderName, Transport};

pub use advertised::{Advertised, Traffic};
pub use demux::Demux;
pub use overload::Strain;
pub use peers::Peers;
pub(crate) use ports::REST;
pub use ports::{PortPool, RtpPorts};
pub use probes::{
    AdvertisedView, AgentReason, AgentServer, AgentView, DialFailure, DialKey, DialStep, Families,
    OptionsView, Reason, Target,
};
pub use record::CallView;
pub use session::Unsendable;
pub use switchboard::{Load, Setup, Switchboard};

/// An IPv4 address that came in on a dual-stack socket, as what it is.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What a call is known by inside one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallKey(pub(crate) u64);

/// What the switchboard wants done.
pub enum Output {
    Transmit {
        flow: Flow,
        bytes: Bytes,
    },
    /// Give what came on `flow` to the peer of this slot, and tell
    /// [`Switchboard::handle_undelivered`] when that fails and `owner` is set.
    PassOn {
        slot: u16,
        flow: Flow,
        bytes: Bytes,
        /// The peer is the only one who can answer it.
        owner: bool,
        /// It came from an address that no trunk names.
        stranger: bool,
    },
    /// Take new SIP connections, or leave them to the peer that shares our address.
    Listen(bool),
    /// Bind the ports (shared ones may be bound already), connect the agent, and let them talk by this plan.
    Open {
        call: CallKey,
        ports: RtpPorts,
        ipv4: bool,
        plan: Box<media::Plan>,
        agent: Arc<Agent>,
    },
    Media {
        call: CallKey,
        command: media::Command,
    },
    /// A call has come to a new phase; the view is the call as it stands.
    Phase {
        call: CallKey,
        phase: Phase,
        view: Box<CallView>,
    },
    /// A call's agent answered its caller, or was interrupted.
    Turn(media::Turn),
    /// A request was refused; say so where people look.
    Refused(Box<Refusal>),
    /// Somebody who matches no trunk was met with silence.
    Stranger {
        remote: SocketAddr,
    },
    Malformed {
        remote: SocketAddr,
        field: &'static str,
        problem: &'static str,
    },
    /// We told a public peer a private address: it will hear nothing and we shall hear nothing.
    PrivateAddress {
        trunk: String,
        advertised: IpAddr,
        peer: IpAddr,
    },
    /// Find a flow to this target, to an address of one of these families, and tell
    /// [`Switchboard::handle_dialled`].
    Dial {
        dial: DialKey,
        target: Target,
        families: Families,
    },
    /// Close this connection, which we opened.
    Hangup {
        flow: Flow,
    },
    /// An OPTIONS to a carrier's server has come to an end.
    Probed {
        trunk: String,
        server: String,
        reason: Reason,
        message: String,
        /// The first answer of this server, or another one than before.
        changed: bool,
    },
    /// What is known of a trunk's servers; `None` when nothing is.
    Reachable {
        trunk: String,
        options: Option<Box<OptionsView>>,
    },
    /// What is known of each address that we advertise.
    SelfChecked(Vec<AdvertisedView>),
    /// Connect to where agents listen, hang up again, and tell [`Switchboard::handle_reached`].
    Reach {
        server: Arc<AgentServer>,
    },
    /// What is known of an agent; `None` when nothing is.
    AgentReachable {
        agent: String,
        view: Option<Box<AgentView>>,
    },
}

/// The milestones of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Trunk, agent and codec are chosen; the phone rings.
    Routed,
    /// The agent could not be reached; its fallback is tried.
    AgentReplaced,
    AgentReady,
    /// The 200 was sent.
    Answered,
    /// The ACK came.
    Established,
    /// The agent's first sound left for the caller.
    FirstAudio,
    /// One side is not heard: the last of the view's `one_way_audio` says which, and what is known.
    OneWayAudio,
    Ended,
}

/// Why a request was not taken: one source for the status line, the `Warning`, the log event and
/// the counter.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: u16,
    /// From a fixed set, for the counter.
    pub label: &'static str,
    /// A sentence for a person; nothing of what the peer sent is in it.
    pub text: String,
    pub trunk: Option<String>,
    /// The field of the trunk or pool that failed to match.
    pub field: Option<String>,
    pub remote: Option<SocketAddr>,
    /// The warn-code (RFC 3261 §20.43).
    warning: u16,
    retry_after: Option<Duration>,
    headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    fn new(status: u16, label: &'static str, text: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            status,
            label,
            text: text.into(),
            trunk: None,
            field: None,
            remote: None,
            warning: 399,
            retry_after: None,
            headers: Vec::new(),
        })
    }

    fn trunk(mut self: Box<Self>, name: &str) -> Box<Self> {
        self.trunk = Some(name.to_owned());
        self
    }

    fn field(mut self: Box<Self>, field: impl Into<String>) -> Box<Self> {
        self.field = Some(field.into());
        self
    }

    fn of(mut self: Box<Self>, remote: SocketAddr) -> Box<Self> {
        self.remote = Some(remote);
        self
    }

    fn warning(mut self: Box<Self>, code: u16) -> Box<Self> {
        self.warning = code;
        self
    }

    fn retry_after(mut self: Box<Self>, wait: Duration) -> Box<Self> {
        self.retry_after = Some(wait);
        self
    }

    fn header(mut self: Box<Self>, name: HeaderName, value: String) -> Box<Self> {
        self.headers.push((name, value));
        self
    }
}

fn of_config(transport: Transport) -> config::Transport {
    match transport {
        Transport::Udp => config::Transport::Udp,
        Transport::Tcp => config::Transport::Tcp,
        Transport::Tls => config::Transport::Tls,
    }
}

fn of_sip(transport: config::Transport) -> Transport {
    match transport {
        config::Transport::Udp => Transport::Udp,
        config::Transport::Tcp => Transport::Tcp,
        config::Transport::Tls => Transport::Tls,
    }
}
