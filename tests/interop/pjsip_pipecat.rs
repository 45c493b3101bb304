//! A PJSIP softphone over TLS with mandatory SRTP, and a Pipecat bot behind the node.

use std::path::Path;
use std::time::Duration;

use trunkline_tests::manifests::{agent, trunk};
use trunkline_tests::node::Node;
use trunkline_tests::peers::{Bot, Softphone};
use trunkline_tests::process::wait_until;
use trunkline_tests::sound;
use trunkline_tests::wav::Wav;

use crate::site::{SOON, Site, argument, newest_call, report};

const RATE: u32 = 8000;
const NUMBER: &str = "+15551230001";

fn site(test: &str, bot: &Bot) -> (Site, Node) {
    let site = Site::new(test, 10);
    site.manifests.write("agent.yaml", &agent("bot", &bot.url)).write(
        "trunk.yaml",
        &trunk("carrier", "TLS", "Required", "{sources: [\"127.0.0.0/8\"]}", &[("", "bot")]),
    );
    let node = site.start();
    (site, node)
}

fn softphone(site: &Site, more: &[&str]) -> Softphone {
    let (uri, ca) = (site.tls_uri(NUMBER), argument(&site.certificate.ca_file));
    let mut arguments = vec!["--uri", &uri, "--ca", &ca, "--srtp", "mandatory"];
    arguments.extend(more);
    Softphone::start("softphone", &site.directory, &arguments)
}

fn bot_directory(test: &str) -> std::path::PathBuf {
    trunkline_tests::node::run_directory("interop", &format!("{test}-bot"))
}

#[test]
fn what_is_said_comes_back_through_a_pipecat_bot_and_digits_arrive() {
    let test = "echo";
    let mut bot = Bot::start("bot", &bot_directory(test), &[]);
    let (site, node) = site(test, &bot);
    let said = Wav::new(RATE, sound::speech_like(RATE, 9.0, 20_261_123));
    said.write(Path::new(&site.file("said.wav"))).expect("the run's directory is writable");

    let mut phone = softphone(
        &site,
        &[
            "--play",
            &site.file("said.wav"),
            "--record",
            &site.file("heard.wav"),
            "--dtmf",
            "5#1",
            "--dtmf-after",
            "6",
            "--hangup-after",
            "9",
        ],
    );

    let media = phone.0.wait_for_event("media", 0, SOON);
    assert_eq!((&media["codec"], &media["srtp"]), (&"PCMU".into(), &true.into()), "{media}");
    let start = bot.process.wait_for_event("start", 0, SOON);
    assert_eq!(start["transport"], "twilio");
    let parameters = &start["customParameters"];
    for (name, value) in [
        ("from_number", "+15550100"),
        ("to_number", NUMBER),
        ("trunk", "carrier"),
        ("direction", "inbound"),
        ("tenant", "acme"),
    ] {
        let given = parameters[name].as_str().unwrap_or_default();
        assert!(given.eq_ignore_ascii_case(value), "{name} is {given:?} in {parameters}");
    }
    let active = newest_call(&node, "the call is active", |call| call["state"] == "Active");
    assert_eq!(active["agent"], "bot");
    assert_eq!(parameters["call_id"], active["id"]);
    assert_eq!(parameters["sip_call_id"], active["sipCallId"]);

    let digits: Vec<_> = (0..3)
        .map(|nth| {
            bot.process.wait_for_event("dtmf", nth, Duration::from_secs(20))["digit"].clone()
        })
        .collect();
    assert_eq!(digits, ["5", "#", "1"]);

    phone.0.wait_for_event("disconnected", 0, Duration::from_secs(20));
    bot.process.wait_for_event("disconnected", 0, SOON);
    let ended = newest_call(&node, "the call has ended", |call| call["state"] == "Ended");
    assert_eq!(ended["end"]["by"], "Caller", "{ended}");
    phone.0.wait_for_event("end", 0, SOON);

    let heard = Wav::read(Path::new(&site.file("heard.wav"))).expect("the softphone recorded");
    let delays = sound::echo_delays(&said, &heard, &[2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]);
    report(&format!(
        "PJSIP - TLS, SRTP - node - WebSocket - Pipecat and back: {}",
        delays
            .iter()
            .map(|(delay, alike)| format!("{delay:.0} ms ({alike:.3})"))
            .collect::<Vec<_>>()
            .join(", ")
    ));
    // The phone fills in for a frame that a busy machine made late, so some parts may suffer.
    let well: Vec<_> = delays.iter().filter(|(_, alike)| *alike > 0.9).collect();
    assert!(well.len() >= 4, "what came back is not what was said: {delays:?}");
    // A frame each way, the bot's 40 ms chunks, the softphone's jitter buffer, and its machine.
    assert!(well.iter().all(|(delay, _)| (0.0..1000.0).contains(delay)), "{delays:?}");
}

#[test]
fn the_bots_hang_up_ends_the_call() {
    let test = "bot-hangs-up";
    let mut bot = Bot::start("bot", &bot_directory(test), &[]);
    let (site, node) = site(test, &bot);
    let mut phone = softphone(&site, &[]);
    phone.0.wait_for_event("connected", 0, SOON);
    bot.process.wait_for_event("first-audio", 0, SOON);

    bot.hang_up();

    phone.0.wait_for_event("disconnected", 0, SOON);
    let ended = newest_call(&node, "the call has ended", |call| call["state"] == "Ended");
    assert_eq!(ended["end"]["by"], "Agent", "{ended}");
}

#[test]
fn the_softphones_hang_up_ends_the_bots_call() {
    let test = "caller-hangs-up";
    let mut bot = Bot::start("bot", &bot_directory(test), &[]);
    let (site, node) = site(test, &bot);
    let mut phone = softphone(&site, &[]);
    bot.process.wait_for_event("first-audio", 0, SOON);

    phone.hang_up();

    bot.process.wait_for_event("disconnected", 0, SOON);
    let ended = newest_call(&node, "the call has ended", |call| call["state"] == "Ended");
    assert_eq!(ended["end"]["by"], "Caller", "{ended}");
}

#[test]
fn a_held_call_resumes_and_is_echoed_again() {
    let test = "hold";
    let mut bot = Bot::start("bot", &bot_directory(test), &[]);
    let (site, node) = site(test, &bot);
    let mut phone = softphone(&site, &[]);
    bot.process.wait_for_event("first-audio", 0, SOON);

    phone.hold();
    phone.0.wait_for_line("the re-INVITE's 200", SOON, response_to_invite(1));
    phone.resume();
    phone.0.wait_for_line("the second re-INVITE's 200", SOON, response_to_invite(2));

    newest_call(&node, "the call is still active", |call| call["state"] == "Active");
    phone.hang_up();
    phone.0.wait_for_event("disconnected", 0, SOON);
}

/// Accepts the line that reports the `nth` (from 0) 200 to an INVITE. Lines are scanned from the first each time.
fn response_to_invite(nth: usize) -> impl FnMut(&str) -> Option<()> {
    let mut seen = std::collections::BTreeSet::new();
    move |line| {
        if line.contains("200 (INVITE)") && line.contains("received") {
            seen.insert(line.to_owned());
        }
        (seen.len() > nth).then_some(())
    }
}

#[test]
fn an_interruption_empties_playout() {
    let test = "interruption";
    // One second of audio in a message: between one and two seconds lie in the node at any time.
    let mut bot = Bot::start("bot", &bot_directory(test), &["--silent", "--chunk-ms", "1000"]);
    let (site, _node) = site(test, &bot);
    let record = site.file("heard.wav");
    let mut phone = softphone(&site, &["--record", &record]);
    let media_at = phone.0.wait_for_event("media", 0, SOON)["at"].as_f64().expect("a time");
    bot.process.wait_for_event("first-audio", 0, SOON);

    bot.speak_tone(10);
    // The file grows in blocks while the softphone records.
    let tones =
        || Wav::read(Path::new(&record)).map(|heard| tone_frames(&heard)).unwrap_or_default();
    wait_until("the caller hears half a second of tone", SOON, || {
        (tones().iter().filter(|&&tone| tone).count() >= 25).then_some(())
    });
    bot.interrupt();
    let interrupted_at =
        bot.process.wait_for_event("interrupted", 0, SOON)["at"].as_f64().expect("a time");
    wait_until("the recording goes on for two seconds after", SOON, || {
        let frames = tones().len() as f64;
        (media_at + frames * 0.02 > interrupted_at + 2.0).then_some(())
    });
    phone.hang_up();
    phone.0.wait_for_event("end", 0, SOON);

    let frames = tones();
    let last = frames.iter().rposition(|&tone| tone).expect("there was a tone");
    let silent_after = media_at + (last + 1) as f64 * 0.02 - interrupted_at;
    report(&format!("the caller hears the interruption after {:.0} ms", silent_after * 1000.0));
    // The bot's own way out, a frame in the node, the softphone's jitter buffer.
    assert!(silent_after < 0.5, "the tone went on for {silent_after:.2} s");
}

/// Whether the bot's tone is heard, for each 20 ms.
fn tone_frames(heard: &Wav) -> Vec<bool> {
    heard.samples.chunks(160).map(|frame| sound::peak_at(frame, RATE, 440.0) > 2000.0).collect()
}
