//! The SIP ladder and the timeline, from what the softphone and the agent report.

use std::collections::BTreeSet;

use serde_json::Value;

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Monotonic seconds.
    pub(crate) at: f64,
    /// Seconds since the call was placed.
    pub(crate) since: f64,
    pub(crate) drawn: String,
}

pub(crate) struct Ladder {
    began: Option<f64>,
    answered: Option<f64>,
    media: Option<f64>,
    seen: BTreeSet<String>,
    pub(crate) steps: Vec<Step>,
}

const WIDTH: usize = 26;

impl Ladder {
    pub(crate) fn new() -> Self {
        Self { began: None, answered: None, media: None, seen: BTreeSet::new(), steps: Vec::new() }
    }

    pub(crate) fn was_answered(&self) -> bool {
        self.answered.is_some()
    }

    pub(crate) fn answered_at(&self) -> f64 {
        self.answered.unwrap_or_default()
    }

    /// When playing and recording began, monotonic seconds.
    pub(crate) fn media_at(&self) -> f64 {
        self.media.unwrap_or_default()
    }

    /// What is new in the two outputs, drawn, in the order of time.
    pub(crate) fn take(&mut self, phone: &str, agent: &str) -> Vec<String> {
        let mut fresh = Vec::new();
        for (is_phone, output) in [(true, phone), (false, agent)] {
            for line in output.lines().filter(|line| line.starts_with('{')) {
                let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
                if self.seen.insert(format!("{is_phone}{line}")) {
                    fresh.push((event["at"].as_f64().unwrap_or_default(), is_phone, event));
                }
            }
        }
        fresh.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut lines = Vec::new();
        for (at, is_phone, event) in fresh {
            let name = event["event"].as_str().unwrap_or_default();
            if is_phone {
                match name {
                    "sip" if self.began.is_none() => {
                        self.began = Some(at);
                        lines.push(format!(
                            "{:>9}  {:<11}{:^width$}{:<12}{:^width$}agent",
                            "seconds",
                            "softphone",
                            "",
                            "media node",
                            "",
                            width = WIDTH - 10
                        ));
                    }
                    "connected" => self.answered = Some(at),
                    "media" => self.media = Some(at),
                    _ => {}
                }
            }
            let Some(drawn) =
                (if is_phone { draw_phone(name, &event) } else { draw_agent(name, &event) })
            else {
                continue;
            };
            let since = at - self.began.unwrap_or(at);
            lines.push(format!("{since:>9.3}  {drawn}"));
            self.steps.push(Step { at, since, drawn });
        }
        lines
    }
}

fn draw_phone(name: &str, event: &Value) -> Option<String> {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    match name {
        "sip" if event["direction"] == "sent" => {
            Some(format!("     |{}>|{:w$}|", arrow(&text("what"), '-'), "", w = WIDTH))
        }
        "sip" => Some(format!("     |<{}|{:w$}|", arrow(&text("what"), '-'), "", w = WIDTH)),
        "media" => {
            let encrypted = if event["srtp"] == true { "SRTP" } else { "RTP" };
            Some(format!(
                "     |<{}>|{:w$}|",
                &arrow(&format!("{encrypted} {}", text("codec")), '=')[1..],
                "",
                w = WIDTH
            ))
        }
        "statistics" => Some(format!(
            "     |  {} packets heard, {} sent, {} lost",
            event["received"], event["sent"], event["lost"]
        )),
        "disconnected" => Some("     |  the call is over".to_owned()),
        _ => None,
    }
}

fn draw_agent(name: &str, event: &Value) -> Option<String> {
    let space = format!("     |{:w$}|", "", w = WIDTH);
    let what = event["what"].as_str().unwrap_or_default();
    let seconds = event["seconds"].as_f64().unwrap_or_default();
    Some(match name {
        "start" => format!("{space}{}>|", arrow("WebSocket start", '-')),
        "speaks" => format!("{space}<{}|  {what}, {seconds:.1} s", arrow("media, mark", '-')),
        "played" => format!("{space}{}>|  {what} was played", arrow("mark", '-')),
        "hears" => format!("{space}{}>|  the caller speaks", arrow("media", '-')),
        "heard" => format!("{space}{:w$}|  heard {seconds:.1} s", "", w = WIDTH),
        "interrupted" => format!("{space}<{}|  interrupted", arrow("clear", '-')),
        "hangs-up" => format!("{space}<{}|  hangs up", arrow("close", '-')),
        _ => return None,
    })
}

/// A label in the middle of a line, one short of the column's width.
fn arrow(label: &str, line: char) -> String {
    let room = WIDTH - 1 - label.len().min(WIDTH - 5) - 2;
    let (left, right) = (room / 2, room - room / 2);
    let strokes = |count: usize| line.to_string().repeat(count);
    format!("{} {label} {}", strokes(left), strokes(right))
}
