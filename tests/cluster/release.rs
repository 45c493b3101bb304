//! The chart with the images of this build, installed as a user does it; and an agent to talk to.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use trunkline_tests::certificate::Certificate;
use trunkline_tests::node::{run_directory, target_directory, tool, workspace};

use crate::bed::{Cluster, Namespace, run};

/// The agent that gives every frame back.
const ECHO: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: echo
    image: localhost/echo-agent:1
    args: [--quiet, "--listen=0.0.0.0:9000"]
    readinessProbe: {tcpSocket: {port: 9000}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{port: 9000}]}
"#;

/// A namespace with a release in it, an echo agent and a certificate for the SIP ports.
pub(crate) struct Release<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: Namespace<'a>,
    pub(crate) certificate: Certificate,
    /// What programs of this test print goes there.
    pub(crate) directory: PathBuf,
    name: String,
}

impl<'a> Release<'a> {
    /// Installs the chart in a namespace of its own; `name` is the namespace's too. The cluster has
    /// our definitions already.
    pub(crate) fn install(cluster: &'a Cluster, name: &str, pod_security: &str) -> Self {
        Self::install_with(cluster, name, pod_security, &[])
    }

    /// The same with further flags for Helm.
    pub(crate) fn install_with(
        cluster: &'a Cluster,
        name: &str,
        pod_security: &str,
        flags: &[&str],
    ) -> Self {
        load_images(cluster);
        let namespace = cluster.namespace(name);
        let enforce = format!("pod-security.kubernetes.io/enforce={pod_security}");
        cluster.kubectl(&["label", "namespace", name, &enforce]);
        let directory = run_directory("cluster", name);
        let certificate = Certificate::make(&directory);
        let (key, public) =
            (certificate.key_file.display(), certificate.certificate_file.display());
        let (key, public) = (format!("--key={key}"), format!("--cert={public}"));
        namespace.kubectl(&["create", "secret", "tls", "sip-cert", &public, &key]);
        namespace.apply(ECHO).expect("the echo agent");
        let chart = workspace().join("charts/trunkline");
        let chart = chart.to_str().expect("a path of UTF-8");
        let values = ["--set=crds.enabled=false", "--set=rbac.aggregate=false"];
        let install = ["install", name, chart, "--namespace", name, "--wait", "--timeout=120s"];
        cluster.helm("helm", &[&install[..], &values, flags].concat());
        Self { cluster, namespace, certificate, directory, name: name.to_owned() }
    }

    /// What there is to see in the namespace, when a test fails.
    pub(crate) fn show_if_failing(&self) {
        if !std::thread::panicking() {
            return;
        }
        let show = |arguments: &[&str]| {
            let all = [&["--namespace", &self.name], arguments].concat();
            let said = self.cluster.try_kubectl(&all, "");
            eprintln!("-- kubectl {}\n{}", arguments.join(" "), said.unwrap_or_else(|e| e));
        };
        show(&["get", "trunkline,pods,services", "-o=wide"]);
        show(&["get", "events"]);
        show(&["logs", "--selector=app.kubernetes.io/component=operator", "--tail=40"]);
        show(&["logs", "--selector=trunkline.dev/role=media", "--tail=40"]);
    }

    /// Waits until `trunk` takes calls, and says what it is to be dialled at.
    pub(crate) fn taking_calls(&self, trunk: &str) -> String {
        self.namespace.wait_for("condition=Ready", &format!("trunk/{trunk}"));
        let address = "-o=jsonpath={.status.address}";
        self.namespace.kubectl(&["get", "trunk", trunk, address])
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.show_if_failing();
        let _ = run(
            self.cluster.on("control", &["helm"]).args([
                "uninstall",
                &self.name,
                "--namespace",
                &self.name,
            ]),
            "",
        );
    }
}

/// The programs of this build, and the echo agent, on both nodes: once for each cluster.
fn load_images(cluster: &Cluster) {
    static LOADED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if loaded.iter().any(|it| it == cluster.folder()) {
        return;
    }
    for archive in std::fs::read_dir(images()).expect("made above").flatten() {
        cluster.load_archive(&archive.path());
    }
    cluster.load_program("localhost/echo-agent:1", &tool("echo-agent"));
    loaded.push(cluster.folder().to_owned());
}

/// A folder with the images of this build.
fn images() -> &'static Path {
    static IMAGES: OnceLock<PathBuf> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let built = target_directory();
        let node = std::env::var_os("TRUNKLINE_MEDIA_NODE")
            .map_or_else(|| built.join("trunkline-media-node"), PathBuf::from);
        let images = run_directory("cluster", "images");
        let mut command = Command::new(workspace().join("charts/images"));
        command.arg("--out").arg(&images).arg(built.join("trunkline-operator")).arg(node);
        println!("{}", run(&mut command, "").expect("both programs are built"));
        images
    })
}
