//! RTP of many calls on one thread.

use std::collections::BTreeMap;
use std::io;
use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use serde_json::{Value, json};

use super::random;
use crate::agent::greeting;
use crate::machine::{GLANCE, monotonic_us, thread_cpu_ns};
use crate::srtp::Session;
use crate::stamp::{self, Field};
use crate::statistics::Distribution;

const FRAME: usize = 160;
const HEADER: usize = 12;
const PACKET_TIME_US: u64 = 20_000;
/// Longer than a busy machine keeps a packet waiting.
const SILENCE_US: u64 = 5_000_000;
const PCMU: u8 = 0;

/// One call's media: a socket connected to the callee, and a session each way when encrypted.
pub struct MediaCall {
    pub socket: UdpSocket,
    pub receive: Option<Session>,
    pub send: Option<Session>,
    /// Offset of its frames within 20 ms.
    pub phase_us: u64,
    /// How long it says nothing at first.
    pub silent_us: u64,
}

enum Command {
    Start(Box<MediaCall>),
    Measure(bool),
    Stop,
}

/// What was seen while measuring. Delays in milliseconds.
#[derive(Default)]
pub struct Measured {
    /// Caller to agent to caller.
    pub echo: Distribution,
    /// Caller to agent, agent to caller: only with an agent that stamps what it sends back.
    pub to_agent: Distribution,
    pub from_agent: Distribution,
    /// Between packets of one call.
    pub gaps: Distribution,
    /// How late our own frames left: what the tool adds to the gaps that the callee sees.
    pub own_lateness: Distribution,
    pub sent: u64,
    pub received: u64,
    /// By sequence number.
    pub lost: u64,
    /// Not RTP or with a bad tag.
    pub bad: u64,
    pub calls: usize,
    /// Calls without a single packet, and without a single stamped frame.
    pub mute_calls: usize,
    pub echoless_calls: usize,
    /// Calls that have heard the whole greeting of an agent that speaks first, in one piece, before
    /// the window or in it.
    pub greeted_calls: usize,
    /// Calls whose last packet was long ago when measuring ended.
    pub silent_calls: usize,
    pub cpu_ns: u64,
}

impl Measured {
    pub fn summary(&mut self) -> Value {
        json!({
            "calls": self.calls, "mute_calls": self.mute_calls, "echoless_calls": self.echoless_calls,
            "greeted_calls": self.greeted_calls,
            "silent_calls": self.silent_calls,
            "sent": self.sent, "received": self.received, "lost": self.lost, "bad": self.bad,
            "echo_ms": self.echo.summary(), "to_agent_ms": self.to_agent.summary(),
            "from_agent_ms": self.from_agent.summary(), "gap_ms": self.gaps.summary(),
            "own_lateness_ms": self.own_lateness.summary(), "media_cpu_ns": self.cpu_ns,
        })
    }
}

/// Handle of the media thread.
pub struct Media {
    commands: Sender<Command>,
    results: Receiver<Measured>,
    thread: Option<JoinHandle<()>>,
}

impl Default for Media {
    fn default() -> Self {
        Self::start()
    }
}

impl Media {
    pub fn start() -> Self {
        let (commands, inbox) = channel();
        let (outbox, results) = channel();
        let thread = std::thread::Builder::new()
            .name("media".to_owned())
            .spawn(move || Engine::new(outbox).expect("epoll is there").run(&inbox))
            .expect("a thread can be started");
        Self { commands, results, thread: Some(thread) }
    }

    /// Starts to send and receive on a call.
    pub fn add(&self, call: MediaCall) {
        self.send(Command::Start(Box::new(call)));
    }

    /// Begins a window.
    pub fn begin(&self) {
        self.send(Command::Measure(true));
    }

    /// Ends the window and tells what was seen in it.
    pub fn end(&self) -> Measured {
        self.send(Command::Measure(false));
        self.results.recv().expect("the media thread runs until it is dropped")
    }

    fn send(&self, command: Command) {
        self.commands.send(command).expect("the media thread runs until it is dropped");
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Live {
    call: MediaCall,
    ssrc: [u8; 4],
    sequence: u16,
    turn: u32,
    last_received_us: Option<u64>,
    last_sequence: Option<u16>,
    received: u64,
    echoes: u64,
    /// How much of the greeting was heard, in bytes.
    greeted: usize,
}

struct Engine {
    epoll: rustix::fd::OwnedFd,
    calls: Vec<Live>,
    /// When each call's next frame is due.
    due: BTreeMap<(u64, usize), ()>,
    greeting: Vec<u8>,
    measuring: bool,
    measured: Measured,
    cpu_at_begin: u64,
    results: Sender<Measured>,
}

impl Engine {
    fn new(results: Sender<Measured>) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            calls: Vec::new(),
            due: BTreeMap::new(),
            greeting: greeting(),
            measuring: false,
            measured: Measured::default(),
            cpu_at_begin: 0,
            results,
        })
    }

    fn run(mut self, inbox: &Receiver<Command>) {
        let mut ready = Vec::with_capacity(256);
        let mut buffer = [0; 2048];
        loop {
            while let Ok(command) = inbox.try_recv() {
                match command {
                    Command::Start(call) => self.start(*call),
                    Command::Measure(on) => self.measure(on),
                    Command::Stop => return,
                }
            }
            let now = monotonic_us();
            while let Some((&(at, index), ())) = self.due.first_key_value() {
                if at > now {
                    break;
                }
                self.due.pop_first();
                self.due.insert((at + PACKET_TIME_US, index), ());
                self.send(index, at, &mut buffer);
            }
            // Sleeps rather than waits for packets: see GLANCE.
            let glance = GLANCE.as_micros() as u64;
            let wait = self
                .due
                .first_key_value()
                .map_or(glance, |(&(at, _), ())| at.saturating_sub(monotonic_us()).min(glance));
            std::thread::sleep(Duration::from_micros(wait));
            ready.clear();
            let look = Timespec { tv_sec: 0, tv_nsec: 0 };
            if epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut ready), Some(&look))
                .is_err()
            {
                continue;
            }
            for event in &ready {
                let index = event.data.u64() as usize;
                self.receive(index, &mut buffer);
            }
        }
    }

    fn start(&mut self, call: MediaCall) {
        let index = self.calls.len();
        let data = epoll::EventData::new_u64(index as u64);
        let added = call
            .socket
            .set_nonblocking(true)
            .and_then(|()| Ok(epoll::add(&self.epoll, &call.socket, data, epoll::EventFlags::IN)?));
        if let Err(error) = added {
            eprintln!("call {index} has no media: {error}");
        }
        let now = monotonic_us();
        let first = now - now % PACKET_TIME_US + PACKET_TIME_US + call.phase_us + call.silent_us;
        self.due.insert((first, index), ());
        self.calls.push(Live {
            call,
            ssrc: random(),
            sequence: u16::from_ne_bytes(random()) & 0x7fff,
            turn: 0,
            last_received_us: None,
            last_sequence: None,
            received: 0,
            echoes: 0,
            greeted: 0,
        });
    }

    fn measure(&mut self, on: bool) {
        self.measuring = on;
        if on {
            self.measured = Measured::default();
            self.cpu_at_begin = thread_cpu_ns();
            for call in &mut self.calls {
                (call.received, call.echoes) = (0, 0);
            }
            return;
        }
        let mut measured = std::mem::take(&mut self.measured);
        measured.calls = self.calls.len();
        measured.mute_calls = self.calls.iter().filter(|call| call.received == 0).count();
        measured.echoless_calls = self.calls.iter().filter(|call| call.echoes == 0).count();
        let greeted = |call: &&Live| call.greeted == self.greeting.len();
        measured.greeted_calls = self.calls.iter().filter(greeted).count();
        let now = monotonic_us();
        let heard = |at: u64| now.saturating_sub(at) < SILENCE_US;
        measured.silent_calls =
            self.calls.iter().filter(|call| !call.last_received_us.is_some_and(heard)).count();
        measured.cpu_ns = thread_cpu_ns() - self.cpu_at_begin;
        let _ = self.results.send(measured);
    }

    fn send(&mut self, index: usize, due_us: u64, buffer: &mut [u8]) {
        let live = &mut self.calls[index];
        buffer[0] = 0x80;
        buffer[1] = PCMU | if live.turn == 0 { 0x80 } else { 0 };
        buffer[2..4].copy_from_slice(&live.sequence.to_be_bytes());
        buffer[4..8].copy_from_slice(&(live.turn.wrapping_mul(FRAME as u32)).to_be_bytes());
        buffer[8..12].copy_from_slice(&live.ssrc);
        let now = monotonic_us();
        stamp::write(&mut buffer[HEADER..HEADER + FRAME], now, live.turn);
        let mut length = HEADER + FRAME;
        if let Some(session) = &mut live.call.send {
            length = session.protect(buffer, length);
        }
        live.sequence = live.sequence.wrapping_add(1);
        live.turn = live.turn.wrapping_add(1);
        // A callee that is gone (connection refused) shows as missing echoes.
        let _ = live.call.socket.send(&buffer[..length]);
        if self.measuring {
            self.measured.sent += 1;
            self.measured.own_lateness.push(milliseconds(now.saturating_sub(due_us)));
        }
    }

    fn receive(&mut self, index: usize, buffer: &mut [u8]) {
        let live = &mut self.calls[index];
        let Ok(length) = live.call.socket.recv(buffer) else { return };
        let now = monotonic_us();
        let mut length = length;
        let plausible = length >= HEADER && buffer[0] >> 6 == 2;
        if plausible && let Some(session) = &mut live.call.receive {
            length = session.unprotect(&mut buffer[..length]).unwrap_or(0);
        }
        if !plausible || length < HEADER || buffer[0] & 0x3f != 0 {
            self.measured.bad += u64::from(self.measuring);
            return;
        }
        if buffer[1] & 0x7f != PCMU {
            return;
        }
        let payload = &buffer[HEADER..length];
        live.hear_greeting(payload, &self.greeting);
        let sequence = u16::from_be_bytes([buffer[2], buffer[3]]);
        let skipped =
            live.last_sequence.map_or(0, |last| sequence.wrapping_sub(last).wrapping_sub(1));
        live.last_sequence = Some(sequence);
        let before = live.last_received_us.replace(now);
        if !self.measuring {
            return;
        }
        live.received += 1;
        let measured = &mut self.measured;
        measured.received += 1;
        measured.lost += u64::from(if skipped < 0x8000 { skipped } else { 0 });
        if let Some(before) = before {
            measured.gaps.push(milliseconds(now - before));
        }
        for at in stamp::positions(payload) {
            let stamp = &payload[at..];
            let Some(caller_sent) = stamp::get(stamp, Field::CallerSent) else { continue };
            live.echoes += 1;
            measured.echo.push(milliseconds(now.saturating_sub(caller_sent)));
            if let Some(received) = stamp::get(stamp, Field::AgentReceived) {
                measured.to_agent.push(milliseconds(received.saturating_sub(caller_sent)));
            }
            if let Some(sent) = stamp::get(stamp, Field::AgentSent) {
                measured.from_agent.push(milliseconds(now.saturating_sub(sent)));
            }
        }
    }
}

impl Live {
    fn hear_greeting(&mut self, payload: &[u8], greeting: &[u8]) {
        let rest = &greeting[self.greeted..];
        if rest.starts_with(payload) {
            self.greeted += payload.len();
        } else if !rest.is_empty() {
            self.greeted = 0;
        }
    }
}

fn milliseconds(us: u64) -> f64 {
    us as f64 / 1000.0
}
