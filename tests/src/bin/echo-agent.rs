//! An agent that gives every frame back at once, cheap enough to stand beside what is measured.

use std::net::{Ipv4Addr, SocketAddr};

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use trunkline_tests::agent::{Mind, Say, emit, greeting, serve};
use trunkline_tests::machine::monotonic_us;
use trunkline_tests::stamp::{self, Field};

/// Speaks the Twilio Media Streams dialect as a server. What a call gets follows from the path it is
/// dialled with: /echo, /silent, /speak-first; any other path gets the mode of the command line.
/// Events go to standard output, one JSON line each.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    listen: SocketAddr,
    /// Say nothing, hear everything.
    #[arg(long, conflicts_with = "speak_first")]
    silent: bool,
    /// Say a second of tone in one message, with a mark, before echoing.
    #[arg(long)]
    speak_first: bool,
    /// No event a call.
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Echo,
    Silent,
    SpeakFirst,
}

struct Echo {
    mode: Mode,
    quiet: bool,
    frames: u64,
}

impl Mind for Echo {
    fn start(&mut self, start: &Value, say: &mut Say) {
        if !self.quiet {
            emit("start", json!({"start": start}));
        }
        if self.mode == Mode::SpeakFirst {
            say.audio(&greeting());
            say.mark("greeting");
        }
    }

    fn hear(&mut self, ulaw: &mut [u8], say: &mut Say) {
        self.frames += 1;
        if self.frames == 1 && !self.quiet {
            emit("first-audio", json!({"bytes": ulaw.len()}));
        }
        if self.mode == Mode::Silent {
            return;
        }
        let now = monotonic_us();
        let found = stamp::positions(ulaw).next();
        if let Some(at) = found {
            let stamp = &mut ulaw[at..];
            stamp::set(stamp, Field::AgentReceived, now);
            stamp::set(stamp, Field::AgentSent, monotonic_us());
        }
        say.audio(ulaw);
    }

    fn played(&mut self, name: &str, _say: &mut Say) {
        if !self.quiet {
            emit("mark", json!({"name": name}));
        }
    }

    fn digit(&mut self, digit: &str, _say: &mut Say) {
        if !self.quiet {
            emit("dtmf", json!({"digit": digit}));
        }
    }

    fn end(&mut self) {
        if !self.quiet {
            emit("end", json!({"frames": self.frames}));
        }
    }
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let quiet = arguments.quiet;
    let default = match (arguments.silent, arguments.speak_first) {
        (true, _) => Mode::Silent,
        (_, true) => Mode::SpeakFirst,
        _ => Mode::Echo,
    };
    // A peer on another machine does not make the node's kernel wake it: neither does this one. It
    // sleeps for a set time and then looks, never waiting in epoll, so that what it costs is not charged
    // to the node.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::task::spawn_local(async {
            loop {
                std::thread::sleep(trunkline_tests::machine::GLANCE);
                tokio::task::yield_now().await;
            }
        });
        let listener = TcpListener::bind(arguments.listen).await?;
        emit("listening", json!({"port": listener.local_addr()?.port()}));
        serve(listener, move |path| {
            let mode = Mode::from_str(path.trim_start_matches('/'), true).unwrap_or(default);
            Box::new(Echo { mode, quiet, frames: 0 })
        })
        .await
    })
}
