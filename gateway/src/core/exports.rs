//! Exports: copies of the ledger at one head, each recorded before the first byte of it is given.

use std::sync::Arc;

use konclave_ledger::records::Record;
use konclave_ledger::tiles::tiles_of;
use konclave_ledger::{Filter, Ledger, ReadError};
use konclave_openapi::ledger::{ExportedEntry, LedgerExport};
use tokio::sync::OwnedSemaphorePermit;

use super::{App, Caller, CommandError, Entry};
use crate::error::ApiError;

/// The most exports of entries under way at once: each may last as long as its reader is slow.
pub const MAX_EXPORTS: usize = 8;

/// Seconds after which one that found no place asks again.
const RETRY_AFTER: u32 = 10;

/// Entries read at once. An entry has at most 16 KiB: an export holds 1 MiB of them, whatever the ledger's length.
const CHUNK: usize = 64;

/// An export of entries under way: where it is, and its place among the exports until it is dropped.
pub struct EntryExport {
    app: App,
    filter: Filter,
    /// The ledger's origin line.
    pub origin: String,
    /// The signed note that all proofs lead to.
    pub checkpoint: String,
    size: u64,
    after: Option<u64>,
    _place: OwnedSemaphorePermit,
}

impl App {
    /// Fixes the latest checkpoint for an export, lists its files, and records that it was exported.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn export_ledger(&self, caller: &Caller, by: &str) -> Result<LedgerExport, ApiError> {
        let export = self.ledger().read(list_files).await.map_err(CommandError::from)?;
        self.record_export(caller, by, export.size, "files", None).await?;
        Ok(export)
    }

    /// Fixes the latest checkpoint for an export of entries, and records that they were exported. `query` says which,
    /// for the record.
    ///
    /// # Errors
    /// [`ApiError`]: nothing may be given then. [`ApiError::TooManyRequests`] if as many exports as possible are under
    /// way.
    pub async fn export_entries(
        &self,
        caller: &Caller,
        by: &str,
        filter: Filter,
        query: Option<String>,
    ) -> Result<EntryExport, ApiError> {
        let place = Arc::clone(&self.0.exports).try_acquire_owned();
        let place = place.map_err(|_| ApiError::TooManyRequests { retry_after: RETRY_AFTER })?;
        let head = self.ledger().read(|ledger| (ledger.head(), ledger.checkpoint_note())).await;
        let (head, checkpoint) = head.map_err(CommandError::from)?;
        self.record_export(caller, by, head.size, "ndjson", query).await?;
        Ok(EntryExport {
            app: self.clone(),
            filter,
            origin: head.origin.to_string(),
            checkpoint,
            size: head.size,
            after: None,
            _place: place,
        })
    }

    async fn record_export(
        &self,
        caller: &Caller,
        by: &str,
        size: u64,
        format: &str,
        filter: Option<String>,
    ) -> Result<(), ApiError> {
        let held = self.lock("exports").await;
        if self.repeated(caller)?.is_none() {
            let record =
                Record::LedgerExported { by: by.to_owned(), size, format: Some(format.to_owned()), filter };
            self.append_one(&held, caller, Entry::new("ledger", "an export was asked for", record)).await?;
        }
        Ok(())
    }
}

impl EntryExport {
    /// The next entries with their proofs; none at the end.
    ///
    /// # Errors
    /// [`ApiError::Internal`] if the ledger cannot be read.
    pub async fn next(&mut self) -> Result<Vec<ExportedEntry>, ApiError> {
        let (filter, after, size) = (self.filter.clone(), self.after, self.size);
        let read = self.app.ledger().read(move |ledger| exported(ledger, &filter, after, size)).await;
        let entries = read.map_err(CommandError::from)?.map_err(ApiError::internal)?;
        self.after = entries.last().map(|entry| entry.index).or(self.after);
        Ok(entries)
    }
}

fn exported(
    ledger: &Ledger,
    filter: &Filter,
    after: Option<u64>,
    size: u64,
) -> Result<Vec<ExportedEntry>, ReadError> {
    let mut indexes = ledger.query(filter, after, CHUNK)?;
    indexes.retain(|index| *index < size);
    let stored = ledger.stored_entries(&indexes)?;
    let proofs = ledger.inclusion_proofs(&indexes, size)?;
    let entry = |(stored, proof): (Vec<u8>, konclave_ledger::InclusionProof)| ExportedEntry {
        index: proof.index,
        leaf: String::from_utf8_lossy(&stored).into_owned(),
        proof: proof.hashes,
    };
    Ok(stored.into_iter().zip(proofs).map(entry).collect())
}

/// The files of the latest checkpoint: tiles, entry bundles, and the statements that entries name.
fn list_files(ledger: &Ledger) -> LedgerExport {
    let (size, note) = (ledger.head().size, ledger.checkpoint_note());
    let mut files: Vec<String> = tiles_of(size).map(|path| path.to_string()).collect();
    files.extend(ledger.statement_digests().map(|digest| format!("statements/{digest}.json")));
    files.extend(ledger.witnessed_note().map(|_| "witnessed".to_owned()));
    LedgerExport { size, note, files }
}
