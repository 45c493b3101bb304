//! Trunks of one pool that claim the same calls: equal sources (or digest user names) and equal
//! number patterns. The older trunk keeps them, then the one whose name comes first; the other keeps
//! whatever else it has. Ranges that merely overlap are no conflict, for the longer prefix decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::resolve::Fault;
use super::{Inbound, NumberPattern, Route, Transport, Trunk};

/// What one trunk loses to others.
#[derive(Debug, Default)]
pub(super) struct Lost {
    pub(super) faults: Vec<Fault>,
    /// Nothing is left: leave the trunk out.
    pub(super) everything: bool,
}

/// How a call shows whose it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Source(IpNet),
    Username(String),
}

fn claims(inbound: &Inbound) -> Vec<Claim> {
    if inbound.sources.is_empty() {
        return inbound.credentials.iter().map(|c| Claim::Username(c.username.clone())).collect();
    }
    inbound.sources.iter().copied().map(Claim::Source).collect()
}

fn share_a_transport(a: Transport, b: Transport) -> bool {
    [Transport::Udp, Transport::Tcp, Transport::Tls]
        .into_iter()
        .any(|it| a.takes(it) && b.takes(it))
}

/// Who claims what, so far.
#[derive(Default)]
pub(super) struct Claims {
    trunks: Vec<Arc<Trunk>>,
    /// Thousands of trunks may share one carrier's network, so the pattern is part of the key.
    by_claim: BTreeMap<(Claim, Option<NumberPattern>), Vec<usize>>,
    /// The first trunk of each digest user name, found by source or not.
    by_username: BTreeMap<String, usize>,
}

impl Claims {
    /// Adds a trunk; those added before it take precedence.
    pub(super) fn add(&mut self, trunk: &Arc<Trunk>) {
        let Some(inbound) = &trunk.inbound else { return };
        let index = self.trunks.len();
        self.trunks.push(Arc::clone(trunk));
        for claim in claims(inbound) {
            for route in &trunk.routes {
                for pattern in patterns(route) {
                    let places =
                        self.by_claim.entry((claim.clone(), pattern.cloned())).or_default();
                    places.push(index);
                }
            }
        }
        if let Some(credentials) = &inbound.credentials {
            self.by_username.entry(credentials.username.clone()).or_insert(index);
        }
    }

    /// What `trunk` loses to those added before.
    pub(super) fn lost(&self, trunk: &Trunk) -> Lost {
        let mut lost = Lost::default();
        let Some(inbound) = &trunk.inbound else { return lost };
        if let Some(other) = self.other_password(inbound) {
            let message = format!(
                "Trunk \"{}\" has the same username with another password, so a caller could not be \
                 told apart: use another username",
                other.name
            );
            lost.faults.push(Fault::new("spec.inbound.authSecretRef", &message));
            lost.everything = true;
            return lost;
        }

        let ours = claims(inbound);
        let mut kept_any = trunk.routes.is_empty();
        for route in &trunk.routes {
            for (nth, pattern) in patterns(route).into_iter().enumerate() {
                let taken: Vec<(&Claim, &str)> = ours
                    .iter()
                    .filter_map(|claim| Some((claim, self.winner(claim, trunk, pattern)?)))
                    .collect();
                kept_any |= taken.len() < ours.len();
                if !taken.is_empty() {
                    lost.faults.push(fault(route.index, nth, pattern, &taken));
                }
            }
        }
        lost.everything = !kept_any;
        lost
    }

    fn other_password(&self, inbound: &Inbound) -> Option<&Trunk> {
        let credentials = inbound.credentials.as_ref()?;
        let other = self.trunks.get(*self.by_username.get(&credentials.username)?)?;
        let theirs = other.inbound.as_ref()?.credentials.as_ref()?;
        (theirs.password != credentials.password).then_some(other)
    }

    /// The name of the trunk that takes `pattern` from a caller of `claim` before `trunk` does.
    fn winner(
        &self,
        claim: &Claim,
        trunk: &Trunk,
        pattern: Option<&NumberPattern>,
    ) -> Option<&str> {
        let places = self.by_claim.get(&(claim.clone(), pattern.cloned()))?;
        places
            .iter()
            .filter_map(|index| self.trunks.get(*index))
            .find(|other| share_a_transport(other.transport, trunk.transport))
            .map(|other| other.name.as_str())
    }
}

fn fault(
    route: usize,
    nth: usize,
    pattern: Option<&NumberPattern>,
    taken: &[(&Claim, &str)],
) -> Fault {
    let (field, what) = match pattern {
        Some(pattern) => (format!("spec.routes[{route}].numbers[{nth}]"), pattern.to_string()),
        None => (format!("spec.routes[{route}]"), "every other number".to_owned()),
    };
    let winners: BTreeSet<_> = taken.iter().map(|(_, name)| format!("\"{name}\"")).collect();
    let winners: Vec<_> = winners.into_iter().collect();
    let through: Vec<_> = taken
        .iter()
        .map(|(claim, _)| match claim {
            Claim::Source(source) => source.to_string(),
            Claim::Username(_) => "the same username".to_owned(),
        })
        .collect();
    let message = format!(
        "Trunk {} takes {what} from {} already: write other numbers or sources",
        winners.join(", "),
        through.join(", "),
    );
    Fault { field, message }
}

/// The patterns of a route; `None` stands for every number that no other route takes.
fn patterns(route: &Route) -> Vec<Option<&NumberPattern>> {
    match route.patterns.as_slice() {
        [] => vec![None],
        patterns => patterns.iter().map(Some).collect(),
    }
}
