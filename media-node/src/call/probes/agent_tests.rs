//! Agents that are tried on a virtual clock.
#![expect(clippy::disallowed_methods, reason = "any start will do for a virtual clock")]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::advertised::Advertised;
use super::super::media::AgentFailure;
use super::super::switchboard::Switchboard;
use super::super::{AgentReason, AgentServer, AgentView, Output};
use super::tests::{config, switchboard};

const SECOND: Duration = Duration::from_secs(1);
const CONNECTING_TAKES: Duration = Duration::from_millis(4);

/// A node whose agents listen, or fail as it says.
struct Net {
    node: Switchboard,
    start: Instant,
    now: Instant,
    fails: HashMap<String, AgentFailure>,
    answers: Vec<(Instant, Arc<AgentServer>)>,
    tried: Vec<(Duration, String)>,
    views: BTreeMap<String, AgentView>,
}

fn agent(name: &str, url: &str) -> String {
    format!(
        "---\napiVersion: trunkline.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {name}}}\n\
         spec: {{endpoint: {{webSocket: {{url: '{url}', dialect: TwilioMediaStreams}}}}}}\n"
    )
}

impl Net {
    fn new(manifests: &str) -> Self {
        let start = Instant::now();
        let node = switchboard(start, manifests, Advertised::both(&[]));
        let (fails, views) = (HashMap::new(), BTreeMap::new());
        let (answers, tried) = (Vec::new(), Vec::new());
        let mut net = Self { node, start, now: start, fails, answers, tried, views };
        net.perform();
        net
    }

    fn configure(&mut self, manifests: &str) {
        self.node.handle_config(self.now, config(manifests));
        self.perform();
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let answer = self.answers.first().map(|(at, _)| *at);
            let next = [answer, self.node.poll_timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if answer == Some(next) {
                let (_, server) = self.answers.remove(0);
                let result = match self.fails.get(&server.host) {
                    Some(failure) => Err(*failure),
                    None => Ok(CONNECTING_TAKES),
                };
                self.node.handle_reached(self.now, &server, result);
            } else {
                self.node.handle_timeout(self.now);
            }
            self.perform();
        }
        self.now = end;
    }

    fn perform(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Reach { server } => {
                    self.tried.push((self.now - self.start, server.host.clone()));
                    self.answers.push((self.now + CONNECTING_TAKES, server));
                }
                Output::AgentReachable { agent, view: Some(view) } => {
                    self.views.insert(agent, *view);
                }
                Output::AgentReachable { agent, view: None } => {
                    self.views.remove(&agent);
                }
                _ => {}
            }
        }
    }

    fn standing(&self, agent: &str) -> (AgentReason, &str) {
        let view = &self.views[agent];
        assert_eq!(view.ok, view.reason == AgentReason::Connected);
        (view.reason, &view.message)
    }

    fn times(&self) -> Vec<Duration> {
        self.tried.iter().map(|(at, _)| *at).collect()
    }
}

#[test]
fn an_agent_is_tried_at_once_and_then_every_minute_or_so() {
    let mut net = Net::new(&agent("bot", "ws://bot.example/"));
    assert_eq!(net.times(), [Duration::ZERO]);
    net.run(600 * SECOND);
    assert_eq!(net.standing("bot"), (AgentReason::Connected, "takes connections"));
    assert_eq!(net.views["bot"].rtt_milliseconds, Some(4));
    let gaps: Vec<_> = net.times().windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() >= 9, "{gaps:?}");
    assert!(gaps.iter().all(|gap| (54 * SECOND..=67 * SECOND).contains(gap)), "{gaps:?}");
}

#[test]
fn agents_on_one_server_share_a_question_and_no_more_than_sixteen_run_at_once() {
    let one = |i| agent(&format!("bot-{i}"), &format!("wss://bots.example/{i}"));
    let mut net = Net::new(&(0..500).map(one).collect::<String>());
    net.run(SECOND);
    assert_eq!((net.tried.len(), net.views.len()), (1, 500));

    let apart = |i| agent(&format!("bot-{i}"), &format!("wss://bots-{i}.example/"));
    let mut net = Net::new(&(0..100).map(apart).collect::<String>());
    assert_eq!(net.tried.len(), 16);
    net.run(SECOND);
    assert_eq!((net.tried.len(), net.views.len()), (100, 100));
}

#[test]
fn one_failure_of_an_agent_that_answered_is_doubted_the_second_counts() {
    let mut net = Net::new(&agent("bot", "ws://bot.example/"));
    net.run(SECOND);
    net.fails.insert("bot.example".into(), AgentFailure::Resolve);
    while net.tried.len() < 2 {
        net.run(SECOND);
    }
    net.run(SECOND);
    assert_eq!(net.standing("bot").0, AgentReason::Connected);
    net.run(4 * SECOND);
    let out_of_reach = (AgentReason::ConnectFailed, "its name does not resolve");
    assert_eq!((net.standing("bot"), net.tried.len()), (out_of_reach, 3));
    net.run(60 * SECOND);
    assert!(net.tried.len() >= 6, "it is tried more often while it is away");
    net.fails.clear();
    net.run(20 * SECOND);
    assert_eq!(net.standing("bot").0, AgentReason::Connected);
}

#[test]
fn a_first_failure_counts_at_once() {
    let mut net = Net::new(&agent("bot", "ws://bot.example/"));
    net.fails.insert("bot.example".into(), AgentFailure::Connect);
    net.run(SECOND);
    let words = "its address does not answer, or refuses the connection";
    assert_eq!(net.standing("bot"), (AgentReason::ConnectFailed, words));
    assert_eq!(net.views["bot"].rtt_milliseconds, None);
}

#[test]
fn an_agent_that_moves_is_tried_anew_and_one_that_stays_is_not() {
    let stays = agent("stays", "ws://stays.example/");
    let mut net = Net::new(&(stays.clone() + &agent("bot", "ws://old.example/")));
    net.run(SECOND);
    net.configure(&(stays.clone() + &agent("bot", "ws://new.example/")));
    assert!(!net.views.contains_key("bot") && net.views.contains_key("stays"));
    net.run(SECOND);
    assert_eq!(net.standing("bot").0, AgentReason::Connected);
    let mut hosts: Vec<_> = net.tried.iter().map(|(_, host)| host.as_str()).collect();
    hosts.sort_unstable();
    assert_eq!(hosts, ["new.example", "old.example", "stays.example"]);
    net.configure(&stays);
    assert_eq!(net.views.len(), 1);
}
