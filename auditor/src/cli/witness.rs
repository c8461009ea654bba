//! `witness`.

use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use konclave_ledger::Timestamp;

use super::arguments::KeyArguments;
use super::review::read;
use super::{CommandError, SOUND, TAMPERED, UNUSABLE};
use crate::folder::Folder;
use crate::witness::{AsOf, WitnessOptions, witness};

/// Show who cosigned the head and when, and compare heads that others were shown.
///
/// A checkpoint that the log signed and that is of another history proves a fork: exit code 2.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: konclave-audit witness copy --quorum 3 --note site-a/checkpoint --note site-b/checkpoint"
)]
pub(super) struct Arguments {
    /// Folder of the ledger.
    folder: PathBuf,
    /// At least this many witnesses must have cosigned the checkpoint.
    #[arg(long, default_value_t = 0)]
    quorum: usize,
    /// A checkpoint that somebody else was shown, such as the one in a site's exchange folder.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    note: Vec<PathBuf>,
    #[command(flatten)]
    keys: KeyArguments,
    /// Print the status as JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<u8, CommandError> {
        let mut notes = Vec::new();
        for path in &self.note {
            notes.push((path.display().to_string(), read(path)?));
        }
        let root = self.keys.root();
        let options = WitnessOptions { key: self.keys.key, root, quorum: self.quorum, notes };
        let status = witness(&Folder::open(&self.folder)?, &options)?;
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&status).unwrap_or_default())?;
        } else {
            let now = Timestamp::try_from(SystemTime::now()).map_err(|_| CommandError::Clock)?;
            write!(out, "{}", AsOf(&status, now))?;
        }
        Ok(match (status.is_sound(), status.compared_all()) {
            (false, _) => TAMPERED,
            (true, false) => UNUSABLE,
            (true, true) => SOUND,
        })
    }
}
