//! What must hold whatever happens, and in whatever order.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::json;

use super::sim::Sim;
use crate::names;
use crate::plan::{PodChange, plan};

const DRAIN_SECONDS: i64 = 40;

#[derive(Clone, Debug)]
enum Deed {
    Wait(u32),
    Scale(i32),
    Image(bool, bool),
    Cordon(bool, bool),
    NodeReady(bool, bool),
    Room(bool),
    /// Calls of the pod of that place among all.
    Calls(usize, u32),
    DrainByHand(usize),
    DeleteByHand(usize),
    Silence(usize, bool),
    Ports(i32),
    Password(u8),
    Restart,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (1u32..15).prop_map(Deed::Wait),
        3 => (0i32..6).prop_map(Deed::Scale),
        2 => any::<(bool, bool)>().prop_map(|(second, good)| Deed::Image(second, good)),
        1 => any::<(bool, bool)>().prop_map(|(a, on)| Deed::Cordon(a, on)),
        2 => any::<(bool, bool)>().prop_map(|(a, on)| Deed::NodeReady(a, on)),
        1 => any::<bool>().prop_map(Deed::Room),
        6 => (0usize..8, 0u32..4).prop_map(|(pod, calls)| Deed::Calls(pod, calls)),
        1 => (0usize..8).prop_map(Deed::DrainByHand),
        1 => (0usize..8).prop_map(Deed::DeleteByHand),
        1 => (0usize..8, any::<bool>()).prop_map(|(pod, on)| Deed::Silence(pod, on)),
        1 => prop_oneof![Just(1000), Just(700), Just(1500)].prop_map(Deed::Ports),
        1 => any::<u8>().prop_map(Deed::Password),
        1 => Just(Deed::Restart),
    ]
}

fn node(a: bool) -> &'static str {
    if a { "node-a" } else { "node-b" }
}

fn do_it(sim: &mut Sim, deed: &Deed) {
    let pod = |sim: &Sim, place: usize| {
        let names = sim.pod_names();
        (!names.is_empty()).then(|| names[place % names.len()].to_owned())
    };
    match deed {
        Deed::Wait(seconds) => {
            for _ in 0..*seconds {
                sim.tick();
                check(sim);
            }
        }
        Deed::Scale(replicas) => sim.scale(*replicas),
        Deed::Image(second, good) => {
            let number = if *second { 2 } else { 1 };
            sim.image(&format!("media:{number}{}", if *good { "" } else { "-typo" }));
        }
        Deed::Cordon(a, on) => sim.cordon(node(*a), *on),
        Deed::NodeReady(a, on) => sim.node_ready(node(*a), *on),
        Deed::Room(room) => sim.room = *room,
        Deed::Calls(place, calls) => {
            let Some(name) = pod(sim, *place) else { return };
            let before = sim.calls.get(&name).copied().unwrap_or(0);
            // Only a pod that runs and knows of no drain takes new ones.
            let takes = sim.running().contains(&name.as_str())
                && !sim.draining().contains(&name.as_str())
                && sim.pod(&name).metadata.deletion_timestamp.is_none();
            if takes || *calls < before {
                sim.calls.insert(name, *calls);
            }
        }
        Deed::DrainByHand(place) => {
            if let Some(name) = pod(sim, *place) {
                sim.annotate(&name, names::DRAIN, Some("manual"));
            }
        }
        Deed::DeleteByHand(place) => {
            if let Some(name) = pod(sim, *place).filter(|it| sim.running().contains(&it.as_str())) {
                let now = sim.now;
                let pod = std::sync::Arc::make_mut(sim.world.pods.get_mut(&name).unwrap());
                pod.metadata.deletion_timestamp =
                    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
            }
        }
        Deed::Silence(place, on) => {
            let Some(name) = pod(sim, *place) else { return };
            match on {
                true => sim.silent.insert(name),
                false => sim.silent.remove(&name),
            };
        }
        Deed::Ports(per_pod) => {
            sim.edit_pool(|spec| spec["exposure"]["media"]["portsPerPod"] = json!(per_pod));
        }
        Deed::Password(word) => {
            sim.secret("carrier-a", &[("username", "alice"), ("password", &format!("p{word}"))]);
        }
        Deed::Restart => {
            sim.world.rendered.clear();
            sim.world.polls.clear();
            sim.world.status_written.clear();
        }
    }
}

fn check(sim: &Sim) {
    for it in &sim.deletions {
        let over = it
            .drain_started
            .is_some_and(|started| it.at >= started + SignedDuration::from_secs(DRAIN_SECONDS));
        assert!(
            it.calls == 0 || !it.process_up || !it.node_there || over,
            "deleted with calls before its deadline: {it:?}"
        );
    }
    let mut slots = BTreeSet::new();
    let mut blocks = Vec::new();
    for name in sim.pod_names() {
        assert!(slots.insert(sim.annotation(name, names::SLOT).unwrap()), "two pods in one slot");
        let ports = sim.annotation(name, names::MEDIA_PORTS).unwrap();
        let (first, last) = ports.split_once('-').unwrap();
        blocks.push((first.parse::<u16>().unwrap(), last.parse::<u16>().unwrap()));
    }
    blocks.sort_unstable();
    assert!(blocks.windows(2).all(|it| it[0].1 < it[1].0), "blocks overlap: {blocks:?}");
}

proptest! {
    #![proptest_config(Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn no_call_is_lost_no_slot_is_shared_and_all_comes_to_rest(
        deeds in proptest::collection::vec(deed(), 1..30),
    ) {
        let mut sim = Sim::with_pool(2);
        sim.validates = false;
        sim.edit_pool(|spec| spec["drain"] = json!({"timeoutSeconds": DRAIN_SECONDS}));
        for deed in &deeds {
            do_it(&mut sim, deed);
            sim.tick();
            check(&sim);
        }
        // Everything becomes well again, and people hang up.
        for a in [true, false] {
            sim.cordon(node(a), false);
            sim.node_ready(node(a), true);
        }
        sim.room = true;
        sim.silent.clear();
        sim.calls.clear();
        sim.image("media:1");
        sim.settle();
        check(&sim);
        prop_assert!(plan(&sim.world, sim.now).is_empty());
        let wanted = usize::try_from(sim.world.pools["default"].spec.replicas).unwrap();
        prop_assert_eq!(sim.pod_names().len(), wanted);
        prop_assert_eq!(sim.running().len(), wanted);
    }

    #[test]
    fn carrying_out_a_plan_leaves_nothing_to_do(
        deeds in proptest::collection::vec(deed(), 1..20),
    ) {
        let mut sim = Sim::with_pool(2);
        sim.validates = false;
        for deed in &deeds {
            do_it(&mut sim, deed);
        }
        // Pods that were just made have uids only now, which their owners' lists take up; and what was
        // deleted makes room.
        let mut rounds = 0;
        while !sim.pass().is_empty() {
            rounds += 1;
            prop_assert!(rounds < 6, "it never ends: {:?}", plan(&sim.world, sim.now));
        }
    }

    #[test]
    fn one_world_gives_one_plan(deeds in proptest::collection::vec(deed(), 1..10)) {
        let mut sim = Sim::with_pool(3);
        sim.validates = false;
        for deed in &deeds {
            do_it(&mut sim, deed);
        }
        let (one, two) = (plan(&sim.world, sim.now), plan(&sim.world, sim.now));
        prop_assert_eq!(format!("{one:?}"), format!("{two:?}"));
        let creates = |it: &crate::plan::Plan| -> Vec<String> {
            let pods = it.pools.values().flat_map(|it| &it.pods);
            let new = pods.filter_map(|it| match &it.change {
                PodChange::Create(pod) => Some(serde_json::to_string(pod).unwrap()),
                _ => None,
            });
            new.collect()
        };
        prop_assert_eq!(creates(&one), creates(&two));
    }
}
