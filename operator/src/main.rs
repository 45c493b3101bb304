//! Parses arguments and calls the library.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use trunkline_operator::cli::{Cli, Command};
use trunkline_operator::{run, verify};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(options) => run::main(*options),
        Command::Verify(options) => verify::main(&options),
        Command::Crds => {
            for (_, yaml) in trunkline_crds::definitions::files() {
                // A reader that has seen enough (`| head`) is no error.
                let _ = write!(std::io::stdout(), "---\n{yaml}");
            }
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trunkline-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
