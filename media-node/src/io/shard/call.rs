//! One call on its shard: its sockets, its agent's connection, and the [`Media`] between them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::warn;

use super::sockets::{PortKey, RtpSockets};
use super::{MediaEvent, Opening};
use crate::call::CallKey;
use crate::call::media::{AgentFailure, Command, Event, Media, Remotes, Sink};
use crate::io::agent::{AgentQueue, AgentSocket, Attempt, FromAgent};
use crate::io::clock::OsRandom;

/// How long a closing handshake with an agent may take once its call is over.
const LINGER: Duration = Duration::from_secs(2);

/// Which socket is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Port(PortKey),
    /// Of the call that sits there.
    Agent(u32),
}

/// A call, or what is left of one.
pub(super) struct Call {
    pub(super) key: CallKey,
    /// Where it sits, as epoll knows it.
    seat: u32,
    stage: Stage,
    agent: AgentSide,
    queue: AgentQueue,
    /// The agent's socket takes no more for now.
    blocked: bool,
    /// Where it received, once it has stopped.
    left: Option<[PortKey; 2]>,
}

enum Stage {
    Live(Box<Live>),
    /// Only the closing handshake with the agent is left.
    Leaving {
        until: Instant,
    },
    Over,
}

struct Live {
    media: Media,
    sockets: RtpSockets,
    /// Where its packets come from, as its ports know it.
    told: Remotes,
    pending: VecDeque<Event>,
    events: mpsc::Sender<MediaEvent>,
    /// Room for the last event.
    last: mpsc::OwnedPermit<MediaEvent>,
}

enum AgentSide {
    /// Given up when dropped.
    Connecting {
        _attempt: Attempt,
    },
    Open(Box<AgentSocket>),
    Gone,
}

/// Where a call's output goes. UDP is sent on the spot; a full socket buffer loses the packet, as
/// any network may.
struct Out<'a> {
    sockets: &'a RtpSockets,
    queue: &'a mut AgentQueue,
    events: &'a mut VecDeque<Event>,
}

impl Sink for Out<'_> {
    fn send_rtp(&mut self, to: SocketAddr, packet: &[u8]) {
        let _ = self.sockets.rtp.udp.send_to(packet, to);
    }

    fn send_rtcp(&mut self, to: SocketAddr, packet: &[u8]) {
        let _ = self.sockets.rtcp.udp.send_to(packet, to);
    }

    fn send_agent(&mut self, text: &[u8]) {
        self.queue.push(text);
    }

    fn close_agent(&mut self) {
        self.queue.close();
    }

    fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }
}

impl Live {
    fn with<T>(
        &mut self,
        queue: &mut AgentQueue,
        work: impl FnOnce(&mut Media, &mut Out<'_>) -> T,
    ) -> T {
        let Self { media, sockets, pending, .. } = self;
        work(media, &mut Out { sockets, queue, events: pending })
    }

    /// Tells what happened; the last event, when it is there.
    fn tell(&mut self, key: CallKey) -> Option<Event> {
        while let Some(event) = self.pending.pop_front() {
            if matches!(event, Event::Stopped(_)) {
                return Some(event);
            }
            match self.events.try_send((key, event)) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                // Signalling is behind: the call's own clock brings us back in a frame's time.
                Err(TrySendError::Full((_, event))) => {
                    self.pending.push_front(event);
                    break;
                }
            }
        }
        None
    }
}

/// What epoll gives back with an event.
pub(super) fn data(source: Source) -> EventData {
    EventData::new_u64(match source {
        Source::Agent(seat) => u64::from(seat) << 2,
        Source::Port(PortKey { number, ipv4 }) => u64::from(number) << 2 | u64::from(ipv4) << 1 | 1,
    })
}

/// The other way round.
pub(super) fn source(data: EventData) -> Source {
    let (value, tag) = (data.u64() >> 2, data.u64() & 3);
    match tag & 1 {
        0 => Source::Agent(u32::try_from(value).unwrap_or(u32::MAX)),
        _ => Source::Port(PortKey { number: (value & 0xffff) as u16, ipv4: tag & 2 != 0 }),
    }
}

impl Call {
    /// A call that begins, and where its packets come from.
    pub(super) fn open(seat: u32, opening: Opening) -> (Self, Remotes) {
        let Opening { call: key, plan, sockets, attempt, events, last } = opening;
        let media = Media::new(Instant::now(), plan, &mut OsRandom::new());
        let pending = VecDeque::with_capacity(4);
        let told = media.remotes();
        let call = Self {
            key,
            seat,
            stage: Stage::Live(Box::new(Live { media, sockets, told, pending, events, last })),
            agent: AgentSide::Connecting { _attempt: attempt },
            queue: AgentQueue::default(),
            blocked: false,
            left: None,
        };
        (call, told)
    }

    /// The ports of a call that lives.
    pub(super) fn ports(&self) -> Option<[PortKey; 2]> {
        let Stage::Live(live) = &self.stage else { return None };
        Some(live.sockets.keys())
    }

    /// The ports of a call that has just stopped, once.
    pub(super) fn left_ports(&mut self) -> Option<[PortKey; 2]> {
        self.left.take()
    }

    /// Its ports cannot be listened on.
    pub(super) fn give_up(self) {
        if let Stage::Live(live) = self.stage {
            live.last.send((self.key, Event::Stopped(Box::default())));
        }
    }

    /// Where its packets come from, when that has changed since it was last told.
    pub(super) fn moved(&mut self) -> Option<Remotes> {
        let Stage::Live(live) = &mut self.stage else { return None };
        let remotes = live.media.remotes();
        (std::mem::replace(&mut live.told, remotes) != remotes).then_some(remotes)
    }

    /// When the call wants to be looked at even if nothing comes; `None` when only input moves it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Live(live) => live.media.poll_timeout(),
            Stage::Leaving { until } => Some(*until),
            Stage::Over => None,
        }
    }

    /// Nothing is left of it.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// The agent's socket is ready.
    pub(super) fn handle_agent_ready(&mut self, epoll: BorrowedFd<'_>) {
        self.hear_agent();
        self.settle(epoll);
    }

    /// A packet of this call came to one of its ports.
    pub(super) fn handle_packet(
        &mut self,
        epoll: BorrowedFd<'_>,
        (now, from, port): (Instant, SocketAddr, PortKey),
        datagram: &mut [u8],
    ) {
        let Stage::Live(live) = &mut self.stage else { return };
        let (rtp, rtcp) = (live.sockets.rtp.key, live.sockets.rtcp.key);
        live.with(&mut self.queue, |media, out| {
            if rtp == rtcp {
                media.handle_shared(now, from, datagram, out);
            } else if port == rtp {
                media.handle_rtp(now, from, datagram, out);
            } else {
                media.handle_rtcp(now, from, datagram, out);
            }
        });
        self.settle(epoll);
    }

    /// A packet that may be this call's, or another's; whether it was.
    pub(super) fn handle_stray(
        &mut self,
        epoll: BorrowedFd<'_>,
        (now, from): (Instant, SocketAddr),
        copy: &mut [u8],
    ) -> bool {
        let Stage::Live(live) = &mut self.stage else { return false };
        let taken =
            live.with(&mut self.queue, |media, out| media.handle_stray(now, from, copy, out));
        if taken {
            self.settle(epoll);
        }
        taken
    }

    fn hear_agent(&mut self) {
        let AgentSide::Open(socket) = &mut self.agent else { return };
        socket.handle_readable();
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(message) = socket.poll_next(&mut cx) {
            let live = match &mut self.stage {
                Stage::Live(live) => Some(live),
                Stage::Leaving { .. } | Stage::Over => None,
            };
            match (message, live) {
                (FromAgent::Text(text), Some(live)) => {
                    live.with(&mut self.queue, |media, out| {
                        media.handle_agent_message(Instant::now(), text.as_payload(), out);
                    });
                }
                (FromAgent::Text(_), None) => {}
                (FromAgent::Closed(code), live) => {
                    self.agent = AgentSide::Gone;
                    match live {
                        Some(live) => live.with(&mut self.queue, |media, out| {
                            media.handle_agent_closed(Instant::now(), code, out);
                        }),
                        None => self.stage = Stage::Over,
                    }
                    return;
                }
            }
        }
    }

    /// The attempt to reach the agent has come to an end.
    pub(super) fn handle_agent(
        &mut self,
        epoll: BorrowedFd<'_>,
        result: Result<Box<AgentSocket>, AgentFailure>,
    ) {
        let Stage::Live(live) = &mut self.stage else { return };
        if !matches!(self.agent, AgentSide::Connecting { .. }) {
            return;
        }
        let listened = result.and_then(|socket| {
            let data = data(Source::Agent(self.seat));
            match epoll::add(epoll, socket.as_fd(), data, EventFlags::IN) {
                Ok(()) => Ok(socket),
                Err(_) => Err(AgentFailure::Closed),
            }
        });
        live.with(&mut self.queue, |media, out| match &listened {
            Ok(_) => media.handle_agent_open(Instant::now(), out),
            Err(reason) => media.handle_agent_failed(Instant::now(), *reason, out),
        });
        self.agent = listened.map_or(AgentSide::Gone, AgentSide::Open);
        // What it said together with its answer to the upgrade is in the socket's own buffer.
        self.hear_agent();
        self.settle(epoll);
    }

    pub(super) fn handle_command(&mut self, epoll: BorrowedFd<'_>, command: Command) {
        let Stage::Live(live) = &mut self.stage else { return };
        live.with(&mut self.queue, |media, out| {
            media.handle_command(Instant::now(), command, out);
        });
        self.settle(epoll);
    }

    /// The deadline is there.
    pub(super) fn handle_timeout(&mut self, epoll: BorrowedFd<'_>, now: Instant) {
        match &mut self.stage {
            Stage::Live(live) => {
                live.with(&mut self.queue, |media, out| media.handle_timeout(now, out));
                self.settle(epoll);
            }
            Stage::Leaving { until } if *until <= now => self.stage = Stage::Over,
            Stage::Leaving { .. } | Stage::Over => {}
        }
    }

    /// After each input: what it led to leaves.
    fn settle(&mut self, epoll: BorrowedFd<'_>) {
        if self.queue.is_closing() && matches!(self.agent, AgentSide::Connecting { .. }) {
            self.agent = AgentSide::Gone;
        }
        self.write(epoll);
        let Stage::Live(live) = &mut self.stage else { return };
        if let Some(stopped) = live.tell(self.key) {
            self.stop(stopped);
            self.write(epoll);
        }
    }

    fn write(&mut self, epoll: BorrowedFd<'_>) {
        let AgentSide::Open(socket) = &mut self.agent else { return };
        let mut cx = Context::from_waker(Waker::noop());
        let blocked = socket.poll_write(&mut cx, &mut self.queue).is_pending();
        if blocked != self.blocked {
            self.blocked = blocked;
            let wanted = if blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let _ = epoll::modify(epoll, socket.as_fd(), data(Source::Agent(self.seat)), wanted);
        }
    }

    fn stop(&mut self, stopped: Event) {
        let is_open = matches!(self.agent, AgentSide::Open(_));
        let next =
            if is_open { Stage::Leaving { until: Instant::now() + LINGER } } else { Stage::Over };
        let Stage::Live(live) = std::mem::replace(&mut self.stage, next) else { return };
        let Live { sockets, last, .. } = *live;
        self.left = Some(sockets.keys());
        last.send((self.key, stopped));
        if self.queue.dropped > 0 {
            warn!(dropped = self.queue.dropped, "the agent did not read what it was sent");
        }
        self.queue.close();
    }
}
