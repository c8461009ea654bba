//! Exporting entries with their proofs, for people and programs that have no copy of the ledger.
//!
//! Every format holds the signed checkpoint once, and for each entry its text and the hashes that lead from it to the
//! checkpoint's root (RFC 6962). What an export can't show is that no matching entry is missing, unless it holds all.

mod chart;
mod check;
mod document;
mod from_gateway;
mod html;
mod lines;
mod table;

use std::io::{self, Write};

use konclave_crypto::ConsortiumRoot;
use konclave_ledger::checkpoint::CheckpointError;
use konclave_ledger::note::SignedNote;
use konclave_ledger::{Checkpoint, Filter, Hash, InclusionProof, VerifierKey};

use crate::folder::{AuditError, Folder};
use crate::log_keys::LogIdentity;
use crate::query::{Looked, Match, query};
use crate::show::head;
use crate::subtrees::TileFiles;

pub use self::check::{CheckedExport, ExportFault, LineFault, check_export};
pub use self::document::FORMAT;

/// What an export looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object, an entry a line.
    Json,
    /// A JSON object a line: head, entries, count.
    Ndjson,
    /// A table for spreadsheets, with the checkpoint in a second file.
    Csv,
    /// A page for people.
    Html,
}

/// What to export, and what the reader knows of the log.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// Which entries.
    pub filter: Filter,
    /// The log's key.
    pub key: Option<VerifierKey>,
    /// The consortium root.
    pub root: Option<ConsortiumRoot>,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Entries written.
    pub entries: u64,
    /// Entries in the ledger.
    pub size: u64,
    /// The signed checkpoint that the proofs lead to.
    pub checkpoint: String,
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Files that can't be read.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The export can't be written.
    #[error("cannot write the export: {0}")]
    Write(#[from] io::Error),
    /// The checkpoint isn't the log's.
    #[error("{0}; nothing was exported")]
    Checkpoint(#[from] CheckpointError),
    /// An entry isn't what the tree holds.
    #[error("{flaw}; nothing was exported: run `konclave-audit verify`")]
    Flaw {
        /// What is wrong.
        flaw: crate::EntryFlaw,
    },
    /// The tiles don't lead to the checkpoint.
    #[error(
        "entry {index} can't be proven to be in the log: files were changed; run `konclave-audit verify`"
    )]
    Unproven {
        /// Which.
        index: u64,
    },
}

impl ExportError {
    /// Whether the ledger is not what it should be, rather than the command.
    #[must_use]
    pub const fn is_tampering(&self) -> bool {
        match self {
            Self::Audit(error) => error.is_tampering(),
            Self::Write(_) => false,
            Self::Checkpoint(_) | Self::Flaw { .. } | Self::Unproven { .. } => true,
        }
    }
}

/// An entry with the hashes that lead from it to the root.
struct Proven<'a> {
    index: u64,
    found: &'a Match<'a>,
    proof: Vec<Hash>,
}

/// A ledger whose head was checked, and what to take of it.
struct Source<'a> {
    folder: &'a Folder,
    head: Checkpoint,
    note: SignedNote,
    key: VerifierKey,
    filter: &'a Filter,
}

impl<'a> Source<'a> {
    fn open(folder: &'a Folder, options: &'a ExportOptions) -> Result<Self, ExportError> {
        let (head, note) = head(folder)?.ok_or_else(|| AuditError::NoCheckpoint { path: folder.shown() })?;
        let identity = LogIdentity::read(folder, head.size, options.key.clone(), options.root)?;
        let key = identity.check(&head, &note)??.key;
        Ok(Self { folder, head, note, key, filter: &options.filter })
    }

    /// Calls `visit` for each matching entry, proven.
    fn each(
        &self,
        progress: &mut dyn FnMut(u64, u64),
        mut visit: impl FnMut(&Proven<'_>) -> Result<(), ExportError>,
    ) -> Result<u64, ExportError> {
        let tiles = TileFiles::new(self.folder, self.head.size);
        let proven = |found: &Match<'_>| {
            let index = found.leaf.seq;
            let proof = InclusionProof::build(&tiles, index, self.head.size)?;
            let holds = proof.verify(&found.leaf_hash, &self.head.root);
            holds.map_err(|_| ExportError::Unproven { index })?;
            visit(&Proven { index, found, proof: proof.hashes })
        };
        let Looked { matched, flaws, .. } = query(self.folder, self.filter, u64::MAX, proven, progress)?;
        match flaws.kept.into_iter().next() {
            Some(flaw) => Err(ExportError::Flaw { flaw }),
            None => Ok(matched),
        }
    }

    fn takes_all(&self) -> bool {
        *self.filter == Filter::default()
    }
}

/// Writes the matching entries of a folder with their proofs. Whoever calls this throws the output away on an error.
///
/// # Errors
/// [`ExportError`]; nothing is exported from a ledger in which something that is to be exported was changed.
pub fn export(
    folder: &Folder,
    format: Format,
    options: &ExportOptions,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Exported, ExportError> {
    let source = Source::open(folder, options)?;
    let entries = match format {
        Format::Json => document::write(&source, document::Layout::Json, out, progress)?,
        Format::Ndjson => document::write(&source, document::Layout::Ndjson, out, progress)?,
        Format::Csv => table::write(&source, out, progress)?,
        Format::Html => html::write(&source, out, progress)?,
    };
    out.flush()?;
    Ok(Exported { entries, size: source.head.size, checkpoint: source.note.to_string() })
}
