//! The carrier, which is `control` on the public network: its calls, and what its callers heard.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use trunkline_tests::node::tool;
use trunkline_tests::peers::Softphone;
use trunkline_tests::process::Process;
use trunkline_tests::sound;
use trunkline_tests::wav::Wav;

use crate::bed::SOON;
use crate::release::Release;

/// The public network.
const PUBLIC: &str = "203.0.113.";

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

/// Addresses at which carriers reach what is not on the network of pods: both nodes, and balancers.
pub(crate) fn reached_at() -> Vec<IpAddr> {
    (11..=29).map(|host| IpAddr::from([203, 0, 113, host])).collect()
}

/// A PJSIP softphone calls `target` over TLS with mandatory SRTP, speaks to an agent that sends back
/// what it hears, and hears itself. The certificate is checked unless `target` is a pod's address,
/// which nobody knew when it was made.
pub(crate) fn softphone_hears_itself(release: &Release<'_>, name: &str, target: &str) {
    let file = |what: &str| {
        let path = release.directory.join(format!("{name}-{what}.wav"));
        path.into_os_string().into_string().expect("a path of UTF-8")
    };
    let (said_file, heard_file) = (file("said"), file("heard"));
    let said = Wav::new(8000, sound::speech_like(8000, 8.0, 7));
    said.write(Path::new(&said_file)).expect("the run's directory is writable");
    let (uri, local) = (format!("sip:+15551230001@{target};transport=tls"), local(target));
    let from = format!("sip:+15550100@{local}");
    let mut arguments = vec!["--uri", &uri, "--from", &from, "--address", local];
    arguments.extend(["--srtp", "mandatory", "--play", &said_file, "--record", &heard_file]);
    arguments.extend(["--hangup-after", "8"]);
    let ca = release.certificate.ca_file.to_str().expect("a path of UTF-8");
    if target.starts_with(PUBLIC) {
        arguments.extend(["--ca", ca]);
    }
    let on = |words: &[&str]| release.cluster.on("control", words);
    let mut phone = Softphone::start_on(on, name, &release.directory, &arguments);
    let media = phone.0.wait_for_event("media", 0, SOON);
    assert_eq!(media["srtp"], true, "{media}");
    phone.0.wait_for_event("end", 0, SOON);

    let heard = Wav::read(Path::new(&heard_file)).expect("the softphone recorded");
    let parts: Vec<f64> = (4..=24).map(|quarter| f64::from(quarter) * 0.25).collect();
    let delays = sound::echo_delays(&said, &heard, &parts);
    println!("PJSIP to {target} and back, delay in ms and likeness: {delays:.3?}");
    // The phone fills in for what a busy machine made late, so some parts suffer.
    let well = delays.iter().filter(|(_, alike)| *alike > 0.9).count();
    assert!(well >= 7, "what came back is not what was said: {delays:?}");
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
    if target.starts_with(PUBLIC) { "203.0.113.1" } else { "10.99.0.1" }
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
