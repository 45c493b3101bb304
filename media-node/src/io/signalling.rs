//! The signalling task: it owns the [`Switchboard`], feeds it what the network, the shards, the
//! configuration and the admin API say, and does what it wants done.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};
use tracing::{debug, error, warn};

use super::agent::reach;
use super::dial::Dialler;
use super::journal::Journal;
use super::relay::{Frame, Relay, What};
use super::shard::{Homes, MediaEvent, MediaHandle, Opening, Shards};
use super::sip::{Inbound, SipSockets};
use super::tls;
use crate::admin::AdminCommand;
use crate::call::media::{AgentFailure, Event};
use crate::call::{Advertised, CallKey, Load, Output, Peers, Switchboard};
use crate::config::Config;
use crate::sip::{Flow, Transport};

/// A node that has no call left waits for so long for what its BYEs are answered, and again for its own
/// answers to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The load is published so often while it changes: it names every trunk, and a call comes to more
/// messages than anybody reads.
const PUBLISH: Duration = Duration::from_millis(50);

/// What the rest of the process tells the signalling task.
pub(crate) enum Control {
    Config(Arc<Config>),
    Advertised(Advertised),
    Peers(Peers),
    /// Take no new calls; end what is left at the deadline.
    Drain {
        deadline: Instant,
    },
    /// The same, and stop when no call is left.
    Exit {
        deadline: Instant,
    },
    Undrain,
}

/// Everything the task owns.
pub(crate) struct Signalling {
    pub(crate) switchboard: Switchboard,
    pub(crate) sockets: SipSockets,
    pub(crate) relay: Relay,
    pub(crate) peers: Peers,
    pub(crate) dialler: Dialler,
    pub(crate) shards: Arc<Shards>,
    pub(crate) homes: Homes,
    pub(crate) journal: Journal,
    pub(crate) inbound: mpsc::Receiver<Inbound>,
    pub(crate) control: mpsc::Receiver<Control>,
    pub(crate) admin: mpsc::Receiver<AdminCommand>,
    /// Where `/v1/status` and `/readyz` look.
    pub(crate) load: watch::Sender<Load>,
}

/// TLS towards agents, made once for each set of roots.
#[derive(Default)]
struct AgentTls(HashMap<Option<Vec<CertificateDer<'static>>>, Arc<ClientConfig>>);

impl AgentTls {
    fn of(
        &mut self,
        tls: bool,
        ca: &Option<Vec<CertificateDer<'static>>>,
    ) -> Result<Option<Arc<ClientConfig>>, rustls::Error> {
        if !tls {
            return Ok(None);
        }
        if let Some(config) = self.0.get(ca) {
            return Ok(Some(config.clone()));
        }
        let config = tls::client_config(ca.as_deref(), None)?;
        self.0.insert(ca.clone(), config.clone());
        Ok(Some(config))
    }
}

impl Signalling {
    /// Runs until it was told to exit and no call is left, or every sender of control is gone.
    pub(crate) async fn run(mut self, events_capacity: usize) {
        let (events, mut media_events) = mpsc::channel::<MediaEvent>(events_capacity);
        let mut media: HashMap<CallKey, MediaHandle> = HashMap::new();
        let mut agent_tls = AgentTls::default();
        let mut exiting = false;
        // When no call was left any more.
        let mut idle_since = None;
        // When the load is published that has changed since.
        let mut publish_at = None;
        loop {
            self.perform(&mut media, &mut agent_tls, &events);
            let mut deadline = self.switchboard.poll_timeout();
            if let Some(at) = publish_at {
                deadline = deadline.min(Some(at)).or(Some(at));
            }
            if exiting && self.switchboard.is_idle() {
                let leave_at = *idle_since.get_or_insert_with(Instant::now) + LAST_WORDS;
                if self.switchboard.awaits_no_answer() || leave_at <= Instant::now() {
                    break;
                }
                deadline = deadline.min(Some(leave_at)).or(Some(leave_at));
            }
            tokio::select! {
                // Endings first: they make room for beginnings.
                biased;
                event = media_events.recv() => {
                    let Some((call, event)) = event else { return };
                    if matches!(event, Event::Stopped(_)) {
                        media.remove(&call);
                    }
                    self.switchboard.handle_media(Instant::now(), call, event);
                }
                control = self.control.recv() => match control {
                    Some(Control::Config(config)) => {
                        agent_tls = AgentTls::default();
                        self.dialler.handle_config();
                        self.switchboard.handle_config(Instant::now(), config);
                    }
                    Some(Control::Advertised(advertised)) => {
                        self.switchboard.handle_advertised(Instant::now(), advertised);
                    }
                    Some(Control::Peers(peers)) => {
                        self.handle_peers(peers);
                    }
                    Some(Control::Drain { deadline }) => {
                        self.switchboard.drain(Instant::now(), deadline);
                    }
                    Some(Control::Exit { deadline }) => {
                        exiting = true;
                        self.switchboard.drain(Instant::now(), deadline);
                    }
                    Some(Control::Undrain) if exiting => {}
                    Some(Control::Undrain) => self.switchboard.undrain(Instant::now()),
                    None => return,
                },
                Some(command) = self.admin.recv() => match command {
                    AdminCommand::HangUp { id, reply } => {
                        let _ = reply.send(self.switchboard.hang_up(Instant::now(), &id));
                    }
                    AdminCommand::SendDigits { id, digits, reply } => {
                        let now = Instant::now();
                        let _ = reply.send(self.switchboard.send_digits(now, &id, digits));
                    }
                },
                inbound = self.inbound.recv() => match inbound {
                    Some(Inbound::Message { flow, bytes }) => {
                        self.journal.received(&flow, &bytes);
                        self.switchboard.handle_strain(self.shards.strain());
                        self.switchboard.handle_bytes(Instant::now(), flow, &bytes);
                    }
                    Some(Inbound::Frame(frame)) => self.handle_frame(frame),
                    Some(Inbound::Undelivered { flow, bytes, gone }) => {
                        self.switchboard.handle_undelivered(Instant::now(), flow, &bytes, gone);
                    }
                    Some(Inbound::Dialled { target, result }) => {
                        for dial in self.dialler.handle_dialled(&target, &result) {
                            self.switchboard.handle_dialled(Instant::now(), dial, result.clone());
                        }
                    }
                    Some(Inbound::Reached { server, result }) => {
                        self.switchboard.handle_reached(Instant::now(), &server, result);
                    }
                    Some(Inbound::Closed { flow }) => {
                        self.dialler.handle_closed(&flow);
                        self.switchboard.handle_transport_error(Instant::now(), flow);
                    }
                    None => return,
                },
                () = until(deadline) => self.switchboard.handle_timeout(Instant::now()),
            }
            let now = Instant::now();
            if *publish_at.get_or_insert(now + PUBLISH) <= now {
                publish_at = None;
                self.switchboard.handle_strain(self.shards.strain());
                self.load.send_replace(self.switchboard.load());
            }
        }
        let written = async {
            self.relay.finish().await;
            self.sockets.finish().await;
        };
        if timeout(LAST_WORDS, written).await.is_err() {
            debug!("somebody does not take our last answers");
        }
    }

    fn handle_peers(&mut self, peers: Peers) {
        self.relay.handle_peers(&peers);
        self.peers = peers.clone();
        self.switchboard.handle_peers(Instant::now(), peers);
    }

    /// What another node of the pool tells.
    fn handle_frame(&mut self, Frame { from, what, flow, bytes }: Frame) {
        let now = Instant::now();
        let (from, address) = (from.slot, from.address);
        if address.is_some_and(|address| self.peers.learn(from, address)) {
            self.handle_peers(self.peers.clone());
        }
        let theirs = Flow { holder: Some(from), ..flow };
        match what {
            What::Message => {
                // What came to the port that we share is as good as come to us.
                let shared =
                    flow.transport == Transport::Udp && self.peers.shares_our_address(from);
                let ours = self.sockets.udp_flow(flow.remote).filter(|_| shared);
                let flow = ours.unwrap_or(theirs);
                self.journal.received(&flow, &bytes);
                self.switchboard.handle_passed_on(now, flow, &bytes);
            }
            What::Transmit => {
                if let Err(error) = self.sockets.send(&flow, bytes) {
                    debug!(remote = %flow.remote, peer = from, %error, "cannot send for a peer");
                    self.relay.closed(from, flow);
                }
            }
            What::Closed => self.switchboard.handle_transport_error(now, theirs),
        }
    }

    /// Sends on a flow of ours, or of the peer that holds it.
    fn transmit(&mut self, flow: Flow, bytes: Bytes) {
        self.journal.sent(&flow, &bytes);
        let sent = match flow.holder {
            None => self.sockets.send(&flow, bytes).map_err(|error| error.to_string()),
            Some(peer) if self.relay.transmit(peer, flow, bytes) => Ok(()),
            Some(peer) => Err(format!("no way to the node of slot {peer}, which has the flow")),
        };
        if let Err(error) = sent {
            debug!(remote = %flow.remote, error, "cannot send");
            self.switchboard.handle_transport_error(Instant::now(), flow);
        }
    }

    fn perform(
        &mut self,
        media: &mut HashMap<CallKey, MediaHandle>,
        agent_tls: &mut AgentTls,
        events: &mpsc::Sender<MediaEvent>,
    ) {
        while let Some(output) = self.switchboard.poll_output() {
            match output {
                Output::Transmit { flow, bytes } => self.transmit(flow, bytes),
                Output::PassOn { slot, flow, bytes, owner, stranger } => {
                    if !self.relay.pass_on(slot, flow, bytes.clone(), owner, stranger) && owner {
                        self.switchboard.handle_undelivered(Instant::now(), flow, &bytes, false);
                    }
                }
                Output::Listen(listen) => self.sockets.listen(listen),
                Output::Open { call, ports, ipv4, plan, agent } => {
                    let (sockets, home) = match self.homes.bind(ports, ipv4) {
                        Ok(bound) => bound,
                        Err(error) => {
                            warn!(port = ports.rtp(), %error, "RTP port cannot be bound");
                            self.switchboard.handle_port_taken(Instant::now(), call);
                            continue;
                        }
                    };
                    let endpoint = &agent.endpoint;
                    let tls = match agent_tls.of(endpoint.url.tls, &endpoint.ca) {
                        Ok(tls) => tls,
                        Err(error) => {
                            error!(agent = agent.name, %error, "TLS towards the agent");
                            let why = "the agent's CA cannot be used";
                            self.switchboard.handle_no_media(Instant::now(), call, why);
                            continue;
                        }
                    };
                    let Ok(last) = events.clone().try_reserve_owned() else {
                        let why = "this node is too busy to take a call";
                        self.switchboard.handle_no_media(Instant::now(), call, why);
                        continue;
                    };
                    let shard = home.unwrap_or_else(|| self.shards.choose());
                    self.homes.settle(&sockets, shard);
                    let opened = self.shards.open(shard, &agent.endpoint, tls, |attempt| {
                        let (plan, events) = (*plan, events.clone());
                        Opening { call, plan, sockets, attempt, events, last }
                    });
                    match opened {
                        Ok(handle) => {
                            media.insert(call, handle);
                        }
                        Err(_) => {
                            let why = "no media thread has room for a call";
                            self.switchboard.handle_no_media(Instant::now(), call, why);
                        }
                    }
                }
                Output::Media { call, command } => {
                    if let Some(handle) = media.get_mut(&call)
                        && handle.command(command).is_err()
                    {
                        self.switchboard.handle_media_stuck(Instant::now(), call);
                    }
                }
                Output::Phase { phase, view, .. } => {
                    self.journal.phase(phase, *view);
                }
                Output::Turn(turn) => self.journal.turn(&turn),
                Output::Refused(refusal) => self.journal.refused(&refusal),
                Output::Stranger { remote } => self.journal.stranger(remote),
                Output::Malformed { remote, field, problem } => {
                    self.journal.malformed(remote, field, problem);
                }
                Output::PrivateAddress { trunk, advertised, peer } => {
                    self.journal.private_address(&trunk, advertised, peer);
                }
                Output::Dial { dial, target, families } => {
                    if let Some(result) = self.dialler.dial(&self.sockets, dial, target, families) {
                        self.switchboard.handle_dialled(Instant::now(), dial, result);
                    }
                }
                Output::Hangup { flow } => self.sockets.close(&flow),
                Output::Probed { trunk, server, reason, message, changed } => {
                    self.journal.probed(&trunk, &server, reason, &message, changed);
                }
                Output::Reachable { trunk, options } => self.journal.reachable(trunk, options),
                Output::SelfChecked(advertised) => self.journal.self_checked(advertised),
                Output::Reach { server } => match agent_tls.of(server.tls, &server.ca) {
                    Ok(tls) => self.sockets.tell(async move {
                        let result = reach(&server, tls).await;
                        Inbound::Reached { server, result }
                    }),
                    Err(_) => {
                        let (now, failed) = (Instant::now(), Err(AgentFailure::Tls));
                        self.switchboard.handle_reached(now, &server, failed);
                    }
                },
                Output::AgentReachable { agent, view } => self.journal.agent_reachable(agent, view),
            }
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
