//! The ports that a shard listens on, and whose packets come to each.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll::{self, EventFlags};
use rustix::fd::BorrowedFd;

use super::call::{Source, data};
use super::sockets::{PortKey, PortSocket, RtpSockets};
use crate::call::media::Remotes;
use crate::call::{CallKey, Demux, REST};

/// A port is read so often in a turn at most, so that a flood of it keeps nobody else waiting.
const BATCH: usize = 32;

pub(super) struct Port {
    pub(super) socket: Arc<PortSocket>,
    pub(super) demux: Demux,
    /// Since when it has no call.
    left_at: Option<Instant>,
}

impl Port {
    /// How many packets to take at once: epoll tells again when there are more.
    pub(super) fn batch(&self) -> usize {
        self.demux.len().clamp(1, BATCH)
    }
}

#[derive(Default)]
pub(super) struct Ports {
    ports: HashMap<PortKey, Port>,
    /// Ports that were left, in that order.
    left: VecDeque<(Instant, PortKey)>,
}

impl Ports {
    pub(super) fn get_mut(&mut self, key: PortKey) -> Option<&mut Port> {
        self.ports.get_mut(&key)
    }

    /// Listens for a call.
    pub(super) fn enter(
        &mut self,
        epoll: BorrowedFd<'_>,
        call: CallKey,
        sockets: &RtpSockets,
        remotes: Remotes,
    ) -> io::Result<()> {
        for socket in [&sockets.rtp, &sockets.rtcp] {
            let port = match self.ports.entry(socket.key) {
                Entry::Occupied(port) => port.into_mut(),
                Entry::Vacant(room) => {
                    epoll::add(epoll, &socket.udp, data(Source::Port(socket.key)), EventFlags::IN)?;
                    let (socket, demux) = (socket.clone(), Demux::default());
                    room.insert(Port { socket, demux, left_at: None })
                }
            };
            port.left_at = None;
            port.demux.update(call, remotes);
        }
        Ok(())
    }

    pub(super) fn update(&mut self, call: CallKey, keys: [PortKey; 2], remotes: Remotes) {
        for key in keys {
            if let Some(port) = self.ports.get_mut(&key) {
                port.demux.update(call, remotes);
            }
        }
    }

    /// A call has ended. The last one's port stays for a while, to know late packets from new ones.
    pub(super) fn leave(&mut self, now: Instant, call: CallKey, keys: [PortKey; 2]) {
        for key in keys {
            if let Some(port) = self.ports.get_mut(&key) {
                port.demux.leave(now, call);
                if port.demux.is_empty() && port.left_at != Some(now) {
                    port.left_at = Some(now);
                    self.left.push_back((now, key));
                }
            }
        }
    }

    /// When the next port is to be closed.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.left.front().map(|(at, _)| *at + REST)
    }

    /// Closes what nobody has used for long enough.
    pub(super) fn expire(&mut self, epoll: BorrowedFd<'_>, now: Instant) {
        while self.deadline().is_some_and(|at| at <= now)
            && let Some((left_at, key)) = self.left.pop_front()
        {
            if self.ports.get(&key).is_some_and(|port| port.left_at == Some(left_at))
                && let Some(port) = self.ports.remove(&key)
            {
                // A call that is on its way here may have the socket already.
                let _ = epoll::delete(epoll, &port.socket.udp);
            }
        }
    }
}
