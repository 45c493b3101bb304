//! Asks whether agents can be reached: name, TCP and TLS, and no more, for a conversation that nobody
//! needs is one that platforms bill. What only a call can know, that an agent refuses the upgrade,
//! calls tell.
//!
//! Agents on one server share a question.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;

use super::super::record::timestamp;
use super::{AgentReason, AgentView, Asking, Output, in_milliseconds, part};
use crate::call::media::AgentFailure;
use crate::config::{Agent, Config, WebSocket};

/// From one question to the next, give or take a tenth.
const PERIOD: Duration = Duration::from_secs(60);
/// The same while nobody answers.
const PERIOD_OUT_OF_REACH: Duration = Duration::from_secs(15);
/// A server that answered before is asked again so soon before it counts as out of reach.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
/// Questions under way at once.
const MAX_RUNNING: usize = 16;
/// For so long an upgrade that was refused to a call is remembered against the agent.
const REFUSAL_COUNTS: Duration = Duration::from_secs(600);

/// Where agents listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AgentServer {
    pub host: String,
    pub port: u16,
    pub tls: bool,
    /// Trust these authorities instead of the public ones.
    pub ca: Option<Vec<CertificateDer<'static>>>,
}

impl From<&WebSocket> for AgentServer {
    fn from(endpoint: &WebSocket) -> Self {
        let url = &endpoint.url;
        let ca = endpoint.ca.clone().filter(|_| url.tls);
        Self { host: url.host.clone(), port: url.port, tls: url.tls, ca }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Agents {
    servers: HashMap<Arc<AgentServer>, Watched>,
    agents: BTreeMap<String, Known>,
    running: usize,
    /// When the next question is due, as far as there is room for one.
    next_at: Option<Instant>,
}

struct Watched {
    /// `None` while a question is under way.
    due: Option<Instant>,
    standing: Option<Standing>,
}

struct Standing {
    result: Result<Duration, AgentFailure>,
    at: Instant,
    /// It has failed once and is asked again before that counts.
    doubted: bool,
}

struct Known {
    endpoint: WebSocket,
    server: Arc<AgentServer>,
    refusal: Option<(Instant, AgentFailure)>,
}

impl Agents {
    /// What stays keeps what is known of it.
    pub(super) fn handle_config(&mut self, cx: &mut Asking<'_>, config: &Config) {
        for name in self.agents.keys().filter(|name| !config.agents.contains_key(*name)) {
            cx.out.push_back(Output::AgentReachable { agent: name.clone(), view: None });
        }
        let mut before = std::mem::take(&mut self.agents);
        let mut servers = std::mem::take(&mut self.servers);
        let mut news = Vec::new();
        for (name, agent) in &config.agents {
            let known = before.remove(name).filter(|it| it.endpoint == agent.endpoint);
            let known = known.unwrap_or_else(|| {
                news.push(name);
                Known::new(&agent.endpoint)
            });
            let watched = servers.remove(&known.server);
            let new = || Watched { due: Some(cx.now), standing: None };
            let server = Arc::clone(&known.server);
            self.servers.entry(server).or_insert_with(|| watched.unwrap_or_else(new));
            self.agents.insert(name.clone(), known);
        }
        // Questions to servers that nobody names any more bring no answer that counts.
        self.running = self.servers.values().filter(|it| it.due.is_none()).count();
        for name in news {
            self.report(cx, name);
        }
        self.handle_timeout(cx);
    }

    /// What an [`Output::Reach`] has come to.
    pub(super) fn handle_reached(
        &mut self,
        cx: &mut Asking<'_>,
        server: &AgentServer,
        result: Result<Duration, AgentFailure>,
    ) {
        let Some(watched) = self.servers.get_mut(server).filter(|it| it.due.is_none()) else {
            return;
        };
        self.running -= 1;
        let before = watched.standing.as_ref();
        let doubted = result.is_err() && before.is_some_and(|it| it.result.is_ok() && !it.doubted);
        let period = match (&result, doubted) {
            (_, true) => AGAIN_AFTER,
            (Ok(_), false) => PERIOD,
            (Err(_), false) => PERIOD_OUT_OF_REACH,
        };
        let spread = period - period / 10 + part(period / 5, cx.random);
        watched.due = Some(cx.now + spread);
        match &mut watched.standing {
            Some(standing) if doubted => standing.doubted = true,
            standing => *standing = Some(Standing { result, at: cx.now, doubted: false }),
        }
        let names: Vec<String> = self
            .agents
            .iter()
            .filter(|(_, known)| *known.server == *server)
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.report(cx, &name);
        }
        self.handle_timeout(cx);
    }

    /// What a call has come to know of its agent.
    pub(super) fn handle_call(
        &mut self,
        cx: &mut Asking<'_>,
        agent: &Agent,
        result: Result<(), AgentFailure>,
    ) {
        let Some(known) = self.agents.get_mut(&agent.name) else { return };
        if known.endpoint != agent.endpoint || known.refusal.is_none() && result.is_ok() {
            return;
        }
        known.refusal = match result {
            Err(AgentFailure::Status(_) | AgentFailure::Protocol) => {
                result.err().map(|failure| (cx.now, failure))
            }
            // The rest is for those to say who ask on purpose: a call may be one of many on a bad day.
            Err(_) => return,
            Ok(()) => None,
        };
        self.report(cx, &agent.name);
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Asking<'_>) {
        let now = cx.now;
        let is_due = |it: &Watched| it.due.is_some_and(|at| at <= now);
        let room = MAX_RUNNING.saturating_sub(self.running);
        for (server, watched) in self.servers.iter_mut().filter(|(_, it)| is_due(it)).take(room) {
            watched.due = None;
            self.running += 1;
            cx.out.push_back(Output::Reach { server: Arc::clone(server) });
        }
        let next_at = self.servers.values().filter_map(|it| it.due).min();
        self.next_at = next_at.filter(|_| self.running < MAX_RUNNING);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next_at
    }

    fn report(&self, cx: &mut Asking<'_>, name: &str) {
        let view = self.agents.get(name).and_then(|known| self.view(cx, known));
        cx.out
            .push_back(Output::AgentReachable { agent: name.to_owned(), view: view.map(Box::new) });
    }

    fn view(&self, cx: &Asking<'_>, known: &Known) -> Option<AgentView> {
        let standing = self.servers.get(&known.server)?.standing.as_ref()?;
        let refusal = known.refusal.filter(|(at, _)| cx.now.duration_since(*at) < REFUSAL_COUNTS);
        let (reason, failure) = match (standing.result, refusal) {
            (Err(failure), _) => (AgentReason::ConnectFailed, Some((standing.at, failure))),
            (Ok(_), Some((at, failure @ AgentFailure::Status(401 | 403)))) => {
                (AgentReason::AuthFailed, Some((at, failure)))
            }
            (Ok(_), Some(refusal)) => (AgentReason::ConnectFailed, Some(refusal)),
            (Ok(_), None) => (AgentReason::Connected, None),
        };
        let (at, message) = match failure {
            Some((at, failure)) => (at, failure.explain()),
            None => (standing.at, "takes connections".to_owned()),
        };
        Some(AgentView {
            ok: failure.is_none(),
            rtt_milliseconds: standing.result.ok().map(in_milliseconds),
            reason,
            message,
            at: timestamp(cx.epoch, at),
        })
    }
}

impl Known {
    fn new(endpoint: &WebSocket) -> Self {
        Self { endpoint: endpoint.clone(), server: Arc::new(endpoint.into()), refusal: None }
    }
}
