//! Exports: copies of the ledger at one head, each recorded before the first byte of it is given.

mod places;

use konclave_ledger::records::Record;
use konclave_ledger::tiles::tiles_of;
use konclave_ledger::{Filter, Leaf, Ledger, ReadError};
use konclave_openapi::ledger::{ExportedEntry, LedgerExport};
use serde::{Deserialize, Serialize};

pub(super) use places::Places;
pub use places::{ExportPlace, MAX_EXPORTS};

use super::{App, Caller, CommandError, Entry, Held, IdempotencyKey};
use crate::error::ApiError;
use crate::folder::{Access, make_folder, replace};

/// Entries read at once. An entry has at most 16 KiB: an export holds 1 MiB of them, whatever the ledger's length.
const CHUNK: usize = 64;

/// An export of entries under way: where it is.
pub struct EntryExport {
    app: App,
    filter: Filter,
    /// The ledger's origin line.
    pub origin: String,
    /// The signed note that all proofs lead to.
    pub checkpoint: String,
    size: u64,
    after: Option<u64>,
}

/// The head that the export of a request with an idempotency key was fixed at. Stored before the entry that records the
/// export, so that the same request again gets the same answer however far the ledger has gone since. The list of files
/// follows from it.
#[derive(Debug, Serialize, Deserialize)]
struct FixedHead {
    size: u64,
    note: String,
    /// A quorum of witnesses had cosigned a head by then.
    witnessed: bool,
}

impl App {
    /// Fixes the latest checkpoint for an export, lists its files, and records that it was exported. Asked again under
    /// the same idempotency key, the answer is the first one's.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn export_ledger(&self, caller: &Caller, by: &str) -> Result<LedgerExport, ApiError> {
        let held = self.lock("exports").await;
        if let (Some(entry), Some(key)) = (self.repeated(caller)?, &caller.idempotency) {
            let fixed = self.fixed_head(key, entry).await?;
            return Ok(self
                .ledger()
                .read(move |ledger| list_files(ledger, fixed))
                .await
                .map_err(CommandError::from)?);
        }
        let (fixed, export) = self
            .ledger()
            .read(|ledger| {
                let fix = || FixedHead {
                    size: ledger.head().size,
                    note: ledger.checkpoint_note(),
                    witnessed: ledger.witnessed_note().is_some(),
                };
                (fix(), list_files(ledger, fix()))
            })
            .await
            .map_err(CommandError::from)?;
        if let Some(key) = &caller.idempotency {
            self.fix_head(key, &fixed).await?;
        }
        self.record_export(&held, caller, by, export.size, "files", None).await?;
        Ok(export)
    }

    /// Fixes the latest checkpoint for an export of entries, and records that they were exported. `query` says which,
    /// for the record. The place is given up when the export is over or its reader is.
    ///
    /// # Errors
    /// [`ApiError`]: nothing may be given then. [`ApiError::TooManyRequests`] if the principal has an export under way,
    /// or as many as possible are.
    pub async fn export_entries(
        &self,
        caller: &Caller,
        by: &str,
        filter: Filter,
        query: Option<String>,
    ) -> Result<(EntryExport, ExportPlace), ApiError> {
        let place = self.0.exports.take(by)?;
        let head = self.ledger().read(|ledger| (ledger.head(), ledger.checkpoint_note())).await;
        let (head, checkpoint) = head.map_err(CommandError::from)?;
        let held = self.lock("exports").await;
        if self.repeated(caller)?.is_none() {
            self.record_export(&held, caller, by, head.size, "ndjson", query).await?;
        }
        let export = EntryExport {
            app: self.clone(),
            filter,
            origin: head.origin.to_string(),
            checkpoint,
            size: head.size,
            after: None,
        };
        Ok((export, place))
    }

    async fn record_export(
        &self,
        held: &Held,
        caller: &Caller,
        by: &str,
        size: u64,
        format: &str,
        filter: Option<String>,
    ) -> Result<(), ApiError> {
        let record =
            Record::LedgerExported { by: by.to_owned(), size, format: Some(format.to_owned()), filter };
        self.append_one(held, caller, Entry::new("ledger", "an export was asked for", record)).await?;
        Ok(())
    }

    async fn fix_head(&self, key: &IdempotencyKey, fixed: &FixedHead) -> Result<(), ApiError> {
        let folder = self.config().folder.idempotency();
        let path = folder.join(format!("{}.json", key.key));
        let text = serde_json::to_vec(fixed).map_err(ApiError::internal)?;
        let stored = tokio::task::spawn_blocking(move || {
            make_folder(&folder)?;
            replace(&path, &text, Access::Secret)
        });
        Ok(stored.await.map_err(|_| CommandError::CutOff)??)
    }

    /// The head that the export of this key was fixed at.
    async fn fixed_head(&self, key: &IdempotencyKey, entry: u64) -> Result<FixedHead, ApiError> {
        let path = self.config().folder.idempotency().join(format!("{}.json", key.key));
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        if let Ok(text) = read.map_err(|_| CommandError::CutOff)? {
            return serde_json::from_slice(&text).map_err(ApiError::internal);
        }
        // Made before heads were kept, or the file was lost.
        let found = self.ledger().read(move |ledger| recent_head(ledger, entry)).await;
        found.map_err(CommandError::from)?.map_err(ApiError::internal)?.ok_or_else(|| {
            ApiError::conflict("the head of that export is not kept any more; ask again under a new key")
        })
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

/// The head that an entry says was exported, if it is among the latest.
fn recent_head(ledger: &Ledger, entry: u64) -> Result<Option<FixedHead>, ReadError> {
    let exported = |leaf: Leaf| match Record::parse(&leaf.action, &leaf.record) {
        Ok(Record::LedgerExported { size, .. }) => Some(size),
        Ok(_) | Err(_) => None,
    };
    let Some(size) = ledger.leaf(entry)?.and_then(exported) else { return Ok(None) };
    let note = ledger.recent_note(size).map(ToString::to_string);
    Ok(note.map(|note| FixedHead { size, note, witnessed: ledger.witnessed_note().is_some() }))
}

/// The files of a checkpoint: tiles, entry bundles, and the statements that its entries name.
fn list_files(ledger: &Ledger, fixed: FixedHead) -> LedgerExport {
    let FixedHead { size, note, witnessed } = fixed;
    let mut files: Vec<String> = tiles_of(size).map(|path| path.to_string()).collect();
    files.extend(ledger.statement_digests_before(size).map(|digest| format!("statements/{digest}.json")));
    files.extend(witnessed.then(|| "witnessed".to_owned()));
    LedgerExport { size, note, files }
}
