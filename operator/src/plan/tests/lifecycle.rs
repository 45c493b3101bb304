//! The life of pods: one test for each thing that must happen to them.

use super::sim::Sim;
use crate::names;
use crate::plan::{PodChange, plan};
use serde_json::json;
use std::sync::Arc;

#[test]
fn a_new_pool_gets_its_pods_and_then_rests() {
    let mut sim = Sim::with_pool(2);
    sim.settle();
    assert_eq!(sim.pod_names(), ["default-0", "default-1"]);
    assert_eq!(sim.condition("MediaPool", "default", "Ready"), "True Ready: 2/2 pods");
    assert_eq!(sim.condition("Trunk", "carrier-a", "Ready"), "True Ready: taking calls");
    assert!(plan(&sim.world, sim.now).is_empty());
}

#[test]
fn configuration_is_there_before_the_first_pod() {
    let mut sim = Sim::with_pool(1);
    let plan = sim.pass();
    let pool = &plan.pools["default"];
    assert!(pool.apply.iter().any(|it| it.key().name == "default-media-config"));
    assert!(matches!(pool.pods[0].change, PodChange::Create(_)));
}

#[test]
fn the_default_pool_is_made_when_a_trunk_needs_it() {
    let mut sim = Sim::with_pool(1);
    sim.world.pools.clear();
    let plan = sim.pass();
    assert!(plan.create_pool.is_some());
    sim.settle();
    assert_eq!(sim.pod_names(), ["default-0"]);
}

#[test]
fn a_deleted_default_pool_comes_back_when_its_last_pod_is_gone() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    sim.world.pools.clear();
    assert!(plan(&sim.world, sim.now).create_pool.is_none());
    sim.remove_pod("default-0");
    assert!(plan(&sim.world, sim.now).create_pool.is_some());
}

#[test]
fn pods_of_a_pool_before_keep_their_slots_and_nothing_is_done_to_them() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    let pod = Arc::make_mut(sim.world.pods.get_mut("default-0").unwrap());
    pod.metadata.owner_references.as_mut().unwrap()[0].uid = "another".into();
    let plan = sim.pass();
    let names: Vec<_> = plan.pools["default"].pods.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["default-1"]);
}

#[test]
fn scaling_down_drains_the_pod_with_fewest_calls_and_deletes_it_when_idle() {
    let mut sim = Sim::with_pool(3);
    sim.settle();
    sim.calls =
        [("default-0", 5), ("default-1", 1), ("default-2", 3)].map(|(n, c)| (n.into(), c)).into();
    sim.run_for(2);
    sim.scale(2);
    sim.tick();
    assert_eq!(sim.draining(), ["default-1"]);
    sim.run_for(100);
    assert!(sim.deletions.is_empty(), "a call is up: {:?}", sim.deletions);
    sim.calls.insert("default-1".into(), 0);
    sim.settle();
    assert_eq!(sim.pod_names(), ["default-0", "default-2"]);
    assert!(sim.events.contains(&"DrainFinished"));
}

#[test]
fn no_pod_goes_after_one_idle_answer() {
    let mut sim = Sim::with_pool(2);
    sim.settle();
    sim.scale(1);
    sim.pass();
    sim.pass_time(1);
    sim.kubelet();
    sim.pass();
    assert!(sim.deletions.is_empty(), "one answer is not two");
    sim.pass_time(1);
    sim.kubelet();
    sim.pass();
    assert_eq!(sim.deletions.len(), 1);
}

#[test]
fn a_draining_pod_is_taken_back_when_it_is_needed() {
    let mut sim = Sim::with_pool(2);
    sim.settle();
    sim.calls = [("default-0", 2), ("default-1", 1)].map(|(n, c)| (n.into(), c)).into();
    sim.run_for(1);
    sim.scale(1);
    sim.run_for(5);
    assert_eq!(sim.draining(), ["default-1"]);
    sim.scale(2);
    sim.settle();
    assert!(sim.draining().is_empty());
    assert_eq!(sim.pod_names(), ["default-0", "default-1"]);
    assert!(sim.annotation("default-1", names::DRAIN_STARTED).is_none());
    assert_eq!(sim.annotation("default-1", names::SAFE_TO_EVICT), Some("false"));
}

#[test]
fn a_person_may_drain_a_pod_and_it_is_replaced() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    sim.calls.insert("default-0".into(), 1);
    sim.annotate("default-0", names::DRAIN, Some("manual"));
    sim.settle();
    assert_eq!(sim.running(), ["default-0", "default-1"]);
    assert!(sim.annotation("default-0", names::DRAIN_STARTED).is_some());
    sim.calls.clear();
    sim.settle();
    assert_eq!(sim.pod_names(), ["default-1"]);
}

#[test]
fn a_person_may_take_the_drain_mark_away() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    sim.calls.insert("default-0".into(), 1);
    sim.annotate("default-0", names::DRAIN, Some("manual"));
    sim.run_for(2);
    sim.annotate("default-0", names::DRAIN, None);
    // Before its kubelet has found it ready again.
    sim.pass();
    sim.settle();
    assert!(sim.annotation("default-0", names::DRAIN_STARTED).is_none());
    assert_eq!(sim.running(), ["default-0"], "one of the two was too many: that without calls");
}

#[test]
fn the_deadline_ends_a_drain_with_calls() {
    let mut sim = Sim::with_pool(2);
    sim.edit_pool(|spec| spec["drain"] = json!({"timeoutSeconds": 60}));
    sim.settle();
    sim.calls = [("default-0", 9), ("default-1", 4)].map(|(n, c)| (n.into(), c)).into();
    sim.run_for(1);
    sim.scale(1);
    sim.run_for(60);
    assert!(sim.deletions.is_empty());
    sim.run_for(10);
    assert_eq!(sim.deletions.len(), 1);
    assert_eq!((sim.deletions[0].name.as_str(), sim.deletions[0].calls), ("default-1", 4));
    assert!(sim.events.contains(&"DrainDeadlineExceeded"));
}

#[test]
fn calls_that_the_pod_ended_at_its_deadline_are_told_although_none_is_left() {
    let mut sim = Sim::with_pool(2);
    sim.settle();
    sim.calls = [("default-0", 9), ("default-1", 4)].map(|(n, c)| (n.into(), c)).into();
    sim.run_for(1);
    sim.scale(1);
    sim.run_for(5);
    sim.calls.insert("default-1".into(), 0);
    sim.drained.insert("default-1".into(), 4);
    sim.settle();
    assert_eq!(sim.pod_names(), ["default-0"]);
    assert!(sim.events.contains(&"DrainDeadlineExceeded"));
    assert!(!sim.events.contains(&"DrainFinished"));
}

#[test]
fn a_rollout_surges_waits_for_proof_and_drains_one_after_the_other() {
    let mut sim = Sim::with_pool(3);
    sim.settle();
    sim.image("media:2");
    sim.tick();
    assert_eq!(sim.pod_names().len(), 4, "one more than wanted");
    sim.run_for(9);
    assert!(sim.draining().is_empty(), "the new pod has not proved itself yet");
    let mut most = 0;
    for _ in 0..200 {
        sim.tick();
        let serving = sim.running().len() - sim.draining().len();
        most = most.max(sim.running().len());
        assert!(serving >= 3, "never fewer than wanted take calls");
    }
    assert!(most <= 5, "one surges and one drains");
    sim.settle();
    let images: Vec<_> = sim
        .world
        .pods
        .values()
        .map(|it| it.spec.as_ref().unwrap().containers[0].image.clone().unwrap())
        .collect();
    assert_eq!(images, ["media:2"; 3]);
    assert_eq!(sim.condition("MediaPool", "default", "Progressing"), "False UpToDate: ");
}

#[test]
fn an_image_that_cannot_be_pulled_stops_the_rollout() {
    let mut sim = Sim::with_pool(2);
    sim.settle();
    sim.image("media:typo");
    sim.settle();
    assert_eq!(sim.running().len(), 2, "old pods keep working");
    assert!(sim.draining().is_empty());
    let progressing = sim.condition("MediaPool", "default", "Progressing");
    assert!(progressing.starts_with("True ImagePullBackOff"), "{progressing}");
    assert!(progressing.contains("media:typo"), "{progressing}");
    // And back: the pod that never ran goes at once.
    sim.image("media:1");
    sim.settle();
    assert_eq!(sim.pod_names(), ["default-0", "default-1"]);
}

#[test]
fn without_a_free_node_the_rollout_waits() {
    let mut sim = Sim::with_pool(2);
    sim.settle();
    sim.room = false;
    sim.image("media:2");
    sim.settle();
    assert_eq!(sim.running(), ["default-0", "default-1"]);
    assert!(sim.draining().is_empty());
    let progressing = sim.condition("MediaPool", "default", "Progressing");
    assert!(progressing.starts_with("True Unschedulable"), "{progressing}");
    sim.room = true;
    sim.settle();
    assert_eq!(sim.running().len(), 2);
    assert_eq!(sim.condition("MediaPool", "default", "Progressing"), "False UpToDate: ");
}

#[test]
fn a_cordoned_node_is_left_by_surge_first() {
    let mut sim = Sim::with_pool(2);
    sim.settle();
    let node =
        |sim: &Sim, pod: &str| sim.pod(pod).spec.as_ref().unwrap().node_name.clone().unwrap();
    let leaving = node(&sim, "default-0");
    sim.cordon(&leaving, true);
    sim.tick();
    assert!(sim.draining().is_empty() && sim.pod_names().len() == 3);
    sim.settle();
    assert_eq!(sim.pod_names().len(), 2);
    assert!(sim.pod_names().iter().all(|pod| node(&sim, pod) != leaving));
}

#[test]
fn a_lost_node_is_replaced_and_when_it_returns_its_pod_drains() {
    let mut sim = Sim::with_pool(2);
    sim.edit_pool(|spec| spec["drain"] = json!({"timeoutSeconds": 600}));
    sim.settle();
    let node = sim.pod("default-0").spec.as_ref().unwrap().node_name.clone().unwrap();
    sim.calls.insert("default-0".into(), 7);
    sim.run_for(1);
    sim.node_ready(&node, false);
    sim.silent.insert("default-0".into());
    sim.run_for(19);
    assert_eq!(sim.pod_names().len(), 2, "a hiccup is no loss");
    sim.run_for(3);
    assert_eq!(sim.pod_names().len(), 3, "capacity is replaced");
    assert_eq!(sim.draining(), ["default-0"]);
    sim.run_for(2000);
    assert!(sim.deletions.is_empty(), "its calls may go on behind the split");
    sim.node_ready(&node, true);
    sim.silent.clear();
    sim.run_for(500);
    assert!(sim.deletions.is_empty(), "its time starts when it can hear of the drain");
    sim.calls.clear();
    sim.settle();
    assert_eq!(sim.pod_names(), ["default-1", "default-2"]);
}

#[test]
fn a_pod_object_is_forced_away_only_with_its_node() {
    let mut sim = Sim::with_pool(2);
    sim.settle();
    let node = sim.pod("default-0").spec.as_ref().unwrap().node_name.clone().unwrap();
    sim.nodes().remove(&node);
    let plan = plan(&sim.world, sim.now);
    let forced = plan.pools["default"].pods.iter().any(|it| {
        it.name == "default-0"
            && matches!(it.change, PodChange::Delete { grace_seconds: Some(0), .. })
    });
    assert!(forced);
}

/// So many pods at rest, in a range of ports that has so many blocks.
fn with_blocks(pods: i32, blocks: i32) -> Sim {
    let mut sim = Sim::with_pool(pods);
    let range = json!({"start": 20000, "end": 20000 + 100 * blocks - 1});
    sim.edit_pool(|spec| {
        spec["exposure"]["media"] = json!({"portRange": range, "portsPerPod": 100});
    });
    sim.settle();
    sim
}

#[test]
fn an_exhausted_port_range_says_so_and_waits_for_the_oldest_drain() {
    let mut sim = with_blocks(2, 3);
    sim.calls = [("default-0", 1), ("default-1", 1)].map(|(n, c)| (n.into(), c)).into();
    sim.image("media:2");
    sim.run_for(40);
    let limited = sim.condition("MediaPool", "default", "ScalingLimited");
    assert!(limited.starts_with("True PortRangeExhausted"), "{limited}");
    assert!(sim.events.contains(&"PortRangeExhausted"));
    sim.calls.clear();
    sim.settle();
    let limited = sim.condition("MediaPool", "default", "ScalingLimited");
    assert_eq!(limited, "False WithinLimits: ");
}

#[test]
fn a_pool_without_a_free_block_rolls_by_draining_first_and_never_all() {
    let mut sim = with_blocks(4, 4);
    sim.image("media:2");
    let mut fewest = 4;
    for _ in 0..300 {
        sim.tick();
        let serving = sim.running().iter().filter(|it| !sim.draining().contains(it)).count();
        fewest = fewest.min(serving);
    }
    assert_eq!(fewest, 3);
    assert_eq!(sim.running().len(), 4);
    let image = |it: &&str| sim.pod(it).spec.as_ref().unwrap().containers[0].image.clone();
    assert!(sim.pod_names().iter().all(|it| image(it).as_deref() == Some("media:2")));
    let progressing = sim.condition("MediaPool", "default", "Progressing");
    assert!(progressing.starts_with("False"), "{progressing}");
}

#[test]
fn a_bad_image_takes_one_old_pod_at_most_from_a_pool_without_a_free_block() {
    let mut sim = with_blocks(4, 4);
    sim.image("media:2-typo");
    sim.run_for(600);
    let stays = |it: &&&str| !sim.draining().contains(*it);
    assert_eq!(sim.running().iter().filter(stays).count(), 3);
}

#[test]
fn the_last_pod_does_not_make_way() {
    let mut sim = with_blocks(1, 1);
    sim.image("media:2");
    sim.run_for(100);
    assert_eq!(sim.draining(), Vec::<&str>::new());
    let limited = sim.condition("MediaPool", "default", "ScalingLimited");
    assert!(limited.starts_with("True PortRangeExhausted"), "{limited}");
}

/// An old pod's block lies across two new ones, and the pool grows.
#[test]
fn an_old_block_that_is_in_the_way_is_left() {
    let mut sim = Sim::with_pool(3);
    let ports = |sim: &mut Sim, per_pod: i32| {
        sim.edit_pool(|spec| spec["exposure"]["media"]["portsPerPod"] = json!(per_pod));
    };
    ports(&mut sim, 700);
    sim.settle();
    sim.calls = [("default-2".to_owned(), 1)].into();
    ports(&mut sim, 1500);
    sim.scale(5);
    sim.run_for(120);
    let limited = sim.condition("MediaPool", "default", "ScalingLimited");
    assert_eq!(sim.draining(), ["default-2"], "{limited}");
    sim.calls.clear();
    sim.settle();
    assert_eq!(sim.running().len(), 5);
}

#[test]
fn a_moved_port_range_never_overlaps_an_old_block() {
    let mut sim = Sim::with_pool(2);
    sim.settle();
    sim.calls = [("default-0", 1), ("default-1", 1)].map(|(n, c)| (n.into(), c)).into();
    sim.edit_pool(|spec| spec["exposure"]["media"]["portsPerPod"] = json!(700));
    sim.run_for(60);
    let mut blocks: Vec<(u16, u16)> = sim
        .pod_names()
        .iter()
        .map(|it| {
            let (first, last) =
                sim.annotation(it, names::MEDIA_PORTS).unwrap().split_once('-').unwrap();
            (first.parse().unwrap(), last.parse().unwrap())
        })
        .collect();
    blocks.sort_unstable();
    assert!(blocks.len() > 2);
    assert!(blocks.windows(2).all(|it| it[0].1 < it[1].0), "{blocks:?}");
}

#[test]
fn a_silent_pod_delays_scaling_down_for_a_minute() {
    let mut sim = Sim::with_pool(2);
    sim.settle();
    sim.silent.insert("default-1".into());
    sim.run_for(2);
    sim.scale(1);
    sim.run_for(50);
    assert!(sim.draining().is_empty());
    let limited = sim.condition("MediaPool", "default", "ScalingLimited");
    assert!(limited.starts_with("True MetricsMissing"), "{limited}");
    assert_eq!(sim.world.pools["default"].status.as_ref().unwrap().ready_replicas, Some(2));
    sim.run_for(30);
    assert_eq!(sim.draining(), ["default-1"], "whoever is silent for long is no capacity");
}

#[test]
fn pods_that_do_not_report_the_configuration_are_kicked_ever_more_seldom() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    sim.stale.insert("default-0".into());
    sim.secret("carrier-a", &[("username", "alice"), ("password", "changed")]);
    sim.pass();
    let first = sim.annotation("default-0", names::CONFIG_KICKED).map(str::to_owned);
    assert!(first.is_some(), "a changed Secret reaches the pod in the same pass");
    let mut kicks = Vec::new();
    let mut last = first;
    for second in 1..=60 {
        sim.tick();
        let now = sim.annotation("default-0", names::CONFIG_KICKED).map(str::to_owned);
        if now != last {
            kicks.push(second);
            last = now;
        }
    }
    assert_eq!(kicks, [3, 6, 12, 24, 48]);
    sim.stale.clear();
    sim.settle();
}

#[test]
fn a_kubelet_that_missed_a_drain_or_an_address_is_kicked_until_the_pod_knows() {
    let kicked = |sim: &Sim| sim.annotation("default-1", names::CONFIG_KICKED).map(str::to_owned);
    let mut sim = Sim::with_pool(2);
    sim.settle();
    let before = kicked(&sim);
    sim.missed.insert("default-1".into());
    sim.calls.extend([("default-0".to_owned(), 5), ("default-1".to_owned(), 1)]);
    sim.scale(1);
    sim.run_for(2);
    assert_eq!((sim.draining(), kicked(&sim)), (vec!["default-1"], before.clone()));
    sim.run_for(4);
    let first = kicked(&sim);
    assert_ne!(first, before);
    sim.run_for(6);
    assert_ne!(kicked(&sim), first, "again, until it drains");
    sim.missed.clear();
    sim.run_for(6);
    let last = kicked(&sim);
    sim.run_for(60);
    assert_eq!(kicked(&sim), last);

    let pod = Arc::make_mut(sim.world.pods.get_mut("default-0").expect("there"));
    pod.metadata.annotations.as_mut().expect("there").remove(names::ADDRESS);
    sim.run_for(2);
    let told = |sim: &Sim, key| sim.annotation("default-0", key).map(str::to_owned);
    assert!(told(&sim, names::ADDRESS).is_some());
    let kick = told(&sim, names::CONFIG_KICKED).expect("told anew");
    let (first, again) = kick.split_once('/').expect("two times");
    assert_eq!(first, again, "a first kick");
}

#[test]
fn an_evicted_pod_is_cleared_away_and_replaced() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    let pod = Arc::make_mut(sim.world.pods.get_mut("default-0").unwrap());
    pod.status = serde_json::from_value(json!({"phase": "Failed", "reason": "Evicted"})).unwrap();
    let plan = sim.pass();
    let names: Vec<_> = plan.pools["default"].pods.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["default-0", "default-1"]);
}

#[test]
fn older_definitions_leave_everything_as_it_is() {
    let mut sim = Sim::with_pool(1);
    sim.world.schema = trunkline_crds::SCHEMA - 1;
    let plan = sim.pass();
    assert!(plan.refused.is_some() && plan.is_empty());
    assert!(plan.pools.is_empty() && sim.world.pods.is_empty());
}

#[test]
fn an_operator_that_starts_in_mid_rollout_goes_on() {
    let mut sim = Sim::with_pool(3);
    sim.settle();
    sim.image("media:2");
    sim.run_for(13);
    assert!(!sim.draining().is_empty());
    // All that a process keeps in memory.
    sim.world.rendered.clear();
    sim.world.polls.clear();
    sim.world.status_written.clear();
    let plan = plan(&sim.world, sim.now);
    assert!(plan.pools["default"].apply.is_empty(), "the same bytes again: {plan:?}");
    sim.settle();
    assert_eq!(sim.pod_names().len(), 3);
}

#[test]
fn pods_are_told_of_each_other_and_of_who_drains() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    let alone = r#"[{"slot":0,"address":"10.0.0.5:18080"}]"#;
    assert_eq!(sim.annotation("default-0", names::PEERS), Some(alone));
    sim.scale(2);
    let made = sim.pass().pools["default"].pods.iter().find_map(|it| match &it.change {
        PodChange::Create(pod) => pod.metadata.annotations.clone(),
        _ => None,
    });
    assert_eq!(made.unwrap()[names::PEERS], alone, "it knows of the others before it runs");
    sim.settle();
    let peers = |sim: &Sim| {
        let texts = ["default-0", "default-1"].map(|it| sim.annotation(it, names::PEERS).unwrap());
        assert_eq!(texts[0], texts[1]);
        serde_json::from_str::<serde_json::Value>(texts[0]).unwrap()
    };
    let peer = |slot: u16| json!({"slot": slot, "address": format!("10.0.0.5:{}", 18080 + slot)});
    assert_eq!(peers(&sim), json!([peer(0), peer(1)]));
    sim.calls.insert("default-1".into(), 3);
    sim.annotate("default-1", names::DRAIN, Some("manual"));
    sim.run_for(2);
    assert_eq!(peers(&sim)[1]["draining"], true);
}
