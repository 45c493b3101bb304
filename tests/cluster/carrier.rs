//! The carrier, which is `control` on the public network: its calls, and what its callers heard.

use std::time::Duration;

use serde_json::Value;
use trunkline_tests::node::tool;
use trunkline_tests::process::Process;

use crate::bed::SOON;
use crate::release::Release;

/// Calls `target` from the carrier, and holds the calls for `seconds`.
pub(crate) fn call(
    release: &Release<'_>,
    name: &str,
    target: &str,
    calls: u32,
    seconds: u32,
) -> Process {
    call_with(release, name, target, calls, seconds, &[])
}

/// The same with further arguments for the tool `load`.
pub(crate) fn call_with(
    release: &Release<'_>,
    name: &str,
    target: &str,
    calls: u32,
    seconds: u32,
    more: &[&str],
) -> Process {
    // On a busy machine the first frames take seconds.
    let seconds = if seconds == 0 { 0 } else { seconds.max(4) }.to_string();
    start(release, name, target, calls, &[&["--window", &seconds], more].concat())
}

/// Calls that are up, until [`hang_up`].
pub(crate) fn talk(release: &Release<'_>, name: &str, target: &str, calls: u32) -> Process {
    hold(release, name, target, calls, &["--refresh"])
}

/// The same without a re-INVITE at the end.
pub(crate) fn talk_on(release: &Release<'_>, name: &str, target: &str, calls: u32) -> Process {
    hold(release, name, target, calls, &[])
}

fn hold(release: &Release<'_>, name: &str, target: &str, calls: u32, more: &[&str]) -> Process {
    let until_told = [&["--window", "600", "--until-told"], more].concat();
    let mut talking = start(release, name, target, calls, &until_told);
    talking.wait_for_event("window-begin", 0, SOON);
    talking
}

/// Ends each call by a BYE, after a re-INVITE if they were made so; what their callers saw from first
/// to last.
pub(crate) fn hang_up(mut talking: Process) -> Value {
    talking.send_line("");
    result(talking)
}

/// Why a single call is refused, with its status in front; `None` when it is taken.
pub(crate) fn refusal(release: &Release<'_>, target: &str) -> Option<String> {
    let result = result(call(release, "refused", target, 1, 0));
    result["failed"].as_object()?.keys().next().cloned()
}

fn start(
    release: &Release<'_>,
    name: &str,
    target: &str,
    calls: u32,
    how_long: &[&str],
) -> Process {
    let load = tool("load");
    let mut command = release.cluster.on("control", &[load.to_str().expect("a path of UTF-8")]);
    command.args(["--target", target, "--local", local(target), "--calls", &calls.to_string()]);
    command.args(["--warm", "1"]).args(how_long);
    command.arg("--ca").arg(&release.certificate.ca_file);
    Process::start(name, command, &release.directory)
}

/// The carrier's address on the network of `target`.
fn local(target: &str) -> &'static str {
    if target.starts_with("203.0.113.") { "203.0.113.1" } else { "10.99.0.1" }
}

/// What a load saw; it has ended.
pub(crate) fn result(mut load: Process) -> Value {
    let result = load.wait_for_event("result", 0, Duration::from_secs(120));
    load.wait(Duration::from_secs(10));
    result
}

pub(crate) fn assert_all_well(result: &Value, calls: u64) {
    let number = |pointer: &str| result.pointer(pointer).and_then(Value::as_u64);
    assert_eq!(number("/answered"), Some(calls), "{result}");
    for wrong in ["/dropped", "/unaccepted_refreshes", "/unanswered_byes"] {
        assert_eq!(number(wrong), Some(0), "{wrong}: {result}");
    }
    for wrong in ["lost", "bad", "mute_calls", "echoless_calls", "silent_calls"] {
        assert_eq!(result["media"][wrong].as_u64(), Some(0), "{wrong}: {result}");
    }
}
