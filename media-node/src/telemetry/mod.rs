//! What the node says of itself: logs, traces and metrics.
//!
//! Everything here hears of calls at their milestones, never of packets, and what it is given is
//! already masked: a [`CallView`](crate::call::CallView) shows numbers as the pool's
//! `records.numbers` wants, and holds no key.

mod metrics;
mod spans;
#[cfg(test)]
mod tests;

use trunkline_service::telemetry::Service;
pub use trunkline_service::telemetry::{Guard, InitError, LogFormat, Options};

pub use metrics::{CONTENT_TYPE, Metrics, SipDirection};
pub use spans::CallSpans;

/// The `tracing` target of the spans that are exported, and of no other.
const CALL_TARGET: &str = "trunkline::call";
const SERVICE: Service =
    Service { name: "trunkline-media-node", traced: CALL_TARGET, filter: "info" };

/// Puts the process's subscriber in place: logs to standard output, traces to the collector.
pub fn init(options: &Options) -> Result<Guard, InitError> {
    trunkline_service::telemetry::init(&SERVICE, options)
}
