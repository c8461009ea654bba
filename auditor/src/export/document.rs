//! The JSON and NDJSON layouts. An entry stands on one line in both, so that readers need no more memory than a line.

use std::io::Write;

use konclave_ledger::{Filter, Hash};
use serde::{Deserialize, Serialize};

use super::{ExportError, Source};

/// Names the layout and its version.
pub const FORMAT: &str = "konclave-ledger-export/1";

/// What comes between the head's fields and the entries in the JSON layout.
pub(super) const ENTRIES: &str = ",\"entries\":[";

/// One object, or one object a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Json,
    Ndjson,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportHead {
    pub(super) format: String,
    /// The signed note whose root all proofs lead to.
    pub(super) checkpoint: String,
    /// The key that signed it (vkey), as the exporter knew it. A reader knows it from elsewhere.
    pub(super) key: String,
    /// What was asked for.
    pub(super) filter: Filter,
}

/// One line for each entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportLine {
    pub(super) index: u64,
    /// The entry exactly as it is stored; what is hashed.
    pub(super) leaf: String,
    /// Sibling hashes from the leaf up.
    pub(super) proof: Vec<Hash>,
}

/// The last line: without it, the export was cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportEnd {
    /// A gateway calls it `end`.
    #[serde(alias = "end")]
    pub(super) count: u64,
}

pub(super) fn write(
    source: &Source<'_>,
    layout: Layout,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, ExportError> {
    let head = ExportHead {
        format: FORMAT.to_owned(),
        checkpoint: source.note.to_string(),
        key: source.key.to_string(),
        filter: source.filter.clone(),
    };
    let head = json(&head)?;
    match layout {
        Layout::Json => write!(out, "{}{ENTRIES}", head.strip_suffix('}').unwrap_or(&head))?,
        Layout::Ndjson => write!(out, "{head}")?,
    }
    let mut first = true;
    let count = source.each(progress, |entry| {
        if layout == Layout::Json && !first {
            out.write_all(b",")?;
        }
        first = false;
        let leaf = String::from_utf8_lossy(entry.found.stored).into_owned();
        let line = ExportLine { index: entry.index, leaf, proof: entry.proof.clone() };
        write!(out, "\n{}", json(&line)?)?;
        Ok(())
    })?;
    match layout {
        Layout::Json => writeln!(out, "\n],\"count\":{count}}}")?,
        Layout::Ndjson => writeln!(out, "\n{}", json(&ExportEnd { count })?)?,
    }
    Ok(count)
}

fn json<T: Serialize>(value: &T) -> Result<String, ExportError> {
    serde_json::to_string(value).map_err(|error| ExportError::Write(error.into()))
}
