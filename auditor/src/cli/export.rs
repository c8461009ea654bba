//! `export`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::arguments::{FilterArguments, KeyArguments};
use super::output::whole_file;
use super::{CommandError, SOUND};
use crate::export::{ExportOptions, Format, export};
use crate::folder::{AuditError, Folder};
use crate::progress;

/// Write entries with their proofs to a file, for readers without a copy of the ledger.
///
/// Each entry comes with the hashes that lead to the signed checkpoint; `konclave-audit check` verifies them. That no
/// matching entry is left out only the whole ledger can show.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  konclave-audit export copy --format html --out january.html --since 2026-01-01 \
                        --until 2026-02-01\n  konclave-audit export copy --format ndjson --out job.ndjson --job admet-1"
)]
pub(super) struct Arguments {
    /// Folder of the ledger.
    folder: PathBuf,
    /// What to write.
    #[arg(long)]
    format: Format,
    /// The file to write; it is replaced. With csv, the checkpoint goes to FILE.checkpoint.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    filter: FilterArguments,
    #[command(flatten)]
    keys: KeyArguments,
    /// Print no progress.
    #[arg(long)]
    quiet: bool,
}

impl Arguments {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<u8, CommandError> {
        let folder = Folder::open(&self.folder)?;
        let root = self.keys.root();
        let options = ExportOptions { filter: self.filter.filter(), key: self.keys.key, root };
        let bar = progress::bar(self.quiet);
        let mut step = |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        };
        let exported = whole_file(&self.out, |file| export(&folder, self.format, &options, file, &mut step))?;
        bar.finish_and_clear();
        if self.format == Format::Csv {
            let mut name = self.out.file_name().unwrap_or_default().to_owned();
            name.push(".checkpoint");
            let path = self.out.with_file_name(name);
            whole_file::<_, AuditError>(&path, |file| {
                let written = file.write_all(exported.checkpoint.as_bytes());
                written.map_err(|source| AuditError::Write { path: path.display().to_string(), source })
            })?;
        }
        let (entries, size) = (exported.entries, exported.size);
        writeln!(out, "{}: {entries} of {size} entries with their proofs", self.out.display())?;
        Ok(SOUND)
    }
}
