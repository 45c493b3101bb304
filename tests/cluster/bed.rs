//! A cluster from outside: started and ended by the script `bed`, asked through `kubectl`, Helm and
//! its API server.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use trunkline_tests::node::workspace;
use trunkline_tests::process::wait_until;

/// For what a cluster does by itself: a pod starts, an object goes, a program comes back.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// In a pod: why it takes no new calls, and when it must have ended.
pub(crate) const DRAIN: &str = "/metadata/annotations/trunkline.dev~1drain";
pub(crate) const DELETED: &str = "/metadata/deletionTimestamp";

/// A running cluster; dropped, it is ended, unless it ran before.
pub(crate) struct Cluster {
    name: String,
    folder: PathBuf,
    ours: bool,
    images: OnceLock<()>,
}

impl Cluster {
    /// The cluster that the tests of this program share, with our definitions in it. It ends with
    /// the program.
    ///
    /// With `TRUNKLINE_BED` it has that name; and is the one of `bed up` when that runs, which
    /// saves its start in a day's work.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let name = shared_name();
            let cluster = if bed(&name, &["running"]).status().is_ok_and(|it| it.success()) {
                Self { folder: folder(&name), name, ours: false, images: OnceLock::new() }
            } else {
                Self::try_start(&name, std::process::id())?
            };
            cluster.install_definitions();
            Ok(cluster)
        });
        shared.as_ref().unwrap_or_else(|error| panic!("{error}"))
    }

    /// One for a single test, without our definitions; it ends with the process `owner` at the
    /// latest, which is mostly `std::process::id()`.
    pub(crate) fn start(name: &str, owner: u32) -> Self {
        Self::try_start(name, owner).unwrap_or_else(|error| panic!("{error}"))
    }

    /// One beside the shared one, whose name it has with `topic`, for a test that must hurt the whole
    /// cluster.
    pub(crate) fn start_apart(topic: &str) -> Self {
        Self::start(&format!("{}-{topic}", shared_name()), std::process::id())
    }

    fn try_start(name: &str, owner: u32) -> Result<Self, String> {
        // Longer than all tests of this program take together.
        let mut up = bed(name, &["up", "--minutes=40", &format!("--owner={owner}")]);
        run(&mut up, "").map_err(|error| format!("no cluster: {error}"))?;
        let images = OnceLock::new();
        Ok(Self { folder: folder(name), name: name.to_owned(), ours: true, images })
    }

    /// Has its nodes given images by `load`, once.
    pub(crate) fn with_images(&self, load: impl FnOnce()) {
        self.images.get_or_init(load);
    }

    /// Where its logs and its sockets are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn is_running(&self) -> bool {
        bed(&self.name, &["running"]).status().is_ok_and(|status| status.success())
    }

    /// A command on a machine: `control` (the outside world; this machine's files), `node-a` or
    /// `node-b`. A signal to it reaches the program.
    pub(crate) fn on(&self, machine: &str, program: &[&str]) -> Command {
        let mut command = bed(&self.name, &["exec", machine]);
        command.args(program);
        command
    }

    /// What `kubectl` prints; panics with its complaint when it fails.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments, "").unwrap_or_else(|error| panic!("{error}"))
    }

    /// What `kubectl` prints, given `input` on its standard input; or its complaint.
    pub(crate) fn try_kubectl(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        run(self.on("control", &["kubectl"]).args(arguments), input)
    }

    /// What `helm` (4) or `helm3` prints; panics with its complaint when it fails.
    pub(crate) fn helm(&self, helm: &str, arguments: &[&str]) -> String {
        run(self.on("control", &[helm]).args(arguments), "").unwrap_or_else(|e| panic!("{e}"))
    }

    /// Status and body of one request to the API server, as its administrator.
    pub(crate) fn request(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        // HTTP/1.0, so that the body ends with the connection.
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut answer = Vec::new();
        UnixStream::connect(self.folder.join("api.sock"))
            .and_then(|mut stream| {
                stream.set_read_timeout(Some(SOON))?;
                stream.write_all(request.as_bytes())?;
                stream.read_to_end(&mut answer)
            })
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split_ascii_whitespace().nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{method} {path}: no HTTP: {head}"));
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// Makes an image of one program and gives it to both nodes.
    pub(crate) fn load_program(&self, image: &str, program: &Path) {
        let tar = tempfile::NamedTempFile::new().expect("a temporary file");
        let file = tar.reopen().expect("a temporary file");
        let packed = bed(&self.name, &["image", image]).arg(program).stdout(file).status();
        assert!(packed.is_ok_and(|status| status.success()), "{image} cannot be packed");
        self.load_archive(tar.path());
    }

    /// Gives an image, as `charts/images` or `bed image` makes it, to both nodes.
    pub(crate) fn load_archive(&self, tar: &Path) {
        run(bed(&self.name, &["load"]).arg(tar), "").unwrap_or_else(|error| panic!("{error}"));
    }

    /// Sends a signal to a program of a machine, such as `kube-apiserver` on `control`.
    pub(crate) fn signal(&self, machine: &str, program: &str, signal: &str) {
        self.try_signal(machine, program, signal).unwrap_or_else(|error| panic!("{error}"));
    }

    /// The same; an error is what the bed said.
    pub(crate) fn try_signal(
        &self,
        machine: &str,
        program: &str,
        signal: &str,
    ) -> Result<(), String> {
        run(&mut bed(&self.name, &["signal", machine, program, signal]), "").map(drop)
    }

    /// The process of a container on its machine, by the `containerID` of the pod's status.
    pub(crate) fn pid_of_container(&self, machine: &str, id: &str) -> String {
        let id = id.trim_start_matches("containerd://");
        let tasks = run(&mut self.on(machine, &["ctr", "--namespace=k8s.io", "tasks", "list"]), "");
        let tasks = tasks.unwrap_or_else(|error| panic!("{error}"));
        let of_container = tasks.lines().find(|line| line.starts_with(id));
        let pid = of_container.and_then(|line| line.split_ascii_whitespace().nth(1));
        pid.unwrap_or_else(|| panic!("{id} runs not on {machine}:\n{tasks}")).to_owned()
    }

    /// A new namespace; dropped, it goes, and all in it.
    pub(crate) fn namespace(&self, name: &str) -> Namespace<'_> {
        // What the run before, or a test that failed, has left there.
        self.kubectl(&["delete", "namespace", name, "--ignore-not-found"]);
        self.kubectl(&["create", "namespace", name]);
        // A pod is refused before its service account is there.
        wait_until("the namespace has its service account", SOON, || {
            self.try_kubectl(&["get", "serviceaccount", "default", "-n", name], "").ok()
        });
        Namespace { cluster: self, name: name.to_owned() }
    }

    pub(crate) fn install_definitions(&self) {
        let yaml = workspace().join("crds/yaml");
        let yaml = yaml.to_str().expect("a path of UTF-8");
        self.kubectl(&["apply", "--server-side", "--filename", yaml]);
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "-f", yaml]);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.ours {
            let _ = bed(&self.name, &["down"]).status();
        }
    }
}

/// A namespace of one test.
pub(crate) struct Namespace<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl Namespace<'_> {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What `kubectl` prints in this namespace; panics with its complaint when it fails.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What `kubectl` prints in this namespace, or its complaint.
    pub(crate) fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.cluster.try_kubectl(&[&["--namespace", &self.name], arguments].concat(), "")
    }

    /// Applies manifests on the server's side; or what is said against them.
    pub(crate) fn apply(&self, yaml: &str) -> Result<String, String> {
        let arguments = ["--namespace", &self.name, "apply", "--server-side", "--filename=-"];
        self.cluster.try_kubectl(&arguments, yaml)
    }

    /// An object (`pod/default-0`) as it is now; `None` when it is not there.
    pub(crate) fn get(&self, object: &str) -> Option<Value> {
        let json = self.kubectl(&["get", object, "--ignore-not-found", "-o=json"]);
        (!json.is_empty()).then(|| serde_json::from_str(&json).expect("kubectl writes JSON"))
    }

    /// A text in an object, at a JSON pointer.
    pub(crate) fn text(&self, object: &str, pointer: &str) -> Option<String> {
        self.get(object)?.pointer(pointer)?.as_str().map(str::to_owned)
    }

    /// Waits until a pod that is still to be made is ready.
    pub(crate) fn comes_up(&self, pod: &str) {
        wait_until("the pod is made", SOON, || self.get(pod));
        self.wait_for("condition=Ready", pod);
    }

    /// Waits until `kubectl wait` finds `condition` (`condition=Ready`, `delete`, …) on `object`.
    pub(crate) fn wait_for(&self, condition: &str, object: &str) {
        let timeout = format!("--timeout={}s", SOON.as_secs());
        self.kubectl(&["wait", &format!("--for={condition}"), object, &timeout]);
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let _ = self.cluster.try_kubectl(&["delete", "namespace", &self.name, "--wait=false"], "");
    }
}

fn shared_name() -> String {
    std::env::var("TRUNKLINE_BED").unwrap_or_else(|_| "tests".to_owned())
}

fn bed(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(workspace().join("tests/cluster/bed"));
    command.args(arguments).env("TRUNKLINE_BED", name).stdin(Stdio::null());
    command
}

fn folder(name: &str) -> PathBuf {
    run(&mut bed(name, &["folder"]), "").expect("bed knows its folder").trim_end().into()
}

/// What a command prints, given `input`; when it fails, what it complains of.
pub(crate) fn run(command: &mut Command, input: &str) -> Result<String, String> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let mut stdin = child.stdin.take().expect("it was piped");
    let writer = std::thread::spawn({
        let input = input.to_owned();
        // A command that ends before it has read all says why by itself.
        move || drop(stdin.write_all(input.as_bytes()))
    });
    let output = child.wait_with_output().expect("the child is ours");
    writer.join().expect("the writer only writes");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let shown: Vec<_> = command.get_args().map(|it| it.to_string_lossy()).collect();
    Err(format!("bed {}: {}\n{}", shown.join(" "), output.status, text(&output.stderr)))
}
