//! On which nodes new pods should run: near the agents that they talk to.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm,
};
use trunkline_crds::media_pool::{Placement, PlacementRequirement};
use trunkline_crds::{Agent, Trunk};

use super::references;
use crate::names;

/// Regions and zones by how much they are wished for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// 1 to 100.
    regions: BTreeMap<String, i32>,
    /// 1 to 50: a zone is half as good a reason as a region.
    zones: BTreeMap<String, i32>,
    required: bool,
}

/// What `placement` and the agents of the pool's routes ask for. `calls` are those an agent has now.
pub(super) fn wish(
    placement: &Placement,
    trunks: &BTreeMap<&str, &Trunk>,
    agents: &BTreeMap<&str, &Agent>,
    calls: &BTreeMap<&str, u32>,
) -> Wish {
    let required = placement.requirement == PlacementRequirement::Required;
    if &*placement.region != "Auto" {
        let regions = BTreeMap::from([(placement.region.to_string(), 100)]);
        return Wish { regions, zones: BTreeMap::new(), required };
    }
    let mut routes: BTreeMap<&str, u32> = BTreeMap::new();
    for route in trunks.values().flat_map(|it| &it.spec.routes) {
        for agent in references::agents_of_route(route).collect::<BTreeSet<_>>() {
            *routes.entry(agent).or_default() += 1;
        }
    }
    // Calls tell more than routes, as soon as there are some.
    let by_calls = routes.keys().any(|agent| calls.get(agent).is_some_and(|it| *it > 0));
    let weight_of = |agent: &str| {
        let weights = if by_calls { calls } else { &routes };
        weights.get(agent).copied().unwrap_or(0)
    };
    let (mut regions, mut zones) = (BTreeMap::new(), BTreeMap::new());
    for agent in routes.keys() {
        let Some(spec) = agents.get(agent).map(|it| &it.spec) else { continue };
        let weight = weight_of(agent);
        if let (Some(region), true) = (&spec.region, weight > 0) {
            *regions.entry(region.to_string()).or_default() += weight;
        }
        if let (Some(zone), true) = (&spec.zone, weight > 0) {
            *zones.entry(zone.to_string()).or_default() += weight;
        }
    }
    Wish { regions: shares(&regions, 100), zones: shares(&zones, 50), required }
}

/// Each one's share of all, scaled to `whole` and at least 1.
fn shares(weights: &BTreeMap<String, u32>, whole: i32) -> BTreeMap<String, i32> {
    let sum: u64 = weights.values().map(|it| u64::from(*it)).sum();
    let share = |weight: u32| {
        let scaled = u64::from(weight) * u64::from(whole.unsigned_abs()) / sum.max(1);
        i32::try_from(scaled).unwrap_or(whole).clamp(1, whole)
    };
    weights.iter().map(|(name, weight)| (name.clone(), share(*weight))).collect()
}

impl Wish {
    pub(super) fn node_affinity(&self) -> Option<NodeAffinity> {
        if self.regions.is_empty() && self.zones.is_empty() {
            return None;
        }
        let term = |key: &str, values: Vec<String>| NodeSelectorTerm {
            match_expressions: Some(vec![NodeSelectorRequirement {
                key: key.into(),
                operator: "In".into(),
                values: Some(values),
            }]),
            match_fields: None,
        };
        let regions = self.regions.iter().map(|it| (names::REGION, it));
        let zones = self.zones.iter().map(|it| (names::ZONE, it));
        let preferred = regions.chain(zones).map(|(key, (name, weight))| PreferredSchedulingTerm {
            weight: *weight,
            preference: term(key, vec![name.clone()]),
        });
        let all: Vec<String> = self.regions.keys().cloned().collect();
        Some(NodeAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(preferred.collect()),
            required_during_scheduling_ignored_during_execution: (self.required && !all.is_empty())
                .then(|| NodeSelector { node_selector_terms: vec![term(names::REGION, all)] }),
        })
    }
}
