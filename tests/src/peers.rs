//! The real programs at the other ends: a PJSIP softphone, a Pipecat bot, SIPp.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::node::workspace;
use crate::process::{Process, on_path};

/// The first import of the bot's libraries compiles thousands of files.
const FIRST_IMPORT: Duration = Duration::from_secs(120);

/// Python of the virtual environment that `tests/prepare` makes.
pub fn python() -> PathBuf {
    let cache = std::env::var_os("TRUNKLINE_CACHE")
        .map_or_else(|| workspace().join("target"), PathBuf::from);
    let python = cache.join("venv/bin/python");
    assert!(
        python.is_file(),
        "the interop tests need their Python peers at {}: run tests/prepare",
        python.display()
    );
    python
}

fn peer(script: &str) -> Command {
    let [program, arguments @ ..] = words(script);
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// The words of a command for a script of `interop/peers/`.
fn words(script: &str) -> [String; 3] {
    let text = |path: PathBuf| path.into_os_string().into_string().expect("a path of UTF-8");
    let script = workspace().join("tests/interop/peers").join(script);
    [text(python()), "-u".to_owned(), text(script)]
}

/// A softphone (`interop/peers/pjsua_caller.py`) with these arguments.
pub struct Softphone(pub Process);

impl Softphone {
    pub fn start(name: &str, directory: &Path, arguments: &[&str]) -> Self {
        let mut command = peer("pjsua_caller.py");
        command.args(arguments);
        Self(Process::start(name, command, directory))
    }

    /// The same on another machine: `on` makes a command of words there.
    pub fn start_on(
        on: impl FnOnce(&[&str]) -> Command,
        name: &str,
        directory: &Path,
        arguments: &[&str],
    ) -> Self {
        let words = words("pjsua_caller.py");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = on(&words);
        command.args(arguments);
        Self(Process::start(name, command, directory))
    }

    pub fn hang_up(&mut self) {
        self.0.send_line(&json!({"command": "hangup"}).to_string());
    }

    pub fn hold(&mut self) {
        self.0.send_line(&json!({"command": "hold"}).to_string());
    }

    pub fn resume(&mut self) {
        self.0.send_line(&json!({"command": "resume"}).to_string());
    }

    pub fn dial(&mut self, digits: &str) {
        self.0.send_line(&json!({"command": "dtmf", "digits": digits}).to_string());
    }
}

/// A Pipecat bot (`interop/peers/pipecat_bot.py`).
pub struct Bot {
    pub process: Process,
    pub url: String,
}

impl Bot {
    pub fn start(name: &str, directory: &Path, arguments: &[&str]) -> Self {
        let mut command = peer("pipecat_bot.py");
        command.args(arguments);
        let mut process = Process::start(name, command, directory);
        let listening = process.wait_for_event("listening", 0, FIRST_IMPORT);
        let url = format!("ws://127.0.0.1:{}/ws", listening["port"]);
        Self { process, url }
    }

    /// Speaks a tone of that length, as fast as its transport sends.
    pub fn speak_tone(&mut self, seconds: u32) {
        self.process.send_line(&json!({"command": "tone", "seconds": seconds}).to_string());
    }

    pub fn interrupt(&mut self) {
        self.process.send_line(&json!({"command": "interrupt"}).to_string());
    }

    pub fn hang_up(&mut self) {
        self.process.send_line(&json!({"command": "hangup"}).to_string());
    }
}

/// A SIPp run of one scenario of `interop/sipp/`.
pub fn sipp(scenario: &str, remote: &str, arguments: &[&str], directory: &Path) -> Process {
    assert!(on_path("sipp"), "the interop tests need SIPp (Debian: sip-tester): run tests/prepare");
    let mut command = Command::new("sipp");
    command.arg(remote);
    command.arg("-sf").arg(workspace().join("tests/interop/sipp").join(format!("{scenario}.xml")));
    command.args(["-nostdin", "-timeout_error", "-trace_err", "-trace_msg", "-f", "3600"]);
    command.arg("-error_file").arg(directory.join(format!("{scenario}-errors.log")));
    command.arg("-message_file").arg(directory.join(format!("{scenario}-messages.log")));
    command.args(arguments).env("TERM", "dumb").current_dir(directory);
    Process::start(&format!("sipp-{scenario}"), command, directory)
}
