//! Parses arguments and calls the library.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use rustls::pki_types::UnixTime;
use trunkline_media_node::cli::{Cli, Command};
use trunkline_media_node::{check, run};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check { directory, advertise } => {
            let report = check::check(&directory, UnixTime::now(), advertise);
            // A reader that has seen enough (`| head`) changes nothing in the verdict.
            let _ = write!(std::io::stdout(), "{report}");
            ExitCode::from(report.exit_code())
        }
        Command::Run(options) => match run::main(options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("trunkline-media-node: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}
