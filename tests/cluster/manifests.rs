//! What a user applies: the Trunk of a carrier, the Agent that answers it, the pool that takes its calls.

/// What the carrier is: `control` on the public network.
pub(crate) const TRUNK: &str = r#"
apiVersion: trunkline.dev/v1alpha1
kind: Trunk
metadata: {name: carrier-a}
spec:
  transport: TLS
  media: {encryption: Required}
  inbound: {sources: ["203.0.113.1/32", "10.99.0.1/32"]}
  routes:
  - {name: main, agentRef: {name: bot}}
"#;

/// It may take its time to be ready, for a machine of tests is a busy one.
pub(crate) fn bot(namespace: &str) -> String {
    format!(
        r#"
apiVersion: trunkline.dev/v1alpha1
kind: Agent
metadata: {{name: bot}}
spec:
  endpoint:
    webSocket: {{url: "ws://echo.{namespace}.svc:9000/echo", dialect: TwilioMediaStreams, connectTimeoutSeconds: 20}}
  fallback: {{sipStatus: 480}}
"#
    )
}

/// The pool `default`.
pub(crate) fn pool(exposure: &str, replicas: u32) -> String {
    format!(
        r#"
apiVersion: trunkline.dev/v1alpha1
kind: MediaPool
metadata: {{name: default}}
spec:
  replicas: {replicas}
  exposure: {exposure}
  tls: {{certificateRef: {{name: sip-cert}}}}
  drain: {{timeoutSeconds: 60}}
  resources: {{requests: {{cpu: 250m, memory: 64Mi}}, limits: {{cpu: "1", memory: 512Mi}}}}
"#
    )
}

/// In seconds, for `drain.timeoutSeconds`: far longer than a test, so who leaves earlier does so by itself.
pub(crate) const HOUR: u32 = 3600;

/// The pool `default` of one pod on the network of pods.
pub(crate) fn one_pod(drain_seconds: u32) -> String {
    let drain = format!("timeoutSeconds: {drain_seconds}");
    pool(POD_NETWORK, 1).replace("timeoutSeconds: 60", &drain)
}

/// Exposure for four pods on the network of pods.
pub(crate) const POD_NETWORK: &str = "{mode: PodNetwork, media: {portRange: {start: 20000, end: 20399}, portsPerPod: 100}, address: {source: PodIP}}";
