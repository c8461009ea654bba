//! The CSV layout: a row for each entry, safe to open in a spreadsheet.

use std::io::Write;

use konclave_ledger::{ClockSource, Hash};

use super::{ExportError, Proven, Source};

const COLUMNS: [&str; 20] = [
    "index",
    "time",
    "clock",
    "actor",
    "role",
    "site",
    "action",
    "object",
    "reason",
    "old",
    "new",
    "policy",
    "statement",
    "commitments",
    "request_id",
    "software",
    "record",
    "prev",
    "leaf_hash",
    "proof",
];

pub(super) fn write(
    source: &Source<'_>,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, ExportError> {
    let mut rows = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
    rows.write_record(COLUMNS).map_err(into_io)?;
    let count = source.each(progress, |entry| {
        let row = row(entry);
        rows.write_record(row.iter().map(|cell| inert(cell))).map_err(into_io)?;
        Ok(())
    })?;
    rows.flush()?;
    Ok(count)
}

fn into_io(error: csv::Error) -> ExportError {
    ExportError::Write(error.into())
}

fn row(entry: &Proven<'_>) -> [String; 20] {
    let leaf = entry.found.leaf;
    let digest = |hash: Option<Hash>| hash.map_or_else(String::new, |hash| hash.to_string());
    let list = |hashes: &[Hash]| hashes.iter().map(Hash::to_string).collect::<Vec<_>>().join(" ");
    let clock = match leaf.clock {
        ClockSource::System => "system",
        ClockSource::Synchronised => "synchronised",
        ClockSource::Simulated => "simulated",
    };
    [
        entry.index.to_string(),
        leaf.time.clone(),
        clock.to_owned(),
        leaf.actor.clone(),
        leaf.role.clone(),
        leaf.site.clone().unwrap_or_default(),
        leaf.action.clone(),
        leaf.object.clone(),
        leaf.reason.clone(),
        digest(leaf.old),
        digest(leaf.new),
        digest(leaf.policy),
        digest(leaf.statement),
        list(&leaf.commitments),
        leaf.request_id.clone(),
        leaf.software.clone(),
        leaf.record.to_string(),
        leaf.prev.to_string(),
        entry.found.leaf_hash.to_string(),
        list(&entry.proof),
    ]
}

/// A cell that no spreadsheet takes for a formula: what could begin one gets an apostrophe in front.
fn inert(cell: &str) -> String {
    let first = cell.trim_start().chars().next();
    let begins = |c| matches!(c, '=' | '+' | '-' | '@' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}');
    let led = cell.starts_with(['\t', '\r', '\n', '\'']);
    if led || first.is_some_and(begins) { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_begins_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "  =cmd|' /C calc'!A0", "\u{ff1d}1", "'=1"]
        {
            assert_eq!(inert(formula), format!("'{formula}"));
        }
        for plain in ["", "0", "a=b", "site-a", "{\"a\":-1}"] {
            assert_eq!(inert(plain), plain);
        }
    }
}
