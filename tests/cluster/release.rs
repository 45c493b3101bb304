//! The chart with the images of this build, installed as a user does it; and an agent to talk to.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use trunkline_tests::certificate::Certificate;
use trunkline_tests::node::{run_directory, target_directory, tool, workspace};

use crate::bed::{Cluster, Namespace, run};
use crate::carrier;
use crate::manifests::{TRUNK, bot, one_pod};

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

pub(crate) const MEDIA_IMAGE: &str = "localhost/trunkline-media-node";
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The tag of the version after this one: the same bytes, for nothing else makes a pod's revision.
pub(crate) const NEXT: &str = "next";

/// A namespace with a release in it, an echo agent and a certificate for the SIP ports.
pub(crate) struct Release<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: Namespace<'a>,
    pub(crate) certificate: Certificate,
    /// What programs of this test print goes there.
    pub(crate) directory: PathBuf,
    name: String,
    /// `helm` (4) or `helm3`.
    helm: &'static str,
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
        Self::install_by("helm", cluster, name, pod_security, flags)
    }

    /// The same by `helm` (4) or `helm3`.
    pub(crate) fn install_by(
        helm: &'static str,
        cluster: &'a Cluster,
        name: &str,
        pod_security: &str,
        flags: &[&str],
    ) -> Self {
        cluster.with_images(|| load_images(cluster));
        let namespace = cluster.namespace(name);
        let enforce = format!("pod-security.kubernetes.io/enforce={pod_security}");
        cluster.kubectl(&["label", "namespace", name, &enforce]);
        let directory = run_directory("cluster", name);
        let certificate = Certificate::make_for(&directory, &carrier::reached_at());
        let (key, public) =
            (certificate.key_file.display(), certificate.certificate_file.display());
        let (key, public) = (format!("--key={key}"), format!("--cert={public}"));
        namespace.kubectl(&["create", "secret", "tls", "sip-cert", &public, &key]);
        namespace.apply(ECHO).expect("the echo agent");
        let release =
            Self { cluster, namespace, certificate, directory, name: name.to_owned(), helm };
        release.install_chart(flags);
        release
    }

    /// `helm install`, again after an uninstall.
    pub(crate) fn install_chart(&self, flags: &[&str]) {
        let values = ["--set=crds.enabled=false", "--set=rbac.aggregate=false"];
        let install = ["install", &self.name, &chart(), "--wait", "--timeout=120s"];
        self.helm(&[&install[..], &values, flags].concat());
    }

    /// What Helm prints, asked about this release's namespace.
    pub(crate) fn helm(&self, arguments: &[&str]) -> String {
        self.cluster.helm(self.helm, &[arguments, &["--namespace", &self.name]].concat())
    }

    /// Where a pod on a network of its own takes calls.
    pub(crate) fn address(&self, pod: &str) -> String {
        let ip = self.namespace.kubectl(&["get", "pod", pod, "-o=jsonpath={.status.podIP}"]);
        format!("{ip}:5061")
    }

    /// Gives it a pool of one pod, which as it leaves lets calls go on for so long, and waits until the
    /// trunk `carrier-a` takes calls there.
    pub(crate) fn take_calls(&self, drain_seconds: u32) {
        self.namespace.apply(&one_pod(drain_seconds)).expect("a MediaPool");
        self.namespace.apply(&bot(&self.name)).expect("an Agent");
        self.namespace.apply(TRUNK).expect("a Trunk");
        self.taking_calls("carrier-a");
    }

    /// What there is to see in the namespace, when a test fails.
    pub(crate) fn show_if_failing(&self) {
        if !std::thread::panicking() {
            return;
        }
        let show = |arguments: &[&str]| {
            // A node whose kubelet does not answer must not keep us waiting.
            let here = ["--namespace", &self.name, "--request-timeout=10s"];
            let all = [&here, arguments].concat();
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
            self.cluster.on("control", &[self.helm]).args([
                "uninstall",
                &self.name,
                "--namespace",
                &self.name,
            ]),
            "",
        );
    }
}

/// Where our chart lies.
pub(crate) fn chart() -> String {
    let chart = workspace().join("charts/trunkline");
    chart.to_str().expect("a path of UTF-8").to_owned()
}

/// The programs of this build, and the echo agent, on both nodes.
fn load_images(cluster: &Cluster) {
    for archive in archives() {
        cluster.load_archive(archive);
    }
    cluster.load_program("localhost/echo-agent:1", &tool("echo-agent"));
    for node in ["node-a", "node-b"] {
        let [this, next] = [VERSION, NEXT].map(|tag| format!("{MEDIA_IMAGE}:{tag}"));
        let tag = ["ctr", "--namespace=k8s.io", "images", "tag", "--force", &this, &next];
        run(&mut cluster.on(node, &tag), "").expect("the image was loaded above");
    }
}

/// The images of this build, made once for each run of the tests.
fn archives() -> &'static [PathBuf] {
    static ARCHIVES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    ARCHIVES.get_or_init(|| {
        let built = target_directory();
        let node = std::env::var_os("TRUNKLINE_MEDIA_NODE")
            .map_or_else(|| built.join("trunkline-media-node"), PathBuf::from);
        let images = run_directory("cluster", "images");
        let mut command = Command::new(workspace().join("charts/images"));
        command.arg("--out").arg(&images).arg(built.join("trunkline-operator")).arg(node);
        println!("{}", run(&mut command, "").expect("both programs are built"));
        let made = std::fs::read_dir(&images).expect("made above").flatten();
        made.map(|archive| archive.path()).collect()
    })
}
