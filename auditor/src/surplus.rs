//! Files that don't belong: in an export every one is a finding, in a gateway's own folder some are expected.

use konclave_ledger::tiles::TilePath;

use crate::checkpoint;
use crate::folder::{AuditError, Folder};
use crate::report::{Defect, Report};
use crate::statements::StatementCheck;
use crate::witnessed;

/// Goes through every file of the folder.
pub(crate) fn check(
    folder: &Folder,
    size: u64,
    statements: &StatementCheck<'_>,
    report: &mut Report,
) -> Result<(), AuditError> {
    let live = folder.is_live();
    folder.walk(&mut |listed| {
        let path = listed.path.as_str();
        let tile: Option<TilePath> = path.parse().ok();
        let in_log = |tile: &TilePath| TilePath::in_log(tile.kind(), tile.index(), size) == Some(*tile);
        let belongs = [checkpoint::FILE, witnessed::FILE].contains(&path)
            || tile.as_ref().is_some_and(in_log)
            || statements.names(path);
        if belongs && listed.plain {
            return;
        }
        if live && is_of_a_running_ledger(path, tile.as_ref()) {
            if tile.is_some() || path.starts_with("statements/") {
                report.add_note(format!("{path} is not part of the ledger (yet); staged or superseded"));
            }
            return;
        }
        let detail = if belongs { "not a plain file" } else { "this file does not belong to the ledger" };
        let covered = tile.map_or(0..size, |tile| tile.covers());
        report.add(Defect::Surplus, path, covered, detail);
    })
}

/// What only a gateway's own folder holds: head, lock, index, and what is staged or superseded.
fn is_of_a_running_ledger(path: &str, tile: Option<&TilePath>) -> bool {
    let of_the_writer = [
        "head.note",
        "ledger.lock",
        "reserve",
        "head.note.tmp",
        "checkpoint.tmp",
        "statement.tmp",
        "witnessed.tmp",
    ];
    of_the_writer.contains(&path)
        || path.starts_with("index.sled/")
        || path.starts_with("statements/")
        || tile.is_some()
}
