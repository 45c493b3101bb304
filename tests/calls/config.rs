//! Configurations for the emulated node, made the way users make them: from manifests.

use std::fs;

use rustls_pki_types::UnixTime;
use trunkline_media_node::config::read::{What, directory};
use trunkline_media_node::config::{Config, Manifests, Options};

/// The objects every scenario begins with: a UDP trunk for 203.0.113.0/24 and two agents.
pub(crate) const BASE: &str = r#"
apiVersion: trunkline.dev/v1alpha1
kind: MediaPool
metadata: {name: default, namespace: trunkline}
spec:
  exposure:
    address: {source: Static, static: ["192.0.2.10"]}
---
apiVersion: trunkline.dev/v1alpha1
kind: Agent
metadata: {name: support, namespace: trunkline}
spec:
  endpoint: {webSocket: {url: "ws://127.0.0.1:9/ws", dialect: TwilioMediaStreams}}
  variables: {tenant: acme}
  headerVariables: [{header: X-Customer-Id, variable: customerId}]
---
apiVersion: trunkline.dev/v1alpha1
kind: Agent
metadata: {name: reception, namespace: trunkline}
spec:
  endpoint: {webSocket: {url: "ws://127.0.0.1:9/ws", dialect: TwilioMediaStreams}}
"#;

/// A trunk named `carrier-a`; `inbound` and `rest` are YAML of the spec, two spaces in.
pub(crate) fn trunk(inbound: &str, rest: &str) -> String {
    format!(
        "---\napiVersion: trunkline.dev/v1alpha1\nkind: Trunk\n\
         metadata: {{name: carrier-a, namespace: trunkline}}\nspec:\n  transport: UDP\n  \
         inbound: {inbound}\n{rest}"
    )
}

pub(crate) const ROUTES: &str =
    "  routes: [{name: support, numbers: [\"+15551230001\"], agentRef: {name: support}}]\n";

/// The usual trunk, found by source, with one route.
pub(crate) fn usual() -> Config {
    load(&format!("{BASE}{}", trunk("{sources: [\"203.0.113.0/24\"]}", ROUTES)))
}

/// Loads manifests, and fails the test where they are not obeyed.
pub(crate) fn load(manifests: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("all.yaml"), manifests).unwrap();
    let files = directory(folder.path(), What::Manifests).unwrap();
    let config = Manifests::new(Options::default()).load(&files, UnixTime::now());
    let rejected: Vec<String> = config.rejected.iter().map(ToString::to_string).collect();
    assert_eq!(rejected, Vec::<String>::new());
    (*config).clone()
}
