//! The machine's floor: what one call's frame costs both ways when nothing but the necessary is done.
//!
//! N calls, each a connected UDP socket towards a caller and a TCP stream towards an agent, in one epoll
//! loop. In a round every caller sends one SRTP packet and every agent one message; then the node's part
//! is done (check, decrypt, decode, encode base64, write JSON, mask, send; and the way back), and only
//! that part is timed, by the thread's CPU time. The best round counts: it is the one that other work on
//! the machine disturbed least.
//!
//! With `--paced` the same work is done as packets come in real time, phases spread over 20 ms, sent by
//! another thread: what it adds to be woken for them, or with `--sleep` to look at them now and then. That
//! part is the machine's (a virtual one pays much more for it), and no node that carries calls as they
//! come can be without it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use rustix::event::{Timespec, epoll};
use serde_json::{Value, json};
use trunkline_tests::agent::emit;
use trunkline_tests::g711;
use trunkline_tests::machine::thread_cpu_ns;
use trunkline_tests::srtp::{MasterKey, Session, TAG_LEN};
use trunkline_tests::statistics::median;

const FRAME: usize = 160;
const PACKET_TIME: Duration = Duration::from_millis(20);
const RTP: usize = 12 + FRAME;
const STREAM: &str = "MZ0123456789abcdef0123456789abcdef";
const MASK: [u8; 4] = [1, 2, 3, 4];

/// Measures the cheapest way to carry calls between SRTP and a WebSocket with JSON on this machine.
/// Prints one JSON line: result.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 200)]
    calls: usize,
    /// How long to measure, seconds.
    #[arg(long, default_value_t = 3.0)]
    window: f64,
    /// Packets come in real time, and the loop is woken for them.
    #[arg(long)]
    paced: bool,
    /// With --paced: how long to sleep before each look at what has come, microseconds.
    #[arg(long, default_value_t = 0)]
    sleep: u64,
}

/// The two ends of a call.
struct Ends {
    caller: UdpSocket,
    caller_sends: Session,
    agent: TcpStream,
}

impl Ends {
    fn send_packet(&mut self, sequence: u16, buffer: &mut [u8]) -> std::io::Result<()> {
        let length = rtp_packet(buffer, sequence, &mut self.caller_sends);
        self.caller.send(&buffer[..length]).map(|_| ())
    }

    fn send_both(
        &mut self,
        sequence: u16,
        from_agent: &[u8],
        buffer: &mut [u8],
    ) -> std::io::Result<()> {
        self.send_packet(sequence, buffer)?;
        self.agent.write_all(from_agent)
    }
}

/// The node between them.
struct Between {
    rtp: UdpSocket,
    stream: TcpStream,
    receive: Session,
    send: Session,
    sent: u16,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let (nodes, ends) = connect(arguments.calls)?.into_iter().unzip();
    let window = Duration::from_secs_f64(arguments.window);
    let result = if arguments.paced {
        paced(nodes, ends, window, Duration::from_micros(arguments.sleep))?
    } else {
        in_rounds(nodes, ends, window)?
    };
    emit("result", result);
    Ok(())
}

/// All calls at once, round after round.
fn in_rounds(nodes: Vec<Between>, mut ends: Vec<Ends>, window: Duration) -> std::io::Result<Value> {
    let mut floor = Floor::new(nodes)?;
    let (mut sequence, mut rounds) = (0_u16, Vec::new());
    let from_agent = agent_message();
    let mut buffer = [0; 2048];
    let until = Instant::now() + window;
    while Instant::now() < until || rounds.len() < 5 {
        sequence = sequence.wrapping_add(1);
        for end in &mut ends {
            end.send_both(sequence, &from_agent, &mut buffer)?;
        }
        let begun = thread_cpu_ns();
        let mut left = ends.len() * 2;
        while left > 0 {
            left -= floor.turn(Timespec { tv_sec: 0, tv_nsec: 0 })?;
        }
        rounds.push((thread_cpu_ns() - begun) as f64 / ends.len() as f64);
        for end in &mut ends {
            end.caller.recv(&mut buffer)?;
            let _ = end.agent.read(&mut buffer)?;
        }
    }
    let best = rounds.iter().copied().fold(f64::MAX, f64::min);
    // A frame is due every 20 ms: ns a frame / 20,000 is thousandths of a core.
    Ok(json!({
        "calls": ends.len(), "rounds": rounds.len(),
        "ns_per_frame": best.round(), "median_ns_per_frame": median(&rounds).round(),
        "mcore_per_call": best / 20_000.0, "median_mcore_per_call": median(&rounds) / 20_000.0,
    }))
}

/// As in life: each call's two packets every 20 ms, at times of their own.
fn paced(
    nodes: Vec<Between>,
    mut ends: Vec<Ends>,
    window: Duration,
    sleep: Duration,
) -> std::io::Result<Value> {
    let calls = ends.len();
    let mut floor = Floor::new(nodes)?;
    let over = Arc::new(AtomicBool::new(false));
    let end_of_sending = over.clone();
    let sender = std::thread::spawn(move || -> std::io::Result<()> {
        let from_agent = agent_message();
        let mut buffer = [0; 2048];
        for end in &ends {
            end.caller.set_nonblocking(true)?;
            end.agent.set_nonblocking(true)?;
        }
        let step = PACKET_TIME / (calls as u32 * 2);
        let begun = Instant::now();
        for slot in 0_u32.. {
            let due = begun + step * slot;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if end_of_sending.load(Ordering::Relaxed) {
                break;
            }
            let (index, turn) = (slot as usize / 2 % calls, slot / (calls as u32 * 2));
            let end = &mut ends[index];
            if slot.is_multiple_of(2) {
                end.send_packet(turn as u16, &mut buffer)?;
            } else {
                end.agent.write_all(&from_agent)?;
            }
            // What came back is only taken out of the way.
            while end.caller.recv(&mut buffer).is_ok() {}
            while end.agent.read(&mut buffer).is_ok_and(|length| length > 0) {}
        }
        Ok(())
    });
    let (begun, cpu, mut done) = (Instant::now(), thread_cpu_ns(), 0);
    while begun.elapsed() < window {
        if !sleep.is_zero() {
            std::thread::sleep(sleep);
        }
        done += floor.turn(Timespec { tv_sec: 0, tv_nsec: 100_000_000 })?;
    }
    let cpu = (thread_cpu_ns() - cpu) as f64;
    over.store(true, Ordering::Relaxed);
    sender.join().map_err(|_| std::io::Error::other("the sending thread panicked"))??;
    let frames = done as f64 / 2.0;
    Ok(json!({
        "calls": calls, "frames": frames, "ns_per_frame": (cpu / frames).round(),
        "mcore_per_call": cpu / frames / 20_000.0,
    }))
}

/// The node's part: every socket of every call in one epoll set.
struct Floor {
    epoll: rustix::fd::OwnedFd,
    calls: Vec<Between>,
    tables: Tables,
    sequence: u16,
    ready: Vec<epoll::Event>,
    buffer: [u8; 2048],
    message: Vec<u8>,
}

impl Floor {
    fn new(calls: Vec<Between>) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, call) in calls.iter().enumerate() {
            let (rtp, stream) = (index as u64 * 2, index as u64 * 2 + 1);
            let flags = epoll::EventFlags::IN;
            epoll::add(&epoll, &call.rtp, epoll::EventData::new_u64(rtp), flags)?;
            epoll::add(&epoll, &call.stream, epoll::EventData::new_u64(stream), flags)?;
        }
        Ok(Self {
            epoll,
            calls,
            tables: Tables::new(),
            sequence: 0,
            ready: Vec::with_capacity(64),
            buffer: [0; 2048],
            message: Vec::with_capacity(1024),
        })
    }

    /// Waits, and does what is there; how many packets and messages that was.
    fn turn(&mut self, wait: Timespec) -> std::io::Result<usize> {
        let Self { epoll, calls, tables, sequence, ready, buffer, message } = self;
        ready.clear();
        epoll::wait(&*epoll, rustix::buffer::spare_capacity(ready), Some(&wait))?;
        for event in ready.iter() {
            let id = event.data.u64() as usize;
            *sequence = sequence.wrapping_add(1);
            let call = &mut calls[id / 2];
            if id.is_multiple_of(2) {
                to_agent(call, *sequence, tables, buffer, message)?;
            } else {
                to_caller(call, tables, buffer)?;
            }
        }
        Ok(ready.len())
    }
}

fn connect(count: usize) -> std::io::Result<Vec<(Between, Ends)>> {
    let local = (Ipv4Addr::LOCALHOST, 0);
    let listener = TcpListener::bind(local)?;
    let (inbound, outbound) = (MasterKey::new([7; 30]), MasterKey::new([9; 30]));
    (0..count)
        .map(|_| {
            let stream = TcpStream::connect(listener.local_addr()?)?;
            let agent = listener.accept()?.0;
            stream.set_nodelay(true)?;
            agent.set_nodelay(true)?;
            let (rtp, caller) = (UdpSocket::bind(local)?, UdpSocket::bind(local)?);
            rtp.connect(caller.local_addr()?)?;
            caller.connect(rtp.local_addr()?)?;
            let between = Between {
                rtp,
                stream,
                receive: Session::new(&inbound),
                send: Session::new(&outbound),
                sent: 0,
            };
            Ok((between, Ends { caller, caller_sends: Session::new(&inbound), agent }))
        })
        .collect()
}

/// One packet of the caller's, protected.
fn rtp_packet(buffer: &mut [u8], sequence: u16, session: &mut Session) -> usize {
    buffer[..RTP].fill(0x55);
    buffer[..2].copy_from_slice(&[0x80, 0]);
    buffer[2..4].copy_from_slice(&sequence.to_be_bytes());
    session.protect(buffer, RTP)
}

/// A media message as an agent sends it, in an unmasked text frame.
fn agent_message() -> Vec<u8> {
    let payload = STANDARD.encode([0x33; FRAME]);
    let text =
        format!(r#"{{"event":"media","streamSid":"{STREAM}","media":{{"payload":"{payload}"}}}}"#);
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// SRTP in, a masked WebSocket text frame out.
fn to_agent(
    call: &mut Between,
    sequence: u16,
    tables: &Tables,
    buffer: &mut [u8],
    message: &mut Vec<u8>,
) -> std::io::Result<()> {
    let length = call.rtp.recv(buffer)?;
    let length = call.receive.unprotect(&mut buffer[..length]).expect("the tag is good");
    tables.there_and_back(&mut buffer[12..length]);
    message.clear();
    message.extend_from_slice(&[0x81, 0x80 | 126, 0, 0]);
    message.extend_from_slice(&MASK);
    write!(
        message,
        r#"{{"event":"media","sequenceNumber":"{sequence}","streamSid":"{STREAM}","media":{{"track":"inbound","chunk":"{sequence}","timestamp":"{sequence}","payload":""#
    )?;
    let at = message.len();
    message.resize(at + FRAME.div_ceil(3) * 4, 0);
    let written = STANDARD
        .encode_slice(&buffer[12..length], &mut message[at..])
        .expect("the room is made above");
    message.truncate(at + written);
    message.extend_from_slice(br#""}}"#);
    let text = (message.len() - 8) as u16;
    message[2..4].copy_from_slice(&text.to_be_bytes());
    for group in message[8..].chunks_mut(4) {
        for (byte, key) in group.iter_mut().zip(MASK) {
            *byte ^= key;
        }
    }
    call.stream.write_all(message)
}

/// A WebSocket text frame in, SRTP out.
fn to_caller(call: &mut Between, tables: &Tables, buffer: &mut [u8]) -> std::io::Result<()> {
    let read = call.stream.read(buffer)?;
    let mut messages = &buffer[..read];
    // Two may have come since the last look; each is whole, for the peer writes it in one go.
    while let [_, _, high, low, rest @ ..] = messages {
        let (text, others) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        play(call, tables, text)?;
        messages = others;
    }
    Ok(())
}

fn play(call: &mut Between, tables: &Tables, text: &[u8]) -> std::io::Result<()> {
    let text: Value = serde_json::from_slice(text)?;
    let payload = text["media"]["payload"].as_str().expect("written above");
    let mut packet = [0; RTP + TAG_LEN];
    packet[0] = 0x80;
    call.sent = call.sent.wrapping_add(1);
    packet[2..4].copy_from_slice(&call.sent.to_be_bytes());
    STANDARD.decode_slice(payload, &mut packet[12..RTP + TAG_LEN]).expect("written above");
    tables.there_and_back(&mut packet[12..RTP]);
    let length = call.send.protect(&mut packet, RTP);
    call.rtp.send(&packet[..length]).map(|_| ())
}

/// G.711 by table, both ways: what a call costs whose two sides do not speak the same law.
struct Tables {
    decode: [i16; 256],
    encode: Vec<u8>,
}

impl Tables {
    fn new() -> Self {
        let mut decode = [0; 256];
        for (code, sample) in (0..=255).zip(&mut decode) {
            *sample = g711::decode_ulaw(code);
        }
        let encode = (0..16_384).map(|n| g711::encode_ulaw(((n - 8192) * 4) as i16)).collect();
        Self { decode, encode }
    }

    fn there_and_back(&self, frame: &mut [u8]) {
        let mut linear = [0_i16; FRAME];
        for (sample, &code) in linear.iter_mut().zip(frame.iter()) {
            *sample = self.decode[usize::from(code)];
        }
        for (code, &sample) in frame.iter_mut().zip(std::hint::black_box(&linear)) {
            *code = self.encode[((i32::from(sample) >> 2) + 8192) as usize];
        }
    }
}
