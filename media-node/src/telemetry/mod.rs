//! What the node says of itself: logs, traces and metrics.
//!
//! Everything here hears of calls at their milestones, never of packets, and what it is given is
//! already masked: a [`CallView`](crate::call::CallView) shows numbers as the pool's
//! `records.numbers` wants, and holds no key.

mod json;
mod metrics;
mod otlp;
mod spans;
#[cfg(test)]
mod tests;

use std::io;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

pub use metrics::{CONTENT_TYPE, Metrics, SipDirection};
pub use otlp::OtlpError;
pub use spans::CallSpans;

/// The `tracing` target of the spans that are exported, and of no other.
const CALL_TARGET: &str = "trunkline::call";

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, fields at top level, those of the spans around it included.
    Json,
    /// For a person at a terminal.
    Text,
}

/// What `--log-format`, `--otlp` and the pool's `telemetry` come to.
#[derive(Clone, Debug)]
pub struct Options {
    pub format: LogFormat,
    /// `info`, or as `RUST_LOG` says: `warn,trunkline_media_node::sip=debug`.
    pub filter: Option<String>,
    /// Where traces go, over OTLP (HTTP with protobuf); `/v1/traces` is added to a bare address.
    pub otlp: Option<String>,
    /// `service.instance.id`: the pod's name, or the host's.
    pub instance: String,
}

/// What is wrong with the options.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error(
        "log filter {0:?} cannot be read; write for example info,trunkline_media_node::sip=debug"
    )]
    Filter(String),
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    #[error("a log subscriber is already in place")]
    AlreadySet,
}

/// Keeps the export of traces going. Traces that wait are sent when [`Guard::shutdown`] is called,
/// and as a last resort when it is dropped.
#[must_use = "traces that still wait are lost without it"]
pub struct Guard {
    traces: Option<SdkTracerProvider>,
}

impl Guard {
    /// Sends what waits, at most five seconds long. Blocks: call it when the runtimes have ended,
    /// or from a thread that may wait.
    pub fn shutdown(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        let Some(traces) = self.traces.take() else { return };
        if let Err(error) = traces.shutdown_with_timeout(otlp::SHUTDOWN_TIMEOUT) {
            tracing::warn!(%error, "traces were not all exported");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Puts the process's subscriber in place: logs to standard output, traces to the collector.
pub fn init(options: &Options) -> Result<Guard, InitError> {
    let (subscriber, guard) = subscriber(options, io::stdout)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InitError::AlreadySet)?;
    Ok(guard)
}

/// The same, to be used as the caller likes.
pub fn subscriber<W>(
    options: &Options,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Guard), InitError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = options.filter.as_deref().unwrap_or("info");
    let targets: Targets =
        filter.parse().map_err(|_| InitError::Filter(filter.chars().take(200).collect()))?;
    let traces = match &options.otlp {
        Some(endpoint) => Some(otlp::provider(endpoint, &options.instance)?),
        None => None,
    };
    let subscriber = tracing_subscriber::registry()
        .with(log_layer(options.format, writer).with_filter(targets))
        .with(traces.as_ref().map(|traces| trace_layer(traces).with_filter(exported())));
    Ok((subscriber, Guard { traces }))
}

fn log_layer<S, W>(format: LogFormat, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    match format {
        LogFormat::Json => Box::new(json::JsonLines::new(writer)),
        LogFormat::Text => {
            use std::io::IsTerminal;
            let colour = io::stdout().is_terminal();
            Box::new(tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour))
        }
    }
}

fn trace_layer<S>(traces: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + Send + Sync + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(traces.tracer("trunkline-media-node"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_context_activation(false)
}

/// Spans of calls, and nothing else that any crate may call a span. Events stay in the log.
fn exported() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    filter_fn(|metadata| metadata.is_span() && metadata.target() == CALL_TARGET)
}
