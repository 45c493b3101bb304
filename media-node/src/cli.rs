//! The command line: only what differs from one process to the next. Everything else is in the
//! manifests.

use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::telemetry::LogFormat;

/// Terminates a carrier's encrypted calls and carries their audio to an AI agent.
///
/// A directory of manifests says everything: a Trunk is a carrier and its numbers, an Agent is a
/// WebSocket that listens and speaks, a MediaPool is the ports and the address of this node. They
/// are the same files that `kubectl apply` takes, and a change to them is in force within a second,
/// without disturbing a call.
#[derive(Debug, Parser)]
#[command(name = "trunkline-media-node", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  Say what is wrong with a directory of manifests, file and line:
    trunkline-media-node check ./manifests

  Take calls:
    trunkline-media-node run --manifests ./manifests --advertise 203.0.113.10

  What is going on:
    curl localhost:8080/v1/status
    curl localhost:8080/v1/calls";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take calls until SIGTERM; then finish those that are up, and exit.
    Run(Run),
    /// Validate a directory of manifests offline, by the same rules as the API server.
    ///
    /// Prints every problem with file, line and field, and what to write instead; exits 1 if there
    /// is one. Without problems it prints each trunk as it will be obeyed, presets filled in.
    Check {
        /// The directory with the manifests.
        directory: PathBuf,

        /// The address that `run --advertise` would be given.
        #[arg(long, value_name = "IP")]
        advertise: Vec<IpAddr>,
    },
}

#[derive(Args, Clone, Debug)]
pub struct Run {
    /// Directory of manifests (YAML or JSON); watched, and obeyed again after every change.
    #[arg(long, value_name = "DIR")]
    pub manifests: PathBuf,

    /// Where the admin API listens. In a pool it wants the bearer token of the pool.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080",
        value_parser = admin_address
    )]
    pub admin: SocketAddr,

    /// The address that SDP, Contact and Via say, instead of the pool's; once for each family.
    #[arg(long, value_name = "IP")]
    pub advertise: Vec<IpAddr>,

    /// How to write logs; by default as the pool says, else text.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Where to send traces (OTLP over HTTP), for example http://localhost:4318.
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,

    /// Media threads; by default one for each core this process may use.
    #[arg(long, value_name = "N")]
    pub shards: Option<usize>,

    /// The pod's slot in its pool: which block of media ports is ours, and what call ids begin with.
    #[arg(long, value_name = "N")]
    pub slot: Option<u16>,

    /// Directory with the downward API's `annotations` and `labels`: advertised address, drain mark,
    /// config hash. Watched like the manifests.
    #[arg(long, value_name = "DIR")]
    pub pod_info: Option<PathBuf>,
}

/// With brackets around IPv4 as well: a pod's manifest says `[$(HOST_IP)]:18080` and cannot know of
/// which family the address will be.
fn admin_address(text: &str) -> Result<SocketAddr, AddrParseError> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.split_once("]:"));
    let bracketed = inner.and_then(|(address, port)| {
        Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
    });
    bracketed.map_or_else(|| text.parse(), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_address_of_either_family_may_stand_in_brackets() {
        let read = |text: &str| {
            let run = ["node", "run", "--manifests=m", &format!("--admin={text}")];
            let cli = Cli::try_parse_from(run).ok()?;
            let Command::Run(run) = cli.command else { return None };
            Some(run.admin.to_string())
        };
        for (text, admin) in [
            ("10.0.0.5:18080", "10.0.0.5:18080"),
            ("[10.0.0.5]:18080", "10.0.0.5:18080"),
            ("[2001:db8::5]:18080", "[2001:db8::5]:18080"),
        ] {
            assert_eq!(read(text).as_deref(), Some(admin));
        }
        for text in ["2001:db8::5:18080", "[10.0.0.5]", "[10.0.0.5:18080", "[]:1", "10.0.0.5"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
