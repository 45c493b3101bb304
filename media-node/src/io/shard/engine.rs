//! The loop of one shard: a thread, an epoll set, and every socket of its calls in it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use tracing::{debug, warn};

use super::Opening;
use super::call::{Call, Source, source};
use super::gauge::{Gauge, Meter};
use super::mailbox::{Inbox, Mail, Undeliverable};
use super::ports::Ports;
use super::rhythm::Rhythm;
use super::sockets::PortKey;
use crate::call::{CallKey, canonical};

/// The longest datagram that can be RTP for us.
const DATAGRAM_BYTES: usize = 2048;
/// How many ready sockets one look tells of.
const READY: usize = 256;
/// How long a shard waits that has nothing to wait for.
const NOTHING_DUE: Duration = Duration::from_secs(1);
/// A look that comes so late takes everything that has piled up.
const BEHIND: Duration = Duration::from_millis(2);
/// What epoll says when the bell rings.
const BELL: u64 = u64::MAX;

pub(super) struct Engine {
    epoll: OwnedFd,
    inbox: Inbox,
    calls: Vec<Option<Call>>,
    /// When each of `calls` wants to be looked at, side by side for one quick pass.
    deadlines: Vec<Option<Instant>>,
    free: Vec<usize>,
    seats: HashMap<CallKey, usize>,
    ports: Ports,
    rhythm: Rhythm,
    gauge: Arc<Gauge>,
    buffer: Box<[u8]>,
    /// For what is offered to several calls, each of which decrypts it in place.
    copy: Box<[u8]>,
}

impl Engine {
    pub(super) fn new(inbox: Inbox, gauge: Arc<Gauge>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, inbox.bell(), EventData::new_u64(BELL), EventFlags::IN)?;
        Ok(Self {
            epoll,
            inbox,
            calls: Vec::new(),
            deadlines: Vec::new(),
            free: Vec::new(),
            seats: HashMap::new(),
            ports: Ports::default(),
            rhythm: Rhythm::new(Instant::now()),
            gauge,
            buffer: vec![0; DATAGRAM_BYTES].into_boxed_slice(),
            copy: vec![0; DATAGRAM_BYTES].into_boxed_slice(),
        })
    }

    /// Runs until nobody can send calls any more and none is left.
    pub(super) fn run(mut self) {
        let mut meter = Meter::new(Instant::now());
        let mut ready = Vec::with_capacity(READY);
        loop {
            let orphaned = self.take_mail().is_err();
            if orphaned && self.seats.is_empty() && self.free.len() == self.calls.len() {
                return;
            }
            self.expire();
            let now = Instant::now();
            match self.rhythm.after(now, self.seats.len()) {
                Some(at) => {
                    std::thread::sleep(at.saturating_duration_since(now));
                    let late = Instant::now().saturating_duration_since(at);
                    meter.look(late);
                    while self.look(Duration::ZERO, &mut ready) > 0 && late > BEHIND {}
                }
                None => self.wait(now, &mut ready),
            }
            meter.publish(&self.gauge);
        }
    }

    /// Waits for a packet, mail or the next deadline.
    fn wait(&mut self, now: Instant, ready: &mut Vec<epoll::Event>) {
        if self.inbox.wait() {
            let call = self.deadlines.iter().flatten().min().copied();
            let next = [call, self.ports.deadline()].into_iter().flatten().min();
            let wait = next.map_or(NOTHING_DUE, |at| at.saturating_duration_since(now));
            self.look(wait.min(NOTHING_DUE), ready);
        } else {
            self.look(Duration::ZERO, ready);
        }
        self.inbox.waited();
    }

    /// Handles what is ready within `wait`; how many sockets that were.
    fn look(&mut self, wait: Duration, ready: &mut Vec<epoll::Event>) -> usize {
        let wait = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        ready.clear();
        // It fails only when a signal interrupts it, and then there is the next time.
        let _ = epoll::wait(&self.epoll, spare_capacity(ready), Some(&wait));
        for event in ready.iter() {
            if event.data.u64() == BELL {
                self.inbox.silence();
                continue;
            }
            match source(event.data) {
                Source::Port(port) => self.receive(port),
                Source::Agent(seat) => {
                    // A call that ended in this very round may still be named.
                    let seat = seat as usize;
                    if let Some(Some(call)) = self.calls.get_mut(seat) {
                        call.handle_agent_ready(self.epoll.as_fd());
                        self.settle(seat);
                    }
                }
            }
        }
        ready.len()
    }

    /// Takes what has come to a port, one packet for each call on it, and gives each to its call.
    fn receive(&mut self, key: PortKey) {
        let batch = self.ports.get_mut(key).map_or(0, |port| port.batch());
        for _ in 0..batch {
            let Some(port) = self.ports.get_mut(key) else { return };
            let (len, from) = match port.socket.udp.recv_from(&mut self.buffer) {
                Ok((len, from)) => (len, canonical(from)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // ICMP's word on an earlier packet; the socket goes on.
                Err(error) => {
                    debug!(%error, "RTP receive");
                    continue;
                }
            };
            let now = Instant::now();
            let Self { calls, seats, epoll, buffer, copy, .. } = self;
            let datagram = buffer.get_mut(..len).unwrap_or_default();
            let mut taken_by = None;
            let owner = port.demux.route(now, from, datagram, |call| {
                let Some(&seat) = seats.get(&call) else { return false };
                let Some(Some(call)) = calls.get_mut(seat) else { return false };
                let Some(copy) = copy.get_mut(..len) else { return false };
                copy.copy_from_slice(datagram);
                let taken = call.handle_stray(epoll.as_fd(), (now, from), copy);
                taken_by = taken.then_some(seat);
                taken
            });
            if let Some(seat) = owner.and_then(|call| seats.get(&call).copied()) {
                if let Some(Some(call)) = calls.get_mut(seat) {
                    call.handle_packet(epoll.as_fd(), (now, from, key), datagram);
                }
                taken_by = Some(seat);
            }
            if let Some(seat) = taken_by {
                self.settle(seat);
            }
        }
    }

    fn take_mail(&mut self) -> Result<(), Undeliverable> {
        while let Some(mail) = self.inbox.next()? {
            match mail {
                Mail::Open(opening) => self.open(*opening),
                Mail::Agent(key, result) => {
                    self.tell(key, |call, epoll| call.handle_agent(epoll, result));
                }
                Mail::Command(key, command) => {
                    self.tell(key, |call, epoll| call.handle_command(epoll, command));
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, opening: Opening) {
        let key = opening.call;
        let seat = self.free.pop().unwrap_or_else(|| {
            self.calls.push(None);
            self.deadlines.push(None);
            self.calls.len() - 1
        });
        let number = u32::try_from(seat).unwrap_or(u32::MAX);
        let sockets = opening.sockets.clone();
        let (call, remotes) = Call::open(number, opening);
        match self.ports.enter(self.epoll.as_fd(), key, &sockets, remotes) {
            Ok(()) => {
                self.calls[seat] = Some(call);
                self.seats.insert(key, seat);
                self.settle(seat);
            }
            Err(error) => {
                warn!(%error, "RTP socket cannot be polled");
                self.ports.leave(Instant::now(), key, sockets.keys());
                call.give_up();
                self.free.push(seat);
                self.gauge.leave();
            }
        }
    }

    fn tell(&mut self, key: CallKey, what: impl FnOnce(&mut Call, rustix::fd::BorrowedFd<'_>)) {
        let Some(&seat) = self.seats.get(&key) else { return };
        if let Some(Some(call)) = self.calls.get_mut(seat) {
            what(call, self.epoll.as_fd());
            self.settle(seat);
        }
    }

    /// Handles every deadline that has come.
    fn expire(&mut self) {
        let now = Instant::now();
        self.ports.expire(self.epoll.as_fd(), now);
        for seat in 0..self.deadlines.len() {
            if self.deadlines[seat].is_some_and(|at| at <= now)
                && let Some(call) = &mut self.calls[seat]
            {
                call.handle_timeout(self.epoll.as_fd(), now);
                self.settle(seat);
            }
        }
    }

    /// After each input of a call: where it listens, its next deadline, or its end.
    fn settle(&mut self, seat: usize) {
        let Some(call) = &mut self.calls[seat] else { return };
        if let (Some(remotes), Some(ports)) = (call.moved(), call.ports()) {
            self.ports.update(call.key, ports, remotes);
        }
        if let Some(left) = call.left_ports() {
            self.ports.leave(Instant::now(), call.key, left);
        }
        self.deadlines[seat] = call.deadline();
        if call.is_over() {
            self.seats.remove(&call.key);
            self.calls[seat] = None;
            self.deadlines[seat] = None;
            self.free.push(seat);
            self.gauge.leave();
        }
    }
}
