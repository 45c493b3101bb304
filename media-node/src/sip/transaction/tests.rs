//! The table as its owner sees it: real messages in, outputs and time out.

use super::machine_tests::start;
use super::*;
use crate::random::Seeded;
use crate::sip::Transport;

/// A table, a clock, and what came out.
pub(super) struct Bench {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) table: Transactions,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        let start = start();
        let table = Transactions::new(None, Box::new(Seeded::new(7)), limits);
        Self { start, now: start, table }
    }

    fn receive(&mut self, flow: Flow, text: &str) -> Vec<Output> {
        self.table.handle_message(self.now, flow, parse(text));
        self.drain()
    }

    fn receive_from_stranger(&mut self, flow: Flow, text: &str) -> Vec<Output> {
        self.table.handle_stranger_message(self.now, flow, parse(text));
        self.drain()
    }

    /// Receives what must be a new request.
    fn open(&mut self, flow: Flow, text: &str) -> (TransactionId, Request) {
        match self.receive(flow, text).as_slice() {
            [Output::Request { id, request, .. }] => (*id, request.clone()),
            other => panic!("not one new request: {}", told(other)),
        }
    }

    fn respond(&mut self, id: TransactionId, request: &Request, code: u16) -> Vec<Output> {
        self.table.respond(self.now, id, response(request, code));
        self.drain()
    }

    pub(super) fn drain(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.table.poll_output()).collect()
    }

    /// Runs every timer up to `ms` after now; what came out, with its moment since then.
    fn run_ms(&mut self, ms: u64) -> Vec<(u128, Output)> {
        let (from, until) = (self.now, self.now + Duration::from_millis(ms));
        let mut seen = Vec::new();
        while let Some(at) = self.table.poll_timeout().filter(|at| *at <= until) {
            self.now = at;
            self.table.handle_timeout(at);
            assert!(self.table.poll_timeout().is_none_or(|next| next > at), "would run hot");
            seen.extend(self.drain().into_iter().map(|output| ((at - from).as_millis(), output)));
        }
        self.now = until;
        seen
    }

    /// Nothing may be left once every timer ran.
    fn assert_empty_after_ms(&mut self, ms: u64) {
        self.run_ms(ms);
        self.assert_empty();
    }

    pub(super) fn assert_empty(&self) {
        assert!(self.table.is_empty(), "{} transactions left", self.table.len());
        assert!(self.table.servers.is_empty() && self.table.clients.is_empty());
        assert!(self.table.ongoing.is_empty() && self.table.flows.is_empty());
        assert!(self.table.deadlines.is_empty());
    }
}

pub(super) fn response(request: &Request, code: u16) -> Response {
    let mut response = Response::to_request(request, StatusCode::new(code).unwrap(), None);
    if code > 100 {
        response.headers.add_to_tag("ours");
    }
    response
}

pub(super) fn flow(transport: Transport) -> Flow {
    Flow {
        holder: None,
        id: transport as u64,
        transport,
        local: "192.0.2.10:5060".parse().unwrap(),
        remote: "198.51.100.7:5062".parse().unwrap(),
    }
}

fn udp() -> Flow {
    flow(Transport::Udp)
}

fn tls() -> Flow {
    flow(Transport::Tls)
}

fn parse(text: &str) -> Message {
    Message::parse(&Bytes::from(text.replace('\n', "\r\n"))).unwrap()
}

/// A request with these parts; `via` begins with the sent-by.
pub(super) fn message(method: &str, via: &str, to_tag: &str, call_id: &str, seq: u32) -> String {
    let to_tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    format!(
        "{method} sip:+15550100@192.0.2.10 SIP/2.0\n\
         Via: SIP/2.0/UDP {via}\n\
         Max-Forwards: 70\n\
         From: <sip:+15550199@carrier.example>;tag=theirs\n\
         To: <sip:+15550100@192.0.2.10>{to_tag}\n\
         Call-ID: {call_id}\n\
         CSeq: {seq} {method}\n\
         Contact: <sip:carrier@198.51.100.7:5062>\n\
         Content-Length: 0\n\n"
    )
}

const VIA: &str = "198.51.100.7:5062;branch=z9hG4bKone;rport";

fn invite() -> String {
    message("INVITE", VIA, "", "call-1", 1)
}

fn ack() -> String {
    message("ACK", VIA, "ours", "call-1", 1)
}

fn cancel() -> String {
    message("CANCEL", VIA, "", "call-1", 1)
}

/// One word an output, a space between.
fn told(outputs: &[Output]) -> String {
    let words = outputs.iter().map(|output| match output {
        Output::Transmit { bytes, .. } => {
            let line = String::from_utf8_lossy(bytes);
            line.trim_start_matches("SIP/2.0 ").split(' ').next().unwrap_or("").to_owned()
        }
        Output::Request { request, .. } => format!("new:{}", request.method),
        Output::Cancel { .. } => "cancel".to_owned(),
        Output::Ack { .. } => "ack".to_owned(),
        Output::Response { response, .. } => format!("got:{}", response.status),
        Output::Failed { cause, .. } => format!("failed:{cause:?}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn sent(outputs: &[Output]) -> (Flow, String) {
    match outputs {
        [Output::Transmit { flow, bytes }] => (*flow, String::from_utf8(bytes.to_vec()).unwrap()),
        other => panic!("not one transmission: {}", told(other)),
    }
}

fn moments(seen: &[(u128, Output)], word: &str) -> Vec<u128> {
    seen.iter()
        .filter(|(_, output)| told(std::slice::from_ref(output)) == word)
        .map(|(ms, _)| *ms)
        .collect()
}

#[test]
fn a_repeated_invite_gets_the_latest_response_and_is_never_new_again() {
    let mut bench = Bench::new();
    let (id, request) = bench.open(udp(), &invite());
    assert_eq!(told(&bench.receive(udp(), &invite())), "", "before any response");
    for code in [100, 180, 183] {
        assert_eq!(told(&bench.respond(id, &request, code)), code.to_string());
        assert_eq!(told(&bench.receive(udp(), &invite())), code.to_string());
    }
    assert_eq!(told(&bench.respond(id, &request, 486)), "486");
    assert_eq!(told(&bench.receive(udp(), &invite())), "486");
    assert_eq!(told(&bench.receive(udp(), &ack())), "");
    assert_eq!(told(&bench.receive(udp(), &invite())), "", "after the ACK");
    assert_eq!(told(&bench.receive(udp(), &ack())), "", "a second ACK");
    bench.assert_empty_after_ms(5_000);
}

#[test]
fn a_refusal_without_ack_is_repeated_over_udp_and_reported_after_64_t1() {
    let mut bench = Bench::new();
    let (id, request) = bench.open(udp(), &invite());
    bench.respond(id, &request, 486);
    let seen = bench.run_ms(40_000);
    let g = [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500];
    assert_eq!(moments(&seen, "486"), g);
    assert_eq!(moments(&seen, "failed:Timeout"), [32_000]);
    bench.assert_empty();
}

#[test]
fn a_lost_ack_is_made_good_by_the_next_copy() {
    let mut bench = Bench::new();
    let (id, request) = bench.open(udp(), &invite());
    bench.respond(id, &request, 503);
    assert_eq!(moments(&bench.run_ms(1_000), "503"), [500]);
    assert_eq!(told(&bench.receive(udp(), &ack())), "");
    assert!(bench.run_ms(60_000).is_empty());
    bench.assert_empty();
}

#[test]
fn tls_repeats_nothing_and_ends_at_once() {
    let mut bench = Bench::new();
    let (id, request) = bench.open(tls(), &invite());
    bench.respond(id, &request, 486);
    let seen = bench.run_ms(31_000);
    assert!(seen.is_empty());
    assert_eq!(told(&bench.receive(tls(), &ack())), "");
    bench.assert_empty();

    let (id, request) = bench.open(tls(), &message("OPTIONS", VIA, "", "call-2", 1));
    assert_eq!(told(&bench.respond(id, &request, 200)), "200");
    bench.assert_empty();

    let request = Request::new(Method::Options, request.uri);
    bench.table.send_request(bench.now, tls(), request, "192.0.2.10:5061");
    bench.drain();
    let seen = bench.run_ms(32_000);
    assert_eq!(moments(&seen, "failed:Timeout"), [32_000]);
    assert_eq!(seen.len(), 1);
    bench.assert_empty();
}

#[test]
fn a_200_ends_the_repetition_of_responses_and_repeated_invites_are_absorbed_until_timer_l() {
    for flow in [udp(), tls()] {
        let mut bench = Bench::new();
        let (id, request) = bench.open(flow, &invite());
        assert_eq!(told(&bench.respond(id, &request, 200)), "200");
        assert!(bench.run_ms(31_999).is_empty());
        assert_eq!(told(&bench.receive(flow, &invite())), "");
        bench.table.resend_ok(id, Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n"));
        assert_eq!(told(&bench.drain()), "200", "the owner repeats it");
        assert_eq!(told(&bench.respond(id, &request, 486)), "", "no way back");
        bench.run_ms(1);
        bench.assert_empty();
        bench.table.resend_ok(id, Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n"));
        assert_eq!(told(&bench.drain()), "");
    }
}

#[test]
fn the_ack_of_a_200_is_passed_up_with_a_branch_of_its_own_and_with_that_of_the_invite() {
    let mut bench = Bench::new();
    let (id, request) = bench.open(udp(), &invite());
    bench.respond(id, &request, 200);
    let own = message("ACK", "198.51.100.7:5062;branch=z9hG4bKtwo", "ours", "call-1", 1);
    assert_eq!(told(&bench.receive(udp(), &own)), "ack");
    assert_eq!(told(&bench.receive(udp(), &ack())), "ack");
}

#[test]
fn a_repeated_bye_gets_the_same_answer_until_timer_j() {
    let bye = message("BYE", VIA, "ours", "call-1", 2);
    let mut bench = Bench::new();
    let (id, request) = bench.open(udp(), &bye);
    assert_eq!(told(&bench.receive(udp(), &bye)), "", "before the answer");
    assert_eq!(told(&bench.respond(id, &request, 200)), "200");
    assert!(bench.run_ms(31_999).is_empty());
    assert_eq!(told(&bench.receive(udp(), &bye)), "200");
    assert_eq!(told(&bench.respond(id, &request, 500)), "", "one final response only");
    bench.run_ms(1);
    bench.assert_empty();
    assert_eq!(told(&bench.receive(udp(), &bye)), "new:BYE");
}

#[test]
fn a_request_of_ours_is_repeated_until_it_is_answered() {
    let mut bench = Bench::new();
    let (_, invite) = bench.open(tls(), &invite());
    let mut bye = Request::new(Method::Bye, invite.uri.clone());
    for name in [HeaderName::From, HeaderName::To, HeaderName::CallId] {
        let value = invite.headers.text(&name).unwrap().into_owned();
        bye.headers.push(name, value);
    }
    bye.headers.push(HeaderName::CSeq, "1 BYE");
    let id = bench.table.send_request(bench.now, udp(), bye, "192.0.2.10:5060");
    let (to, first) = sent(&bench.drain());
    assert_eq!(to, udp());
    assert!(first.starts_with("BYE sip:+15550100@192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;rport;branch=z9hG4bK"), "{first}");
    let copies = bench.run_ms(2_000);
    assert_eq!(moments(&copies, "BYE"), [500, 1500]);
    assert!(copies.iter().all(|(_, copy)| sent(std::slice::from_ref(copy)).1 == first));

    let Message::Request(request) = Message::parse(&Bytes::from(first)).unwrap() else { panic!() };
    let answer = |code: u16, change: &dyn Fn(&mut Response)| {
        let mut response = response(&request, code);
        change(&mut response);
        Message::Response(response)
    };
    let mut receive = |message: Message| {
        bench.table.handle_message(bench.now, udp(), message);
        told(&bench.drain())
    };
    let second_via = |response: &mut Response| {
        response.headers.push(HeaderName::Via, "SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKx");
    };
    assert_eq!(receive(answer(200, &second_via)), "", "not ours: another Via below");
    let other_branch = |response: &mut Response| {
        response.headers.set(HeaderName::Via, "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKguess");
    };
    assert_eq!(receive(answer(200, &other_branch)), "");
    let other_method = |response: &mut Response| response.headers.set(HeaderName::CSeq, "1 INFO");
    assert_eq!(receive(answer(200, &other_method)), "");
    assert_eq!(receive(answer(100, &|_| {})), "got:100");
    assert_eq!(receive(answer(481, &|_| {})), "got:481");
    assert_eq!(receive(answer(481, &|_| {})), "", "a copy");
    assert!(bench.table.reply_flow(id).is_none(), "not a server transaction");
    bench.table.forget(id);
    assert_eq!(bench.table.len(), 2, "nor to be forgotten");
}

#[test]
fn a_cancel_is_answered_and_reported_once() {
    let mut bench = Bench::new();
    let (id, request) = bench.open(udp(), &invite());
    bench.respond(id, &request, 180);
    let seen = bench.receive(udp(), &cancel());
    assert_eq!(told(&seen), "200 cancel");
    let (_, ok) = sent(&seen[..1]);
    assert!(ok.contains("CSeq: 1 CANCEL") && ok.contains(";tag=ours"), "{ok}");
    assert!(matches!(seen[1], Output::Cancel { id: cancelled, .. } if cancelled == id));
    assert_eq!(told(&bench.receive(udp(), &cancel())), "200", "a copy");

    assert_eq!(told(&bench.respond(id, &request, 487)), "487");
    assert_eq!(told(&bench.receive(udp(), &cancel())), "200");
    assert_eq!(told(&bench.receive(udp(), &ack())), "");
    bench.assert_empty_after_ms(32_000);
}

#[test]
fn a_cancel_that_loses_the_race_is_answered_and_changes_nothing() {
    for code in [200, 486] {
        let mut bench = Bench::new();
        let (id, request) = bench.open(udp(), &invite());
        bench.respond(id, &request, code);
        assert_eq!(told(&bench.receive(udp(), &cancel())), "200");
    }
}

#[test]
fn a_cancel_before_any_response_of_ours_has_a_tag_and_the_same_one_when_repeated() {
    let mut bench = Bench::new();
    bench.open(tls(), &invite());
    let first = bench.receive(tls(), &cancel());
    assert_eq!(told(&first), "200 cancel");
    let (_, ok) = sent(&first[..1]);
    assert!(ok.lines().any(|line| line.starts_with("To:") && line.contains(";tag=")));
    assert_eq!(sent(&bench.receive(tls(), &cancel())).1, ok);
}

#[test]
fn a_cancel_without_its_invite_gets_481_and_one_from_another_host_too() {
    let mut bench = Bench::new();
    assert_eq!(told(&bench.receive(udp(), &cancel())), "481");
    bench.assert_empty();

    bench.open(udp(), &invite());
    let mut elsewhere = udp();
    elsewhere.remote = "203.0.113.66:5062".parse().unwrap();
    assert_eq!(told(&bench.receive(elsewhere, &cancel())), "481");
    let mut other_port = udp();
    other_port.remote.set_port(40_000);
    assert_eq!(told(&bench.receive(other_port, &cancel())), "200 cancel");
}

#[test]
fn a_cancel_never_stops_anything_but_an_invite() {
    let mut bench = Bench::new();
    bench.open(udp(), &message("OPTIONS", VIA, "", "call-1", 1));
    assert_eq!(told(&bench.receive(udp(), &cancel())), "481");
}

#[test]
fn the_same_request_by_another_path_gets_482() {
    let mut bench = Bench::new();
    let (id, request) = bench.open(udp(), &invite());
    let by_another_path =
        message("INVITE", "203.0.113.5:5060;branch=z9hG4bKother", "", "call-1", 1);
    let (_, first) = sent(&bench.receive(udp(), &by_another_path));
    assert!(first.starts_with("SIP/2.0 482 "));
    assert!(first.lines().any(|line| line.starts_with("To:") && line.contains(";tag=")));
    assert_eq!(sent(&bench.receive(udp(), &by_another_path)).1, first, "copies get the same tag");

    let next = message("INVITE", "203.0.113.5:5060;branch=z9hG4bKnext", "", "call-1", 2);
    bench.open(udp(), &next);
    bench.respond(id, &request, 486);
    bench.receive(udp(), &ack());
    bench.run_ms(5_000);
    bench.open(udp(), &by_another_path);
}

#[test]
fn a_challenged_request_may_come_again_with_the_same_cseq() {
    let mut bench = Bench::new();
    let (id, request) = bench.open(udp(), &invite());
    bench.respond(id, &request, 401);
    bench.receive(udp(), &ack());
    let again = message("INVITE", "198.51.100.7:5062;branch=z9hG4bKtwo", "", "call-1", 1);
    bench.open(udp(), &again);
}

#[test]
fn requests_within_a_dialog_are_never_taken_for_merged_ones() {
    let mut bench = Bench::new();
    for branch in ["one", "two"] {
        let via = format!("198.51.100.7:5062;branch=z9hG4bK{branch}");
        bench.open(udp(), &message("INFO", &via, "ours", "call-1", 5));
    }
}

#[test]
fn a_forgotten_request_meets_silence_in_every_form() {
    let mut bench = Bench::new();
    let (id, request) = bench.open(udp(), &invite());
    bench.table.forget(id);
    bench.assert_empty();
    for _ in 0..3 {
        for text in [invite(), cancel(), ack()] {
            assert_eq!(told(&bench.receive(udp(), &text)), "");
        }
        bench.run_ms(10_000);
    }
    assert_eq!(told(&bench.respond(id, &request, 200)), "", "it is gone");
    bench.run_ms(2_000);
    bench.open(udp(), &invite());
}

#[test]
fn the_table_says_nothing_to_a_stranger_on_its_own() {
    let mut bench = Bench::with(Limits { new_requests: 1, ..Limits::default() });
    assert_eq!(told(&bench.receive_from_stranger(udp(), &cancel())), "");
    assert_eq!(told(&bench.receive_from_stranger(udp(), &invite())), "new:INVITE");
    let other = message("INVITE", "203.0.113.5;branch=z9hG4bKother", "", "call-1", 1);
    assert_eq!(told(&bench.receive_from_stranger(udp(), &other)), "", "no 482");
    let full = message("OPTIONS", "203.0.113.5;branch=z9hG4bKmore", "", "call-9", 1);
    assert_eq!(told(&bench.receive_from_stranger(udp(), &full)), "", "no 503");
}

#[test]
fn a_stateless_answer_goes_out_once_and_leaves_nothing() {
    let mut bench = Bench::new();
    let (id, request) = bench.open(udp(), &invite());
    bench.table.respond_statelessly(id, response(&request, 401));
    assert_eq!(told(&bench.drain()), "401");
    bench.assert_empty();
    assert_eq!(told(&bench.receive(udp(), &invite())), "new:INVITE", "if the 401 was lost");
}

#[test]
fn past_the_limit_new_requests_get_503_and_dialogs_go_on() {
    let limits = Limits { new_requests: 2, server_transactions: 3, ..Limits::default() };
    let mut bench = Bench::with(limits);
    let one = |n: u32, to_tag: &str| {
        let via = format!("198.51.100.7:5062;branch=z9hG4bK{n}");
        message("OPTIONS", &via, to_tag, &format!("call-{n}"), 1)
    };
    bench.open(udp(), &one(1, ""));
    bench.open(udp(), &one(2, ""));
    let (_, refusal) = sent(&bench.receive(udp(), &one(3, "")));
    assert!(refusal.starts_with("SIP/2.0 503 "));
    assert!(refusal.contains("Retry-After: 5"));
    assert_eq!(bench.table.len(), 2);
    bench.open(udp(), &one(4, "ours"));
    assert_eq!(told(&bench.receive(udp(), &one(5, "ours"))), "503");
    assert_eq!(bench.table.len(), 3);
    assert_eq!(told(&bench.receive(udp(), &one(1, ""))), "", "known ones are still absorbed");
}

#[test]
fn a_full_table_still_cancels() {
    let limits = Limits { new_requests: 1, server_transactions: 1, ..Limits::default() };
    let mut bench = Bench::with(limits);
    bench.open(udp(), &invite());
    assert_eq!(told(&bench.receive(udp(), &cancel())), "200 cancel");
    assert_eq!(told(&bench.receive(udp(), &cancel())), "200");
    assert_eq!(bench.table.len(), 1);
}

#[test]
fn past_its_limit_a_request_of_ours_fails_at_once() {
    let mut bench = Bench::with(Limits { client_transactions: 1, ..Limits::default() });
    let (_, invite) = bench.open(tls(), &invite());
    for wanted in ["OPTIONS", "failed:TransportError"] {
        let request = Request::new(Method::Options, invite.uri.clone());
        bench.table.send_request(bench.now, udp(), request, "192.0.2.10:5060");
        assert_eq!(told(&bench.drain()), wanted);
    }
}

#[test]
fn responses_take_the_way_rfc_3581_and_18_2_2_say() {
    let source = udp().remote;
    for (via, received, port) in [
        ("198.51.100.7:5062;branch=z9hG4bKa", "", 5062),
        ("198.51.100.7:5070;branch=z9hG4bKa", "", 5070),
        ("198.51.100.7;branch=z9hG4bKa", "", 5060),
        ("10.0.0.1:5080;branch=z9hG4bKa", ";received=198.51.100.7", 5080),
        ("pbx.example:5080;branch=z9hG4bKa", ";received=198.51.100.7", 5080),
        ("10.0.0.1:5080;branch=z9hG4bKa;received=203.0.113.9", ";received=198.51.100.7", 5080),
        ("198.51.100.7:9;branch=z9hG4bKa;maddr=203.0.113.9", "", 9),
    ] {
        let mut bench = Bench::new();
        let (id, request) = bench.open(udp(), &message("OPTIONS", via, "", "call-1", 1));
        assert_eq!(bench.table.reply_flow(id).unwrap().remote.port(), port);
        let (to, text) = sent(&bench.respond(id, &request, 200));
        assert_eq!((to.remote.ip(), to.remote.port()), (source.ip(), port), "{via}");
        let line = text.lines().find(|line| line.starts_with("Via:")).unwrap().to_owned();
        assert!(line.contains(received), "{line}");
        assert_eq!(line.matches("received").count(), usize::from(!received.is_empty()), "{line}");
        assert!(!line.contains("rport"), "{line}");
    }
    for via in ["10.0.0.1:5080;rport;branch=z9hG4bKa", "198.51.100.7;branch=z9hG4bKa;rport=1"] {
        let mut bench = Bench::new();
        let (id, request) = bench.open(udp(), &message("OPTIONS", via, "", "call-1", 1));
        let (to, text) = sent(&bench.respond(id, &request, 200));
        assert_eq!(to.remote, source);
        assert!(text.contains(";received=198.51.100.7") && text.contains(";rport=5062"), "{text}");
    }
    let mut bench = Bench::new();
    let text = message("OPTIONS", "10.0.0.1:5080;branch=z9hG4bKa", "", "call-1", 1);
    let (id, request) = bench.open(tls(), &text);
    assert_eq!(sent(&bench.respond(id, &request, 200)).0, tls(), "the same connection");
}

#[test]
fn a_broken_connection_ends_what_waits_on_it_and_spares_an_answered_call() {
    let mut bench = Bench::new();
    let (talking, request) = bench.open(tls(), &invite());
    bench.respond(talking, &request, 200);
    let ringing = message("INVITE", "198.51.100.7;branch=z9hG4bKr", "", "call-2", 1);
    bench.open(tls(), &ringing);
    let options = Request::new(Method::Options, request.uri.clone());
    bench.table.send_request(bench.now, tls(), options, "192.0.2.10:5061");
    assert_eq!(told(&bench.drain()), "OPTIONS");
    let elsewhere = message("INVITE", "198.51.100.7;branch=z9hG4bKe", "", "call-3", 1);
    bench.open(udp(), &elsewhere);

    bench.table.handle_transport_error(bench.now, tls());
    assert_eq!(told(&bench.drain()), "failed:TransportError failed:TransportError");
    assert_eq!(bench.table.len(), 2);
    bench.table.handle_transport_error(bench.now, tls());
    assert_eq!(told(&bench.drain()), "");
}

#[test]
fn a_request_that_is_abandoned_is_not_repeated_and_its_answer_is_nobodys() {
    let mut bench = Bench::new();
    let theirs = message("OPTIONS", "198.51.100.7;branch=z9hG4bKo", "", "call-1", 1);
    let (server, request) = bench.open(udp(), &theirs);
    let mut options = request.clone();
    options.headers.remove(&HeaderName::Via);
    let id = bench.table.send_request(bench.now, udp(), options, "192.0.2.10:5060");
    let (_, asked) = sent(&bench.drain());
    bench.table.abandon(server);
    assert_eq!(bench.table.len(), 2, "only a request of ours can be abandoned");
    bench.table.abandon(id);
    bench.table.abandon(id);
    assert_eq!(bench.table.len(), 1);
    let Message::Request(asked) = parse(&asked.replace('\r', "")) else { panic!("a request") };
    let late = Response::to_request(&asked, StatusCode::OK, None).write();
    let late = String::from_utf8(late.to_vec()).unwrap().replace('\r', "");
    assert_eq!(told(&bench.receive(udp(), &late)), "");
}

#[test]
fn peers_of_rfc_2543_are_matched_without_a_branch() {
    for branch in ["", ";branch=1", ";branch=z9hG4bK"] {
        let via = format!("198.51.100.7:5062{branch}");
        let mut bench = Bench::new();
        let invite = message("INVITE", &via, "", "call-1", 1);
        let (id, request) = bench.open(udp(), &invite);
        assert_eq!(told(&bench.receive(udp(), &invite)), "");
        bench.respond(id, &request, 486);
        assert_eq!(told(&bench.receive(udp(), &invite)), "486");
        assert_eq!(told(&bench.receive(udp(), &message("CANCEL", &via, "", "call-1", 1))), "200");
        let ack = message("ACK", &via, "ours", "call-1", 1);
        assert_eq!(told(&bench.receive(udp(), &ack)), "");
        assert!(bench.run_ms(32_000).is_empty(), "the ACK was matched");

        let reinvite = message("INVITE", &via, "ours", "call-1", 2);
        let (id, request) = bench.open(udp(), &reinvite);
        bench.respond(id, &request, 488);
        assert_eq!(told(&bench.receive(udp(), &message("ACK", &via, "ours", "call-1", 2))), "");
        assert!(bench.run_ms(5_000).is_empty());
        bench.assert_empty();
    }
}

#[test]
fn one_branch_for_everything_still_makes_one_transaction_a_request() {
    let mut bench = Bench::new();
    bench.open(udp(), &invite());
    bench.open(udp(), &message("INVITE", VIA, "", "call-2", 1));
    bench.open(udp(), &message("INVITE", VIA, "", "call-1", 2));
    bench.open(udp(), &message("BYE", VIA, "ours", "call-1", 3));
}

#[test]
fn hostile_messages_do_nothing_worse_than_getting_an_answer() {
    let mut bench = Bench::new();
    for text in [
        ack(),
        message("ACK", "198.51.100.7", "", "nobody", 1),
        "SIP/2.0 200 OK\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKx\nFrom: <sip:a@b>;tag=1\n\
         To: <sip:a@b>;tag=2\nCall-ID: x\nCSeq: 1 BYE\nContent-Length: 0\n\n"
            .to_owned(),
        "SIP/2.0 200 OK\nVia: SIP/2.0/UDP 192.0.2.10\nFrom: <sip:a@b>;tag=1\n\
         To: <sip:a@b>;tag=2\nCall-ID: x\nCSeq: 1 INVITE\nContent-Length: 0\n\n"
            .to_owned(),
    ] {
        assert!(matches!(told(&bench.receive(udp(), &text)).as_str(), "" | "ack"));
        bench.assert_empty();
    }
    // The parser lets none of these through; the table does not rely on it.
    for (header, value) in [
        (HeaderName::Via, "nonsense"),
        (HeaderName::CSeq, "1 BYE"),
        (HeaderName::CSeq, "none"),
        (HeaderName::From, "<"),
        (HeaderName::To, "<"),
    ] {
        for method in ["ACK", "INVITE", "CANCEL", "OPTIONS"] {
            let Message::Request(mut request) = parse(&message(method, VIA, "", "call-1", 1))
            else {
                panic!("a request")
            };
            let has_via = header != HeaderName::Via;
            request.headers.set(header.clone(), value);
            bench.table.handle_message(bench.now, udp(), Message::Request(request));
            let wanted = if has_via && method != "ACK" { "400" } else { "" };
            assert_eq!(told(&bench.drain()), wanted, "{method} with {header}: {value}");
            bench.assert_empty();
        }
    }
}

#[test]
fn a_message_too_broken_for_a_transaction_is_answered_where_it_came_from() {
    let text = message("OPTIONS", "10.0.0.1:5080;rport;branch=z9hG4bKa", "", "call-1", 1)
        .replace("Content-Length: 0", "Content-Length: 9")
        .replace('\n', "\r\n");
    let malformed = Message::parse(&Bytes::from(text)).unwrap_err();
    let mut bench = Bench::new();
    bench.table.handle_malformed(udp(), malformed);
    let (to, text) = sent(&bench.drain());
    assert_eq!(to, udp());
    assert!(text.starts_with("SIP/2.0 400 ") && text.contains(";received=198.51.100.7"), "{text}");
}

#[test]
fn ten_thousand_transactions_cost_one_look_a_deadline() {
    let mut bench = Bench::new();
    for n in 0..10_000 {
        let via = format!("198.51.100.7:5062;branch=z9hG4bK{n}");
        let text = message("OPTIONS", &via, "", &format!("call-{n}"), 1);
        let (id, request) = bench.open(udp(), &text);
        bench.respond(id, &request, 200);
        bench.now += Duration::from_micros(100);
    }
    assert_eq!(bench.table.poll_timeout(), Some(bench.start + TRANSACTION_TIMEOUT));
    bench.assert_empty_after_ms(32_000);
}
