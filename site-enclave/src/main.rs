//! `konclave-site`: the site enclave's program.

use std::process::ExitCode;

use clap::Parser;
use konclave_site::offline::OfflineCommand;
use konclave_site::trainer::load_cuda_half;

/// The site enclave of a Konclave consortium.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: OfflineCommand,
}

fn main() -> ExitCode {
    // First of all: it may start this program anew, with the CUDA half of libtorch.
    if let Err(error) = load_cuda_half() {
        eprintln!("konclave-site: {error}");
        return ExitCode::FAILURE;
    }
    match Arguments::parse().command.run(&mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("konclave-site: {error}");
            ExitCode::FAILURE
        }
    }
}
