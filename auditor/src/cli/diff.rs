//! `diff`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::arguments::KeyArguments;
use super::{CommandError, code};
use crate::diff::{Older, diff};
use crate::folder::Folder;

/// Compare an older copy or checkpoint with a newer copy: what was added, and whether anything else changed.
///
/// Rollback (fewer entries) and fork (another history) exit with 2. A fork shown by two heads that the log signed is
/// proof against the operator, for everybody who knows the log's key.
#[derive(Debug, Args)]
#[command(after_help = "Example: konclave-audit diff copy-of-january copy-of-february --key LOG-VKEY")]
pub(super) struct Arguments {
    /// An older copy, or an older file `checkpoint`.
    older: PathBuf,
    /// A newer copy.
    newer: PathBuf,
    #[command(flatten)]
    keys: KeyArguments,
    /// Print the comparison as JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<u8, CommandError> {
        let root = self.keys.root();
        let difference = diff(&Older::open(&self.older)?, &Folder::open(&self.newer)?, self.keys.key, root)?;
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&difference).unwrap_or_default())?;
        } else {
            write!(out, "{difference}")?;
        }
        Ok(code(difference.is_sound()))
    }
}
