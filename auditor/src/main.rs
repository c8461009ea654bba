//! The command `konclave-audit`.

use std::process::ExitCode;

fn main() -> ExitCode {
    konclave_audit::cli::run()
}
