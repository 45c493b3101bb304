//! What the operator says of itself: logs, a trace of each reconcile, and metrics.

mod json;
mod metrics;
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

pub use metrics::{CONTENT_TYPE, Metrics, PassResult};
pub use otlp::OtlpError;

/// The `tracing` target of the spans that are exported, and of no other.
pub const RECONCILE_TARGET: &str = "trunkline::reconcile";

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, fields at top level, those of the spans around it included.
    Json,
    /// For a person at a terminal.
    Text,
}

/// What the flags come to.
#[derive(Clone, Debug)]
pub struct Options {
    pub format: LogFormat,
    /// `info`, or as `RUST_LOG` says: `warn,trunkline_operator::apply=debug`.
    pub filter: Option<String>,
    /// Where traces go, over OTLP (HTTP with protobuf); `/v1/traces` is added to a bare address.
    pub otlp: Option<String>,
    /// `service.instance.id`: the pod's name.
    pub instance: String,
}

/// What is wrong with the options.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error(
        "log filter {0:?} cannot be read; write for example info,trunkline_operator::apply=debug"
    )]
    Filter(String),
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    #[error("a log subscriber is already in place")]
    AlreadySet,
}

/// Keeps the export of traces going; those that wait are sent when it is dropped, in at most five
/// seconds. Drop it when the runtime has ended, for that blocks.
#[must_use = "traces that still wait are lost without it"]
pub struct Guard(Option<SdkTracerProvider>);

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(traces) = self.0.take() else { return };
        if let Err(error) = traces.shutdown_with_timeout(otlp::SHUTDOWN_TIMEOUT) {
            tracing::warn!(%error, "traces were not all exported");
        }
    }
}

/// Puts the process's subscriber in place: logs to standard output, traces to the collector.
pub fn init(options: &Options) -> Result<Guard, InitError> {
    let (subscriber, guard) = subscriber(options, io::stdout)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InitError::AlreadySet)?;
    Ok(guard)
}

fn subscriber<W>(
    options: &Options,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Guard), InitError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = options.filter.as_deref().unwrap_or(DEFAULT_FILTER);
    let targets: Targets =
        filter.parse().map_err(|_| InitError::Filter(filter.chars().take(200).collect()))?;
    let traces = match &options.otlp {
        Some(endpoint) => Some(otlp::provider(endpoint, &options.instance)?),
        None => None,
    };
    let subscriber = tracing_subscriber::registry()
        .with(log_layer(options.format, writer).with_filter(targets))
        .with(traces.as_ref().map(|traces| trace_layer(traces).with_filter(exported())));
    Ok((subscriber, Guard(traces)))
}

/// The client logs each failed request as an error; whoever asked says it, once, with what for.
const DEFAULT_FILTER: &str = "info,kube_client=off,kube_runtime=off";

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
        .with_tracer(traces.tracer("trunkline-operator"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_context_activation(false)
}

/// Spans of reconciles, and nothing else that any crate may call a span. Events stay in the log.
fn exported() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    filter_fn(|metadata| metadata.is_span() && metadata.target() == RECONCILE_TARGET)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_is_flat_and_names_the_pool_of_its_reconcile() {
        let lines = Lines::default();
        let options = Options {
            format: LogFormat::Json,
            filter: None,
            otlp: None,
            instance: "operator-0".into(),
        };
        let writer = lines.clone();
        let (subscriber, _guard) = subscriber(&options, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(target: RECONCILE_TARGET, "reconcile", namespace = "voice", pool = "default");
            span.in_scope(|| tracing::info!(pods = 3, "done"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["message"], &line["namespace"], &line["pool"], &line["pods"]),
            (&"done".into(), &"voice".into(), &"default".into(), &3.into())
        );
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_shown() {
        let options = Options {
            format: LogFormat::Text,
            filter: Some("trunkline=loud".into()),
            otlp: None,
            instance: String::new(),
        };
        let Err(error) = subscriber(&options, io::stdout) else { panic!("taken") };
        assert!(error.to_string().contains("trunkline=loud"), "{error}");
    }
}
