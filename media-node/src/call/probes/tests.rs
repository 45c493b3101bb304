//! The probes inside a switchboard, on a network that does as each test says, in virtual time.
#![expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]

use std::collections::{BTreeMap, HashMap};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use rustls::pki_types::UnixTime;

use super::*;
use crate::call::{Setup, Switchboard};
use crate::config::read::Files;
use crate::config::{Manifests, Transport as Over};
use crate::random::Seeded;
use crate::sip::{Message, StatusCode};

const SECOND: Duration = Duration::from_secs(1);
const DIAL_TAKES: Duration = Duration::from_millis(10);
const ANSWER_TAKES: Duration = Duration::from_millis(41);
const HERE: &str = "192.0.2.10";

/// What a server does when it is asked; one that is not named answers 200.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Answers(u16),
    Keeps,
    Fails(DialStep),
    /// The connection breaks under each question.
    Breaks,
    /// The connection breaks under the first question.
    BreaksOnce,
}

enum Arrival {
    Dialled(DialKey, Result<Flow, DialFailure>),
    Bytes(Flow, Bytes),
    Broken(Flow),
}

struct Net {
    node: Switchboard,
    start: Instant,
    now: Instant,
    does: HashMap<String, Does>,
    /// Whether what is sent to our own address comes back.
    loops_back: bool,
    arrivals: BTreeMap<(Instant, u64), Arrival>,
    /// Flow id of each server.
    flows: Vec<String>,
    asked: Vec<(Instant, String, Request)>,
    dials: Vec<(Instant, Target)>,
    hangups: Vec<Flow>,
    /// (trunk, server, reason, changed)
    probed: Vec<(String, String, Reason, bool)>,
    options: BTreeMap<String, OptionsView>,
    advertised: Vec<AdvertisedView>,
    strangers: usize,
    sequence: u64,
}

fn pool(more: &str) -> String {
    format!(
        "apiVersion: trunkline.dev/v1alpha1\nkind: MediaPool\nmetadata: {{name: default}}\n\
         spec: {{exposure: {{address: {{source: Static, static: ['{HERE}']}}{more}}}}}\n"
    )
}

fn trunk(name: &str, transport: &str, outbound: &str) -> String {
    format!(
        "---\napiVersion: trunkline.dev/v1alpha1\nkind: Trunk\nmetadata: {{name: {name}}}\n\
         spec: {{transport: {transport}, outbound: {{{outbound}}}}}\n"
    )
}

pub(super) fn config(manifests: &str) -> Arc<Config> {
    let files: Files = [("a.yaml".to_owned(), manifests.as_bytes().to_vec())].into_iter().collect();
    let config = Manifests::default().load(&files, UnixTime::since_unix_epoch(SECOND));
    assert_eq!(config.rejected, [], "the manifests of this test are good");
    config
}

/// A node that has just begun.
pub(super) fn switchboard(start: Instant, manifests: &str, advertised: Advertised) -> Switchboard {
    Switchboard::new(Setup {
        config: config(manifests),
        advertised,
        slot: None,
        peers: Default::default(),
        rtp_ports: (20000, 20010),
        random: Box::new(Seeded::new(5)),
        transaction_random: Box::new(Seeded::new(6)),
        pool_key: vec![7; 32],
        epoch: (start, UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
    })
}

impl Net {
    fn new(manifests: &str) -> Self {
        Self::advertising(manifests, &[HERE])
    }

    fn advertising(manifests: &str, public: &[&str]) -> Self {
        let start = Instant::now();
        let node = switchboard(start, manifests, told(public));
        let mut net = Self {
            node,
            start,
            now: start,
            does: HashMap::new(),
            loops_back: true,
            arrivals: BTreeMap::new(),
            flows: Vec::new(),
            asked: Vec::new(),
            dials: Vec::new(),
            hangups: Vec::new(),
            probed: Vec::new(),
            options: BTreeMap::new(),
            advertised: Vec::new(),
            strangers: 0,
            sequence: 0,
        };
        net.perform();
        net
    }

    fn with(mut self, server: &str, does: Does) -> Self {
        self.does.insert(server.to_owned(), does);
        self
    }

    fn configure(&mut self, manifests: &str) {
        self.node.handle_config(self.now, config(manifests));
        self.perform();
    }

    fn advertise(&mut self, public: &[&str]) {
        self.node.handle_advertised(self.now, told(public));
        self.perform();
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let arrival = self.arrivals.keys().next().map(|(at, _)| *at);
            let next = [arrival, self.node.poll_timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, arrival) = self.arrivals.pop_first().expect("seen above");
                match arrival {
                    Arrival::Dialled(dial, result) => {
                        self.node.handle_dialled(self.now, dial, result);
                    }
                    Arrival::Bytes(flow, bytes) => self.node.handle_bytes(self.now, flow, &bytes),
                    Arrival::Broken(flow) => self.node.handle_transport_error(self.now, flow),
                }
            } else {
                self.node.handle_timeout(self.now);
                let after = self.node.poll_timeout();
                assert!(after.is_none_or(|after| after > self.now), "it runs hot");
            }
            self.perform();
        }
        self.now = end;
    }

    fn perform(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Dial { dial, target, families } => {
                    assert!(families.ipv4);
                    self.dials.push((self.now, target.clone()));
                    let result = self.dialled(&target);
                    self.arrive(DIAL_TAKES, Arrival::Dialled(dial, result));
                }
                Output::Transmit { flow, bytes } => self.transmit(flow, bytes),
                Output::Hangup { flow } => self.hangups.push(flow),
                Output::Probed { trunk, server, reason, changed, .. } => {
                    self.probed.push((trunk, server, reason, changed));
                }
                Output::Reachable { trunk, options: Some(options) } => {
                    self.options.insert(trunk, *options);
                }
                Output::Reachable { trunk, options: None } => {
                    self.options.remove(&trunk);
                }
                Output::SelfChecked(advertised) => self.advertised = advertised,
                Output::Stranger { .. } => self.strangers += 1,
                _ => panic!("no other output belongs to probes"),
            }
        }
    }

    fn dialled(&mut self, target: &Target) -> Result<Flow, DialFailure> {
        let transport = target.transport();
        let local = format!("{HERE}:5060").parse().unwrap();
        let (id, remote) = match target {
            Target::Own { address, .. } => (0, *address),
            Target::Carrier(server) => {
                let name = server.to_string();
                if let Some(Does::Fails(step)) = self.does.get(&name) {
                    let text = "as the test says".to_owned();
                    return Err(DialFailure { step: *step, text });
                }
                self.flows.push(name);
                let remote = SocketAddr::from(([198, 51, 100, 1], server.port()));
                (self.flows.len() as u64, remote)
            }
        };
        Ok(Flow { holder: None, id, transport, local, remote })
    }

    fn transmit(&mut self, flow: Flow, bytes: Bytes) {
        if flow.id == 0 {
            if self.loops_back {
                self.arrive(DIAL_TAKES, Arrival::Bytes(flow, bytes));
            }
            return;
        }
        let Ok(Message::Request(request)) = Message::parse(&bytes) else {
            panic!("carriers are only asked here");
        };
        let name = self.flows[flow.id as usize - 1].clone();
        self.asked.push((self.now, name.clone(), request.clone()));
        match self.does.get(&name).copied().unwrap_or(Does::Answers(200)) {
            Does::Answers(status) => {
                let status = StatusCode::new(status).unwrap();
                let mut response = Response::to_request(&request, status, Some("Their words"));
                response.headers.add_to_tag("theirs");
                self.arrive(ANSWER_TAKES, Arrival::Bytes(flow, response.write()));
            }
            Does::Keeps => {}
            Does::Breaks | Does::BreaksOnce => {
                if self.does[&name] == Does::BreaksOnce {
                    self.does.remove(&name);
                }
                self.arrive(DIAL_TAKES, Arrival::Broken(flow));
            }
            Does::Fails(_) => unreachable!("no flow leads there"),
        }
    }

    fn arrive(&mut self, after: Duration, arrival: Arrival) {
        self.sequence += 1;
        self.arrivals.insert((self.now + after, self.sequence), arrival);
    }

    fn carriers_dialled(&self) -> Vec<(Duration, String)> {
        let carrier = |(at, target): &(Instant, Target)| match target {
            Target::Carrier(server) => Some((*at - self.start, server.to_string())),
            Target::Own { .. } => None,
        };
        self.dials.iter().filter_map(carrier).collect()
    }

    fn reasons(&self) -> Vec<(Reason, bool)> {
        self.probed.iter().map(|(_, _, reason, changed)| (*reason, *changed)).collect()
    }
}

fn told(public: &[&str]) -> Advertised {
    let public: Vec<IpAddr> = public.iter().map(|it| it.parse().unwrap()).collect();
    Advertised::both(&public)
}

const ONE: &str = "addresses: [sip.carrier.example]";

#[test]
fn a_server_is_asked_soon_and_then_every_period_or_so() {
    let mut net = Net::new(&(pool("") + &trunk("out", "TLS", ONE)));
    net.run(Duration::from_secs(600));
    let times: Vec<_> = net.carriers_dialled().into_iter().map(|(at, _)| at).collect();
    assert!(times[0] <= 2 * SECOND, "{times:?}");
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() >= 18, "{gaps:?}");
    assert!(gaps.iter().all(|gap| (27 * SECOND..=33 * SECOND).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap != gaps[0]), "spread, not in step: {gaps:?}");
    assert_eq!(net.options.len(), 1);
    let options = &net.options["out"];
    assert_eq!((options.ok, options.rtt_milliseconds), (true, Some(41)));
    assert_eq!(options.message, "OPTIONS 200 in 41 ms");
    assert_eq!(options.server, "sip.carrier.example");
    let changes = net.probed.iter().filter(|probed| probed.3).count();
    assert_eq!(changes, 1, "what stays as it is is told once");
}

#[test]
fn the_question_is_an_options_by_rfc_3261() {
    for (transport, param, port) in
        [("UDP", "", 5060), ("TCP", ";transport=tcp", 5060), ("TLS", ";transport=tls", 5061)]
    {
        let addresses = "addresses: ['[2001:db8::7]:5080']";
        let mut net = Net::new(&(pool("") + &trunk("out", transport, addresses)));
        net.run(5 * SECOND);
        let request = &net.asked[0].2;
        let line = |name| request.headers.text(&name).unwrap_or_default().into_owned();
        assert_eq!(request.uri.to_string(), format!("sip:[2001:db8::7]:5080{param}"));
        assert_eq!(line(HeaderName::MaxForwards), "70");
        assert_eq!(line(HeaderName::CSeq), "1 OPTIONS");
        assert_eq!(line(HeaderName::Contact), format!("<sip:{HERE}:{port}{param}>"));
        assert_eq!(line(HeaderName::To), format!("<sip:[2001:db8::7]:5080{param}>"));
        assert!(line(HeaderName::From).starts_with(&format!("<sip:{HERE}:{port}>;tag=")));
        let via = line(HeaderName::Via);
        assert!(via.starts_with(&format!("SIP/2.0/{transport} {HERE}:{port};")), "{via}");
        assert_eq!(line(HeaderName::Accept), "application/sdp");
        request.check().unwrap();
    }
}

#[test]
fn any_final_answer_shows_a_carrier_but_408_and_503() {
    for (status, reason, message) in [
        (200, Reason::OptionsOk, "OPTIONS 200 in 41 ms"),
        (302, Reason::OptionsOk, "OPTIONS 302 in 41 ms"),
        (401, Reason::OptionsOk, "OPTIONS 401 in 41 ms"),
        (403, Reason::OptionsOk, "OPTIONS 403 in 41 ms"),
        (405, Reason::OptionsOk, "OPTIONS 405 in 41 ms"),
        (481, Reason::OptionsOk, "OPTIONS 481 in 41 ms"),
        (500, Reason::OptionsOk, "OPTIONS 500 in 41 ms"),
        (603, Reason::OptionsOk, "OPTIONS 603 in 41 ms"),
        (408, Reason::OptionsTimeout, "OPTIONS 408 Request Timeout in 41 ms"),
        (503, Reason::Rejected, "OPTIONS 503 Service Unavailable in 41 ms"),
    ] {
        let net = Net::new(&(pool("") + &trunk("out", "UDP", ONE)));
        let mut net = net.with("sip.carrier.example", Does::Answers(status));
        net.run(5 * SECOND);
        let options = &net.options["out"];
        assert_eq!((options.reason, options.ok), (reason, reason.is_ok()), "{status}");
        assert_eq!(options.message, message);
    }
}

#[test]
fn silence_is_a_timeout_after_ten_seconds_and_the_connection_is_given_up() {
    for (transport, hangups) in [("UDP", 0), ("TLS", 1)] {
        let net = Net::new(&(pool("") + &trunk("out", transport, ONE)));
        let mut net = net.with("sip.carrier.example", Does::Keeps);
        net.run(10 * SECOND);
        assert_eq!(net.probed, [], "{transport}");
        net.run(2 * SECOND + DIAL_TAKES);
        assert_eq!(net.reasons(), [(Reason::OptionsTimeout, true)], "{transport}");
        let options = &net.options["out"];
        assert_eq!(options.message, "no answer to OPTIONS within 10 s");
        assert_eq!((options.ok, options.rtt_milliseconds), (false, None));
        let given_up = net.hangups.iter().filter(|flow| flow.id > 0).count();
        assert_eq!(given_up, hangups, "{transport}");

        // Copies end with the question, not half a minute later.
        let copies = net.asked.len();
        net.run(8 * SECOND);
        assert_eq!(net.asked.len(), copies, "{transport}");

        // It comes back, and goes again: each is told once.
        net.does.clear();
        net.run(70 * SECOND);
        net.does.insert("sip.carrier.example".into(), Does::Keeps);
        net.run(150 * SECOND);
        let changes: Vec<_> =
            net.reasons().into_iter().filter(|it| it.1).map(|(reason, _)| reason).collect();
        let timeout = Reason::OptionsTimeout;
        assert_eq!(changes, [timeout, Reason::OptionsOk, timeout], "{transport}");
    }
}

#[test]
fn no_way_there_is_told_by_its_step() {
    for (step, reason) in [
        (DialStep::Resolve, Reason::DnsFailed),
        (DialStep::Connect, Reason::ConnectFailed),
        (DialStep::Handshake, Reason::TlsHandshakeFailed),
    ] {
        let net = Net::new(&(pool("") + &trunk("out", "TLS", ONE)));
        let mut net = net.with("sip.carrier.example", Does::Fails(step));
        net.run(5 * SECOND);
        assert_eq!(net.reasons(), [(reason, true)]);
        assert_eq!(net.options["out"].message, "as the test says");
    }
}

#[test]
fn a_connection_that_broke_under_the_question_is_opened_once_more() {
    let manifests = pool("") + &trunk("out", "TCP", ONE);
    let mut net = Net::new(&manifests).with("sip.carrier.example", Does::BreaksOnce);
    net.run(5 * SECOND);
    assert_eq!(net.reasons(), [(Reason::OptionsOk, true)]);
    assert_eq!(net.carriers_dialled().len(), 2);

    let mut net = Net::new(&manifests).with("sip.carrier.example", Does::Breaks);
    net.run(5 * SECOND);
    assert_eq!(net.reasons(), [(Reason::ConnectFailed, true)]);
    assert_eq!(net.carriers_dialled().len(), 2);
}

#[test]
fn the_first_server_that_answers_speaks_for_the_trunk() {
    let servers = "addresses: [one.example, two.example, three.example]";
    let net = Net::new(&(pool("") + &trunk("out", "UDP", servers)));
    let mut net = net.with("one.example", Does::Fails(DialStep::Resolve));
    net.run(5 * SECOND);
    let asked: Vec<_> = net.carriers_dialled().into_iter().map(|(_, server)| server).collect();
    assert_eq!(asked.len(), 3, "each has a state of its own: {asked:?}");
    let shown = |net: &Net| {
        let options = &net.options["out"];
        (options.server.clone(), options.reason)
    };
    assert_eq!(shown(&net), ("two.example".into(), Reason::OptionsOk));

    net.does.insert("two.example".into(), Does::Answers(503));
    net.does.insert("three.example".into(), Does::Answers(503));
    net.run(40 * SECOND);
    assert_eq!(shown(&net), ("one.example".into(), Reason::DnsFailed), "none: the first");

    net.does.clear();
    net.run(40 * SECOND);
    assert_eq!(shown(&net), ("one.example".into(), Reason::OptionsOk));
}

#[test]
fn a_server_that_stays_keeps_its_state_and_one_that_goes_is_not_asked() {
    let two = "addresses: [one.example, two.example]";
    let mut net = Net::new(&(pool("") + &trunk("out", "UDP", two)));
    net.run(5 * SECOND);
    assert_eq!(net.probed.len(), 2);

    net.configure(&(pool("") + &trunk("out", "UDP", "addresses: [two.example, three.example]")));
    assert_eq!(net.options["out"].server, "two.example", "known since before");
    net.run(5 * SECOND);
    assert_eq!(net.probed.len(), 3, "only the new one is asked at once");
    net.run(60 * SECOND);
    assert!(net.carriers_dialled()[3..].iter().all(|(_, server)| server != "one.example"));

    // Another transport is another server.
    net.configure(&(pool("") + &trunk("out", "TLS", "addresses: [two.example]")));
    assert!(net.options.is_empty());
    net.run(5 * SECOND);
    assert_eq!(net.options["out"].server, "two.example");
    let Target::Carrier(server) = &net.dials.last().unwrap().1 else { panic!("a carrier") };
    assert_eq!(server.transport, Over::Tls);

    for gone in [String::new(), trunk("out", "TLS", "addresses: [a.b], optionsPeriodSeconds: 0")] {
        net.configure(&(pool("") + &trunk("out", "TLS", "addresses: [two.example]")));
        net.run(5 * SECOND);
        let (count, known) = (net.dials.len(), net.options.len());
        assert_eq!(known, 1);
        net.configure(&(pool("") + &gone));
        assert!(net.options.is_empty());
        net.run(300 * SECOND);
        assert_eq!(net.dials.len(), count);
    }
    assert!(net.node.poll_timeout().is_none(), "nothing is left to wait for");
}

#[test]
fn a_trunk_that_goes_while_it_is_asked_leaves_nothing() {
    for does in [Does::Keeps, Does::Answers(200)] {
        let net = Net::new(&(pool("") + &trunk("out", "UDP", ONE)));
        let mut net = net.with("sip.carrier.example", does);
        while net.asked.is_empty() {
            net.run(DIAL_TAKES);
        }
        net.configure(&pool(""));
        net.run(60 * SECOND);
        assert_eq!((net.probed.len(), net.options.len()), (0, 0));
        assert!(net.node.poll_timeout().is_none());
    }
}

#[test]
fn many_servers_are_asked_a_few_at_a_time() {
    let trunks: String = (0..1000).map(|n| trunk(&format!("t{n}"), "UDP", ONE)).collect();
    let net = Net::new(&(pool("") + &trunks));
    let mut net = net.with("sip.carrier.example", Does::Keeps);
    net.run(9 * SECOND);
    assert_eq!(net.carriers_dialled().len(), 256);
    net.does.clear();
    net.run(30 * SECOND);
    assert_eq!(net.options.len(), 1000, "everybody has had a turn");
}

#[test]
fn without_an_address_to_name_nobody_is_asked() {
    let mut net = Net::advertising(
        "---\napiVersion: trunkline.dev/v1alpha1\nkind: Trunk\nmetadata: {name: out}\n\
         spec: {transport: UDP, outbound: {addresses: [sip.carrier.example]}}\n",
        &[],
    );
    net.run(60 * SECOND);
    assert_eq!((net.dials.len(), net.node.poll_timeout()), (0, None));
    net.advertise(&[HERE]);
    net.run(SECOND);
    assert!(net.options["out"].ok);
    assert_eq!(net.advertised[0].reaches_us, Some(true));
}

fn checked(net: &Net) -> Vec<(String, Option<bool>)> {
    net.advertised.iter().map(|view| (view.address.to_string(), view.reaches_us)).collect()
}

#[test]
fn an_options_of_ours_that_comes_back_proves_the_address() {
    let mut net = Net::new(&pool(""));
    assert_eq!(checked(&net), [(HERE.into(), None)]);
    net.run(SECOND);
    assert_eq!(checked(&net), [(HERE.into(), Some(true))]);
    assert_eq!(net.advertised[0].message, "192.0.2.10:5060 over UDP leads to this node");
    assert_eq!(net.strangers, 0, "we are no stranger to ourselves");
    net.run(60 * SECOND);
    assert_eq!(net.dials.len(), 1, "asked once");
    assert!(net.node.poll_timeout().is_none());

    // A new address is checked, an old one is not asked again.
    net.loops_back = false;
    net.advertise(&[HERE, "192.0.2.11"]);
    net.run(SECOND);
    assert_eq!(checked(&net), [(HERE.into(), Some(true)), ("192.0.2.11".into(), None)]);
    net.run(3 * SECOND);
    assert_eq!(checked(&net)[1], ("192.0.2.11".into(), Some(false)));
    assert!(net.advertised[1].message.contains("nothing arrived within 3 s"));
    assert_eq!(net.dials.len(), 2);
    net.advertise(&[]);
    assert!(net.advertised.is_empty());
}

#[test]
fn the_check_goes_the_way_that_trunks_need() {
    let transport = |net: &Net| net.dials[0].1.transport();
    let mut net = Net::new(&(pool("") + &trunk("out", "TLS", "addresses: [a.example]")));
    net.run(SECOND / 100);
    assert_eq!(transport(&net), Transport::Tls);
    net.run(SECOND);
    assert_eq!(checked(&net), [(HERE.into(), Some(true))]);
    assert_eq!(net.hangups.len(), 1, "the handshake was enough");
    assert_eq!(net.advertised[0].message, "192.0.2.10:5061 over TLS leads to this node");

    let only_tcp = ", sip: {udp: 0, tcp: 5070, tls: 0}";
    let mut net = Net::new(&pool(only_tcp));
    net.run(SECOND);
    assert_eq!((transport(&net), checked(&net)[0].1), (Transport::Tcp, Some(true)));
    assert_eq!(net.hangups.len(), 1);
}

#[test]
fn behind_load_balancers_the_address_of_sip_is_asked_over_tls_and_that_of_audio_is_only_shown() {
    let mut net = Net::advertising(
        "apiVersion: trunkline.dev/v1alpha1\nkind: MediaPool\nmetadata: {name: default}\nspec: {exposure: \
         {mode: LoadBalancer, media: {portsPerPod: 8}, address: {source: LoadBalancer}}}\n",
        &[],
    );
    let told = |sip: &[&str], media: &[&str]| {
        let of = |list: &[&str]| list.iter().map(|it| it.parse().unwrap()).collect();
        Advertised { sip: of(sip), media: of(media), private: Vec::new() }
    };
    let views = |net: &Net| {
        let view =
            |it: &AdvertisedView| (it.address.to_string(), it.carries.clone(), it.reaches_us);
        net.advertised.iter().map(view).collect::<Vec<_>>()
    };
    let audio = ("192.0.2.2".to_owned(), vec![Traffic::Media], None);
    net.node.handle_advertised(net.now, told(&[], &["192.0.2.2"]));
    net.perform();
    net.run(40 * SECOND);
    assert_eq!((net.dials.len(), views(&net)), (0, vec![audio.clone()]));

    net.node.handle_advertised(net.now, told(&["192.0.2.1"], &["192.0.2.2"]));
    net.perform();
    net.run(40 * SECOND);
    let sip = ("192.0.2.1".to_owned(), vec![Traffic::Sip], Some(true));
    assert_eq!(views(&net), [sip, audio]);
    assert_eq!(net.advertised[0].message, "192.0.2.1:5061 over TLS leads to this node");

    // One that carried audio alone was never asked.
    net.node.handle_advertised(net.now, told(&["192.0.2.2"], &["192.0.2.2"]));
    net.perform();
    net.run(40 * SECOND);
    let both = ("192.0.2.2".to_owned(), vec![Traffic::Sip, Traffic::Media], Some(true));
    assert_eq!(views(&net), [both]);
}

#[test]
fn a_stranger_with_a_guess_is_no_proof() {
    let mut net = Net::new(&pool(""));
    net.loops_back = false;
    net.run(SECOND);
    let text = "OPTIONS sip:192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.9;branch=z9hG4bKa\r\n\
                From: <sip:a@b>;tag=1\r\nTo: <sip:192.0.2.10>\r\nCall-ID: guess\r\nCSeq: 1 OPTIONS\r\n\r\n";
    let (local, remote) = (format!("{HERE}:5060"), "198.51.100.9:5060");
    let flow = Flow {
        holder: None,
        id: 0,
        transport: Transport::Udp,
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
    };
    net.node.handle_bytes(net.now, flow, &Bytes::from_static(text.as_bytes()));
    net.perform();
    net.run(3 * SECOND);
    assert_eq!((net.strangers, checked(&net)[0].1), (1, Some(false)));
}

#[test]
fn the_words_are_those_of_the_condition() {
    use trunkline_crds::conditions::reasons;
    for (reason, word) in [
        (Reason::OptionsOk, reasons::OPTIONS_OK),
        (Reason::OptionsTimeout, reasons::OPTIONS_TIMEOUT),
        (Reason::Rejected, reasons::REJECTED),
        (Reason::ConnectFailed, reasons::CONNECT_FAILED),
        (Reason::TlsHandshakeFailed, reasons::TLS_HANDSHAKE_FAILED),
        (Reason::DnsFailed, reasons::DNS_FAILED),
    ] {
        assert_eq!(reason.as_str(), word);
        assert_eq!(serde_json::to_value(reason).unwrap(), word);
    }
}
