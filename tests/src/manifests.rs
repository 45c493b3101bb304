//! A directory of manifests, written as a user would write them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::certificate::Certificate;

/// A directory that lives as long as this value.
pub struct Manifests {
    directory: tempfile::TempDir,
}

impl Default for Manifests {
    fn default() -> Self {
        Self::new()
    }
}

impl Manifests {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("trunkline-manifests-")
            .tempdir()
            .expect("the temporary directory is writable");
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes (or replaces, in one rename) the file `name`.
    pub fn write(&self, name: &str, text: &str) -> &Self {
        let hidden = self.path().join(format!(".{name}.new"));
        fs::write(&hidden, text).expect("the manifest directory is writable");
        fs::rename(&hidden, self.file(name)).expect("the manifest directory is writable");
        self
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).expect("the manifest is there");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

/// SIP and media ports of one node under test; 0 turns a SIP transport off.
#[derive(Clone, Copy, Debug)]
pub struct NodePorts {
    pub udp: u16,
    pub tcp: u16,
    pub tls: u16,
    /// First media port and how many.
    pub media: (u16, u16),
}

impl NodePorts {
    /// Free ports for all three transports and `calls` calls.
    pub fn free(calls: u16) -> Self {
        let length = calls * 2 + 20;
        Self {
            udp: crate::ports::free(),
            tcp: crate::ports::free(),
            tls: crate::ports::free(),
            media: (crate::ports::free_block(length), length),
        }
    }
}

/// A MediaPool `default` on 127.0.0.1 and, with a certificate, its Secret `sip-cert`.
pub fn pool(ports: NodePorts, certificate: Option<&Certificate>) -> String {
    let NodePorts { udp, tcp, tls, media: (start, length) } = ports;
    let end = start + length - 1;
    let calls = length / 2;
    let mut text = format!(
        "apiVersion: trunkline.dev/v1alpha1
kind: MediaPool
metadata: {{name: default, namespace: trunkline}}
spec:
  callsPerPod: {calls}
  exposure:
    sip: {{udp: {udp}, tcp: {tcp}, tls: {tls}}}
    media: {{portRange: {{start: {start}, end: {end}}}, portsPerPod: {length}}}
    address: {{source: Static, static: [\"127.0.0.1\"]}}
"
    );
    if let Some(certificate) = certificate {
        text += "  tls: {certificateRef: {name: sip-cert}}\n---\n";
        text += &tls_secret("sip-cert", certificate);
    }
    text
}

/// A Secret of type kubernetes.io/tls.
pub fn tls_secret(name: &str, certificate: &Certificate) -> String {
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: trunkline}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
{}  tls.key: |
{}",
        indented(&certificate.certificate),
        indented(&certificate.key)
    )
}

/// A Trunk; `inbound` is its YAML mapping, `routes` pairs of number pattern (empty: all the rest) and agent.
pub fn trunk(
    name: &str,
    transport: &str,
    encryption: &str,
    inbound: &str,
    routes: &[(&str, &str)],
) -> String {
    let mut text = format!(
        "apiVersion: trunkline.dev/v1alpha1
kind: Trunk
metadata: {{name: {name}, namespace: trunkline}}
spec:
  poolRef: {{name: default}}
  transport: {transport}
  media: {{encryption: {encryption}}}
  inbound: {inbound}
  limits: {{concurrentCalls: 500, callsPerSecond: 200, callDurationSeconds: 7200}}
  routes:
"
    );
    for (number, agent) in routes {
        let numbers =
            if number.is_empty() { String::new() } else { format!("numbers: [\"{number}\"], ") };
        text += &format!("  - {{name: to-{agent}, {numbers}agentRef: {{name: {agent}}}}}\n");
    }
    text
}

/// An Agent that speaks the Twilio dialect at `url`.
pub fn agent(name: &str, url: &str) -> String {
    format!(
        "apiVersion: trunkline.dev/v1alpha1
kind: Agent
metadata: {{name: {name}, namespace: trunkline}}
spec:
  endpoint:
    webSocket: {{url: \"{url}\", dialect: TwilioMediaStreams, connectTimeoutSeconds: 5}}
  variables: {{tenant: acme}}
"
    )
}

/// A Secret with the keys `username` and `password`.
pub fn credentials(name: &str, username: &str, password: &str) -> String {
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: trunkline}}
stringData: {{username: {username}, password: {password}}}
"
    )
}

fn indented(pem: &str) -> String {
    pem.lines().map(|line| format!("    {}\n", line.trim_end())).collect()
}
