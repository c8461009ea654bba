//! `konclave-site`: the site enclave's program.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use konclave_site::cli::{Arguments, execute, harden};
use konclave_site::trainer::load_cuda_half;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // First of all: it may start the program again, before threads and files are open.
    if let Err(error) = load_cuda_half() {
        eprintln!("konclave-site: {error}");
        return ExitCode::FAILURE;
    }
    harden();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    execute(Arguments::parse())
}
