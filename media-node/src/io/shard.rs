//! Media threads. Each shard is one thread with its own `current_thread` runtime and epoll; a
//! call's RTP sockets and its agent connection live on one shard from first to last, so that media
//! needs no lock and never waits for signalling.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use std::{io, thread};

use rustls::ClientConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::LocalSet;
use tokio::time::Sleep;
use tracing::{debug, warn};

use super::agent::{self, AgentQueue, AgentSocket, FromAgent};
use super::clock::OsRandom;
use super::sip::canonical;
use crate::call::media::{AgentFailure, Command, Event, Media, Plan, Sink};
use crate::call::{CallKey, PortPair};
use crate::config::WebSocket;

/// Calls waiting for a shard to take them; a new call finding it full is refused.
const OPENING: usize = 128;
/// How long a closing handshake with an agent may take once its call is over.
const LINGER: Duration = Duration::from_secs(2);
/// A shard with fewer calls is woken for every packet. With more it sleeps a while first and then
/// does all that has come: a wake-up costs more than a packet, so many at a time cost half. Network
/// cards call it interrupt moderation.
const MODERATED_CALLS: usize = 8;
/// How long that sleep is for each call of the shard, and for all of them: what it adds to the delay
/// of a packet is half of it on average.
const SLEEP_A_CALL: Duration = Duration::from_micros(20);
const MAX_SLEEP: Duration = Duration::from_millis(1);
/// Up to so many calls one shard does better than two, each of which would wake for half of them.
const PACKED_CALLS: usize = 100;
/// Expedited forwarding (RFC 3246) for RTP, where the network honours it.
const DSCP_EF: u32 = 0xb8;

/// What a shard tells the signalling task.
pub(crate) type MediaEvent = (CallKey, Event);

/// One call, ready to live on a shard.
pub(crate) struct Opening {
    pub(crate) call: CallKey,
    pub(crate) plan: Plan,
    pub(crate) sockets: RtpSockets,
    pub(crate) agent: WebSocket,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) events: mpsc::Sender<MediaEvent>,
    /// Room for the last event, so that an ending is never lost.
    pub(crate) last: mpsc::OwnedPermit<MediaEvent>,
}

/// A bound pair, not yet part of any runtime.
pub(crate) struct RtpSockets {
    rtp: std::net::UdpSocket,
    rtcp: std::net::UdpSocket,
}

impl RtpSockets {
    /// Binds the pair on every address of the family.
    pub(crate) fn bind(ports: PortPair, ipv4: bool) -> io::Result<Self> {
        Ok(Self { rtp: bind(ports.rtp(), ipv4)?, rtcp: bind(ports.rtcp(), ipv4)? })
    }
}

fn bind(port: u16, ipv4: bool) -> io::Result<std::net::UdpSocket> {
    let domain = if ipv4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    let any: SocketAddr = if ipv4 {
        let _ = socket.set_tos_v4(DSCP_EF);
        (std::net::Ipv4Addr::UNSPECIFIED, port).into()
    } else {
        socket.set_only_v6(true)?;
        let _ = socket.set_tclass_v6(DSCP_EF);
        (std::net::Ipv6Addr::UNSPECIFIED, port).into()
    };
    socket.bind(&any.into())?;
    Ok(socket.into())
}

/// All shards of the node.
pub(crate) struct Shards {
    shards: Vec<Shard>,
}

struct Shard {
    opening: mpsc::Sender<Opening>,
    calls: Arc<AtomicUsize>,
}

impl Shards {
    /// Starts `count` media threads.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let shards = (0..count.max(1)).map(Shard::start).collect::<io::Result<_>>()?;
        Ok(Self { shards })
    }

    pub(crate) fn count(&self) -> usize {
        self.shards.len()
    }

    /// Hands a call to a shard; `Err` when that one has no room to begin.
    pub(crate) fn open(&self, opening: Opening) -> Result<(), ()> {
        let shard = self.place().ok_or(())?;
        shard.opening.try_send(opening).map_err(|error| match error {
            TrySendError::Full(_) => warn!("every shard is busy opening calls"),
            TrySendError::Closed(_) => warn!("a shard has stopped"),
        })?;
        shard.calls.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The first shard that is not yet well filled; when all are, the one with the fewest calls.
    fn place(&self) -> Option<&Shard> {
        let calls = |shard: &&Shard| shard.calls.load(Ordering::Relaxed);
        let mut shards = self.shards.iter();
        shards.find(|shard| calls(shard) < PACKED_CALLS).or(self.shards.iter().min_by_key(calls))
    }
}

/// How long a shard with so many calls sleeps before it looks what has come.
fn moderation(calls: usize) -> Option<Duration> {
    let calls = u32::try_from(calls).unwrap_or(u32::MAX);
    let is_busy = calls as usize >= MODERATED_CALLS;
    is_busy.then(|| SLEEP_A_CALL.saturating_mul(calls).min(MAX_SLEEP))
}

impl Shard {
    fn start(index: usize) -> io::Result<Self> {
        let (opening, mut openings) = mpsc::channel::<Opening>(OPENING);
        let calls = Arc::new(AtomicUsize::new(0));
        let (counter, parked) = (calls.clone(), calls.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || {
                if let Some(sleep) = moderation(parked.load(Ordering::Relaxed)) {
                    thread::sleep(sleep);
                }
            })
            .build()?;
        thread::Builder::new().name(format!("media-{index}")).spawn(move || {
            let local = LocalSet::new();
            local.block_on(&runtime, async move {
                while let Some(opening) = openings.recv().await {
                    let counter = counter.clone();
                    tokio::task::spawn_local(async move {
                        serve(opening).await;
                        counter.fetch_sub(1, Ordering::Relaxed);
                    });
                }
            });
        })?;
        Ok(Self { opening, calls })
    }
}

/// One call on its shard, from opening to the last event.
async fn serve(opening: Opening) {
    let Opening { call, plan, sockets, agent, tls, commands, events, last } = opening;
    let (rtp, rtcp) = match (UdpSocket::from_std(sockets.rtp), UdpSocket::from_std(sockets.rtcp)) {
        (Ok(rtp), Ok(rtcp)) => (rtp, rtcp),
        (Err(error), _) | (_, Err(error)) => {
            warn!(%error, "RTP socket cannot be polled");
            last.send((call, Event::Stopped(Box::default())));
            return;
        }
    };
    let media = Media::new(Instant::now(), plan, &mut OsRandom::new());
    let mut task = CallTask {
        media,
        rtp,
        rtcp,
        agent: AgentSide::Connecting(Box::pin(async move { agent::connect(&agent, tls).await })),
        queue: AgentQueue::default(),
        commands,
        events: Vec::with_capacity(4).into(),
        timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        buffer: vec![0; 2048].into_boxed_slice(),
    };
    let stopped = poll_fn(|cx| task.poll(cx, call, &events)).await;
    let CallTask { agent, mut queue, rtp, rtcp, .. } = task;
    // The ports are free before anybody is told that they are.
    drop((rtp, rtcp));
    last.send((call, stopped));
    if queue.dropped > 0 {
        warn!(dropped = queue.dropped, "the agent did not read what it was sent");
    }
    if let AgentSide::Open(mut socket) = agent {
        queue.close();
        let farewell = poll_fn(|cx| {
            let _ = socket.poll_write(cx, &mut queue);
            match socket.poll_next(cx) {
                Poll::Ready(FromAgent::Closed(_)) => Poll::Ready(()),
                Poll::Ready(FromAgent::Text(_)) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Pending => Poll::Pending,
            }
        });
        let _ = tokio::time::timeout(LINGER, farewell).await;
    }
}

enum AgentSide {
    Connecting(Pin<Box<dyn Future<Output = Result<AgentSocket, AgentFailure>>>>),
    Open(Box<AgentSocket>),
    Gone,
}

struct CallTask {
    media: Media,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    agent: AgentSide,
    queue: AgentQueue,
    commands: mpsc::Receiver<Command>,
    events: VecDeque<Event>,
    timer: Pin<Box<Sleep>>,
    buffer: Box<[u8]>,
}

/// Where a call's output goes. UDP is sent on the spot; a full socket buffer loses the packet, as
/// any network may.
struct Out<'a> {
    rtp: &'a UdpSocket,
    rtcp: &'a UdpSocket,
    queue: &'a mut AgentQueue,
    events: &'a mut VecDeque<Event>,
}

impl Sink for Out<'_> {
    fn send_rtp(&mut self, to: SocketAddr, packet: &[u8]) {
        let _ = self.rtp.try_send_to(packet, to);
    }

    fn send_rtcp(&mut self, to: SocketAddr, packet: &[u8]) {
        let _ = self.rtcp.try_send_to(packet, to);
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

impl CallTask {
    /// Drains everything that is ready, then names what to wait for. Ready with the last event.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        call: CallKey,
        events: &mpsc::Sender<MediaEvent>,
    ) -> Poll<Event> {
        let Self { media, rtp, rtcp, agent, queue, commands, events: pending, timer, buffer } =
            self;
        let (rtp, rtcp) = (&*rtp, &*rtcp);
        let mut out = Out { rtp, rtcp, queue, events: pending };

        while let Poll::Ready(command) = commands.poll_recv(cx) {
            // Signalling that is gone without a word has stopped the call.
            let command = command.unwrap_or(Command::Stop);
            let stop = command == Command::Stop;
            media.handle_command(Instant::now(), command, &mut out);
            if stop {
                break;
            }
        }
        for is_rtcp in [false, true] {
            let socket = if is_rtcp { rtcp } else { rtp };
            loop {
                let mut datagram = ReadBuf::new(buffer);
                match socket.poll_recv_from(cx, &mut datagram) {
                    Poll::Ready(Ok(from)) => {
                        let (now, from) = (Instant::now(), canonical(from));
                        let bytes = datagram.filled_mut();
                        if is_rtcp {
                            media.handle_rtcp(now, from, bytes, &mut out);
                        } else {
                            media.handle_rtp(now, from, bytes, &mut out);
                        }
                    }
                    // ICMP's word on an earlier packet; the socket goes on.
                    Poll::Ready(Err(error)) => debug!(%error, "RTP receive"),
                    Poll::Pending => break,
                }
            }
        }
        match agent {
            AgentSide::Connecting(connecting) => match connecting.as_mut().poll(cx) {
                Poll::Ready(Ok(socket)) => {
                    media.handle_agent_open(Instant::now(), &mut out);
                    *agent = AgentSide::Open(Box::new(socket));
                    cx.waker().wake_by_ref();
                }
                Poll::Ready(Err(reason)) => {
                    media.handle_agent_failed(Instant::now(), reason, &mut out);
                    *agent = AgentSide::Gone;
                }
                Poll::Pending if out.queue.is_closing() => *agent = AgentSide::Gone,
                Poll::Pending => {}
            },
            AgentSide::Open(socket) => {
                while let Poll::Ready(message) = socket.poll_next(cx) {
                    match message {
                        FromAgent::Text(text) => {
                            media.handle_agent_message(Instant::now(), text.as_payload(), &mut out);
                        }
                        FromAgent::Closed(code) => {
                            media.handle_agent_closed(Instant::now(), code, &mut out);
                            *agent = AgentSide::Gone;
                            break;
                        }
                    }
                }
            }
            AgentSide::Gone => {}
        }
        while let Some(deadline) = media.poll_timeout() {
            timer.as_mut().reset(deadline.into());
            if timer.as_mut().poll(cx).is_pending() {
                break;
            }
            media.handle_timeout(Instant::now(), &mut out);
        }
        if let AgentSide::Open(socket) = agent {
            let _ = socket.poll_write(cx, out.queue);
        }
        while let Some(event) = pending.pop_front() {
            if matches!(event, Event::Stopped(_)) {
                return Poll::Ready(event);
            }
            match events.try_send((call, event)) {
                Ok(()) => {}
                // Signalling is behind: the call's own clock brings us back here in a frame's time.
                Err(TrySendError::Full((_, event))) => {
                    pending.push_front(event);
                    break;
                }
                Err(TrySendError::Closed(_)) => {}
            }
        }
        Poll::Pending
    }
}
