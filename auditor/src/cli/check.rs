//! `check`.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;

use clap::Args;
use konclave_ledger::VerifierKey;

use super::{CommandError, SOUND};
use crate::export::check_export;
use crate::folder::AuditError;
use crate::progress;
use crate::report::KeySource;

/// Verify an export in JSON or NDJSON: every proof, and the checkpoint's signature. Needs no ledger.
#[derive(Debug, Args)]
#[command(after_help = "Example: konclave-audit check job.ndjson --key LOG-VKEY")]
pub(super) struct Arguments {
    /// What `konclave-audit export` wrote or a gateway gave (GET /v1/ledger/export.ndjson), with its lines as they were.
    file: PathBuf,
    /// The log's verifier key (vkey), known from elsewhere. Without it, the key that the export names is used; a gateway's export
    /// names none.
    #[arg(long)]
    key: Option<VerifierKey>,
    /// Print nothing if all is well, and no progress.
    #[arg(long)]
    quiet: bool,
}

impl Arguments {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<u8, CommandError> {
        let name = self.file.display().to_string();
        let opened = File::open(&self.file);
        let file = opened.map_err(|source| AuditError::Read { path: name.clone(), source })?;
        let bar = progress::bar(self.quiet);
        let checked =
            check_export(BufReader::new(file), self.key.as_ref(), &mut |done| bar.set_position(done))
                .map_err(|fault| CommandError::Check { file: name, fault })?;
        bar.finish_and_clear();
        if self.quiet {
            return Ok(SOUND);
        }
        let (entries, size) = (checked.entries, checked.size);
        let others = if checked.is_complete() {
            "every one of the log".to_owned()
        } else {
            format!("of {size}; which other ones there are, an export can't show")
        };
        writeln!(out, "OK  {}: {entries} entries, each proven to be in the log, {others}", checked.origin)?;
        writeln!(out, "  root         {}", checked.root)?;
        writeln!(out, "  key          {}", checked.key)?;
        if checked.key_source != KeySource::Given {
            writeln!(
                out,
                "               TAKEN FROM THE EXPORT ITSELF: whoever wrote it chose it. Pass the key that you"
            )?;
            writeln!(out, "               know from elsewhere with --key.")?;
        }
        Ok(SOUND)
    }
}
