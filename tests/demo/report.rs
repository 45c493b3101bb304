//! The one-page report: both voices on one time line, the delays between them, the ladder, the record.

use std::fmt::Write;

use serde_json::Value;
use trunkline_tests::wav::Wav;

use crate::ladder::Ladder;

/// A span of time that somebody waited, seconds on the recording's clock.
pub(crate) struct Delay {
    pub(crate) what: String,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

pub(crate) struct Report<'a> {
    pub(crate) said: &'a Wav,
    pub(crate) heard: &'a Wav,
    pub(crate) delays: &'a [Delay],
    pub(crate) ladder: &'a Ladder,
    /// When the recording began, on the ladder's clock.
    pub(crate) media_at: f64,
    pub(crate) call: &'a Value,
}

/// Pixels.
const WIDTH: f64 = 1100.0;
const LEFT: f64 = 70.0;
const LANE: f64 = 120.0;
const STEP_SECONDS: f64 = 0.01;

impl Report<'_> {
    pub(crate) fn html(&self) -> String {
        let mut html = String::from(HEAD);
        html += "<h1>One encrypted call, carried to an agent and back</h1>\n";
        html += "<p>A softphone called over TLS with SRTP; the media node carried its voice to an agent over a \
                 WebSocket and brought the agent's voice back. Both voices are drawn as the caller's telephone \
                 played and recorded them, on one clock.</p>\n";
        html += &self.picture();
        html += "<h2>Delays</h2>\n<table>\n";
        for (number, delay) in (1..).zip(self.delays) {
            let _ = writeln!(
                html,
                "<tr><td>{number}</td><td>{}</td><td class=n>{:.0} ms</td></tr>",
                escape(&delay.what),
                (delay.to - delay.from) * 1000.0
            );
        }
        html += "</table>\n<h2>Listen</h2>\n<p>caller <audio controls src=caller.wav></audio> \
                 agent <audio controls src=agent.wav></audio></p>\n<h2>What happened</h2>\n<pre>";
        let _ = writeln!(
            html,
            "  seconds  softphone                 media node                    agent"
        );
        for step in &self.ladder.steps {
            let _ = writeln!(html, "{:>9.3}  {}", step.since, escape(&step.drawn));
        }
        html += "</pre>\n<h2>The node's record of the call</h2>\n<pre>";
        html += &escape(&serde_json::to_string_pretty(self.call).unwrap_or_default());
        html += "</pre>\n</body></html>\n";
        html
    }

    fn picture(&self) -> String {
        let seconds = self.said.seconds().max(self.heard.seconds()).max(1.0);
        let x = |second: f64| LEFT + second / seconds * (WIDTH - LEFT - 10.0);
        let height = 2.0 * LANE + 90.0;
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=img aria-label=\"both voices on one time line\">\n"
        );
        for second in 0..=seconds as u32 {
            let (at, bottom) = (x(f64::from(second)), 2.0 * LANE + 40.0);
            let _ = writeln!(
                svg,
                "<line class=grid x1={at:.1} x2={at:.1} y1=20 y2={bottom} /><text class=tick x={at:.1} y={:.0}>{second}</text>",
                bottom + 14.0
            );
        }
        let lanes =
            [("caller", self.said, 20.0 + LANE / 2.0), ("agent", self.heard, 40.0 + LANE * 1.5)];
        for (name, wav, middle) in lanes {
            let _ = writeln!(svg, "<text class=name x=4 y={:.0}>{name}</text>", middle + 4.0);
            let _ = writeln!(svg, "<path class={name} d=\"{}\" />", outline(wav, middle, &x));
        }
        let said_middle = 20.0 + LANE / 2.0;
        let heard_middle = 40.0 + LANE * 1.5;
        for (number, delay) in (1..).zip(self.delays) {
            let (from, to) = (x(delay.from), x(delay.to));
            let _ = writeln!(
                svg,
                "<rect class=wait x={from:.1} y=20 width={:.1} height={:.1} /><line class=edge x1={from:.1} x2={from:.1} y1={said_middle} y2={:.1} /><line class=edge x1={to:.1} x2={to:.1} y1={said_middle} y2={heard_middle} /><text class=delay x={:.1} y=14>{number}: {:.0} ms</text>",
                (to - from).max(1.0),
                2.0 * LANE + 20.0,
                heard_middle,
                (from + to) / 2.0,
                (delay.to - delay.from) * 1000.0
            );
        }
        for step in &self.ladder.steps {
            let second = step.at - self.media_at;
            if step.drawn.contains("interrupted") && (0.0..seconds).contains(&second) {
                let at = x(second);
                let _ = writeln!(
                    svg,
                    "<line class=cut x1={at:.1} x2={at:.1} y1=20 y2={:.1} />",
                    2.0 * LANE + 40.0
                );
            }
        }
        svg +=
            "</svg>\n<p class=legend>Seconds since the media began. Shaded: somebody waits.</p>\n";
        svg
    }
}

/// Peaks above and below the middle, each 10 ms, as one closed outline.
fn outline(wav: &Wav, middle: f64, x: &impl Fn(f64) -> f64) -> String {
    let step = (f64::from(wav.sample_rate_hz) * STEP_SECONDS) as usize;
    let loudest = wav.samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(1).max(1);
    let scale = (LANE / 2.0 - 4.0) / f64::from(loudest);
    let peaks: Vec<(f64, f64)> = wav
        .samples
        .chunks(step)
        .map(|part| {
            let high = part.iter().copied().max().unwrap_or(0).max(0);
            let low = part.iter().copied().min().unwrap_or(0).min(0);
            (f64::from(high) * scale, f64::from(low) * scale)
        })
        .collect();
    let mut path = String::new();
    for (n, (high, _)) in peaks.iter().enumerate() {
        let verb = if n == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{verb}{:.1} {:.1}", x(n as f64 * STEP_SECONDS), middle - high);
    }
    for (n, (_, low)) in peaks.iter().enumerate().rev() {
        let _ = write!(path, "L{:.1} {:.1}", x(n as f64 * STEP_SECONDS), middle - low);
    }
    path + "Z"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const HEAD: &str = "<!doctype html>
<html lang=en><head><meta charset=utf-8><title>Trunkline: one call</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1140px; margin: 2em auto; padding: 0 1em; color: #1c2430; background: #fff }
h1 { font-size: 1.5em } h2 { font-size: 1.1em; margin-top: 1.6em }
svg { width: 100%; height: auto; border: 1px solid #d8dee8; border-radius: 6px }
svg text { font-size: 12px; fill: #4a5568 } .tick, .delay { text-anchor: middle } svg .delay { fill: #b4540a; font-weight: 600 }
.grid { stroke: #edf0f5 } path.caller { fill: #2b6cb0 } path.agent { fill: #2f855a }
.wait { fill: #f6ad55; opacity: .28 } .edge { stroke: #b4540a; stroke-dasharray: 3 3 } .cut { stroke: #c53030 }
.legend { color: #4a5568; font-size: 13px; margin-top: .3em }
table { border-collapse: collapse } td { padding: .2em 1em .2em 0 } .n { text-align: right; font-variant-numeric: tabular-nums }
pre { background: #f7f9fc; padding: 1em; overflow-x: auto; font-size: 12.5px; line-height: 1.35; border-radius: 6px }
</style></head><body>
";
