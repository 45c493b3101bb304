//! A row of `docs/failures.md`: a pool of its own, with an Agent and a Trunk of the same name, beside
//! those of other rows in the namespace of one release.

use std::time::Duration;

use serde_json::Value;
use trunkline_tests::process::wait_until;

use crate::bed::{Namespace, SOON};
use crate::carrier::{assert_all_well, call, refusal, result};
use crate::manifests::bot;
use crate::release::Release;

/// What the carrier is: `control`, on both networks.
pub(crate) const CARRIER: &str = r#"{sources: ["203.0.113.1/32", "10.99.0.1/32"]}"#;

/// For what takes a rollout, or a minute of silence.
pub(crate) const LATER: Duration = Duration::from_secs(150);

pub(crate) struct Row<'a> {
    pub(crate) release: &'a Release<'a>,
    pub(crate) name: &'static str,
}

impl<'a> Row<'a> {
    /// Makes pool, Agent and Trunk, and waits until all pods take calls.
    pub(crate) fn start(release: &'a Release<'a>, name: &'static str, replicas: u32) -> Self {
        let row = Self::with_pool(release, name, &pool(name, replicas));
        let all_ready = format!("jsonpath={{.status.readyReplicas}}={replicas}");
        row.namespace().wait_for(&all_ready, &format!("mediapool/{name}"));
        row
    }

    /// The same with a pool of another make.
    pub(crate) fn with_pool(release: &'a Release<'a>, name: &'static str, pool: &str) -> Self {
        let row = Self { release, name };
        let namespace = row.namespace();
        namespace.apply(pool).expect("a MediaPool");
        let agent = bot(namespace.name()).replace("name: bot", &format!("name: {name}"));
        namespace.apply(&agent).expect("an Agent");
        namespace.apply(&trunk(name, name, CARRIER)).expect("a Trunk");
        namespace.wait_for("condition=Ready", &format!("trunk/{name}"));
        row
    }

    pub(crate) fn namespace(&self) -> &'a Namespace<'a> {
        &self.release.namespace
    }

    /// Changes what a running pod cannot change, so that a rollout begins.
    pub(crate) fn new_revision(&self, resources: &str) {
        let patch = format!(r#"{{"spec": {{"resources": {resources}}}}}"#);
        let patch = ["patch", "mediapool", self.name, "--type=merge", "--patch", &patch];
        self.namespace().kubectl(&patch);
    }

    /// Where the pod of a slot takes calls.
    pub(crate) fn address(&self, slot: u32) -> String {
        let pod = format!("{}-{slot}", self.name);
        let ip = self.namespace().kubectl(&["get", "pod", &pod, "-o=jsonpath={.status.podIP}"]);
        format!("{ip}:5061")
    }

    /// One call to the pod of a slot, all of it well.
    pub(crate) fn assert_takes_calls(&self, slot: u32) {
        let name = format!("{}-{slot}", self.name);
        assert_all_well(&result(call(self.release, &name, &self.address(slot), 1, 1)), 1);
    }

    /// The pods with their uids and restarts: what must not change is compared.
    pub(crate) fn pods(&self) -> Vec<String> {
        let of_pool = format!("--selector=trunkline.dev/pool={}", self.name);
        let each = "-o=jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} \
                    {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";
        self.namespace()
            .kubectl(&["get", "pods", &of_pool, each])
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Waits until the pod of a slot drains.
    pub(crate) fn wait_for_drain(&self, slot: u32) {
        let pod = format!("{}-{slot}", self.name);
        wait_until("the pod drains", LATER, || {
            let pod = self.namespace().try_kubectl(&["get", "pod", &pod, "-o=json"]).ok()?;
            let pod: Value = serde_json::from_str(&pod).ok()?;
            pod["metadata"]["annotations"].get("trunkline.dev/drain").map(drop)
        });
    }

    /// Waits until a condition of `object` has `reason`, and says its message.
    pub(crate) fn wait_for_reason(&self, object: &str, condition: &str, reason: &str) -> String {
        wait_for_reason(self.namespace(), object, condition, reason)
    }
}

impl Drop for Row<'_> {
    fn drop(&mut self) {
        self.release.show_if_failing();
        let all =
            ["delete", "trunk,agent,mediapool", self.name, "--wait=false", "--ignore-not-found"];
        let _ = self.namespace().try_kubectl(&all);
    }
}

/// Waits until a condition of `object` has `reason`, and says its message.
pub(crate) fn wait_for_reason(
    namespace: &Namespace<'_>,
    object: &str,
    condition: &str,
    reason: &str,
) -> String {
    wait_until(&format!("{object}: {condition} is {reason}"), LATER, || {
        let object = namespace.try_kubectl(&["get", object, "-o=json"]).ok()?;
        let object: Value = serde_json::from_str(&object).ok()?;
        let all = object.pointer("/status/conditions")?.as_array()?;
        let it = all.iter().find(|it| it["type"] == condition && it["reason"] == reason)?;
        it["message"].as_str().map(str::to_owned)
    })
}

pub(crate) fn pool(name: &str, replicas: u32) -> String {
    format!(
        r#"
apiVersion: trunkline.dev/v1alpha1
kind: MediaPool
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  exposure:
    mode: PodNetwork
    media: {{portRange: {{start: 20000, end: 20399}}, portsPerPod: 100}}
    address: {{source: PodIP}}
  tls: {{certificateRef: {{name: sip-cert}}}}
  drain: {{timeoutSeconds: 120}}
  resources: {{requests: {{cpu: 50m, memory: 64Mi}}, limits: {{cpu: "1", memory: 512Mi}}}}
"#
    )
}

/// A Trunk that leads all calls to the Agent that is named like its pool.
pub(crate) fn trunk(name: &str, pool: &str, inbound: &str) -> String {
    format!(
        r#"
apiVersion: trunkline.dev/v1alpha1
kind: Trunk
metadata: {{name: {name}}}
spec:
  poolRef: {{name: {pool}}}
  transport: TLS
  media: {{encryption: Required}}
  inbound: {inbound}
  routes: [{{name: main, agentRef: {{name: {pool}}}}}]
"#
    )
}

/// Waits until a new call to `target` is refused with one of these codes, and says with which.
pub(crate) fn wait_for_refusal(release: &Release<'_>, target: &str, codes: &[&str]) -> String {
    wait_until("a new call is refused", SOON, || {
        refusal(release, target).filter(|why| codes.iter().any(|code| why.starts_with(code)))
    })
}
