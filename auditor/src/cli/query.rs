//! `query`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::arguments::FilterArguments;
use super::{CommandError, code, warn};
use crate::entries::Flaws;
use crate::folder::Folder;
use crate::progress;
use crate::query::query;
use crate::text::shown;

/// Find entries by site, actor, action, object, job, round and time.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: konclave-audit query copy --job admet-1 --action round.opened --since 2026-01-01"
)]
pub(super) struct Arguments {
    /// Folder of the ledger.
    folder: PathBuf,
    #[command(flatten)]
    filter: FilterArguments,
    /// Stop after this many.
    #[arg(long)]
    limit: Option<u64>,
    /// Print each entry as it is stored: a JSON object a line.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<u8, CommandError> {
        let (folder, filter) = (Folder::open(&self.folder)?, self.filter.filter());
        // A bar would be drawn into the rows if they go to the same terminal.
        let bar = progress::bar(std::io::IsTerminal::is_terminal(&std::io::stdout()));
        if !self.json {
            let [index, time, actor, action] = ["entry", "time", "actor", "action"];
            writeln!(out, "{index:>8}  {time:<24}  {actor:<14}  {action:<22}  {:<24}  reason", "object")?;
        }
        let looked = query(
            &folder,
            &filter,
            self.limit.unwrap_or(u64::MAX),
            |found| {
                if self.json {
                    out.write_all(found.stored)?;
                    return Ok(out.write_all(b"\n")?);
                }
                let leaf = found.leaf;
                let [actor, action, object, reason] =
                    [&leaf.actor, &leaf.action, &leaf.object, &leaf.reason].map(|text| shown(text));
                let (seq, time) = (leaf.seq, &leaf.time);
                writeln!(out, "{seq:>8}  {time}  {actor:<14}  {action:<22}  {object:<24}  {reason}")?;
                Ok::<_, CommandError>(())
            },
            &mut |done, total| {
                bar.set_length(total);
                bar.set_position(done);
            },
        )?;
        bar.finish_and_clear();
        out.flush()?;
        report(&looked.flaws);
        warn(&format!(
            "{} of {} entries; each was compared with its tile only: `konclave-audit verify` checks the whole ledger",
            looked.matched, looked.size
        ));
        Ok(code(looked.flaws.is_empty()))
    }
}

/// What was met on the way and is not as it should be.
pub(super) fn report(flaws: &Flaws) {
    flaws.kept.iter().for_each(|flaw| warn(&flaw.to_string()));
    if flaws.left_out > 0 {
        warn(&format!("and {} more", flaws.left_out));
    }
}
