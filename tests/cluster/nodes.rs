//! Nodes that their administrator empties: in a cluster of its own, for every operator and every pod of
//! a cluster would notice.

use std::collections::BTreeSet;

use trunkline_tests::process::{Process, wait_until};

use crate::bed::{Cluster, DELETED, DRAIN, Namespace, SOON};
use crate::carrier::{assert_all_well, call, hang_up, refusal, result, talk};
use crate::manifests::HOUR;
use crate::release::Release;

fn node(namespace: &Namespace<'_>, pod: &str) -> String {
    namespace.text(pod, "/spec/nodeName").expect("it has a node")
}

#[test]
fn node_cordoned_or_drained_by_kubectl_its_pods_surge_elsewhere_first_and_leave_one_at_a_time() {
    let cluster = Cluster::start_apart("nodes");
    cluster.install_definitions();
    let release = Release::install(&cluster, "leave-a-node", "baseline");
    let namespace = &release.namespace;
    release.take_calls(HOUR);

    // A cordoned node: first another pod elsewhere, then this one drains, and nobody hangs up for it.
    let (left, pod) = (node(namespace, "pod/default-0"), release.address("default-0"));
    let talking = talk(&release, "talking", &pod, 3);
    cluster.kubectl(&["cordon", &left]);
    let why = wait_until("the pod drains", SOON, || namespace.text("pod/default-0", DRAIN));
    assert_eq!(why, "node-cordoned");
    let other = node(namespace, "pod/default-1");
    assert_ne!(other, left);
    assert_all_well(&result(call(&release, "new", &release.address("default-1"), 2, 2)), 2);
    let why = wait_until("the pod refuses a call", SOON, || refusal(&release, &pod));
    assert!(why.starts_with("503 "), "{why}");
    assert_all_well(&hang_up(talking), 3);
    namespace.wait_for("delete", "pod/default-0");

    // Two pods on one node, as nothing else is open.
    namespace.kubectl(&["scale", "mediapool", "default", "--replicas=2"]);
    namespace.comes_up("pod/default-0");
    cluster.kubectl(&["uncordon", &left]);
    let both = ["default-0", "default-1"];
    assert_eq!(both.map(|pod| node(namespace, &format!("pod/{pod}"))), [&*other, &*other]);
    wait_until("the budget knows both", SOON, || {
        let budget = namespace.get("poddisruptionbudget/default")?;
        (budget["status"]["disruptionsAllowed"] == 1 && budget["status"]["currentHealthy"] == 2)
            .then_some(())
    });
    let talking = both.map(|pod| talk(&release, pod, &release.address(pod), 2));

    let drain = ["kubectl", "drain", &other, "--pod-selector=trunkline.dev/pool=default"];
    let mut drain = Process::start("drain", cluster.on("control", &drain), &release.directory);
    let held = drain.wait_for_line("a refused eviction", SOON, |line| {
        line.contains("would violate the pod's disruption budget").then(|| line.to_owned())
    });
    println!("{held}");
    let pods: BTreeSet<_> = both.into_iter().filter(|pod| held.contains(pod)).collect();
    assert_eq!(pods.len(), 1, "{held}");
    // Both leave in the end, when there are two others, and when their calls have ended.
    for pod in both.map(|pod| format!("pod/{pod}")) {
        wait_until("the pod is told to go", SOON, || namespace.text(&pod, DELETED));
    }
    for pod in ["pod/default-2", "pod/default-3"] {
        namespace.comes_up(pod);
        assert_eq!(node(namespace, pod), left);
    }
    assert!(drain.is_running(), "calls are up: {}", drain.tail());
    for talking in talking {
        assert_all_well(&hang_up(talking), 2);
    }
    assert!(drain.wait(SOON).success(), "{}", drain.tail());
    cluster.kubectl(&["uncordon", &other]);
}
