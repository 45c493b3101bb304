//! Two nodes of one pool: what a carrier sends to the wrong one reaches the one whose call it is.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use trunkline_tests::manifests::{NodePorts, agent, trunk};
use trunkline_tests::node::{Node, run_directory};
use trunkline_tests::ports;
use trunkline_tests::process::wait_until;
use trunkline_tests::sip::{Dialog, Message, take_message};

use crate::site::{EchoAgent, SOON};

/// Ports of one node's media.
const PORTS_PER_POD: u16 = 40;
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                     m=audio 9 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

/// Two nodes as an operator makes them: a rendered configuration with a token, slots, pod info.
struct Pool {
    directory: PathBuf,
    nodes: Vec<Node>,
    ports: Vec<NodePorts>,
}

impl Pool {
    /// Each node has SIP ports of its own, as pods have addresses of their own.
    fn apart(test: &str, agent_url: &str) -> Self {
        let media = (ports::free_block(2 * PORTS_PER_POD), 2 * PORTS_PER_POD);
        let ports = [0, 1].map(|_| NodePorts { media, ..NodePorts::free(1) });
        let admins = [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2)];
        Self::start(test, agent_url, ports, admins)
    }

    /// Both nodes have the same, as pods on the network of one node.
    fn together(test: &str, agent_url: &str) -> Self {
        let media = (ports::free_block(2 * PORTS_PER_POD), 2 * PORTS_PER_POD);
        let ports = NodePorts { media, ..NodePorts::free(1) };
        Self::start(test, agent_url, [ports; 2], [Ipv4Addr::LOCALHOST; 2])
    }

    fn start(test: &str, url: &str, ports: [NodePorts; 2], admins: [Ipv4Addr; 2]) -> Self {
        let directory = run_directory("interop", test);
        let nodes: Vec<_> = [0, 1]
            .map(|slot| {
                let (name, ports) = (format!("node-{slot}"), ports[slot]);
                let home = directory.join(&name);
                let (manifests, pod_info) = (home.join("manifests"), home.join("pod-info"));
                fs::create_dir_all(&manifests).expect("the target directory is writable");
                fs::create_dir_all(&pod_info).expect("the target directory is writable");
                let list = rendered(ports, url);
                fs::write(manifests.join("manifests.json.gz"), list).expect("as above");
                fs::write(manifests.join("token"), "t".repeat(32)).expect("as above");
                fs::write(manifests.join("key"), "k".repeat(32)).expect("as above");
                fs::write(pod_info.join("annotations"), "").expect("as above");
                let (slot_argument, pod_info) = (slot.to_string(), pod_info.to_str());
                let pod_info = pod_info.expect("a path of UTF-8");
                let more = ["--slot", &slot_argument, "--pod-info", pod_info];
                Node::start_at(admins[slot], &name, &manifests, &directory, &more, "info")
            })
            .into();
        let mut pool = Self { directory, nodes, ports: ports.into() };
        for slot in [0, 1] {
            pool.annotate(slot, &[false, false], "");
            pool.wait_until_told(slot);
        }
        pool
    }

    fn wait_until_told(&mut self, slot: usize) {
        self.nodes[slot].process.wait_for_line("the node is told of others", SOON, |line| {
            line.contains("the other nodes of the pool changed").then_some(())
        });
    }

    /// What the operator writes on the pod of a slot: of as many nodes as `draining` is long.
    fn annotate(&self, slot: usize, draining: &[bool], more: &str) {
        let peers: Vec<_> = self
            .nodes
            .iter()
            .zip(draining)
            .enumerate()
            .map(|(slot, (node, draining))| {
                json!({"slot": slot, "address": node.admin.0, "draining": draining})
            })
            .collect();
        let peers = serde_json::to_string(&peers).expect("JSON is text");
        let text = format!("trunkline.dev/peers={peers:?}\n{more}");
        let file = self.directory.join(format!("node-{slot}/pod-info/annotations"));
        fs::write(file, text).expect("the target directory is writable");
    }

    fn tcp(&self, slot: usize) -> Line {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[slot].tcp));
        let stream = TcpStream::connect(address).expect("the node listens");
        stream.set_read_timeout(Some(SOON)).expect("a duration that is not zero");
        Line { wire: Wire::Tcp(stream), buffer: Vec::new() }
    }

    fn udp(&self, slot: usize) -> Line {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[slot].udp));
        let socket = UdpSocket::bind(("127.0.0.3", 0)).expect("loopback has a free port");
        socket.connect(address).expect("loopback is there");
        socket.set_read_timeout(Some(SOON)).expect("a duration that is not zero");
        Line { wire: Wire::Udp(socket), buffer: Vec::new() }
    }
}

fn rendered(ports: NodePorts, agent_url: &str) -> Vec<u8> {
    let NodePorts { udp, tcp, media: (start, length), .. } = ports;
    let documents = [
        format!(
            "apiVersion: trunkline.dev/v1alpha1
kind: MediaPool
metadata: {{name: default, namespace: trunkline}}
spec:
  exposure:
    sip: {{udp: {udp}, tcp: {tcp}, tls: 0}}
    media: {{portRange: {{start: {start}, end: {}}}, portsPerPod: {PORTS_PER_POD}}}
    address: {{source: Static, static: [\"127.0.0.1\"]}}
",
            start + length - 1
        ),
        trunk("over-tcp", "TCP", "Disabled", "{sources: [127.0.0.1/32]}", &[("", "bot")]),
        trunk("over-udp", "UDP", "Disabled", "{sources: [127.0.0.3/32]}", &[("", "bot")]),
        agent("bot", agent_url),
    ];
    let items: Vec<Value> = documents
        .iter()
        .map(|text| serde_saphyr::from_str(text).expect("the templates are YAML"))
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(list.to_string().as_bytes()).expect("memory takes it");
    packed.finish().expect("memory takes it")
}

/// The carrier's end of one way to a node.
struct Line {
    wire: Wire,
    buffer: Vec<u8>,
}

enum Wire {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Line {
    fn send(&mut self, text: &str) {
        match &mut self.wire {
            Wire::Tcp(stream) => stream.write_all(text.as_bytes()).expect("the node reads"),
            Wire::Udp(socket) => drop(socket.send(text.as_bytes()).expect("loopback is there")),
        }
    }

    /// `None` when nothing comes for as long as `patience`.
    fn receive_within(&mut self, patience: Duration) -> Option<Message> {
        loop {
            if let Some(message) = take_message(&mut self.buffer) {
                return Some(message);
            }
            let mut bytes = vec![0; 65_536];
            let read = match &mut self.wire {
                Wire::Tcp(stream) => {
                    stream.set_read_timeout(Some(patience)).expect("not zero");
                    stream.read(&mut bytes)
                }
                Wire::Udp(socket) => {
                    socket.set_read_timeout(Some(patience)).expect("not zero");
                    socket.recv(&mut bytes)
                }
            };
            match read {
                Ok(0) => panic!("the node closed the connection"),
                Ok(len) => self.buffer.extend_from_slice(&bytes[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn receive(&mut self) -> Message {
        self.receive_within(SOON).expect("the node says something")
    }

    /// The final response to `method`.
    fn answer(&mut self, method: &str) -> Message {
        loop {
            let message = self.receive();
            if message.method() == method && message.status().is_some_and(|status| status >= 200) {
                return message;
            }
        }
    }

    fn dialog(&self, call_id: &str) -> Dialog {
        let (transport, local, remote) = match &self.wire {
            Wire::Tcp(stream) => ("TCP", stream.local_addr(), stream.peer_addr()),
            Wire::Udp(socket) => ("UDP", socket.local_addr(), socket.peer_addr()),
        };
        Dialog {
            transport,
            local: local.expect("connected above"),
            remote: remote.expect("connected above"),
            caller: "+15550100".into(),
            called: "+15551230001".into(),
            call_id: call_id.into(),
            tag: "caller".into(),
            branch: format!("z9hG4bK{call_id}"),
            to: String::new(),
            target: String::new(),
            routes: Vec::new(),
        }
    }

    /// A call that is up, but for its ACK.
    fn call(&mut self, call_id: &str) -> Dialog {
        let mut dialog = self.dialog(call_id);
        self.send(&dialog.invite(OFFER));
        let ok = self.answer("INVITE");
        assert_eq!(ok.status(), Some(200), "{ok:?}");
        dialog.answered(&ok);
        dialog
    }
}

/// A re-INVITE of the same session.
fn reinvite(dialog: &Dialog, branch: &str) -> String {
    let head = dialog.within("INVITE", 2, branch);
    let head = head.strip_suffix("Content-Length: 0\r\n\r\n").expect("as it is written");
    let (contact, length) = (dialog.contact(), OFFER.len());
    format!(
        "{head}Contact: {contact}\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{OFFER}"
    )
}

#[test]
fn a_dialog_goes_on_by_a_connection_to_another_node() {
    let echo_directory = run_directory("interop", "relay-tcp-agent");
    let echo = EchoAgent::start("agent", &echo_directory);
    let pool = Pool::apart("relay-tcp", &echo.url("echo"));
    let mut first = pool.tcp(0);
    let dialog = first.call("relay-tcp");
    assert!(dialog.to.contains(";tag=0-"), "the tag says whose it is: {}", dialog.to);

    let mut second = pool.tcp(1);
    second.send(&dialog.within("ACK", 1, "z9hG4bKack"));
    second.send(&reinvite(&dialog, "z9hG4bKre"));
    assert_eq!(second.answer("INVITE").status(), Some(200));
    second.send(&dialog.within("ACK", 2, "z9hG4bKack2"));
    // A connection may go when another one carries the dialog.
    drop(first);
    second.send(&dialog.within("BYE", 3, "z9hG4bKbye"));
    assert_eq!(second.answer("BYE").status(), Some(200));
    second.send(&dialog.within("BYE", 4, "z9hG4bKagain"));
    assert_eq!(second.answer("BYE").status(), Some(481), "the call is over");
}

#[test]
fn what_the_owner_has_to_say_takes_the_way_that_the_carrier_took_last() {
    for transport in ["tcp", "udp"] {
        let test = format!("relay-back-{transport}");
        let echo_directory = run_directory("interop", &format!("{test}-agent"));
        let echo = EchoAgent::start("agent", &echo_directory);
        let pool = Pool::apart(&test, &echo.url("echo"));
        let line = |slot| if transport == "tcp" { pool.tcp(slot) } else { pool.udp(slot) };
        let mut first = line(0);
        let dialog = first.call(&test);
        let mut second = line(1);
        second.send(&dialog.within("ACK", 1, "z9hG4bKack"));
        second.send(&reinvite(&dialog, "z9hG4bKre"));
        assert_eq!(second.answer("INVITE").status(), Some(200), "{transport}");
        second.send(&dialog.within("ACK", 2, "z9hG4bKack2"));
        // Its agent hangs up.
        drop(echo);
        let bye = second.receive();
        assert_eq!(bye.method(), "BYE", "{transport}: {bye:?}");
        second.send(&bye.response("200 OK", None));
        if transport == "udp" {
            // What was repeated before the answer arrived.
            while second.receive_within(Duration::from_millis(300)).is_some() {}
            let more = second.receive_within(Duration::from_secs(5));
            assert!(more.is_none(), "the answer ended it: {more:?}");
        }
    }
}

#[test]
fn a_bye_takes_the_way_before_when_the_node_that_had_the_last_one_is_gone() {
    let echo_directory = run_directory("interop", "relay-fall-back-agent");
    let echo = EchoAgent::start("agent", &echo_directory);
    let mut pool = Pool::apart("relay-fall-back", &echo.url("echo"));
    let mut first = pool.tcp(0);
    let dialog = first.call("relay-fall-back");
    let mut second = pool.tcp(1);
    second.send(&dialog.within("ACK", 1, "z9hG4bKack"));
    second.send(&reinvite(&dialog, "z9hG4bKre"));
    assert_eq!(second.answer("INVITE").status(), Some(200));
    second.send(&dialog.within("ACK", 2, "z9hG4bKack2"));
    // The ACK has come to its owner when what was sent after it is answered.
    second.send(&dialog.within("OPTIONS", 3, "z9hG4bKoptions"));
    assert_eq!(second.answer("OPTIONS").status(), Some(200));

    drop(pool.nodes.remove(1));
    // Its agent hangs up.
    drop(echo);
    let bye = first.receive();
    assert_eq!(bye.method(), "BYE", "{bye:?}");
}

#[test]
fn a_node_that_is_told_of_no_others_answers_by_the_one_that_writes_to_it() {
    let echo_directory = run_directory("interop", "relay-untold-agent");
    let echo = EchoAgent::start("agent", &echo_directory);
    let mut pool = Pool::apart("relay-untold", &echo.url("echo"));
    let dialog = pool.tcp(0).call("relay-untold");
    pool.annotate(0, &[false], "");
    pool.wait_until_told(0);
    let mut second = pool.tcp(1);
    second.send(&dialog.within("ACK", 1, "z9hG4bKack"));
    second.send(&dialog.within("BYE", 2, "z9hG4bKbye"));
    assert_eq!(second.answer("BYE").status(), Some(200));
}

#[test]
fn a_cancel_finds_its_invite_wherever_that_rings() {
    // Connections to it come up, and nobody ever says a word on them.
    let mute = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let url = format!("ws://{}/", mute.local_addr().expect("bound above"));
    let pool = Pool::apart("relay-cancel", &url);
    let mut first = pool.tcp(0);
    let dialog = first.dialog("relay-cancel");
    let invite = dialog.invite(OFFER);
    first.send(&invite);
    while first.receive().status() != Some(180) {}

    let mut second = pool.tcp(1);
    let (head, _) = invite.split_once("Contact:").expect("as it is written");
    let cancel = head.replace("INVITE", "CANCEL") + "Content-Length: 0\r\n\r\n";
    second.send(&cancel);
    assert_eq!(second.answer("CANCEL").status(), Some(200));
    let terminated = first.answer("INVITE");
    assert_eq!(terminated.status(), Some(487));

    // Nobody knows this one, so nobody answers; the node goes on.
    second.send(&cancel.replace("relay-cancel", "relay-never-was"));
    second.send(&cancel.replace("CANCEL", "OPTIONS").replace("relay-cancel", "relay-options"));
    let next = second.receive();
    assert_eq!((next.method(), next.status()), ("OPTIONS", Some(200)), "{next:?}");
}

#[test]
fn for_a_node_that_is_gone_another_one_answers() {
    let echo_directory = run_directory("interop", "relay-gone-agent");
    let echo = EchoAgent::start("agent", &echo_directory);
    let mut pool = Pool::apart("relay-gone", &echo.url("echo"));
    let mut dialog = pool.tcp(0).call("relay-gone");
    drop(pool.nodes.remove(0));
    let mut second = pool.tcp(1);
    second.send(&dialog.within("BYE", 2, "z9hG4bKbye"));
    assert_eq!(second.answer("BYE").status(), Some(481));
    // One that it has not heard of may be up all the same, and its call with it.
    dialog.to = dialog.to.replace(";tag=0-", ";tag=7-");
    second.send(&dialog.within("BYE", 3, "z9hG4bKunknown"));
    let patience = second.answer("BYE");
    assert_eq!(patience.status(), Some(500), "{patience:?}");
    assert!(!patience.header("retry-after").is_empty(), "{patience:?}");
}

#[test]
fn nobody_is_refused_at_an_address_where_one_node_drains_and_another_does_not() {
    let echo_directory = run_directory("interop", "relay-drain-agent");
    let echo = EchoAgent::start("agent", &echo_directory);
    let mut pool = Pool::together("relay-drain", &echo.url("echo"));
    // A call of each node, so that what follows is seen to hurt neither.
    let mut calls: Vec<(Line, Dialog)> = Vec::new();
    wait_until("the kernel gives each node a call", SOON, || {
        let mut line = pool.tcp(0);
        let dialog = line.call(&format!("relay-drain-{}", calls.len()));
        line.send(&dialog.within("ACK", 1, "z9hG4bKack"));
        calls.push((line, dialog));
        let has = |tag: &str| calls.iter().any(|(_, dialog)| dialog.to.contains(tag));
        (has(";tag=0-") && has(";tag=1-")).then_some(())
    });

    pool.annotate(0, &[true, false], "trunkline.dev/drain=\"rollout\"\n");
    let node = &mut pool.nodes[0].process;
    node.wait_for_line("the drain is seen", SOON, |line| {
        line.contains("drain mark changed").then_some(())
    });
    let mut asked = 0;
    let mut ask = |mut line: Line| {
        asked += 1;
        let dialog = line.dialog(&format!("relay-ask-{asked}"));
        let invite = dialog.invite(OFFER);
        let (head, _) = invite.split_once("Contact:").expect("as it is written");
        line.send(&(head.replace("INVITE", "OPTIONS") + "Content-Length: 0\r\n\r\n"));
        line.answer("OPTIONS")
    };
    for _ in 0..20 {
        assert_eq!(ask(pool.udp(0)).status(), Some(200), "a datagram goes to whoever takes calls");
    }
    wait_until("the node that drains listens no more", 2 * SOON, || {
        (0..20).all(|_| ask(pool.tcp(0)).status() == Some(200)).then_some(())
    });
    for (mut line, dialog) in calls {
        line.send(&dialog.within("BYE", 2, "z9hG4bKbye"));
        assert_eq!(line.answer("BYE").status(), Some(200), "{}", dialog.to);
    }

    pool.annotate(0, &[false, false], "");
    wait_until("the node that was revived listens again", SOON, || {
        let answer = ask(pool.tcp(0));
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        answer.header("to").contains(";tag=0-").then_some(())
    });
}
