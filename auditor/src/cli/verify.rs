//! `verify`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use konclave_ledger::Origin;

use super::arguments::KeyArguments;
use super::{CommandError, code};
use crate::folder::Folder;
use crate::progress;
use crate::verify::{VerifyOptions, verify};

/// Recompute everything and name the first bad entry.
#[derive(Debug, Args)]
#[command(after_help = "Example: konclave-audit verify copy --key LOG-VKEY --root ROOT-KEY --quorum 3")]
pub(super) struct Arguments {
    /// Folder of an exported ledger, or of a gateway.
    folder: PathBuf,
    #[command(flatten)]
    checks: Checks,
    #[command(flatten)]
    keys: KeyArguments,
    /// Print the whole report as JSON.
    #[arg(long)]
    json: bool,
    /// Print nothing if all is well, and no progress.
    #[arg(long)]
    quiet: bool,
}

/// What else to check.
#[derive(Debug, Args)]
pub(super) struct Checks {
    /// The log must have this name.
    #[arg(long)]
    pub(super) origin: Option<Origin>,
    /// At least this many witnesses must have cosigned the checkpoint.
    #[arg(long, default_value_t = 0)]
    pub(super) quorum: usize,
    /// A folder of blobs, as a gateway keeps them or side by side under their digests: what entries name is checked
    /// against those that are there. Batch sums and coalition models are as confidential as at an evaluator.
    #[arg(long)]
    pub(super) blobs: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<u8, CommandError> {
        let Checks { origin, quorum, blobs } = self.checks;
        let root = self.keys.root();
        let options = VerifyOptions { origin, key: self.keys.key, root, quorum, blobs };
        let bar = progress::bar(self.quiet);
        let report = verify(&Folder::open(&self.folder)?, &options, &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        })?;
        bar.finish_and_clear();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&report).unwrap_or_default())?;
        } else if !(self.quiet && report.ok) {
            write!(out, "{report}")?;
        }
        Ok(code(report.ok))
    }
}
