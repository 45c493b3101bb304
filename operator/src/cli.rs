//! The command line: what differs between installations. Everything else is in Trunks, Agents and
//! MediaPools.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::telemetry::LogFormat;

/// Makes media pods of Trunks, Agents and MediaPools, and keeps them right.
///
/// A Trunk is a carrier and its numbers, an Agent is what answers, a MediaPool is the pods between
/// them. The operator renders all that a pool's pods must know into one Secret, makes, drains and
/// replaces the pods without dropping a call, and says on each object how it fares. Calls need
/// neither it nor the API server: when it is down they go on, and new ones are taken.
#[derive(Debug, Parser)]
#[command(name = "trunkline-operator", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  In a cluster (the Helm chart does this), for the namespace it runs in:
    trunkline-operator run --media-image registry.example/trunkline-media-node:0.1.0

  From a workstation, with the rights of your kubeconfig, for two namespaces:
    trunkline-operator run --namespace voice --namespace staging \\
      --media-image registry.example/trunkline-media-node:0.1.0 --log-format text

  The CustomResourceDefinitions, for those who install without Helm:
    trunkline-operator crds | kubectl apply --server-side -f -

  What is going on:
    curl localhost:8080/readyz
    curl localhost:8080/v1/pools/voice/default";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reconcile until SIGTERM, or until another operator leads.
    ///
    /// Several may run; one leads, and the others wait for its Lease. Whoever loses the Lease exits
    /// with code 1 and is started again by the kubelet. Without an API server it waits and tries
    /// again; calls do not notice.
    Run(Box<Run>),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Check an installation: definitions, a ready operator, and that a Trunk is accepted.
    ///
    /// Prints a line for each check and exits 1 at the first that fails. Changes nothing: the Trunk
    /// is a dry run.
    Verify(Verify),
}

#[derive(Args, Clone, Debug)]
pub struct Run {
    /// Namespace to work in; may be given several times. Default: the operator's own.
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "all_namespaces")]
    pub namespace: Vec<String>,

    /// Work in every namespace; needs a ClusterRole.
    #[arg(long)]
    pub all_namespaces: bool,

    /// Image of the media pods. A new one is rolled out without dropping a call.
    #[arg(long, value_name = "IMAGE")]
    pub media_image: String,

    /// When the kubelet pulls it: Always, IfNotPresent or Never. Default: the cluster's own.
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub media_image_pull_policy: Option<String>,

    /// Secret with the registry's credentials, in the pool's namespace; may be given several times.
    #[arg(long, value_name = "SECRET")]
    pub media_image_pull_secret: Vec<String>,

    /// File with the spec (JSON) of the MediaPool named default, which is made when the first Trunk
    /// needs it and is yours from then on.
    #[arg(long, value_name = "FILE")]
    pub default_pool: Option<PathBuf>,

    /// Whether nodes may be read. Without, NodeExternalIP cannot be found, lost and cordoned nodes
    /// are not seen.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true)]
    pub nodes: bool,

    /// Name of the Lease by which operators agree who leads.
    #[arg(long, value_name = "NAME", default_value = "trunkline-operator")]
    pub lease: String,

    /// Where probes, metrics and /v1/pools are served. Standbys serve them too.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    pub http: SocketAddr,

    /// How to write logs: json or text.
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub log_format: LogFormat,

    /// Where to send a trace of each reconcile (OTLP over HTTP), for example http://localhost:4318.
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,

    /// How often the leader asks each media pod for its status, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub poll_period: Duration,

    /// Where a media pod's status is, with {namespace}, {pod}, {ip} and {port} filled in. For
    /// clusters of simulated nodes, whose pods have no process.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://{ip}:{port}/v1/status",
        hide_short_help = true
    )]
    pub status_url: String,

    /// The namespace of this operator; from the downward API. Default: the client's own.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub own_namespace: Option<String>,

    /// The name of this operator's pod; from the downward API. Default: the host's name.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub own_name: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub struct Verify {
    /// Namespace in which a Trunk is tried.
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,

    /// Where the operator's probes are served, for example http://trunkline.trunkline.svc:8080.
    #[arg(long, value_name = "URL")]
    pub url: String,

    /// How long to wait for all of it, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub timeout: Duration,
}

/// A whole number of seconds, at least one.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("write whole seconds from 1 to 3600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_flags_of_the_chart_are_taken() {
        let line = "trunkline-operator run --namespace=a --namespace=b --media-image=i:1 \
                    --media-image-pull-secret=s --nodes=false --http=0.0.0.0:8080 \
                    --log-format=json --lease=trunkline";
        let Command::Run(run) = Cli::parse_from(line.split_whitespace()).command else { panic!() };
        assert_eq!(run.namespace, ["a", "b"]);
        assert!(!run.nodes);
        assert_eq!(run.lease, "trunkline");
    }

    #[test]
    fn all_namespaces_and_some_contradict_each_other() {
        let line = "trunkline-operator run --namespace=a --all-namespaces --media-image=i";
        assert!(Cli::try_parse_from(line.split_whitespace()).is_err());
    }
}
