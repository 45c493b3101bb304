//! Logs to standard output, and traces to a collector.

mod json;
mod otlp;

use std::io;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

pub use otlp::OtlpError;

/// Which program it is.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// `service.name` of its traces.
    pub name: &'static str,
    /// The `tracing` target of the spans that are exported, and of no other.
    pub traced: &'static str,
    /// What is logged unless the options say otherwise.
    pub filter: &'static str,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, fields at top level, those of the spans around it included.
    Json,
    /// For a person at a terminal.
    Text,
}

/// What flags, environment and configuration come to.
#[derive(Clone, Debug)]
pub struct Options {
    pub format: LogFormat,
    /// As `RUST_LOG` says it: `info`, or `warn,trunkline_media_node::sip=debug`.
    pub filter: Option<String>,
    /// Where traces go, over OTLP (HTTP with protobuf); `/v1/traces` is added to a bare address.
    pub otlp: Option<String>,
    /// `service.instance.id`: the pod's name, or the host's.
    pub instance: String,
}

/// What is wrong with the options.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("log filter {0:?} cannot be read; write for example info,{1}=debug")]
    Filter(String, String),
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
pub fn init(service: &Service, options: &Options) -> Result<Guard, InitError> {
    let (subscriber, guard) = subscriber(service, options, io::stdout)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InitError::AlreadySet)?;
    Ok(guard)
}

/// The same, to be used as the caller likes.
pub fn subscriber<W>(
    service: &Service,
    options: &Options,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Guard), InitError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = options.filter.as_deref().unwrap_or(service.filter);
    let targets: Targets = filter.parse().map_err(|_| {
        InitError::Filter(filter.chars().take(200).collect(), service.name.replace('-', "_"))
    })?;
    let traces = match &options.otlp {
        Some(endpoint) => Some(otlp::provider(service.name, endpoint, &options.instance)?),
        None => None,
    };
    let traced = traces
        .as_ref()
        .map(|traces| trace_layer(service.name, traces).with_filter(exported(service.traced)));
    let subscriber = tracing_subscriber::registry()
        .with(log_layer(options.format, writer).with_filter(targets))
        .with(traced);
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

fn trace_layer<S>(
    name: &'static str,
    traces: &SdkTracerProvider,
) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + Send + Sync + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(traces.tracer(name))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_context_activation(false)
}

/// Spans of one target, and nothing else that any crate may call a span. Events stay in the log.
fn exported(target: &'static str) -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    filter_fn(move |metadata| metadata.is_span() && metadata.target() == target)
}
