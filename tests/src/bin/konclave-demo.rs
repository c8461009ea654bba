//! `konclave-demo`: the demonstration behind `make demo`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use konclave_tests::demo::quality::{self, QualityOptions};
use konclave_tests::demo::{self, Options};

/// A consortium of real processes on this machine trains one model; everything promised about it is checked.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run it from the beginning.
    Run(Options),
    /// Measure what the encoding of updates costs in model quality, beside plain float averaging.
    Quality(QualityOptions),
    /// Print an access token for a gateway that was kept up (`run --keep`).
    Token {
        /// The demonstration's folder.
        #[arg(long, default_value = "target/demo")]
        dir: PathBuf,
        /// Whose token: `developer` or `auditor`.
        #[arg(long, default_value = "developer")]
        client: String,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(options) => {
            demo::run(&options).map(|outcome| outcome.passed).map_err(|error| error.to_string())
        }
        Command::Quality(options) => quality::run(&options).map_err(|error| error.to_string()),
        Command::Token { dir, client } => demo::token(&dir, &client)
            .map(|token| {
                println!("{token}");
                true
            })
            .map_err(|error| error.to_string()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("konclave-demo: {error}");
            ExitCode::FAILURE
        }
    }
}
