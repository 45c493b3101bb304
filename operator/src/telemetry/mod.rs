//! What the operator says of itself: logs, a trace of each reconcile, and metrics.

mod metrics;

use trunkline_service::telemetry::Service;
pub use trunkline_service::telemetry::{Guard, InitError, LogFormat, Options};

pub use metrics::{CONTENT_TYPE, Metrics, PassResult};

/// The `tracing` target of the spans that are exported, and of no other.
pub const RECONCILE_TARGET: &str = "trunkline::reconcile";
/// The client logs each failed request as an error; whoever asked says it, once, with what for.
const SERVICE: Service = Service {
    name: "trunkline-operator",
    traced: RECONCILE_TARGET,
    filter: "info,kube_client=off,kube_runtime=off",
};

/// Puts the process's subscriber in place: logs to standard output, traces to the collector.
pub fn init(options: &Options) -> Result<Guard, InitError> {
    trunkline_service::telemetry::init(&SERVICE, options)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use trunkline_service::telemetry::subscriber;

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
        let (subscriber, _guard) = subscriber(&SERVICE, &options, move || writer.clone()).unwrap();
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
        let Err(error) = subscriber(&SERVICE, &options, io::stdout) else { panic!("taken") };
        assert!(error.to_string().contains("trunkline=loud"), "{error}");
    }
}
