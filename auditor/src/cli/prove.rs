//! `prove`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use konclave_ledger::VerifierKey;

use super::{CommandError, SOUND, TAMPERED, warn};
use crate::folder::Folder;
use crate::prove::prove;

/// Print a receipt for one entry (C2SP tlog-proof).
#[derive(Debug, Args)]
#[command(after_help = "Example: konclave-audit prove copy 17 > entry-17.proof")]
pub(super) struct Arguments {
    /// Folder of the ledger.
    folder: PathBuf,
    /// Index of the entry, from 0.
    index: u64,
    /// The log's verifier key (vkey), known from elsewhere.
    #[arg(long)]
    key: Option<VerifierKey>,
}

impl Arguments {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<u8, CommandError> {
        let (receipt, holds) = prove(&Folder::open(&self.folder)?, self.index, self.key)?;
        if holds {
            write!(out, "{receipt}")?;
            return Ok(SOUND);
        }
        warn(&format!("no valid receipt for entry {}: the files were changed", self.index));
        Ok(TAMPERED)
    }
}
