//! A stream of messages, answers and time: the transaction table never panics, never runs hot,
//! stays within its limits, and is empty when enough time has passed.
//!
//! The input is a row of steps, each a byte that says what and the bytes it needs; see [`step`].

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use trunkline_media_node::random::Seeded;
use trunkline_media_node::sip::transaction::{Limits, Output, TransactionId, Transactions};
use trunkline_media_node::sip::{
    Flow, HeaderName, Message, Method, Request, Response, StatusCode, Transport,
};

#[allow(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

const LIMITS: Limits =
    Limits { new_requests: 24, server_transactions: 32, client_transactions: 8, forgotten: 8 };
const MOST: usize = LIMITS.server_transactions + LIMITS.client_transactions;
/// Longer than any transaction lives.
const LONG: Duration = Duration::from_secs(700);
/// Steps beyond these only cost time.
const MOST_STEPS: usize = 512;

pub fn transactions(data: &[u8]) {
    let mut owner = Owner {
        table: Transactions::new(None, Box::new(Seeded::new(1)), LIMITS),
        now: *START,
        requests: Vec::new(),
        sent: Vec::new(),
    };
    let mut input = Input(data);
    for _ in 0..MOST_STEPS {
        if step(&mut owner, &mut input).is_none() {
            break;
        }
        owner.drain();
        assert!(owner.table.len() <= MOST, "{} transactions", owner.table.len());
    }
    let end = owner.now + LONG;
    owner.pass(end);
    assert!(owner.table.is_empty(), "{} transactions never ended", owner.table.len());
}

struct Owner {
    table: Transactions,
    now: Instant,
    requests: Vec<(TransactionId, Request)>,
    sent: Vec<Request>,
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// Two bytes of length, then so many bytes, or what is left.
    fn block(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.number()?).min(self.0.len());
        let (block, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(block)
    }
}

/// One step; `None` at the end of the input.
fn step(owner: &mut Owner, input: &mut Input<'_>) -> Option<()> {
    match input.byte()? % 9 {
        // Any bytes as a message: transport, length, bytes.
        0 => {
            let flow = flow(input.byte()?);
            let bytes = Bytes::copy_from_slice(input.block()?);
            owner.receive(flow, &bytes);
        }
        // A well-formed request out of few, so that they meet: transport, method, the rest.
        1 => {
            let flow = flow(input.byte()?);
            let text = request_text(input.byte()?, input.byte()?);
            owner.receive(flow, &Bytes::from(text));
        }
        // Time passes, every timer at its moment: tens of milliseconds.
        2 => {
            let until = owner.now + Duration::from_millis(10) * u32::from(input.number()?);
            owner.pass(until);
        }
        // Time passes, and the timers are late.
        3 => {
            owner.now += Duration::from_millis(10) * u32::from(input.number()?);
            owner.timeout();
        }
        // An answer: which request, which code.
        4 => {
            let (nth, code) = (input.byte()?, input.number()?);
            let (id, response) = owner.response_to(nth, code)?;
            owner.table.respond(owner.now, id, response);
        }
        5 => {
            let (nth, code) = (input.byte()?, input.number()?);
            let (id, response) = owner.response_to(nth, code)?;
            owner.table.respond_statelessly(id, response);
        }
        6 => {
            let nth = input.byte()?;
            let (id, _) = owner.response_to(nth, 200)?;
            if nth & 0x80 == 0 {
                owner.table.forget(id);
            } else {
                owner.table.resend_ok(id, Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n"));
            }
        }
        // A request of ours, then (by later steps) its answers.
        7 => {
            let flow = flow(input.byte()?);
            let text = request_text(4, 0);
            if let Ok(Message::Request(mut request)) = Message::parse(&Bytes::from(text)) {
                request.headers.remove(&HeaderName::Via);
                owner.table.send_request(owner.now, flow, request, "192.0.2.10:5060");
            }
        }
        _ => {
            let (what, code) = (input.byte()?, input.number()?);
            match owner.sent.get(usize::from(what)) {
                Some(request) => {
                    let response = Response::to_request(request, status(code), None);
                    owner.table.handle_message(owner.now, flow(0), Message::Response(response));
                }
                None => owner.table.handle_transport_error(owner.now, flow(what)),
            }
        }
    }
    Some(())
}

impl Owner {
    fn receive(&mut self, flow: Flow, bytes: &Bytes) {
        match Message::parse(bytes) {
            Ok(message) if flow.id & 1 == 0 => self.table.handle_message(self.now, flow, message),
            Ok(message) => self.table.handle_stranger_message(self.now, flow, message),
            Err(malformed) => self.table.handle_malformed(flow, malformed),
        }
    }

    fn pass(&mut self, until: Instant) {
        while let Some(at) = self.table.poll_timeout().filter(|at| *at <= until) {
            self.now = at;
            self.timeout();
            self.drain();
        }
        self.now = until;
    }

    fn timeout(&mut self) {
        self.table.handle_timeout(self.now);
        assert!(self.table.poll_timeout().is_none_or(|next| next > self.now), "would run hot");
    }

    fn response_to(&self, nth: u8, code: u16) -> Option<(TransactionId, Response)> {
        let nth = usize::from(nth).checked_rem(self.requests.len()).unwrap_or(0);
        let (id, request) = self.requests.get(nth)?;
        let mut response = Response::to_request(request, status(code), None);
        response.headers.add_to_tag("ours");
        Some((*id, response))
    }

    fn drain(&mut self) {
        while let Some(output) = self.table.poll_output() {
            match output {
                Output::Request { id, request, .. } => {
                    assert!(!matches!(request.method, Method::Ack | Method::Cancel));
                    self.requests.push((id, request));
                }
                Output::Ack { request, .. } => assert_eq!(request.method, Method::Ack),
                Output::Cancel { request, .. } => assert_eq!(request.method, Method::Cancel),
                Output::Transmit { bytes, .. } => {
                    if let Ok(Message::Request(request)) = Message::parse(&bytes)
                        && self.sent.len() < 255
                    {
                        self.sent.push(request);
                    }
                }
                Output::Response { .. } | Output::Failed { .. } => {}
            }
        }
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::new(100 + code % 600).unwrap_or(StatusCode::OK)
}

fn flow(byte: u8) -> Flow {
    let transport = [Transport::Udp, Transport::Tcp, Transport::Tls][usize::from(byte % 3)];
    Flow {
        holder: None,
        id: u64::from(byte % 6),
        transport,
        local: ([192, 0, 2, 10], 5060).into(),
        remote: ([198, 51, 100, byte % 2], 5062).into(),
    }
}

fn request_text(method: u8, rest: u8) -> String {
    let methods = ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO"];
    let method = methods[usize::from(method) % methods.len()];
    let branch = ["", ";branch=1", ";branch=z9hG4bKa;rport", ";branch=z9hG4bKb"];
    let branch = branch[usize::from(rest & 3)];
    let to_tag = ["", ";tag=ours"][usize::from(rest >> 2 & 1)];
    let (call, seq) = (rest >> 3 & 3, rest >> 5);
    format!(
        "{method} sip:1@192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7{branch}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:2@b>;tag=theirs\r\nTo: <sip:1@a>{to_tag}\r\n\
         Call-ID: {call}\r\nCSeq: {seq} {method}\r\nContact: <sip:2@c>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}
