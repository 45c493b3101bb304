//! The status of Agents.

use std::collections::BTreeMap;

use trunkline_crds::agent::Endpoint;
use trunkline_crds::conditions::{reasons, types};
use trunkline_crds::{Agent, AgentStatus};

use super::{
    Counts, Judgement, Pool, Progress, Status, StatusPatch, World, conditions, count, event, ready,
    resolved, supported, turned, words,
};
use crate::plan::agenda::Agenda;
use crate::plan::config;
use crate::plan::references::{self, Missing};
use crate::world::AgentReport;

pub(in crate::plan) fn agents(
    world: &World,
    pools: &BTreeMap<&str, Pool<'_>>,
    agenda: &Agenda,
) -> Vec<StatusPatch> {
    let one = |(name, agent): (&String, &std::sync::Arc<Agent>)| {
        let users = pools.values().filter(|it| it.agents.contains_key(name.as_str())).collect();
        View { world, name, agent, users }.patch(agenda)
    };
    world.agents.iter().filter_map(one).collect()
}

struct View<'a> {
    world: &'a World,
    name: &'a str,
    agent: &'a Agent,
    /// The pools whose trunks lead to it.
    users: Vec<&'a Pool<'a>>,
}

impl View<'_> {
    fn patch(&self, agenda: &Agenda) -> Option<StatusPatch> {
        let old = self.agent.status.clone().unwrap_or_default();
        let mut judgements = self.judge(&old);
        let matters = |it: &&Judgement| it.type_ != types::REACHABLE || it.is == Some(false);
        let ready = ready(judgements.iter().filter(matters), || "ready for calls".to_owned());
        judgements.push(ready);

        let generation = self.agent.metadata.generation;
        let mut new = AgentStatus {
            observed_generation: generation,
            active_calls: self.world.settings.calls_in_status.then(|| self.calls()),
            endpoint: address(&self.agent.spec.endpoint),
            conditions: conditions(&old.conditions, &judgements, generation, agenda.now),
        };
        let changed = new != old;
        let calls = std::mem::replace(&mut new.active_calls, old.active_calls);
        let same_but_counts = new == old;
        new.active_calls = calls;
        let warn = |it: &&Judgement| {
            matches!(it.type_, types::ACCEPTED | types::RESOLVED_REFS)
                && it.is == Some(false)
                && turned(&old.conditions, it)
        };
        let told = judgements.iter().filter(warn);
        let events = told
            .map(|it| event("Agent", &self.agent.metadata, true, it.reason, &it.message))
            .collect();
        let counts = Counts { world: self.world, agenda };
        let status = Status::Agent(self.name.to_owned(), Box::new(new));
        counts.patch(&self.agent.metadata, status, changed, same_but_counts, events)
    }

    fn judge(&self, old: &AgentStatus) -> Vec<Judgement> {
        let mut rejected = Vec::new();
        for pool in &self.users {
            for it in pool.rejected("Agent", self.name) {
                if !rejected.contains(&it) {
                    rejected.push(it);
                }
            }
        }
        let accepted = supported(&rejected)
            .unwrap_or_else(|| Judgement::yes(types::ACCEPTED, reasons::ACCEPTED, ""));
        let resolved = resolved(&self.missing());
        let generation = self.agent.metadata.generation;
        let held = self.users.iter().find_map(|it| it.not_rendered());
        let left_out = self.users.iter().any(|it| !it.rendered_agents.contains(self.name));
        let explained = accepted.is != Some(true) || resolved.is != Some(true);
        let programmed = if self.users.is_empty() {
            let message = "no Trunk leads to this Agent yet";
            Judgement::unknown(types::PROGRAMMED, reasons::NO_PODS, message)
        } else if left_out {
            let message = "left out until what it names is there";
            Judgement::no(types::PROGRAMMED, reasons::PENDING, message)
        } else if rejected.iter().any(|it| it.outcome != "PartlyLoaded" || !explained) {
            Judgement::no(types::PROGRAMMED, reasons::REJECTED, words(&rejected))
        } else {
            Progress::of(self.users.iter().copied()).judge(&old.conditions, generation, held)
        };
        vec![accepted, resolved, programmed, self.reachable()]
    }

    fn missing(&self) -> Vec<Missing> {
        let spec = &self.agent.spec;
        let mut missing = config::missing(self.world, &references::of_agent(spec));
        let fallback = spec.fallback.as_ref().and_then(|it| it.agent_ref.as_ref());
        if let Some(it) = fallback.filter(|it| !self.world.agents.contains_key(&*it.name)) {
            missing.push(Missing {
                reason: reasons::AGENT_NOT_FOUND,
                message: format!(
                    "Agent {:?} not found (spec.fallback.agentRef): make it, or correct the name",
                    &*it.name
                ),
            });
        }
        let trunk = spec.endpoint.sip.as_ref().and_then(|it| it.trunk_ref.as_ref());
        if let Some(it) = trunk.filter(|it| !self.world.trunks.contains_key(&*it.name)) {
            missing.push(Missing {
                reason: reasons::TRUNK_NOT_FOUND,
                message: format!(
                    "Trunk {:?} not found (spec.endpoint.sip.trunkRef): make it, or correct the name",
                    &*it.name
                ),
            });
        }
        missing
    }

    fn reports(&self) -> impl Iterator<Item = &AgentReport> {
        let pods = self.users.iter().flat_map(|it| &it.pods).filter(|it| it.ours);
        pods.filter_map(|it| it.poll?.status.as_ref()).filter_map(|it| it.agents.get(self.name))
    }

    fn reachable(&self) -> Judgement {
        let type_ = types::REACHABLE;
        let tried = || self.reports().filter_map(|it| it.connection.as_ref());
        let (all, well) = (tried().count(), tried().filter(|it| it.ok).count());
        let pods = format!("{well}/{all} media pods reach it");
        match tried().find(|it| !it.ok) {
            Some(failed) => {
                let reason = match failed.reason.as_str() {
                    reasons::AUTH_FAILED => reasons::AUTH_FAILED,
                    _ => reasons::CONNECT_FAILED,
                };
                Judgement::no(type_, reason, format!("{pods}: {}", failed.message))
            }
            None if all > 0 => Judgement::yes(type_, reasons::CONNECTED, pods),
            None => Judgement::unknown(type_, reasons::NOT_PROBED, "not tried yet"),
        }
    }

    fn calls(&self) -> i32 {
        count(self.reports().map(|it| it.calls))
    }
}

/// Without what stands behind a `?`: people put tokens there.
fn address(endpoint: &Endpoint) -> Option<String> {
    let web_rtc = endpoint.web_rtc.as_ref();
    let text = endpoint
        .web_socket
        .as_ref()
        .map(|it| it.url.to_string())
        .or(endpoint.sip.as_ref().map(|it| it.uri.to_string()))
        .or(web_rtc.and_then(|it| it.live_kit.as_ref()).map(|it| it.url.to_string()))
        .or(web_rtc.and_then(|it| it.small_web_rtc.as_ref()).map(|it| it.url.to_string()))
        .or(web_rtc.and_then(|it| it.whip.as_ref()).map(|it| it.url.to_string()))
        .or(web_rtc.and_then(|it| it.open_ai.as_ref()).map(|it| {
            let usual = "https://api.openai.com/v1/realtime/calls";
            it.url.as_ref().map_or(usual.to_owned(), ToString::to_string)
        }))?;
    Some(text.split('?').next().unwrap_or_default().to_owned())
}
