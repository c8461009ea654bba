//! The command line. Exit codes: 0 all is well, 1 the audit could not be done, 2 the ledger is not what it should be.

mod arguments;
mod check;
#[cfg(feature = "mirror")]
mod connection;
mod diff;
mod export;
#[cfg(feature = "mirror")]
mod mirror;
mod output;
mod prove;
mod query;
mod review;
mod show;
mod verify;
mod witness;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::client_key::ClientKeyError;
use crate::export::{ExportError, ExportFault};
use crate::folder::AuditError;
use crate::review::ReviewError;

/// The ledger is as it should be.
const SOUND: u8 = 0;
/// Wrong arguments or unreadable files.
const UNUSABLE: u8 = 1;
/// Something was changed.
const TAMPERED: u8 = 2;

/// Verify a copy of a Konclave audit ledger, offline and without trusting whoever made it.
#[derive(Debug, Parser)]
#[command(
    name = "konclave-audit",
    version,
    after_help = "Exit codes: 0 sound, 1 usage or unreadable files, 2 tampered"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(verify::Arguments),
    #[cfg(feature = "mirror")]
    Mirror(mirror::Arguments),
    Show(show::Arguments),
    Query(query::Arguments),
    Prove(prove::Arguments),
    Diff(diff::Arguments),
    Export(export::Arguments),
    Check(check::Arguments),
    Review(review::Arguments),
    Witness(witness::Arguments),
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error("{file}: {fault}")]
    Check { file: String, fault: ExportFault },
    #[error(transparent)]
    Review(#[from] ReviewError),
    #[cfg(feature = "mirror")]
    #[error(transparent)]
    Mirror(#[from] crate::mirror::MirrorError),
    #[cfg(feature = "mirror")]
    #[error(transparent)]
    Client(#[from] crate::mirror::ClientError),
    #[error("{path}: {error}")]
    Key { path: String, error: ClientKeyError },
    #[error("this machine's clock is not between the years 1970 and 9999")]
    Clock,
    #[error("cannot print the result: {0}")]
    Print(#[from] io::Error),
}

impl CommandError {
    const fn is_tampering(&self) -> bool {
        match self {
            Self::Audit(error) => error.is_tampering(),
            Self::Export(error) => error.is_tampering(),
            Self::Check { fault, .. } => fault.is_tampering(),
            Self::Review(error) => error.is_tampering(),
            #[cfg(feature = "mirror")]
            Self::Mirror(error) => error.is_tampering(),
            #[cfg(feature = "mirror")]
            Self::Client(_) => false,
            Self::Key { .. } | Self::Clock | Self::Print(_) => false,
        }
    }

    /// Whether the reader of the output has gone away, as `head` does.
    fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Print(error) if error.kind() == ErrorKind::BrokenPipe)
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { UNUSABLE } else { SOUND });
        }
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = execute(arguments.command, &mut out);
    let written = out.flush().map_err(CommandError::from);
    match done.and_then(|code| written.map(|()| code)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if !error.is_closed_pipe() {
                warn(&error.to_string());
            }
            ExitCode::from(if error.is_tampering() { TAMPERED } else { UNUSABLE })
        }
    }
}

fn execute(command: Command, out: &mut dyn Write) -> Result<u8, CommandError> {
    match command {
        Command::Verify(arguments) => arguments.run(out),
        #[cfg(feature = "mirror")]
        Command::Mirror(arguments) => arguments.run(out),
        Command::Show(arguments) => arguments.run(out),
        Command::Query(arguments) => arguments.run(out),
        Command::Prove(arguments) => arguments.run(out),
        Command::Diff(arguments) => arguments.run(out),
        Command::Export(arguments) => arguments.run(out),
        Command::Check(arguments) => arguments.run(out),
        Command::Review(arguments) => arguments.run(out),
        Command::Witness(arguments) => arguments.run(out),
    }
}

/// A line on standard error.
fn warn(message: &str) {
    let _ = writeln!(io::stderr(), "konclave-audit: {message}");
}

const fn code(sound: bool) -> u8 {
    if sound { SOUND } else { TAMPERED }
}
