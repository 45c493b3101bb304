//! Trunks of one pool that claim the same calls: equal sources (or digest user names) and equal number
//! patterns, over a transport that both take. The older trunk keeps them, then the one whose name comes
//! first; the other keeps whatever else it has. Media nodes decide alike.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use jiff::Timestamp;
use trunkline_crds::Trunk;
use trunkline_crds::trunk::Transport;

use super::config::Secrets;

/// What became of a trunk's claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What others have already, a sentence each.
    pub(super) lost: Vec<String>,
    /// Nothing is left of it.
    pub(super) everything: bool,
    /// The trunks that wanted what this one keeps.
    pub(super) kept_from: BTreeSet<String>,
}

/// One trunk that takes part.
pub(super) struct Claimant<'a> {
    pub(super) name: &'a str,
    pub(super) trunk: &'a Trunk,
    pub(super) transport: Transport,
    /// Media nodes leave it out for reasons of its own, so it takes nothing from others.
    pub(super) left_out: bool,
}

/// How a call shows whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim<'a> {
    Source(IpNet),
    Username(&'a str),
}

/// The verdicts on those that have claims at all, by name.
pub(super) fn judge(
    mut claimants: Vec<Claimant<'_>>,
    secrets: &Secrets<'_>,
) -> BTreeMap<String, Verdict> {
    claimants.sort_by_key(|it| (created(it.trunk), it.name));
    let mut verdicts: BTreeMap<String, Verdict> = BTreeMap::new();
    let mut taken: BTreeMap<(Claim<'_>, Option<&str>), Vec<usize>> = BTreeMap::new();
    let mut passwords: BTreeMap<&str, (&str, Option<&str>)> = BTreeMap::new();
    for (index, it) in claimants.iter().enumerate() {
        let Some(inbound) = &it.trunk.spec.inbound else { continue };
        let auth = inbound.auth_secret_ref.as_ref();
        let username = auth.and_then(|auth| secrets.text(&auth.name, "username"));
        let password = auth.and_then(|auth| secrets.text(&auth.name, "password"));
        let claims = claims(it.trunk, username);

        let mut verdict = Verdict::default();
        let other = username.and_then(|username| passwords.get(username));
        if let Some((other, _)) = other.filter(|(_, theirs)| *theirs != password) {
            verdict.lost.push(format!(
                "Trunk {other:?} has the same username with another password, so a caller could not \
                 be told apart: use another username"
            ));
            verdict.everything = true;
        } else {
            let winner = |claim, pattern| {
                let places = taken.get(&(claim, pattern))?;
                let mut others = places.iter().map(|place| &claimants[*place]);
                others.find(|other| share(other.transport, it.transport)).map(|other| other.name)
            };
            let mut kept_any = it.trunk.spec.routes.is_empty();
            for pattern in patterns(it.trunk) {
                let lost: Vec<_> = claims
                    .iter()
                    .filter_map(|claim| Some((*claim, winner(*claim, pattern)?)))
                    .collect();
                kept_any |= lost.len() < claims.len();
                if !lost.is_empty() {
                    verdict.lost.push(sentence(pattern, &lost));
                }
                for (_, winner) in lost {
                    let winner = verdicts.entry(winner.to_owned()).or_default();
                    winner.kept_from.insert(it.name.to_owned());
                }
            }
            verdict.everything = !kept_any;
        }

        if !verdict.everything && !it.left_out {
            for pattern in patterns(it.trunk) {
                for claim in &claims {
                    taken.entry((*claim, pattern)).or_default().push(index);
                }
            }
            if let Some(username) = username {
                passwords.entry(username).or_insert((it.name, password));
            }
        }
        let entry = verdicts.entry(it.name.to_owned()).or_default();
        (entry.lost, entry.everything) = (verdict.lost, verdict.everything);
    }
    verdicts
}

/// Objects without a time of creation count as the youngest.
fn created(trunk: &Trunk) -> Timestamp {
    trunk.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |it| it.0)
}

/// With sources the sources, else the username. 203.0.113.5/24 means the network it is in.
fn claims<'a>(trunk: &'a Trunk, username: Option<&'a str>) -> Vec<Claim<'a>> {
    let inbound = trunk.spec.inbound.as_ref();
    let sources = inbound.and_then(|it| it.sources.as_ref()).into_iter().flatten();
    let sources: BTreeSet<IpNet> =
        sources.filter_map(|it| it.parse::<IpNet>().ok()).map(|it| it.trunc()).collect();
    if sources.is_empty() {
        return username.map(Claim::Username).into_iter().collect();
    }
    sources.into_iter().map(Claim::Source).collect()
}

/// A UDP trunk also takes TCP (RFC 3261 §18.1.1).
fn share(a: Transport, b: Transport) -> bool {
    let takes = |it: Transport| match it {
        Transport::Udp => [Transport::Udp, Transport::Tcp],
        other => [other, other],
    };
    takes(a).iter().any(|it| takes(b).contains(it))
}

/// The patterns of all routes; `None` stands for every number that no other route takes.
fn patterns(trunk: &Trunk) -> impl Iterator<Item = Option<&str>> {
    trunk.spec.routes.iter().flat_map(|route| match &route.numbers {
        Some(numbers) => numbers.iter().map(|it| Some(&**it)).collect(),
        None => vec![None],
    })
}

fn sentence(pattern: Option<&str>, lost: &[(Claim<'_>, &str)]) -> String {
    let winners: BTreeSet<_> = lost.iter().map(|(_, name)| format!("{name:?}")).collect();
    let through: Vec<_> = lost
        .iter()
        .map(|(claim, _)| match claim {
            Claim::Source(source) => source.to_string(),
            Claim::Username(_) => "the same username".to_owned(),
        })
        .collect();
    format!(
        "Trunk {} takes {} from {} already: write other numbers or sources",
        winners.into_iter().collect::<Vec<_>>().join(", "),
        pattern.unwrap_or("every other number"),
        through.join(", ")
    )
}
