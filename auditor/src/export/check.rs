//! Reading an export back: every proof against the checkpoint, and the checkpoint's signature. Needs no ledger.

use std::io::{self, BufRead};

use konclave_ledger::checkpoint::CheckpointError;
use konclave_ledger::note::{NoteError, SignedNote};
use konclave_ledger::proof::ProofError;
use konclave_ledger::tree::leaf_hash;
use konclave_ledger::{Checkpoint, Filter, Hash, InclusionProof, Leaf, LeafError, Origin, VerifierKey};

use super::document::{ENTRIES, ExportEnd, ExportHead, ExportLine, FORMAT, Layout};
use super::from_gateway::GatewayHead;
use super::lines::{LineError, Lines, MAX_LINE_BYTES};
use crate::report::KeySource;

/// An export in which everything is as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedExport {
    /// The log.
    pub origin: Origin,
    /// Entries in the log at the checkpoint.
    pub size: u64,
    /// The root that the proofs lead to.
    pub root: Hash,
    /// The key that signed the checkpoint.
    pub key: VerifierKey,
    /// Where the key came from.
    pub key_source: KeySource,
    /// What the exporter was asked for.
    pub filter: Filter,
    /// Entries in the export.
    pub entries: u64,
    /// The index of the first.
    pub first: Option<u64>,
    /// The index of the last.
    pub last: Option<u64>,
}

impl CheckedExport {
    /// Whether the export holds every entry of the log, so that none can be missing.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.entries == self.size
    }
}

/// Why an export is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ExportFault {
    /// It can't be read.
    #[error("cannot read the export: {0}")]
    Read(#[source] io::Error),
    /// It isn't an export at all.
    #[error("this is no export of a ledger in JSON or NDJSON: {0}")]
    NotAnExport(#[source] LineFault),
    /// A line is wrong: the export was changed, cut short or put together by somebody.
    #[error("line {line}: {fault}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong.
        fault: LineFault,
    },
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineFault {
    /// Longer than any line of an export.
    #[error("the line has more than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// Not the JSON that belongs here.
    #[error("not what an export has here: {0}")]
    Json(#[from] serde_json::Error),
    /// Another format or version.
    #[error("the format is not {FORMAT}")]
    Format,
    /// A gateway's export has no key in it.
    #[error("a gateway's export names no key: pass the log's, known from elsewhere, with --key")]
    NoKey,
    /// A moment of the filter is none.
    #[error("a moment in the filter is not an RFC 3339 time")]
    Moment,
    /// The checkpoint is of another log than the line says.
    #[error("the line says that the log is {said}, the checkpoint is of {origin}")]
    OtherLog {
        /// What the line says.
        said: String,
        /// The checkpoint's log.
        origin: Origin,
    },
    /// The checkpoint is no signed note.
    #[error("the checkpoint: {0}")]
    Note(#[from] NoteError),
    /// The checkpoint isn't the log's.
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    /// Commas between the lines are missing or too many.
    #[error("the lines of the list are not separated by one comma each")]
    Commas,
    /// Entries out of order, or twice.
    #[error("entry {index} does not come after entry {before}")]
    Order {
        /// This entry.
        index: u64,
        /// The one before it.
        before: u64,
    },
    /// The text isn't an entry.
    #[error("entry {index}: {source}")]
    Leaf {
        /// Its index.
        index: u64,
        /// Why.
        source: LeafError,
    },
    /// An entry of another log or at another place.
    #[error("entry {index} says that it is entry {seq} of {origin}")]
    Place {
        /// Its index in the export.
        index: u64,
        /// Its own number.
        seq: u64,
        /// Its log.
        origin: Origin,
    },
    /// The proof doesn't lead to the checkpoint.
    #[error("entry {index} is not proven to be in the log: {source}")]
    Proof {
        /// Its index.
        index: u64,
        /// Why.
        source: ProofError,
    },
    /// The entry isn't one that was asked for.
    #[error("entry {index} is not one that the export's filter matches")]
    Filter {
        /// Its index.
        index: u64,
    },
    /// The end counts other than there are.
    #[error("the end counts {count} entries, but there are {found}")]
    Count {
        /// What it says.
        count: u64,
        /// How many there are.
        found: u64,
    },
    /// The end is missing.
    #[error("the export ends without its count: it was cut short")]
    CutShort,
    /// Something follows the end.
    #[error("something follows the end")]
    Surplus,
}

impl ExportFault {
    /// Whether it is an export, but not as it was written.
    #[must_use]
    pub const fn is_tampering(&self) -> bool {
        matches!(self, Self::Line { .. })
    }
}

/// Reads an export in JSON or NDJSON as this program writes it, or in NDJSON as a gateway gives it, and checks every entry. `key` is the log's key as the
/// reader knows it; without it the export's own word is taken. Memory is bounded by the longest line, whatever the bytes.
///
/// # Errors
/// [`ExportFault`] naming the first wrong line.
pub fn check_export(
    reader: impl BufRead,
    key: Option<&VerifierKey>,
    progress: &mut dyn FnMut(u64),
) -> Result<CheckedExport, ExportFault> {
    let mut lines = Lines::new(reader);
    let (layout, head) = match lines.next() {
        Ok(Some(line)) => read_head(line).map_err(ExportFault::NotAnExport)?,
        Ok(None) => return Err(ExportFault::NotAnExport(LineFault::CutShort)),
        Err(LineError::TooLong) => return Err(ExportFault::NotAnExport(LineFault::TooLong)),
        Err(LineError::Io(error)) => return Err(ExportFault::Read(error)),
    };
    let at = |line, fault: LineFault| ExportFault::Line { line, fault };
    // Without a key nothing can be said, for or against it.
    if key.is_none() && head.key.is_none() {
        return Err(ExportFault::NotAnExport(LineFault::NoKey));
    }
    let (checked, checkpoint) = check_head(head, key).map_err(|fault| at(1, fault))?;
    let mut check = Check { layout, checked, checkpoint, comma: true, ended: false };
    loop {
        let number = lines.number + 1;
        match lines.next() {
            Ok(Some(line)) => check.line(line).map_err(|fault| at(number, fault))?,
            Ok(None) if check.ended => return Ok(check.checked),
            Ok(None) => return Err(at(number, LineFault::CutShort)),
            Err(LineError::TooLong) => return Err(at(number, LineFault::TooLong)),
            Err(LineError::Io(error)) => return Err(ExportFault::Read(error)),
        }
        progress(check.checked.entries);
    }
}

/// What a first line says, whoever wrote it.
struct Head {
    /// The log, where the line names it beside the checkpoint.
    origin: Option<String>,
    checkpoint: String,
    key: Option<String>,
    filter: Filter,
}

fn read_head(line: &[u8]) -> Result<(Layout, Head), LineFault> {
    if let Ok(GatewayHead { origin, checkpoint, filter }) = serde_json::from_slice(line) {
        let filter = filter.conditions().ok_or(LineFault::Moment)?;
        return Ok((Layout::Ndjson, Head { origin: Some(origin), checkpoint, key: None, filter }));
    }
    let (layout, head) = match line.strip_suffix(ENTRIES.as_bytes()) {
        Some(fields) => (Layout::Json, [fields, b"}"].concat()),
        None => (Layout::Ndjson, line.to_vec()),
    };
    let ExportHead { format, checkpoint, key, filter } = serde_json::from_slice(&head)?;
    if format != FORMAT {
        return Err(LineFault::Format);
    }
    Ok((layout, Head { origin: None, checkpoint, key: Some(key), filter }))
}

fn check_head(head: Head, given: Option<&VerifierKey>) -> Result<(CheckedExport, Checkpoint), LineFault> {
    let (key, key_source) = match given {
        Some(key) => (key.clone(), KeySource::Given),
        None => (head.key.ok_or(LineFault::NoKey)?.parse()?, KeySource::FromTheLogItself),
    };
    let (checkpoint, _): (Checkpoint, SignedNote) = Checkpoint::verify(head.checkpoint.as_bytes(), &key)?;
    if let Some(said) = head.origin.filter(|said| *said != checkpoint.origin.to_string()) {
        return Err(LineFault::OtherLog { said, origin: checkpoint.origin });
    }
    let checked = CheckedExport {
        origin: checkpoint.origin.clone(),
        size: checkpoint.size,
        root: checkpoint.root,
        key,
        key_source,
        filter: head.filter,
        entries: 0,
        first: None,
        last: None,
    };
    Ok((checked, checkpoint))
}

struct Check {
    layout: Layout,
    checked: CheckedExport,
    checkpoint: Checkpoint,
    /// Whether the line before ended with a comma, or is the head.
    comma: bool,
    ended: bool,
}

impl Check {
    fn line(&mut self, line: &[u8]) -> Result<(), LineFault> {
        if self.ended {
            return Err(LineFault::Surplus);
        }
        match self.layout {
            Layout::Json => match line.strip_prefix(b"],") {
                Some(end) => {
                    if self.comma && self.checked.entries > 0 {
                        return Err(LineFault::Commas);
                    }
                    self.end(&[b"{", end].concat())
                }
                None => {
                    if !self.comma {
                        return Err(LineFault::Commas);
                    }
                    let entry = line.strip_suffix(b",");
                    self.comma = entry.is_some();
                    self.entry(entry.unwrap_or(line))
                }
            },
            Layout::Ndjson if line.starts_with(b"{\"count\"") || line.starts_with(b"{\"end\"") => {
                self.end(line)
            }
            Layout::Ndjson => self.entry(line),
        }
    }

    fn end(&mut self, line: &[u8]) -> Result<(), LineFault> {
        let ExportEnd { count } = serde_json::from_slice(line)?;
        let found = self.checked.entries;
        if count != found {
            return Err(LineFault::Count { count, found });
        }
        self.ended = true;
        Ok(())
    }

    fn entry(&mut self, line: &[u8]) -> Result<(), LineFault> {
        let ExportLine { index, leaf: stored, proof } = serde_json::from_slice(line)?;
        if let Some(before) = self.checked.last.filter(|before| *before >= index) {
            return Err(LineFault::Order { index, before });
        }
        let leaf = Leaf::parse(stored.as_bytes()).map_err(|source| LineFault::Leaf { index, source })?;
        if leaf.seq != index || leaf.origin != self.checkpoint.origin {
            return Err(LineFault::Place { index, seq: leaf.seq, origin: leaf.origin });
        }
        if !self.checked.filter.matches(&leaf) {
            return Err(LineFault::Filter { index });
        }
        let proof = InclusionProof { index, size: self.checkpoint.size, hashes: proof };
        let holds = proof.verify(&leaf_hash(stored.as_bytes()), &self.checkpoint.root);
        holds.map_err(|source| LineFault::Proof { index, source })?;
        self.checked.first.get_or_insert(index);
        self.checked.last = Some(index);
        self.checked.entries += 1;
        Ok(())
    }
}
