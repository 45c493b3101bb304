//! One node with its manifests, certificate and echo agent.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use trunkline_tests::certificate::Certificate;
use trunkline_tests::manifests::{Manifests, NodePorts, pool};
use trunkline_tests::node::{Node, run_directory};
use trunkline_tests::process::{Process, wait_until};

pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) struct Site {
    pub(crate) directory: PathBuf,
    pub(crate) certificate: Certificate,
    pub(crate) manifests: Manifests,
    pub(crate) ports: NodePorts,
}

impl Site {
    /// A pool with free ports and a certificate, without trunks or agents yet.
    pub(crate) fn new(test: &str, calls: u16) -> Self {
        let directory = run_directory("interop", test);
        let certificate = Certificate::make(&directory);
        let (manifests, ports) = (Manifests::new(), NodePorts::free(calls));
        manifests.write("pool.yaml", &pool(ports, Some(&certificate)));
        Self { directory, certificate, manifests, ports }
    }

    pub(crate) fn start(&self) -> Node {
        let node = Node::start("node", self.manifests.path(), &self.directory);
        assert_eq!(node.admin.rejected(), [], "the manifests of this test are good");
        node
    }

    /// The path of a file in the run's directory, as an argument.
    pub(crate) fn file(&self, name: &str) -> String {
        argument(&self.directory.join(name))
    }

    /// SIP URI of a number over TLS.
    pub(crate) fn tls_uri(&self, number: &str) -> String {
        format!("sip:{number}@127.0.0.1:{};transport=tls", self.ports.tls)
    }
}

pub(crate) fn argument(path: &Path) -> String {
    path.to_str().expect("the target directory's name is text").to_owned()
}

/// The project's own agent: echoes, keeps silent or speaks first, by the path of the URL.
pub(crate) struct EchoAgent {
    pub(crate) process: Process,
    port: u64,
}

impl EchoAgent {
    pub(crate) fn start(name: &str, directory: &Path) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_echo-agent"));
        let mut process = Process::start(name, command, directory);
        let port = process.wait_for_event("listening", 0, SOON)["port"].as_u64().expect("a number");
        Self { process, port }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://127.0.0.1:{}/{path}", self.port)
    }
}

/// The load tool over TLS and SRTP; its last line is its result.
pub(crate) fn load(name: &str, site: &Site, number: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    command.args(["--target", &format!("127.0.0.1:{}", site.ports.tls)]);
    command.args(["--ca", &argument(&site.certificate.ca_file), "--to", number]).args(arguments);
    Process::start(name, command, &site.directory)
}

/// The newest call the node knows, once `condition` holds for it.
pub(crate) fn newest_call(node: &Node, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, SOON, || {
        let mut calls = node.admin.calls();
        calls.sort_by(|a, b| a["startedAt"].as_str().cmp(&b["startedAt"].as_str()));
        calls.pop().filter(&condition)
    })
}

/// Prints past the test runner's capture: a figure worth reading even when the test passes.
pub(crate) fn report(text: &str) {
    let _ = writeln!(std::io::stderr(), "interop: {text}");
}
