//! The machine's floor: what one call's frame costs both ways when nothing but the necessary is done.
//!
//! N calls, each a connected UDP socket towards a caller and a TCP stream towards an agent, in one epoll
//! loop. In a round every caller sends one SRTP packet and every agent one message; then the node's part
//! is done (check, decrypt, decode, encode base64, write JSON, mask, send; and the way back), and only
//! that part is timed, by the thread's CPU time. The best round counts: it is the one that other work on
//! the machine disturbed least.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
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
}

/// Both ends of one call, and the node between them.
struct Call {
    caller: UdpSocket,
    caller_sends: Session,
    agent: TcpStream,
    rtp: UdpSocket,
    stream: TcpStream,
    receive: Session,
    send: Session,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let mut calls = connect(arguments.calls)?;
    let tables = Tables::new();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, call) in calls.iter().enumerate() {
        let (rtp, stream) = (index as u64 * 2, index as u64 * 2 + 1);
        epoll::add(&epoll, &call.rtp, epoll::EventData::new_u64(rtp), epoll::EventFlags::IN)?;
        epoll::add(&epoll, &call.stream, epoll::EventData::new_u64(stream), epoll::EventFlags::IN)?;
    }
    let from_agent = agent_message();
    let (mut sequence, mut rounds) = (0_u16, Vec::new());
    let (mut buffer, mut message) = ([0; 2048], Vec::with_capacity(1024));
    let mut ready = Vec::with_capacity(64);
    let until = Instant::now() + Duration::from_secs_f64(arguments.window);
    while Instant::now() < until || rounds.len() < 5 {
        sequence = sequence.wrapping_add(1);
        for call in &mut calls {
            let length = rtp_packet(&mut buffer, sequence, &mut call.caller_sends);
            call.caller.send(&buffer[..length])?;
            call.agent.write_all(&from_agent)?;
        }
        let begun = thread_cpu_ns();
        let mut left = calls.len() * 2;
        while left > 0 {
            ready.clear();
            epoll::wait(
                &epoll,
                rustix::buffer::spare_capacity(&mut ready),
                Some(&Timespec { tv_sec: 0, tv_nsec: 0 }),
            )?;
            for event in &ready {
                let id = event.data.u64() as usize;
                let call = &mut calls[id / 2];
                if id.is_multiple_of(2) {
                    to_agent(call, sequence, &tables, &mut buffer, &mut message)?;
                } else {
                    to_caller(call, sequence, &tables, &mut buffer)?;
                }
                left -= 1;
            }
        }
        rounds.push((thread_cpu_ns() - begun) as f64 / calls.len() as f64);
        for call in &mut calls {
            call.caller.recv(&mut buffer)?;
            let _ = call.agent.read(&mut buffer)?;
        }
    }
    let best = rounds.iter().copied().fold(f64::MAX, f64::min);
    // A frame is due every 20 ms: ns a frame / 20,000 is thousandths of a core.
    emit(
        "result",
        json!({
            "calls": calls.len(), "rounds": rounds.len(),
            "ns_per_frame": best.round(), "median_ns_per_frame": median(&rounds).round(),
            "mcore_per_call": best / 20_000.0, "median_mcore_per_call": median(&rounds) / 20_000.0,
        }),
    );
    Ok(())
}

fn connect(count: usize) -> std::io::Result<Vec<Call>> {
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
            Ok(Call {
                caller,
                caller_sends: Session::new(&inbound),
                agent,
                rtp,
                stream,
                receive: Session::new(&inbound),
                send: Session::new(&outbound),
            })
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
    call: &mut Call,
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
fn to_caller(
    call: &mut Call,
    sequence: u16,
    tables: &Tables,
    buffer: &mut [u8],
) -> std::io::Result<()> {
    let length = call.stream.read(buffer)?;
    let text: Value = serde_json::from_slice(&buffer[4..length])?;
    let payload = text["media"]["payload"].as_str().expect("written above");
    let mut packet = [0; RTP + TAG_LEN];
    packet[0] = 0x80;
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
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
