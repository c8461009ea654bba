//! `show`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::{CommandError, code, warn};
use crate::folder::Folder;
use crate::show::show;

/// Print one entry.
#[derive(Debug, Args)]
#[command(after_help = "Example: konclave-audit show copy 0")]
pub(super) struct Arguments {
    /// Folder of the ledger.
    folder: PathBuf,
    /// Index of the entry, from 0.
    index: u64,
}

impl Arguments {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<u8, CommandError> {
        let shown = show(&Folder::open(&self.folder)?, self.index)?;
        let pretty = shown.leaf.as_ref().and_then(|leaf| serde_json::to_string_pretty(leaf).ok());
        writeln!(out, "{}", pretty.unwrap_or_else(|| String::from_utf8_lossy(&shown.stored).into_owned()))?;
        let sound = shown.fits_tile && shown.leaf.is_some();
        if !sound {
            warn(&format!("entry {} does not fit its tile or is unreadable", self.index));
        }
        Ok(code(sound))
    }
}
