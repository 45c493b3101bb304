//! Helm over a release with calls: upgrade, rollback and uninstall, by Helm 4 and by Helm 3.

use trunkline_tests::node::workspace;
use trunkline_tests::process::wait_until;

use crate::bed::{Cluster, DRAIN, SOON};
use crate::carrier::{assert_all_well, call, hang_up, refusal, result, talk};
use crate::manifests::{HOUR, TRUNK, bot, one_pod};
use crate::release::{MEDIA_IMAGE, NEXT, Release, VERSION, chart};

/// The same two crowds of callers talk through all of it.
fn upgrade_roll_back_and_uninstall(helm: &'static str) {
    let cluster = Cluster::shared();
    let name = format!("upgrade-{helm}");
    let release = Release::install_by(helm, cluster, &name, "baseline", &[]);
    let namespace = &release.namespace;
    release.take_calls(HOUR);
    let (old, deployment) = (release.address("default-0"), format!("deployment/{name}"));
    let first = talk(&release, "first", &old, 3);

    // Another image for media pods, and other arguments for the operator itself.
    let values = [
        "--reset-then-reuse-values",
        &format!("--set=media.image.tag={NEXT}"),
        "--set=telemetry.logFormat=text",
    ];
    let upgrade = ["upgrade", &name, &chart(), "--wait", "--timeout=120s"];
    release.helm(&[&upgrade[..], &values].concat());
    let drain = |pod: &str| namespace.text(pod, DRAIN);
    let image = |pod: &str| namespace.text(pod, "/spec/containers/0/image");
    let why = wait_until("the old pod drains", SOON, || drain("pod/default-0"));
    assert_eq!(why, "rollout");
    assert_eq!(image("pod/default-1"), Some(format!("{MEDIA_IMAGE}:{NEXT}")));
    let why = wait_until("the old pod refuses a call", SOON, || refusal(&release, &old));
    assert!(why.starts_with("503 "), "{why}");
    let second = talk(&release, "second", &release.address("default-1"), 3);

    // The old pod is what the release wants again, so no third one is needed.
    release.helm(&["rollback", &name, "1", "--wait", "--timeout=120s"]);
    let why = wait_until("the new pod drains", SOON, || drain("pod/default-1"));
    assert_eq!(why, "rollout");
    assert_eq!(drain("pod/default-0"), None);
    assert_eq!(image("pod/default-0"), Some(format!("{MEDIA_IMAGE}:{VERSION}")));
    let taken = || refusal(&release, &old).is_none().then_some(());
    wait_until("the old pod takes calls again", SOON, taken);

    release.helm(&["uninstall", &name, "--wait", "--timeout=120s"]);
    assert_eq!(namespace.get(&deployment), None);
    for object in
        ["trunk/carrier-a", "agent/bot", "mediapool/default", "secret/default-media-config"]
    {
        assert!(namespace.get(object).is_some(), "{object} is the user's to delete");
    }
    assert_all_well(&result(call(&release, "without-operator", &old, 2, 2)), 2);
    assert_all_well(&hang_up(second), 3);

    // The next operator goes on where the last one stopped.
    release.install_chart(&[]);
    namespace.wait_for("delete", "pod/default-1");
    assert_all_well(&hang_up(first), 3);
}

#[test]
fn upgrade_rollback_and_uninstall_by_helm_4_drop_no_call() {
    upgrade_roll_back_and_uninstall("helm");
}

#[test]
fn upgrade_rollback_and_uninstall_by_helm_3_drop_no_call() {
    upgrade_roll_back_and_uninstall("helm3");
}

/// The chart as it was before its definitions were as they are.
fn older_chart() -> tempfile::TempDir {
    let older = tempfile::tempdir().expect("a temporary folder");
    let copied = std::process::Command::new("cp")
        .args(["--recursive", "--no-target-directory", &chart()])
        .arg(older.path())
        .status();
    assert!(copied.is_ok_and(|status| status.success()), "the chart cannot be copied");
    let definition = older.path().join("files/crds/trunks.yaml");
    let now = std::fs::read_to_string(&definition).expect("the chart brings its definitions");
    let before = now.replace("trunkline.dev/schema: \"1\"", "trunkline.dev/schema: \"0\"");
    assert_ne!(now, before);
    std::fs::write(definition, before).expect("it is our copy");
    older
}

/// The definitions belong to the whole cluster, so this has one of its own. Nobody runs there: images
/// are not given to its nodes.
#[test]
fn definitions_are_upgraded_with_the_chart_and_outlive_it_with_all_that_was_written() {
    let cluster = Cluster::start_apart("definitions");
    let namespace = cluster.namespace("trunkline");
    let older = older_chart();
    let older = older.path().to_str().expect("a path of UTF-8");
    let there = ["trunkline", "--namespace=trunkline", "--timeout=60s"];
    let helm = |helm: &str, verb: &str, more: &[&str]| {
        cluster.helm(helm, &[&[verb], &there[..1], more, &there[1..]].concat())
    };
    let schema = || {
        let schema = "-o=jsonpath={.metadata.annotations.trunkline\\.dev/schema}";
        cluster.kubectl(&["get", "crd", "trunks.trunkline.dev", schema])
    };
    let definitions = workspace().join("crds/yaml");
    let definitions = definitions.to_str().expect("a path of UTF-8");
    for generation in ["helm3", "helm"] {
        helm(generation, "install", &[older]);
        assert_eq!(schema(), "0");
        cluster.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            "-f",
            definitions,
        ]);
        namespace.apply(&one_pod(HOUR)).expect("a MediaPool");
        namespace.apply(&bot("trunkline")).expect("an Agent");
        namespace.apply(TRUNK).expect("a Trunk");
        helm(generation, "upgrade", &[&chart()]);
        assert_eq!(schema(), "1");
        // A release goes back as a whole.
        helm(generation, "rollback", &["1"]);
        assert_eq!(schema(), "0");
        helm(generation, "upgrade", &[&chart()]);
        helm(generation, "uninstall", &[]);
        assert_eq!(schema(), "1");
        for object in ["trunk/carrier-a", "agent/bot", "mediapool/default"] {
            assert!(
                namespace.get(object).is_some(),
                "{object} is gone after {generation} uninstall"
            );
        }
    }
}
