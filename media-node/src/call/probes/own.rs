//! Does the address that we tell carriers lead to us? One OPTIONS to ourselves tells, where the
//! network lets a node speak to itself from outside (hairpin); where it does not, nothing is proved
//! and nothing is refused.
//!
//! Over UDP and TCP the proof is that our own Call-ID arrives, which nobody else knows; over TLS,
//! that whoever answers shows our certificate.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{
    AdvertisedView, Asker, Asking, DialFailure, DialKey, Families, Output, Target, of_sip,
    uri_transport,
};
use crate::call::advertised::{Traffic, port};
use crate::config::Config;
use crate::sip::transaction::TransactionId;
use crate::sip::{CallId, Flow, Method, Request, Transport, Uri};

/// A load balancer lets nobody in before this node is ready, and takes a while to see that it is.
const BALANCER_SETTLES: Duration = Duration::from_secs(30);
/// Bounds one check.
const TIMEOUT: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Default)]
pub(super) struct SelfCheck {
    checks: Vec<Check>,
    /// Transports that a trunk uses: what they need is what is checked.
    used: Vec<Transport>,
    last_number: u64,
}

struct Check {
    address: IpAddr,
    carries: Vec<Traffic>,
    number: u64,
    state: State,
}

enum State {
    Due { at: Instant },
    Dialling { give_up_at: Instant, way: Way },
    Asked { give_up_at: Instant, way: Way, flow: Flow, id: TransactionId, call_id: CallId },
    Done { reaches_us: Option<bool>, message: String },
}

/// The transport and port of a check.
#[derive(Clone, Copy)]
struct Way {
    transport: Transport,
    to: SocketAddr,
}

impl SelfCheck {
    /// Counts from the next check on.
    pub(super) fn handle_config(&mut self, config: &Config) {
        self.used = config.trunks.iter().map(|trunk| of_sip(trunk.transport)).collect();
        self.used.sort_unstable_by_key(|transport| transport.as_str());
        self.used.dedup();
    }

    /// Checks the addresses that are new.
    pub(super) fn handle_advertised(&mut self, cx: &mut Asking<'_>) {
        let mut before = std::mem::take(&mut self.checks);
        for (address, carries) in cx.advertised.all() {
            let same = |check: &Check| check.address == address && check.carries == carries;
            let check = match before.iter().position(same) {
                Some(place) => before.swap_remove(place),
                None => {
                    self.last_number += 1;
                    let state = if carries.contains(&Traffic::Sip) {
                        let settles = cx.pool.behind_load_balancers.then_some(BALANCER_SETTLES);
                        State::Due { at: cx.now + settles.unwrap_or_default() }
                    } else {
                        let message = "not checked: it carries audio alone".to_owned();
                        State::Done { reaches_us: None, message }
                    };
                    Check { address, carries, number: self.last_number, state }
                }
            };
            self.checks.push(check);
        }
        for check in before {
            check.leave(cx);
        }
        self.report(cx);
    }

    pub(super) fn handle_dialled(
        &mut self,
        cx: &mut Asking<'_>,
        number: u64,
        result: Result<Flow, DialFailure>,
    ) {
        let mut checks = self.checks.iter_mut();
        let Some((check, give_up_at, way)) = checks.find_map(|check| match check.state {
            State::Dialling { give_up_at, way } if check.number == number => {
                Some((check, give_up_at, way))
            }
            _ => None,
        }) else {
            // Too late: nobody wants it any more.
            if let Ok(flow) = result
                && flow.transport.is_reliable()
            {
                cx.out.push_back(Output::Hangup { flow });
            }
            return;
        };
        match result {
            Err(failure) => check.state = way.does_not_lead_back(&failure.text),
            Ok(flow) if way.transport == Transport::Tls => {
                cx.out.push_back(Output::Hangup { flow });
                check.state = way.leads_back();
            }
            Ok(flow) => {
                let call_id = cx.call_id();
                let uri = format!("sip:{}{}", way.to, uri_transport(way.transport));
                let uri = Uri::parse(uri.as_bytes()).expect("made of an address and a port");
                check.state = match cx.ask(flow, uri, &call_id) {
                    Some(id) => State::Asked { give_up_at, way, flow, id, call_id },
                    None => way.unknown("another address is told to peers in this network"),
                };
            }
        }
        self.report(cx);
    }

    /// Whether this is an OPTIONS of ours.
    pub(super) fn handle_arrival(&mut self, cx: &mut Asking<'_>, request: &Request) -> bool {
        if request.method != Method::Options {
            return false;
        }
        let Ok(arrived) = request.headers.call_id() else { return false };
        let ours = self.checks.iter_mut().find(
            |check| matches!(&check.state, State::Asked { call_id, .. } if *call_id == arrived),
        );
        let Some(check) = ours else { return false };
        if let State::Asked { way, .. } = check.state {
            let done = way.leads_back();
            check.leave(cx);
            check.state = done;
        }
        self.report(cx);
        true
    }

    pub(super) fn handle_failed(&mut self, cx: &mut Asking<'_>, failed: TransactionId) {
        let asked = self
            .checks
            .iter_mut()
            .find(|check| matches!(check.state, State::Asked { id, .. } if id == failed));
        let Some(check) = asked else { return };
        if let State::Asked { way, .. } = check.state {
            check.state = way.does_not_lead_back("it cannot be sent there");
        }
        self.report(cx);
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Asking<'_>) {
        let mut done = false;
        for check in &mut self.checks {
            match check.state {
                State::Due { at } if at <= cx.now => {
                    let way = way(&self.used, cx, check.address);
                    let Some(way) = way else {
                        let message = "not checked: no SIP port is open".to_owned();
                        check.state = State::Done { reaches_us: None, message };
                        done = true;
                        continue;
                    };
                    let own = check.address;
                    check.state = State::Dialling { give_up_at: cx.now + TIMEOUT, way };
                    cx.out.push_back(Output::Dial {
                        dial: DialKey { asker: Asker::SelfCheck, number: check.number },
                        target: Target::Own { transport: way.transport, address: way.to },
                        families: Families { ipv4: own.is_ipv4(), ipv6: own.is_ipv6() },
                    });
                }
                State::Dialling { give_up_at, way } | State::Asked { give_up_at, way, .. }
                    if give_up_at <= cx.now =>
                {
                    check.leave(cx);
                    let text = format!("nothing arrived within {} s", TIMEOUT.as_secs());
                    check.state = way.does_not_lead_back(&text);
                    done = true;
                }
                _ => {}
            }
        }
        if done {
            self.report(cx);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let deadline = |check: &Check| match check.state {
            State::Due { at } => Some(at),
            State::Dialling { give_up_at, .. } | State::Asked { give_up_at, .. } => {
                Some(give_up_at)
            }
            State::Done { .. } => None,
        };
        self.checks.iter().filter_map(deadline).min()
    }

    fn report(&self, cx: &mut Asking<'_>) {
        let view = |check: &Check| {
            let (reaches_us, message) = match &check.state {
                State::Done { reaches_us, message } => (*reaches_us, message.clone()),
                _ => (None, "being checked".to_owned()),
            };
            AdvertisedView {
                address: check.address,
                carries: check.carries.clone(),
                reaches_us,
                message,
            }
        };
        cx.out.push_back(Output::SelfChecked(self.checks.iter().map(view).collect()));
    }
}

impl Check {
    /// Ends what is under way.
    fn leave(&self, cx: &mut Asking<'_>) {
        if let State::Asked { id, flow, .. } = self.state {
            cx.transactions.abandon(id);
            if flow.transport.is_reliable() {
                cx.out.push_back(Output::Hangup { flow });
            }
        }
    }
}

/// The first transport of UDP, TCP and TLS that is open and that a trunk uses; without trunks, the
/// first that is open. Through load balancers only TLS comes.
fn way(used: &[Transport], cx: &Asking<'_>, address: IpAddr) -> Option<Way> {
    let open = |transport| {
        let to = SocketAddr::new(address, port(&cx.pool.sip, transport)?);
        Some(Way { transport, to })
    };
    let all: &[Transport] = match cx.pool.behind_load_balancers {
        true => &[Transport::Tls],
        false => &[Transport::Udp, Transport::Tcp, Transport::Tls],
    };
    let of_trunks = all.iter().copied().filter(|it| used.contains(it)).find_map(open);
    of_trunks.or_else(|| all.iter().copied().find_map(open))
}

impl Way {
    fn leads_back(self) -> State {
        let message = format!("{} over {} leads to this node", self.to, self.transport.as_str());
        State::Done { reaches_us: Some(true), message }
    }

    fn does_not_lead_back(self, why: &str) -> State {
        let message = format!(
            "{} over {} does not lead back to this node: {why}. Many networks let nobody reach \
             himself from outside, and calls may come in all the same; if none do, look at \
             spec.exposure.address and at firewalls",
            self.to,
            self.transport.as_str()
        );
        State::Done { reaches_us: Some(false), message }
    }

    fn unknown(self, why: &str) -> State {
        let message = format!("{} over {}: {why}", self.to, self.transport.as_str());
        State::Done { reaches_us: None, message }
    }
}
