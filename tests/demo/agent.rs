//! A small agent that talks: it greets, waits for the caller to finish, answers with a sentence and what
//! it heard, and says goodbye after the second time. Barge-in empties what it still had to say.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use trunkline_tests::agent::{Mind, Say, emit, serve};
use trunkline_tests::g711;
use trunkline_tests::wav::Wav;

/// Speech is louder than this (root mean square of 20 ms of linear sound).
const LOUD: f64 = 500.0;
/// Frames of 20 ms of quiet that end a turn: the caller pauses between words, too.
const QUIET_FRAMES: usize = 30;
/// Frames of speech that make a turn.
const SPEECH_FRAMES: usize = 10;

/// Speaks the Twilio Media Streams dialect as a server; says three recorded sentences.
#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    /// WAV files, 8 kHz mono.
    #[arg(long)]
    greeting: PathBuf,
    #[arg(long)]
    reply: PathBuf,
    #[arg(long)]
    goodbye: PathBuf,
}

#[derive(Clone)]
struct Talker {
    greeting: Vec<u8>,
    reply: Vec<u8>,
    goodbye: Vec<u8>,
    /// What is being said; empty when it has all been played.
    saying: &'static str,
    /// What the caller has said in this turn, and how long it has been loud and quiet.
    heard: Vec<u8>,
    loud: usize,
    quiet: usize,
    turns: usize,
}

impl Talker {
    fn say(&mut self, what: &'static str, ulaw: &[u8], say: &mut Say) {
        emit("speaks", json!({"what": what, "seconds": ulaw.len() as f64 / 8000.0}));
        say.audio(ulaw);
        say.mark(what);
        self.saying = what;
    }

    fn answer(&mut self, say: &mut Say) {
        self.turns += 1;
        let heard = std::mem::take(&mut self.heard);
        (self.loud, self.quiet) = (0, 0);
        emit("heard", json!({"seconds": heard.len() as f64 / 8000.0}));
        if self.turns == 1 {
            let mut words = self.reply.clone();
            words.extend(heard);
            self.say("reply", &words, say);
        } else {
            let words = self.goodbye.clone();
            self.say("goodbye", &words, say);
        }
    }
}

impl Mind for Talker {
    fn start(&mut self, start: &Value, say: &mut Say) {
        emit("start", json!({"customParameters": start["customParameters"]}));
        let words = self.greeting.clone();
        self.say("greeting", &words, say);
    }

    fn hear(&mut self, ulaw: &mut [u8], say: &mut Say) {
        let sum: f64 = ulaw.iter().map(|&code| f64::from(g711::decode_ulaw(code)).powi(2)).sum();
        let is_loud = (sum / ulaw.len().max(1) as f64).sqrt() > LOUD;
        if is_loud {
            if self.loud == 0 {
                emit("hears", json!({}));
            }
            self.loud += 1;
            self.quiet = 0;
            if self.loud == SPEECH_FRAMES && !self.saying.is_empty() {
                emit("interrupted", json!({"what": self.saying}));
                say.clear();
            }
        } else if self.loud > 0 {
            self.quiet += 1;
        }
        if self.loud > 0 {
            self.heard.extend_from_slice(ulaw);
        }
        if self.quiet >= QUIET_FRAMES {
            if self.loud >= SPEECH_FRAMES {
                // The pause that ended the turn is not said back.
                self.heard.truncate(self.heard.len().saturating_sub((QUIET_FRAMES - 5) * 160));
                self.answer(say);
            } else {
                self.heard.clear();
                (self.loud, self.quiet) = (0, 0);
            }
        }
    }

    fn played(&mut self, name: &str, say: &mut Say) {
        emit("played", json!({"what": name}));
        self.saying = "";
        if name == "goodbye" {
            emit("hangs-up", json!({}));
            say.hang_up();
        }
    }

    fn digit(&mut self, digit: &str, _say: &mut Say) {
        emit("dtmf", json!({"digit": digit}));
    }

    fn end(&mut self) {
        emit("end", json!({}));
    }
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let read = |path: &Path| Wav::read(path).map(|wav| wav.at_rate(8000).to_ulaw());
    let talker = Talker {
        greeting: read(&arguments.greeting)?,
        reply: read(&arguments.reply)?,
        goodbye: read(&arguments.goodbye)?,
        saying: "",
        heard: Vec::new(),
        loud: 0,
        quiet: 0,
        turns: 0,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(arguments.listen).await?;
        emit("listening", json!({"port": listener.local_addr()?.port()}));
        serve(listener, move |_| Box::new(talker.clone())).await
    })
}
