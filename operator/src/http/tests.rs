use super::*;
use crate::client::Target;

fn watch(resource: &str, required: bool, age_seconds: u64) -> WatchReport {
    WatchReport {
        target: Target { resource: resource.into(), namespace: None, selected: false },
        required,
        listed: true,
        age: Duration::from_secs(age_seconds),
        trouble: None,
    }
}

#[test]
fn an_operator_whose_required_watch_is_dead_is_started_again() {
    let alive = [watch("trunks", true, 299), watch("nodes", false, 9_999)];
    assert_eq!(why_dead(&alive, Duration::from_secs(5)), None);
    let mut dead = watch("pods", true, 601);
    dead.trouble = Some("pods is forbidden".into());
    let why = why_dead(&[watch("trunks", true, 10), dead], Duration::ZERO).unwrap();
    assert_eq!(why, "the watch of pods has not begun again for 601 s: pods is forbidden");
}

#[test]
fn an_operator_whose_loop_hangs_is_started_again() {
    let why = why_dead(&[], Duration::from_secs(61)).unwrap();
    assert_eq!(why, "the reconcile loop has not turned for 61 s");
}

#[test]
fn a_standby_tells_what_stands_in_the_pool() {
    let pool: MediaPool = serde_json::from_value(serde_json::json!({
        "apiVersion": "trunkline.dev/v1alpha1",
        "kind": "MediaPool",
        "metadata": {"name": "default", "namespace": "voice"},
        "spec": {},
        "status": {"replicas": 3, "readyReplicas": 2, "activeCalls": 61, "capacityCalls": 300},
    }))
    .unwrap();
    let figures = PoolFigures::written(&pool);
    assert_eq!((figures.source, figures.replicas, figures.ready_replicas), ("Status", 3, 2));
    assert_eq!((figures.active_calls, figures.capacity_calls), (61, 300));
}

#[test]
fn a_namespace_without_pools_is_forgotten() {
    let pools = Pools::default();
    pools.replace("voice", BTreeMap::from([("default".to_owned(), Figures::default())]));
    assert!(pools.get("voice", "default").is_some());
    pools.replace("voice", BTreeMap::new());
    assert!(pools.get("voice", "default").is_none());
    assert!(pools.0.lock().unwrap().is_empty());
}
