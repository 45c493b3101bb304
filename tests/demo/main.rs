//! One encrypted call from a softphone to a talking agent, shown as it happens.
//!
//! Makes a certificate, starts the media node on the manifests of `examples/demo`, an agent that talks and a
//! PJSIP softphone that calls over TLS and SRTP with recorded speech. Prints the SIP ladder and the call's
//! timeline, and leaves `caller.wav`, `agent.wav` and `report.html` in `out/`.

mod ladder;
mod report;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::Value;
use trunkline_tests::certificate::Certificate;
use trunkline_tests::manifests::{Manifests, NodePorts, agent, pool, tls_secret, trunk};
use trunkline_tests::node::{Node, run_directory, tool, workspace};
use trunkline_tests::peers::Softphone;
use trunkline_tests::ports;
use trunkline_tests::process::{Process, on_path};
use trunkline_tests::wav::Wav;

use ladder::Ladder;
use report::{Delay, Report};

const RATE: u32 = 8000;
const GREETING: &str = "Hello, you have reached the Trunkline demo. What can I do for you?";
const QUESTION: &str = "Good morning. Can you hear me over this encrypted line?";
const REPLY: &str = "I can. This is what I heard.";
const THANKS: &str = "That was my voice. Thank you, and goodbye.";
const GOODBYE: &str = "Goodbye.";

/// Places one call over TLS and SRTP from a softphone to a talking agent, and shows it.
#[derive(Parser)]
struct Arguments {
    /// Manifests of the node; the certificate's Secret (trunkline/sip-cert) is added to them. They must
    /// serve SIP over TLS on --sip-port of 127.0.0.1 and lead --number to ws://127.0.0.1:<--agent-port>/.
    #[arg(long, default_value = "examples/demo")]
    manifests: PathBuf,
    #[arg(long, default_value_t = 5061)]
    sip_port: u16,
    #[arg(long, default_value_t = 8765)]
    agent_port: u16,
    #[arg(long, default_value = "+15551230001")]
    number: String,
    /// Where the sound and the report go.
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// Manifests and ports made up for this run, instead of --manifests.
    #[arg(long)]
    own_manifests: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let directory = run_directory("demo", "run");
    let out = workspace().join(&arguments.out);
    std::fs::create_dir_all(&out)?;
    if !on_path("espeak-ng") {
        return Err("the demo's voices are made by espeak-ng: run tests/prepare".into());
    }

    println!("Voices (espeak-ng)");
    let greeting = speak(&directory, "greeting", "en-us+f3", GREETING)?;
    let reply = speak(&directory, "reply", "en-us+f3", REPLY)?;
    let goodbye = speak(&directory, "goodbye", "en-us+f3", GOODBYE)?;
    let question = speak(&directory, "question", "en-gb", QUESTION)?;
    let thanks = speak(&directory, "thanks", "en-gb", THANKS)?;
    let (caller, turns) = caller_track(&greeting, &question, &reply, &thanks, &goodbye);
    let said = directory.join("said.wav");
    caller.write(&said)?;

    println!("Certificate, manifests, media node");
    let certificate = Certificate::make(&directory);
    let manifests = Manifests::new();
    let (sip_port, agent_port) = write_manifests(&arguments, &manifests, &certificate)?;
    let mut talker = Command::new(tool("demo-agent"));
    talker.args(["--listen", &format!("127.0.0.1:{agent_port}")]);
    for name in ["greeting", "reply", "goodbye"] {
        talker.arg(format!("--{name}")).arg(directory.join(format!("{name}.wav")));
    }
    let mut talker = Process::start("agent", talker, &directory);
    talker.wait_for_event("listening", 0, Duration::from_secs(10));
    let node = Node::start("node", manifests.path(), &directory);

    println!("Softphone (PJSIP) calls {} over TLS and SRTP\n", arguments.number);
    let heard = directory.join("heard.wav");
    let uri = format!("sip:{}@127.0.0.1:{sip_port};transport=tls", arguments.number);
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let phone = Softphone::start(
        "softphone",
        &directory,
        &[
            "--uri",
            &uri,
            "--ca",
            &text(&certificate.ca_file),
            "--srtp",
            "mandatory",
            "--play",
            &text(&said),
            "--record",
            &text(&heard),
            "--give-up-after",
            "60",
        ],
    );
    let (ladder, call) = watch(phone, &talker, &node)?;

    let heard = Wav::read(&heard)?;
    let length = heard.samples.len().min(caller.samples.len());
    let said = Wav::new(RATE, caller.samples[..length].to_vec());
    said.write(&out.join("caller.wav"))?;
    heard.write(&out.join("agent.wav"))?;
    let delays = delays(&ladder, &heard, &turns);
    println!();
    for delay in &delays {
        println!("  {:<58} {:>6.0} ms", delay.what, (delay.to - delay.from) * 1000.0);
    }
    let report = Report {
        said: &said,
        heard: &heard,
        delays: &delays,
        ladder: &ladder,
        media_at: ladder.media_at(),
        call: &call,
    };
    std::fs::write(out.join("report.html"), report.html())?;
    println!(
        "\n  {}\n  {}\n  {}",
        text(&out.join("caller.wav")),
        text(&out.join("agent.wav")),
        text(&out.join("report.html"))
    );
    if delays.len() < 2 {
        return Err("the caller did not hear both answers of the agent".into());
    }
    Ok(())
}

/// One sentence as 8 kHz sound, without the silence around it.
fn speak(directory: &Path, name: &str, voice: &str, text: &str) -> Result<Wav, Box<dyn Error>> {
    let raw = directory.join(format!("{name}-raw.wav"));
    let status = Command::new("espeak-ng")
        .args(["-v", voice, "-s", "165", "-w"])
        .arg(&raw)
        .arg(text)
        .status()?;
    if !status.success() {
        return Err(format!("espeak-ng failed: {status}").into());
    }
    let mut wav = Wav::read(&raw)?.at_rate(RATE);
    let is_sound = |sample: &i16| sample.unsigned_abs() > 300;
    let first = wav.samples.iter().position(is_sound).unwrap_or(0);
    let last = wav.samples.iter().rposition(is_sound).unwrap_or(0);
    wav.samples = wav.samples[first..=last].to_vec();
    wav.write(&directory.join(format!("{name}.wav")))?;
    Ok(wav)
}

/// What the caller says, with pauses in which the agent has its say; and where each turn ends, seconds.
fn caller_track(
    greeting: &Wav,
    question: &Wav,
    reply: &Wav,
    thanks: &Wav,
    goodbye: &Wav,
) -> (Wav, [f64; 2]) {
    let mut samples = Vec::new();
    let pause = |samples: &mut Vec<i16>, seconds: f64| {
        samples.resize(samples.len() + (seconds * f64::from(RATE)) as usize, 0);
    };
    pause(&mut samples, greeting.seconds() + 1.0);
    samples.extend(&question.samples);
    let first = samples.len() as f64 / f64::from(RATE);
    // The agent waits 600 ms before it answers.
    pause(&mut samples, 0.6 + reply.seconds() + question.seconds() + 1.2);
    samples.extend(&thanks.samples);
    let second = samples.len() as f64 / f64::from(RATE);
    pause(&mut samples, 0.6 + goodbye.seconds() + 5.0);
    (Wav::new(RATE, samples), [first, second])
}

/// Manifests of the run; SIP-over-TLS port of the node and port of the agent.
fn write_manifests(
    arguments: &Arguments,
    manifests: &Manifests,
    certificate: &Certificate,
) -> Result<(u16, u16), Box<dyn Error>> {
    let examples = workspace().join(&arguments.manifests);
    if arguments.own_manifests {
        let (ports, agent_port) = (NodePorts::free(10), ports::free());
        manifests
            .write("pool.yaml", &pool(ports, Some(certificate)))
            .write("agent.yaml", &agent("reception", &format!("ws://127.0.0.1:{agent_port}/")))
            .write(
                "trunk.yaml",
                &trunk(
                    "softphone",
                    "TLS",
                    "Required",
                    "{sources: [\"127.0.0.0/8\"]}",
                    &[("", "reception")],
                ),
            );
        return Ok((ports.tls, agent_port));
    }
    for entry in std::fs::read_dir(&examples)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            manifests.write(&name, &std::fs::read_to_string(&path)?);
        }
    }
    manifests.write("sip-cert.yaml", &tls_secret("sip-cert", certificate));
    Ok((arguments.sip_port, arguments.agent_port))
}

/// Prints what happens until the softphone leaves; everything that happened, and the node's record.
fn watch(
    mut phone: Softphone,
    talker: &Process,
    node: &Node,
) -> Result<(Ladder, Value), Box<dyn Error>> {
    let mut ladder = Ladder::new();
    let until = Instant::now() + Duration::from_secs(70);
    loop {
        let running = phone.0.is_running();
        for step in ladder.take(&phone.0.output(), &talker.output()) {
            println!("{step}");
        }
        if !running {
            break;
        }
        if Instant::now() > until {
            return Err("the call did not end".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let call = node.admin.calls().pop().unwrap_or_default();
    let id = call["id"].as_str().unwrap_or_default().to_owned();
    let call = node.admin.json(&format!("/v1/calls/{id}")).unwrap_or(call);
    println!("\n{}", serde_json::to_string_pretty(&call)?);
    if !ladder.was_answered() {
        return Err(format!("the call was not answered\n{}", node.process.tail()).into());
    }
    Ok((ladder, call))
}

/// From the answer to the first word heard, and from the end of each turn to the agent's answer.
fn delays(ladder: &Ladder, heard: &Wav, turns: &[f64; 2]) -> Vec<Delay> {
    let levels = trunkline_tests::sound::levels(&heard.samples, 160);
    let first_voice_after = |second: f64| {
        let from = (second / 0.02) as usize;
        levels.iter().skip(from).position(|&level| level > 500.0).map(|n| (from + n) as f64 * 0.02)
    };
    let mut delays = Vec::new();
    let answered = (ladder.answered_at() - ladder.media_at()).max(0.0);
    if let Some(to) = first_voice_after(0.0) {
        delays.push(Delay {
            what: "answer to the agent's first word".to_owned(),
            from: answered,
            to,
        });
    }
    for (turn, &from) in ["first", "second"].iter().zip(turns) {
        if let Some(to) = first_voice_after(from) {
            let what = format!(
                "end of the caller's {turn} turn to the answer (600 ms of it the agent's patience)"
            );
            delays.push(Delay { what, from, to });
        }
    }
    delays
}
