//! Media threads. Each shard is one thread with an epoll set of its own; a call's RTP sockets and its
//! agent's open connection, TLS included, live on one shard from first to last, so that media needs
//! no lock and never waits for signalling. Connections are opened on the runtime of the signalling,
//! where a handshake keeps no talking call waiting.
//!
//! ```text
//!  signalling ──Open, Command──▶ mailbox ──▶ engine ──▶ call ──▶ Media
//!  connecting ──Agent──────────▶    ▲          │          └──▶ events ──▶ signalling
//!                                  bell     rhythm: woken for each packet, or looks at a grid
//! ```

mod call;
mod engine;
mod gauge;
mod mailbox;
mod ports;
mod rhythm;
mod sockets;

use std::sync::Arc;
use std::{io, thread};

use rustls::ClientConfig;
use tokio::sync::mpsc;

use super::agent::{self, Attempt};
use crate::call::media::{Command, Event, Plan};
use crate::call::{CallKey, Strain};
use crate::config::WebSocket;
use engine::Engine;
use gauge::Gauge;
use mailbox::{Mail, Mailbox, Reserved, Undeliverable, mailbox};

pub(crate) use sockets::{Homes, RtpSockets};

/// Up to so many calls one shard does better than two, each of which would wake for half of them.
const PACKED_CALLS: usize = 250;
/// A shard with so many late turns gets a call only when no other has fewer.
const LATE_PERMILLE: u32 = 20;
/// Threads that differ by less are as busy as each other.
const BUSY_STEP_PERMILLE: u32 = 50;

/// What a shard tells the signalling task.
pub(crate) type MediaEvent = (CallKey, Event);

/// One call, ready to live on a shard.
pub(crate) struct Opening {
    pub(crate) call: CallKey,
    pub(crate) plan: Plan,
    pub(crate) sockets: RtpSockets,
    pub(crate) attempt: Attempt,
    pub(crate) events: mpsc::Sender<MediaEvent>,
    /// Room for the last event, so that an ending is never lost.
    pub(crate) last: mpsc::OwnedPermit<MediaEvent>,
}

/// The way to a call's media.
pub(crate) struct MediaHandle {
    call: CallKey,
    mailbox: Mailbox,
    /// Room for the last command, so that a call can always be stopped.
    stop: Option<Reserved>,
}

impl MediaHandle {
    /// `Err` when the shard does not read its mail. `Stop` always gets there.
    pub(crate) fn command(&mut self, command: Command) -> Result<(), Undeliverable> {
        if command != Command::Stop {
            return self.mailbox.send(Mail::Command(self.call, command));
        }
        if let Some(room) = self.stop.take() {
            room.send(Mail::Command(self.call, command));
        }
        Ok(())
    }
}

/// All shards of the node.
pub(crate) struct Shards {
    shards: Vec<Shard>,
    /// Up to so many calls go to one shard before the next gets any.
    packed: usize,
}

struct Shard {
    mailbox: Mailbox,
    gauge: Arc<Gauge>,
}

impl Shards {
    /// Starts `count` media threads for calls on so many ports.
    pub(crate) fn start(count: usize, ports: usize) -> io::Result<Self> {
        let shards: Vec<_> = (0..count.max(1)).map(Shard::start).collect::<io::Result<_>>()?;
        // Ports that are shared bind their calls to one shard, so few ports are spread from the start.
        let pairs = ports / 2;
        let packed = match pairs < PACKED_CALLS {
            true => (pairs / shards.len()).max(1),
            false => PACKED_CALLS,
        };
        Ok(Self { shards, packed })
    }

    pub(crate) fn count(&self) -> usize {
        self.shards.len()
    }

    /// The shard for the next call.
    pub(crate) fn choose(&self) -> usize {
        self.place().unwrap_or_default()
    }

    /// Hands a call to a shard and has its agent called; `Err` when it has no room for it. Within a
    /// runtime only.
    pub(crate) fn open(
        &self,
        shard: usize,
        agent: &WebSocket,
        tls: Option<Arc<ClientConfig>>,
        opening: impl FnOnce(Attempt) -> Opening,
    ) -> Result<MediaHandle, Undeliverable> {
        let Shard { mailbox, gauge } = self.shards.get(shard).ok_or(Undeliverable)?;
        let (answer, stop) = (mailbox.reserve()?, mailbox.reserve()?);
        let (attempt, given_up) = Attempt::new();
        let opening = Box::new(opening(attempt));
        let call = opening.call;
        gauge.enter();
        mailbox.send(Mail::Open(opening)).inspect_err(|_| gauge.leave())?;
        agent::connect(agent.clone(), tls, given_up, move |result| {
            answer.send(Mail::Agent(call, result));
        });
        Ok(MediaHandle { call, mailbox: mailbox.clone(), stop: Some(stop) })
    }

    /// What the shard has to do that would get the next call.
    pub(crate) fn strain(&self) -> Strain {
        self.shards.get(self.choose()).map_or_else(Strain::default, |shard| shard.gauge.strain())
    }

    /// The first shard that is neither well filled nor late; when all are, the one with least to do.
    fn place(&self) -> Option<usize> {
        let suits = |shard: &&Shard| {
            shard.gauge.calls() < self.packed && shard.gauge.strain().late_permille < LATE_PERMILLE
        };
        let work = |shard: &&Shard| {
            let Strain { busy_permille, late_permille } = shard.gauge.strain();
            // The figures are made new twice a second; calls that came since count at once.
            (late_permille / LATE_PERMILLE, busy_permille / BUSY_STEP_PERMILLE, shard.gauge.calls())
        };
        let least = || (0..self.shards.len()).min_by_key(|index| work(&&self.shards[*index]));
        self.shards.iter().position(|shard| suits(&shard)).or_else(least)
    }
}

impl Shard {
    fn start(index: usize) -> io::Result<Self> {
        let (mailbox, inbox) = mailbox()?;
        let gauge = Arc::new(Gauge::default());
        let engine = Engine::new(inbox, gauge.clone())?;
        thread::Builder::new().name(format!("media-{index}")).spawn(move || engine.run())?;
        Ok(Self { mailbox, gauge })
    }
}
