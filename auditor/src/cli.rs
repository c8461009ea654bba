//! The command line. Exit codes: 0 all is well, 1 the audit could not be done, 2 the ledger is not what it should be.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use konclave_crypto::{ConsortiumRoot, IdentityPublicKey};
use konclave_ledger::{Origin, VerifierKey};

use crate::folder::{AuditError, Folder};
use crate::progress;
use crate::prove::prove;
use crate::show::show;
use crate::verify::{VerifyOptions, verify};

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
    /// Recompute everything and name the first bad entry.
    Verify {
        /// Folder of an exported ledger, or of a gateway.
        folder: PathBuf,
        /// The log must have this name.
        #[arg(long)]
        origin: Option<Origin>,
        /// The log's verifier key (vkey), known from elsewhere. Without it, the key that the log itself publishes is used.
        #[arg(long)]
        key: Option<VerifierKey>,
        /// The consortium root's public key (64 hexadecimal characters), known from elsewhere. Without it, the root that the
        /// log's first entry names is used.
        #[arg(long)]
        root: Option<IdentityPublicKey>,
        /// At least this many witnesses must have cosigned the checkpoint.
        #[arg(long, default_value_t = 0)]
        quorum: usize,
        /// A folder of blobs, as a gateway keeps them or side by side under their digests: what entries name is checked
        /// against those that are there. Batch sums and coalition models are as confidential as at an evaluator.
        #[arg(long)]
        blobs: Option<PathBuf>,
        /// Print the whole report as JSON.
        #[arg(long)]
        json: bool,
        /// Print nothing if all is well, and no progress.
        #[arg(long)]
        quiet: bool,
    },
    /// Print one entry.
    Show {
        /// Folder of the ledger.
        folder: PathBuf,
        /// Index of the entry, from 0.
        index: u64,
    },
    /// Print a receipt for one entry (C2SP tlog-proof).
    Prove {
        /// Folder of the ledger.
        folder: PathBuf,
        /// Index of the entry, from 0.
        index: u64,
        /// The log's verifier key (vkey), known from elsewhere.
        #[arg(long)]
        key: Option<VerifierKey>,
    },
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
    let mut out = String::new();
    let done = execute(arguments.command, &mut out);
    let written = io::stdout().write_all(out.as_bytes()).and_then(|()| io::stdout().flush());
    match (done, written) {
        (Ok(code), Ok(())) => ExitCode::from(code),
        (Ok(_), Err(error)) => fail(&format!("cannot print the result: {error}")),
        (Err(error), _) => fail(&error.to_string()),
    }
}

fn fail(message: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "konclave-audit: {message}");
    ExitCode::from(UNUSABLE)
}

fn execute(command: Command, out: &mut String) -> Result<u8, AuditError> {
    match command {
        Command::Verify { folder, origin, key, root, quorum, blobs, json, quiet } => {
            let bar = progress::bar(quiet);
            let options = VerifyOptions { origin, key, root: root.map(ConsortiumRoot), quorum, blobs };
            let report = verify(&Folder::open(&folder)?, &options, &mut |done, total| {
                bar.set_length(total);
                bar.set_position(done);
            })?;
            bar.finish_and_clear();
            if json {
                out.push_str(&serde_json::to_string_pretty(&report).unwrap_or_default());
                out.push('\n');
            } else if !(quiet && report.ok) {
                out.push_str(&report.to_string());
            }
            Ok(if report.ok { SOUND } else { TAMPERED })
        }
        Command::Show { folder, index } => {
            let shown = show(&Folder::open(&folder)?, index)?;
            let pretty = shown.leaf.as_ref().and_then(|leaf| serde_json::to_string_pretty(leaf).ok());
            out.push_str(&pretty.unwrap_or_else(|| String::from_utf8_lossy(&shown.stored).into_owned()));
            out.push('\n');
            if shown.fits_tile && shown.leaf.is_some() {
                return Ok(SOUND);
            }
            let _ = writeln!(
                io::stderr(),
                "konclave-audit: entry {index} does not fit its tile or is unreadable"
            );
            Ok(TAMPERED)
        }
        Command::Prove { folder, index, key } => {
            let (receipt, holds) = prove(&Folder::open(&folder)?, index, key)?;
            if holds {
                out.push_str(&receipt.to_string());
                return Ok(SOUND);
            }
            let _ = writeln!(
                io::stderr(),
                "konclave-audit: no valid receipt for entry {index}: the files were changed"
            );
            Ok(TAMPERED)
        }
    }
}
