//! What a call's media is told when it begins, and what it is told and tells while it lives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::one_way::OneWay;
use super::playout::PlayoutBudget;
use super::report::Report;
use super::turns::Turn;
use crate::endpoints::websocket::{Dialect, StartInfo};
use crate::media::{Codec, Digit, Digits, Direction, MasterKey};

/// Everything that signalling agreed on for one call's media.
pub struct Plan {
    pub call_id: String,
    pub codec: Codec,
    /// The payload type of `codec`, both ways.
    pub payload_type: u8,
    /// The payload type of telephone-event on the codec's clock (RFC 4733), when it was agreed on.
    pub telephone_event: Option<u8>,
    /// Keys may come as tones in the caller's audio.
    pub listen_for_tones: bool,
    /// The length of the packets we send: 10, 20, 30, 40 or 60 ms. What the carrier sends may have
    /// any length. Opus has no packets of 30 ms.
    pub packet_time: Duration,
    /// Master keys for SRTP, ours for sending first, the carrier's for receiving second.
    pub crypto: Option<(MasterKey, MasterKey)>,
    /// Where the carrier's SDP says that it receives.
    pub remote_rtp: SocketAddr,
    pub remote_rtcp: SocketAddr,
    pub rtcp_mux: bool,
    /// The networks of the trunk: without SRTP, a packet from an address that the SDP did not name
    /// is taken only when it comes from one of them.
    pub sources: Vec<IpNet>,
    /// Send nothing to an address before a packet from it has come, for at most a second: an early
    /// packet would make the connection tracking of a load balancer's node rewrite the flow.
    pub behind_load_balancer: bool,
    pub direction: Direction,
    /// How long the carrier may send neither RTP nor RTCP.
    pub inactivity: Duration,
    pub idle_audio: IdleAudio,
    pub dialect: Dialect,
    /// What the agent is told when its connection opens.
    pub start: StartInfo,
    /// The longest speech of the agent that is kept for playing; design: ten minutes.
    pub playout_limit: Duration,
    /// The memory that all calls of the pod share for speech waiting to be played.
    pub playout_budget: Arc<PlayoutBudget>,
    /// The canonical name in RTCP reports (RFC 3550 §6.5.1), without personal data.
    pub cname: String,
}

/// What the carrier hears while the agent has nothing to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdleAudio {
    /// Soft noise in the call's own codec, so that the line is not dead.
    #[default]
    ComfortNoise,
    /// Frames of silence.
    Silence,
    /// No packets at all.
    None,
}

/// What the session tells the media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The 200 was sent: the caller's audio counts from here, and so does the agent's first-audio
    /// delay.
    Answered,
    /// The ACK came: the agent may be heard.
    Established,
    /// A re-INVITE or UPDATE changed the direction, seen from us. Anything but `SendRecv` is a hold
    /// of the carrier's, during which its inactivity does not count.
    Direction(Direction),
    /// A re-INVITE or UPDATE moved the carrier's address.
    Retarget { rtp: SocketAddr, rtcp: SocketAddr },
    /// The caller pressed a key, as SIP INFO tells.
    Digit(Digit),
    /// Press these keys, after those that were asked for before; [`Event::DigitsSent`] follows. They
    /// leave as events where these were agreed on, unless as tones.
    SendDigits { digits: Digits, as_tones: bool },
    /// The call is over: tell agent and carrier, report, and do nothing ever after.
    Stop,
}

/// What the media tells the session.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The agent's connection is open and the dialect's opening was written.
    AgentReady,
    /// The agent's connection could not be opened.
    AgentFailed { reason: AgentFailure },
    /// The agent closed its connection, and what it had said was played (or was not worth it).
    /// `None`: the connection broke without a closing handshake.
    AgentClosed { code: Option<u16> },
    /// Neither RTP nor RTCP came from the carrier for as long as the plan allows.
    CarrierInactive,
    /// The first packet of the caller's audio after the answer.
    FirstAudioFromCaller,
    /// The first packet of the agent's speech left for the caller.
    FirstAudioFromAgent,
    /// The caller pressed a key. Once per press, whatever ways have told of it.
    Digit(Digit),
    /// The oldest [`Command::SendDigits`] was done.
    DigitsSent,
    /// The carrier's packets come from here, and ours go there from now on.
    Latched(SocketAddr),
    /// The agent answered the caller, or was interrupted.
    Turn(Turn),
    /// One side is not heard: once a call for each [`OneWayKind`](super::OneWayKind).
    OneWay(OneWay),
    /// The answer to [`Command::Stop`], and the last event of all.
    Stopped(Box<Report>),
}

/// Why an agent could not be reached, as far as the connection tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentFailure {
    /// The name did not resolve.
    Resolve,
    /// Nobody listens there, or the network is unreachable.
    Connect,
    Tls,
    /// The upgrade was answered with this HTTP status instead of 101.
    Status(u16),
    /// What answered does not speak WebSocket.
    Protocol,
    /// Not ready within the agent's `connectTimeoutSeconds`.
    Timeout,
    /// Closed before the opening could be written.
    Closed,
}

impl AgentFailure {
    /// A word for metrics and records.
    pub fn label(self) -> &'static str {
        match self {
            Self::Resolve => "name_not_resolved",
            Self::Connect => "connection_refused",
            Self::Tls => "tls_failed",
            Self::Status(_) => "upgrade_refused",
            Self::Protocol => "not_a_websocket",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
        }
    }

    /// The end of a sentence about the agent.
    pub fn explain(self) -> String {
        match self {
            Self::Resolve => "its name does not resolve".into(),
            Self::Connect => "its address does not answer, or refuses the connection".into(),
            Self::Tls => "TLS failed (spec.endpoint.webSocket.caRef)".into(),
            Self::Status(status) => format!("it answered the upgrade with HTTP {status}"),
            Self::Protocol => "what answered does not speak WebSocket".into(),
            Self::Timeout => "it was not ready within connectTimeoutSeconds".into(),
            Self::Closed => "it closed the connection before it was ready".into(),
        }
    }
}

/// Where the machine's output goes. Called from inside `handle_*`; must not block.
pub trait Sink {
    /// Through the socket on which the call's RTP arrives. With rtcp-mux reports leave here too.
    fn send_rtp(&mut self, to: SocketAddr, packet: &[u8]);
    /// Through the socket on which the call's RTCP arrives.
    fn send_rtcp(&mut self, to: SocketAddr, packet: &[u8]);
    /// One text message to the agent.
    fn send_agent(&mut self, text: &[u8]);
    /// Close the agent's connection after what was sent, or give up opening it.
    fn close_agent(&mut self);
    fn event(&mut self, event: Event);
}
