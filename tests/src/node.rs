//! A media node as a user runs it: the built binary, a directory of manifests, an admin port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::admin::Admin;
use crate::ports;
use crate::process::{Process, wait_until};

const READY: Duration = Duration::from_secs(20);

pub struct Node {
    pub process: Process,
    pub admin: Admin,
}

impl Node {
    /// Starts it on `manifests` and waits until it is ready; its output goes to `directory`.
    pub fn start(name: &str, manifests: &Path, directory: &Path) -> Self {
        Self::start_with(name, manifests, directory, &[])
    }

    /// The same with further arguments.
    pub fn start_with(name: &str, manifests: &Path, directory: &Path, more: &[&str]) -> Self {
        Self::start_logging(name, manifests, directory, more, "info")
    }

    /// The same with a log filter of one's own.
    pub fn start_logging(
        name: &str,
        manifests: &Path,
        directory: &Path,
        more: &[&str],
        filter: &str,
    ) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, name, manifests, directory, more, filter)
    }

    /// The same with its admin API at another address of loopback.
    pub fn start_at(
        admin: Ipv4Addr,
        name: &str,
        manifests: &Path,
        directory: &Path,
        more: &[&str],
        filter: &str,
    ) -> Self {
        let address = SocketAddr::new(IpAddr::V4(admin), ports::free());
        let mut command = Command::new(binary());
        command.arg("run").arg("--manifests").arg(manifests);
        command.args(["--admin", &address.to_string(), "--log-format", "json"]).args(more);
        command.env("RUST_LOG", filter);
        let mut process = Process::start(name, command, directory);
        let admin = Admin(address);
        wait_until("the media node is ready", READY, || {
            assert!(process.is_running(), "the media node ended\n{}", process.tail());
            admin.is_ready().then_some(())
        });
        Self { process, admin }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// The binary to test: `$TRUNKLINE_MEDIA_NODE`, else the one of this build, built now if need be.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("TRUNKLINE_MEDIA_NODE") {
            return path.into();
        }
        let built = target_directory().join("trunkline-media-node");
        build(&built);
        assert!(
            built.is_file(),
            "no media node at {}: build it (cargo build -p trunkline-media-node) or set TRUNKLINE_MEDIA_NODE",
            built.display()
        );
        built
    })
}

/// A binary of this crate, beside the running one.
pub fn tool(name: &str) -> PathBuf {
    let path = target_directory().join(name);
    assert!(
        path.is_file(),
        "no {name} at {}: build it (cargo build -p trunkline-tests --bins)",
        path.display()
    );
    path
}

/// `target/<profile>` of the running program, a test's `deps` left.
pub fn target_directory() -> PathBuf {
    let mut path = std::env::current_exe().expect("the running program has a path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path
}

/// Root of the workspace this crate was built in.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// Where a run leaves its files: `target/<topic>/<name>`, emptied first.
pub fn run_directory(topic: &str, name: &str) -> PathBuf {
    let target = target_directory();
    let directory = target.parent().unwrap_or(&target).join(topic).join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("the target directory is writable");
    directory
}

/// `cargo test` of this crate alone does not build the node: have cargo bring it up to date.
fn build(built: &Path) {
    let profile =
        if built.parent().is_some_and(|dir| dir.ends_with("release")) { "release" } else { "dev" };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--profile", profile, "-p", "trunkline-media-node"])
        .current_dir(workspace())
        .stdin(Stdio::null())
        .status();
    if !status.is_ok_and(|status| status.success()) && !built.is_file() {
        eprintln!("cargo could not build the media node");
    }
}
