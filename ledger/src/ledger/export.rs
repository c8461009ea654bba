//! Exporting: the files an auditor needs, and no others.

use std::collections::BTreeSet;
use std::path::Path;

use super::errors::{Damage, ExportError, ReadError, StorageFailure};
use super::statement_files::statement_path;
use super::witnessed::WITNESSED;
use super::{CHECKPOINT, Ledger};
use crate::storage::{FileStorage, Storage};
use crate::tiles::tiles_of;

/// What an export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Number of entries.
    pub entries: u64,
    /// Number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Ledger {
    /// Copies the ledger as of now into a new or empty folder: checkpoint, tiles and the statements that entries name.
    /// `konclave-audit verify` checks it without this ledger. The copy is not made durable.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn export(&self, folder: &Path) -> Result<Exported, ExportError> {
        let shown = folder.display();
        let mut target = FileStorage::new(folder).map_err(StorageFailure::of("create the folder", &shown))?;
        if !target.list("").map_err(StorageFailure::of("list", &shown))?.is_empty() {
            return Err(ExportError::NotEmpty { folder: shown.to_string() });
        }
        self.export_on(&mut target)
    }

    /// Copies the ledger as of now onto an empty storage; see [`Ledger::export`].
    ///
    /// # Errors
    /// [`ExportError`], except that the storage is not checked to be empty.
    pub fn export_on(&self, target: &mut dyn Storage) -> Result<Exported, ExportError> {
        let entries = self.tail.size();
        let mut exported = Exported { entries, files: 0, bytes: 0 };
        let mut copy = |path: &str, bytes: &[u8]| {
            exported.files += 1;
            exported.bytes += bytes.len() as u64;
            target.write(path, bytes).map_err(StorageFailure::of("write", &path))
        };
        for path in tiles_of(entries).map(|path| path.to_string()) {
            copy(&path, &self.static_file(&path)?.ok_or_else(|| missing(&path, 0))?)?;
        }
        let mut copied = BTreeSet::new();
        for leaf in self.leaves(0..entries) {
            let leaf = leaf?;
            if let Some(digest) = leaf.statement.filter(|digest| copied.insert(*digest)) {
                let path = statement_path(&digest);
                let envelope = self.get_statement(&digest)?.ok_or_else(|| missing(&path, leaf.seq))?;
                copy(&path, &envelope.to_bytes())?;
            }
        }
        if let Some(note) = self.witnessed_note() {
            copy(WITNESSED, note.to_string().as_bytes())?;
        }
        // Last, so that a copy cut short has no checkpoint and verifies as nothing.
        copy(CHECKPOINT, self.checkpoint_note().as_bytes())?;
        Ok(exported)
    }
}

fn missing(path: &str, first_index: u64) -> ReadError {
    Damage { file: path.to_owned(), first_index, what: "it is missing".to_owned() }.into()
}
