//! The operator needs every right that the chart gives it, and no other.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use trunkline_tests::process::wait_until;

use crate::bed::{Cluster, SOON};
use crate::manifests::{TRUNK, bot};
use crate::release::Release;

const NAME: &str = "rights-of-operator";
/// Written only when the same event happens again within minutes.
const SELDOM: &str = "patch events.events.k8s.io";
/// What looks like the operator's, and belongs to nothing.
const STRAYS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: stray, labels: {app.kubernetes.io/managed-by: trunkline-operator, trunkline.dev/pool: default}}
spec: {ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: stray, labels: {app.kubernetes.io/managed-by: trunkline-operator, trunkline.dev/pool: default}}
spec: {podSelector: {matchLabels: {nobody: here}}}
"#;

#[test]
fn the_operator_is_refused_nothing_and_uses_every_right_that_it_has() {
    let cluster = Cluster::shared();
    let pool = r#"--set-json=defaultPool={"exposure": {"mode": "PodNetwork", "media": {"portRange": {"start": 20000, "end": 20399}, "portsPerPod": 100}, "address": {"source": "PodIP"}}, "drain": {"timeoutSeconds": 30}, "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}}}"#;
    let release = Release::install_with(cluster, NAME, "baseline", &[pool]);
    let namespace = &release.namespace;

    // A life: the default pool is made, gets a certificate, grows, shrinks, and strays are swept up.
    namespace.apply(&bot(NAME)).expect("an Agent");
    namespace.apply(TRUNK).expect("a Trunk");
    release.taking_calls("carrier-a");
    let certificate = r#"{"spec": {"tls": {"certificateRef": {"name": "sip-cert"}}}}"#;
    let patch = ["patch", "mediapool", "default", "--type=merge", "--patch", certificate];
    namespace.kubectl(&patch);
    namespace.kubectl(&["scale", "mediapool", "default", "--replicas=2"]);
    namespace.wait_for("jsonpath={.status.readyReplicas}=2", "mediapool/default");
    namespace.apply(STRAYS).expect("strays");
    namespace.wait_for("delete", "service/stray");
    namespace.wait_for("delete", "networkpolicy/stray");
    namespace.kubectl(&["scale", "mediapool", "default", "--replicas=1"]);
    wait_until("one pod is drained and gone", SOON, || {
        let pods = ["get", "pods", "--selector=trunkline.dev/pool=default", "-o=name"];
        (namespace.kubectl(&pods).lines().count() == 1).then_some(())
    });

    let asked = requests(cluster, &format!("system:serviceaccount:{NAME}:{NAME}"));
    let refused: Vec<_> = asked.iter().filter(|it| it.status == 403).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let used: BTreeSet<_> = asked.iter().flat_map(Request::rights).collect();
    let granted = granted(&release);
    let unused: Vec<_> = granted.difference(&used).filter(|it| *it != SELDOM).collect();
    assert!(unused.is_empty(), "granted and never used: {unused:?}");
    println!("{} requests, {} rights, each of them used", asked.len(), granted.len());
}

#[derive(Debug)]
pub(crate) struct Request {
    /// RFC 3339, UTC.
    pub(crate) at: String,
    pub(crate) verb: String,
    /// `pods`, `trunks/status`, `leases.coordination.k8s.io`.
    pub(crate) resource: String,
    status: u64,
}

impl Request {
    /// The rights that it took. Server-side apply of what was not there takes two.
    fn rights(&self) -> Vec<String> {
        let mut rights = vec![format!("{} {}", self.verb, self.resource)];
        if self.verb == "patch" && self.status == 201 {
            rights.push(format!("create {}", self.resource));
        }
        rights
    }
}

/// What a service account has asked of the API server, by its audit log.
pub(crate) fn requests(cluster: &Cluster, account: &str) -> Vec<Request> {
    let log = fs::read_to_string(cluster.folder().join("control/log/audit")).expect("an audit log");
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_account = lines.filter(|it| it["user"]["username"] == account);
    let request = |it: Value| {
        let object = it.get("objectRef")?;
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        Some(Request {
            at: it["requestReceivedTimestamp"].as_str()?.to_owned(),
            verb: it["verb"].as_str()?.to_owned(),
            resource: full(&text("resource"), &text("subresource"), &text("apiGroup")),
            status: it.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or(0),
        })
    };
    of_account.filter_map(request).collect()
}

fn full(resource: &str, subresource: &str, group: &str) -> String {
    let mut full = resource.to_owned();
    if !subresource.is_empty() {
        full.push('/');
        full.push_str(subresource);
    }
    if !group.is_empty() {
        full.push('.');
        full.push_str(group);
    }
    full
}

/// The rights that the release's roles give to the operator.
fn granted(release: &Release<'_>) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    let ours = format!("--selector=app.kubernetes.io/instance={NAME}");
    for kind in ["roles", "clusterroles"] {
        let roles = release.namespace.kubectl(&["get", kind, &ours, "-o=json"]);
        let roles: Value = serde_json::from_str(&roles).expect("JSON");
        for role in roles["items"].as_array().expect("a list") {
            for rule in role["rules"].as_array().into_iter().flatten() {
                let texts = |field: &str| {
                    let list = rule[field].as_array().cloned().unwrap_or_default();
                    list.into_iter().filter_map(|it| it.as_str().map(str::to_owned))
                };
                for group in texts("apiGroups") {
                    for resource in texts("resources") {
                        let (name, sub) = resource.split_once('/').unwrap_or((&resource, ""));
                        for verb in texts("verbs") {
                            rights.insert(format!("{verb} {}", full(name, sub, &group)));
                        }
                    }
                }
            }
        }
    }
    rights
}
