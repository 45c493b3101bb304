//! An agent's side of the Twilio Media Streams dialect: a WebSocket server that the node dials.
//!
//! What a call does is a [`Mind`]; this module speaks the dialect for it.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_websockets::{Message, ServerBuilder};

use crate::machine::monotonic_us;
use crate::sound;
use crate::wav::Wav;

/// What the agent says and does in one call.
pub trait Mind {
    /// The stream has begun.
    fn start(&mut self, start: &Value, say: &mut Say);
    /// The caller's audio: µ-law, usually 160 bytes.
    fn hear(&mut self, ulaw: &mut [u8], say: &mut Say);
    /// A mark came back: what was said before it has been played.
    fn played(&mut self, _name: &str, _say: &mut Say) {}
    fn digit(&mut self, _digit: &str, _say: &mut Say) {}
    /// Called this often while nothing comes; zero: never.
    fn every(&self) -> Duration {
        Duration::ZERO
    }
    fn tick(&mut self, _say: &mut Say) {}
    /// The node has closed the stream.
    fn end(&mut self) {}
}

/// What an agent wants sent.
#[derive(Default)]
pub struct Say {
    stream: String,
    out: Vec<String>,
    close: bool,
}

impl Say {
    /// µ-law of any length.
    pub fn audio(&mut self, ulaw: &[u8]) {
        let mut text = String::with_capacity(100 + self.stream.len() + ulaw.len() * 4 / 3);
        text.push_str(r#"{"event":"media","streamSid":""#);
        text.push_str(&self.stream);
        text.push_str(r#"","media":{"payload":""#);
        STANDARD.encode_string(ulaw, &mut text);
        text.push_str(r#""}}"#);
        self.out.push(text);
    }

    pub fn mark(&mut self, name: &str) {
        self.out.push(
            json!({"event": "mark", "streamSid": self.stream, "mark": {"name": name}}).to_string(),
        );
    }

    pub fn clear(&mut self) {
        self.out.push(json!({"event": "clear", "streamSid": self.stream}).to_string());
    }

    /// Hangs up, after what was said before has been sent.
    pub fn hang_up(&mut self) {
        self.close = true;
    }
}

/// What an agent says that speaks first: a second of a tone, in µ-law.
pub fn greeting() -> Vec<u8> {
    Wav::new(8000, sound::tone(8000, 440.0, 1.0, 8000.0)).to_ulaw()
}

/// One line of JSON on standard output: `event`, `at` (monotonic seconds) and `fields`.
pub fn emit(event: &str, fields: Value) {
    let mut line = json!({"event": event, "at": monotonic_us() as f64 / 1e6});
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
        line.extend(fields);
    }
    println!("{line}");
}

/// Serves for ever, on the current `LocalSet`; `mind` is asked by the path of each connection.
pub async fn serve(
    listener: TcpListener,
    mind: impl Fn(&str) -> Box<dyn Mind> + 'static,
) -> io::Result<()> {
    let mind = Rc::new(mind);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mind = mind.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = attend(stream, &*mind).await {
                emit("error", json!({"text": error.to_string()}));
            }
        });
    }
}

async fn attend(
    stream: TcpStream,
    mind: &dyn Fn(&str) -> Box<dyn Mind>,
) -> Result<(), tokio_websockets::Error> {
    let (request, mut socket) = ServerBuilder::new().accept(stream).await?;
    let mut mind = mind(request.uri().path());
    let mut say = Say::default();
    let every = match mind.every() {
        Duration::ZERO => Duration::from_secs(3600),
        every => every,
    };
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(message)) => {
                    if let Some(text) = message.as_text() {
                        handle(text, &mut *mind, &mut say);
                    }
                }
                Some(Err(_)) | None => break,
            },
            _ = ticks.tick() => mind.tick(&mut say),
        }
        for text in say.out.drain(..) {
            socket.feed(Message::text(text)).await?;
        }
        socket.flush().await?;
        if say.close {
            socket.close().await?;
            // The node's own close ends the loop above; nothing more is said.
            say.close = false;
        }
    }
    mind.end();
    Ok(())
}

fn handle(text: &str, mind: &mut dyn Mind, say: &mut Say) {
    // Almost every message is audio: it is read without a tree of values.
    if text.starts_with(r#"{"event":"media""#)
        && let Some((_, rest)) = text.split_once(r#""payload":""#)
        && let Some((payload, _)) = rest.split_once('"')
        && let Ok(mut ulaw) = STANDARD.decode(payload)
    {
        mind.hear(&mut ulaw, say);
        return;
    }
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        emit("error", json!({"text": "not JSON"}));
        return;
    };
    match message["event"].as_str().unwrap_or_default() {
        "start" => {
            message["streamSid"].as_str().unwrap_or_default().clone_into(&mut say.stream);
            mind.start(&message["start"], say);
        }
        "media" => {
            let payload = message["media"]["payload"].as_str().unwrap_or_default();
            if let Ok(mut ulaw) = STANDARD.decode(payload) {
                mind.hear(&mut ulaw, say);
            }
        }
        "mark" => mind.played(message["mark"]["name"].as_str().unwrap_or_default(), say),
        "dtmf" => mind.digit(message["dtmf"]["digit"].as_str().unwrap_or_default(), say),
        _ => {}
    }
}
