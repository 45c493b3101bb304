//! The status of Trunks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use trunkline_crds::address::is_public;
use trunkline_crds::conditions::{reasons, types};
use trunkline_crds::{Trunk, TrunkStatus};

use super::{
    Counts, Judgement, Pool, Progress, Status, StatusPatch, World, conditions, count, event,
    joined, ready, resolved, supported, turned, words,
};
use crate::names;
use crate::plan::agenda::Agenda;
use crate::plan::config;
use crate::plan::exposure::sip_uri;
use crate::plan::references::{self, Missing};
use crate::world::{NodeStatus, TrunkReport};

/// Names in `unresolvedRoutes`, and addresses, at most.
const MAX_ROUTES: usize = 16;
const MAX_ADDRESSES: usize = 256;

pub(in crate::plan) fn trunks(
    world: &World,
    pools: &BTreeMap<&str, Pool<'_>>,
    agenda: &Agenda,
) -> Vec<StatusPatch> {
    let one = |(name, trunk): (&String, &std::sync::Arc<Trunk>)| {
        let pool = pools.get(&*trunk.spec.pool_ref.name);
        View { world, name, trunk, pool }.patch(agenda)
    };
    world.trunks.iter().filter_map(one).collect()
}

struct View<'a> {
    world: &'a World,
    name: &'a str,
    trunk: &'a Trunk,
    pool: Option<&'a Pool<'a>>,
}

impl View<'_> {
    fn patch(&self, agenda: &Agenda) -> Option<StatusPatch> {
        let old = self.trunk.status.clone().unwrap_or_default();
        let (missing, unresolved) = self.missing();
        let mut judgements = self.judge(&old, &missing);
        let warnings = self.warnings(&judgements);
        let matters = |it: &&Judgement| {
            // Nobody but the carrier can tell whether an inbound trunk is reached.
            it.type_ != types::REACHABLE
                || (self.trunk.spec.outbound.is_some() && it.is == Some(false))
        };
        let well = || match (self.trunk.spec.inbound.is_some(), warnings.as_slice()) {
            (true, []) => "taking calls".to_owned(),
            (true, warnings) => format!("taking calls, but {}", joined(warnings)),
            (false, []) => "ready to call out".to_owned(),
            (false, warnings) => format!("ready to call out, but {}", joined(warnings)),
        };
        judgements.push(ready(judgements.iter().filter(matters), well));

        let generation = self.trunk.metadata.generation;
        let addresses = self.addresses();
        let mut new = TrunkStatus {
            observed_generation: generation,
            address: match addresses.as_slice() {
                [] => None,
                [one] => Some(one.clone()),
                [first, more @ ..] => Some(format!("{first} (+{})", more.len())),
            },
            addresses,
            active_calls: self.world.settings.calls_in_status.then(|| self.calls()),
            unresolved_routes: unresolved,
            conditions: conditions(&old.conditions, &judgements, generation, agenda.now),
        };
        let changed = new != old;
        let calls = std::mem::replace(&mut new.active_calls, old.active_calls);
        let same_but_counts = new == old;
        new.active_calls = calls;
        let counts = Counts { world: self.world, agenda };
        let events = self.events(&old, &judgements);
        let status = Status::Trunk(self.name.to_owned(), Box::new(new));
        counts.patch(&self.trunk.metadata, status, changed, same_but_counts, events)
    }

    fn judge(&self, old: &TrunkStatus, missing: &[Missing]) -> Vec<Judgement> {
        let Some(pool) = self.pool else { return self.without_pool(missing) };
        let rejected = pool.rejected("Trunk", self.name);
        let accepted = self.accepted(pool, &rejected);
        let resolved = resolved(missing);
        let programmed = self.programmed(pool, old, &accepted, &resolved);
        let mut judgements = vec![accepted, resolved, programmed, self.reachable(pool)];
        let asked = self.trunk.spec.outbound.as_ref().is_some_and(|it| it.registration.is_some());
        judgements.extend(asked.then(|| self.registered(pool)));
        judgements
    }

    fn without_pool(&self, missing: &[Missing]) -> Vec<Judgement> {
        let name = &*self.trunk.spec.pool_ref.name;
        let refusal = self.world.refused.get(name);
        let message = match (name, refusal, self.world.pools.contains_key(name)) {
            (_, _, true) => format!("MediaPool {name:?} is being deleted"),
            (_, Some(refusal), _) => {
                format!("MediaPool {name:?} cannot be made: {}", refusal.message)
            }
            (names::DEFAULT_POOL, ..) => format!("MediaPool {name:?} is about to be made"),
            _ => format!("MediaPool {name:?} not found: make it, or correct poolRef.name"),
        };
        let wait = |type_| Judgement::unknown(type_, reasons::PENDING, "waits for the MediaPool");
        vec![
            Judgement::no(types::ACCEPTED, reasons::POOL_NOT_FOUND, message),
            resolved(missing),
            wait(types::PROGRAMMED),
            wait(types::REACHABLE),
        ]
    }

    fn accepted(&self, pool: &Pool<'_>, rejected: &[&crate::world::Rejected]) -> Judgement {
        if let Some(faults) = pool.contradictions.get(self.name) {
            return Judgement::no(types::ACCEPTED, reasons::INVALID, joined(faults));
        }
        if let Some(no) = supported(rejected) {
            return no;
        }
        let Some(verdict) = pool.verdicts.get(self.name) else {
            return Judgement::yes(types::ACCEPTED, reasons::ACCEPTED, "");
        };
        if verdict.everything {
            return Judgement::no(types::ACCEPTED, reasons::CONFLICTED, joined(&verdict.lost));
        }
        let kept_from: Vec<_> = verdict.kept_from.iter().map(|it| format!("{it:?}")).collect();
        let mut sentences = verdict.lost.clone();
        if !kept_from.is_empty() {
            let others = joined(&kept_from);
            sentences.push(format!("keeps calls that Trunk {others} claims too, for it is older"));
        }
        let reason = match verdict.lost.is_empty() {
            true => reasons::ACCEPTED,
            false => reasons::PARTIALLY_CONFLICTED,
        };
        Judgement::yes(types::ACCEPTED, reason, joined(&sentences))
    }

    /// What it names and what is not there, and the routes that lead nowhere because of it.
    fn missing(&self) -> (Vec<Missing>, Vec<String>) {
        let spec = &self.trunk.spec;
        let mut missing = config::missing(self.world, &references::of_trunk(spec));
        let mut unresolved = Vec::new();
        for route in &spec.routes {
            let gone: Vec<_> = references::agents_of_route(route)
                .filter(|agent| !self.world.agents.contains_key(*agent))
                .collect();
            for agent in &gone {
                missing.push(Missing {
                    reason: reasons::AGENT_NOT_FOUND,
                    message: format!(
                        "Agent {agent:?} not found (route {:?}): make it, or correct the name",
                        &*route.name
                    ),
                });
            }
            let left_out: Vec<_> = references::agents_of_route(route)
                .filter(|agent| self.world.agents.contains_key(*agent))
                .filter(|agent| self.pool.is_some_and(|it| !it.rendered_agents.contains(agent)))
                .collect();
            for agent in &left_out {
                missing.push(Missing {
                    reason: reasons::AGENT_NOT_FOUND,
                    message: format!(
                        "Agent {agent:?} is left out, see there (route {:?})",
                        &*route.name
                    ),
                });
            }
            if !gone.is_empty() || !left_out.is_empty() {
                unresolved.push(route.name.to_string());
            }
        }
        unresolved.truncate(MAX_ROUTES);
        (missing, unresolved)
    }

    fn programmed(
        &self,
        pool: &Pool<'_>,
        old: &TrunkStatus,
        accepted: &Judgement,
        resolved: &Judgement,
    ) -> Judgement {
        if !pool.rendered_trunks.contains(self.name) {
            let message = "left out until what it names is there";
            return Judgement::no(types::PROGRAMMED, reasons::PENDING, message);
        }
        // What the other conditions say already need not be said twice.
        let explained = accepted.is != Some(true)
            || accepted.reason == reasons::PARTIALLY_CONFLICTED
            || resolved.is != Some(true);
        let rejected = pool.rejected("Trunk", self.name);
        let left_out = rejected.iter().any(|it| it.outcome != "PartlyLoaded");
        if !rejected.is_empty() && (left_out || !explained) {
            return Judgement::no(types::PROGRAMMED, reasons::REJECTED, words(&rejected));
        }
        let generation = self.trunk.metadata.generation;
        Progress::of(std::iter::once(pool)).judge(&old.conditions, generation, pool.not_rendered())
    }

    fn reports<'a>(&'a self, pool: &'a Pool<'_>) -> impl Iterator<Item = &'a TrunkReport> {
        let statuses = pool.ready().filter_map(|it| it.poll?.status.as_ref());
        statuses.filter_map(|it| it.trunks.get(self.name))
    }

    fn reachable(&self, pool: &Pool<'_>) -> Judgement {
        let type_ = types::REACHABLE;
        if let Some(warning) = self.private_address(pool) {
            return Judgement::no(type_, reasons::PRIVATE_ADDRESS, warning);
        }
        let Some(outbound) = &self.trunk.spec.outbound else {
            return self.leads_back(pool, "the carrier is not asked: the trunk only takes calls");
        };
        if outbound.options_period_seconds == Some(0) {
            let message = "the carrier is not asked: outbound.optionsPeriodSeconds is 0";
            return self.leads_back(pool, message);
        }
        let asked = self.reports(pool).filter_map(|it| it.options.as_ref());
        if let Some(best) = asked.max_by_key(|it| it.ok) {
            return match best.ok {
                true => Judgement::yes(type_, reasons::OPTIONS_OK, "the carrier answers OPTIONS"),
                false => Judgement::no(type_, unreachable(&best.reason), unanswered(&best.message)),
            };
        }
        Judgement::unknown(type_, reasons::NOT_PROBED, "not tried yet")
    }

    /// Of a trunk whose carrier is not asked: whether what the carrier is told leads to the pods, as
    /// far as they can see from where they are.
    fn leads_back(&self, pool: &Pool<'_>, not_asked: &str) -> Judgement {
        let type_ = types::REACHABLE;
        let statuses = || pool.ready().filter_map(|it| it.poll?.status.as_ref());
        let told = || statuses().flat_map(|it| &it.advertised);
        if let Some(lost) = told().find(|it| it.reaches_us == Some(false)) {
            return Judgement::unknown(type_, reasons::SELF_CHECK_FAILED, &lost.message);
        }
        let all = statuses().count();
        let well = |it: &&NodeStatus| {
            !it.advertised.is_empty() && it.advertised.iter().all(|it| it.reaches_us == Some(true))
        };
        let well = statuses().filter(well).count();
        if all == 0 || well < all {
            return Judgement::unknown(type_, reasons::DISABLED, not_asked);
        }
        let message =
            format!("{not_asked}; the address that it is told leads to {well}/{all} media pods");
        Judgement::yes(type_, reasons::SELF_CHECK_OK, message)
    }

    /// A carrier in a public network cannot send to a private address.
    fn private_address(&self, pool: &Pool<'_>) -> Option<String> {
        let sources = self.trunk.spec.inbound.as_ref()?.sources.as_ref()?;
        let source = sources
            .iter()
            .filter_map(|it| it.parse::<IpNet>().ok())
            .find(|it| is_public(it.addr()))?;
        let of_family: Vec<IpAddr> = pool
            .media_hosts
            .iter()
            .filter_map(|it| it.parse().ok())
            .filter(|it: &IpAddr| it.is_ipv4() == source.addr().is_ipv4())
            .collect();
        let told = of_family.first().filter(|_| !of_family.iter().any(|it| is_public(*it)))?;
        Some(format!(
            "{source} is a public network, but is told the private address {told}, to which it cannot \
             send: write the public one in MediaPool {} (exposure.address.source: Static, static: \
             [the public address])",
            pool.name
        ))
    }

    fn registered(&self, pool: &Pool<'_>) -> Judgement {
        let type_ = types::REGISTERED;
        // One pod registers for all.
        match self.reports(pool).filter_map(|it| it.registered).max() {
            None => Judgement::unknown(type_, reasons::PENDING, "no pod has registered yet"),
            Some(true) => Judgement::yes(type_, reasons::REGISTERED, ""),
            Some(false) => Judgement::no(
                type_,
                reasons::REJECTED,
                "the carrier takes no registration: look at outbound.authSecretRef",
            ),
        }
    }

    /// What works, but probably not as meant.
    fn warnings(&self, judgements: &[Judgement]) -> Vec<String> {
        let Some(pool) = self.pool else { return Vec::new() };
        let mut warnings: Vec<String> = judgements
            .iter()
            .filter(|it| it.reason == reasons::PRIVATE_ADDRESS)
            .map(|it| it.message.clone())
            .collect();
        let partly = judgements.iter().find(|it| it.reason == reasons::PARTIALLY_CONFLICTED);
        warnings.extend(partly.map(|it| it.message.clone()));
        let tls = pool.transports.get(self.name) == Some(&trunkline_crds::trunk::Transport::Tls);
        if tls && !pool.certificate() {
            warnings.push(format!(
                "with a self-signed certificate, which most carriers refuse: name a \
                 kubernetes.io/tls Secret in MediaPool {} (tls.certificateRef)",
                pool.name
            ));
        }
        warnings
    }

    /// What to enter at the carrier.
    fn addresses(&self) -> Vec<String> {
        let Some(pool) = self.pool else { return Vec::new() };
        let Some(transport) = pool.transports.get(self.name) else { return Vec::new() };
        let spec = &pool.object.spec;
        let hosts = pool.sip_hosts.iter();
        hosts.filter_map(|it| sip_uri(spec, *transport, it)).take(MAX_ADDRESSES).collect()
    }

    /// On all pods, leaving ones included.
    fn calls(&self) -> i32 {
        let pods = self.pool.iter().flat_map(|it| &it.pods).filter(|it| it.ours);
        let statuses = pods.filter_map(|it| it.poll?.status.as_ref());
        count(statuses.filter_map(|it| it.trunks.get(self.name)).map(|it| it.calls))
    }

    fn events(&self, old: &TrunkStatus, judgements: &[Judgement]) -> Vec<super::Event> {
        let tell = |it: &&Judgement| {
            let told = match (it.type_, it.is, it.reason) {
                (types::ACCEPTED, Some(false), reason) => Some(reason),
                (types::ACCEPTED, Some(true), reasons::PARTIALLY_CONFLICTED) => {
                    Some(reasons::PARTIALLY_CONFLICTED)
                }
                (types::RESOLVED_REFS, Some(false), reason) => Some(reason),
                (types::PROGRAMMED, Some(false), reasons::REJECTED) => Some(reasons::REJECTED),
                (types::REACHABLE, Some(false), reasons::PRIVATE_ADDRESS) => {
                    Some(reasons::PRIVATE_ADDRESS)
                }
                (types::REACHABLE, Some(false), _) => Some("CarrierUnreachable"),
                (types::REGISTERED, Some(false), _) => Some("RegistrationFailed"),
                _ => None,
            };
            told.filter(|_| turned(&old.conditions, it)).map(|reason| (reason, it.message.clone()))
        };
        let told = judgements.iter().filter_map(|it| tell(&it));
        told.map(|(reason, note)| event("Trunk", &self.trunk.metadata, true, reason, &note))
            .collect()
    }
}

/// A pod's reason among those that the condition knows.
fn unreachable(reason: &str) -> &'static str {
    let known = [
        reasons::REJECTED,
        reasons::CONNECT_FAILED,
        reasons::TLS_HANDSHAKE_FAILED,
        reasons::DNS_FAILED,
    ];
    known.into_iter().find(|it| *it == reason).unwrap_or(reasons::OPTIONS_TIMEOUT)
}

/// A pod's words, and what to do about them.
fn unanswered(message: &str) -> String {
    let words = if message.is_empty() { "the carrier answers no pod's OPTIONS" } else { message };
    format!("{words}: look at outbound.addresses and firewalls")
}
