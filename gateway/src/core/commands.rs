//! Check, append, apply, answer: how every command changes the state.

use std::sync::{Arc, PoisonError};

use konclave_crypto::Digest;
use konclave_ledger::Hash;
use konclave_ledger::canonical::{CanonicalError, canonical_json};
use konclave_ledger::dsse::Envelope;
use konclave_ledger::records::{Document, MAX_RECORD_BYTES, Record};
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use super::{App, Caller};
use crate::error::ApiError;
use crate::projections::to_digest;
use crate::writer::WriterError;

/// Locks that are kept though nobody holds them: whoever asks for many aggregates must not fill the memory.
const MAX_IDLE_LOCKS: usize = 1024;

/// An aggregate that is held: until the last clone is dropped, no other command checks or changes it.
///
/// Whoever appends gives the writer a clone, which it keeps until the entries are applied. So a request whose client
/// goes away after its entries are queued, and whose future is dropped then, does not let the next command check a
/// state that the entries have not reached yet.
#[derive(Debug, Clone)]
#[must_use = "the aggregate is free again once this is dropped"]
pub struct Held(#[expect(dead_code, reason = "it is held, not read")] Arc<OwnedMutexGuard<()>>);

impl Held {
    /// Waits until nobody else holds the aggregate.
    pub(crate) async fn of(aggregate: Arc<tokio::sync::Mutex<()>>) -> Self {
        Self(Arc::new(aggregate.lock_owned().await))
    }
}

/// One entry to append.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What the entry is about, as a path: `jobs/job-1/rounds/3`.
    pub object: String,
    /// The digest of the object before, for a change.
    pub old: Option<Hash>,
    /// The digest of the object after; that of the record itself without it.
    pub new: Option<Hash>,
    /// Why, for people.
    pub reason: String,
    /// The site that the entry is about, if it is one.
    pub site: Option<String>,
    /// Digests that the entry fixes and the record does not name.
    pub commitments: Vec<Hash>,
    /// The member's signed statement that the entry rests on.
    pub statement: Option<Envelope>,
    /// What happened.
    pub record: Record,
}

impl Entry {
    /// An entry about `object` with nothing but its record.
    #[must_use]
    pub fn new(object: impl Into<String>, reason: impl Into<String>, record: Record) -> Self {
        Self {
            object: object.into(),
            old: None,
            new: None,
            reason: reason.into(),
            site: None,
            commitments: Vec::new(),
            statement: None,
            record,
        }
    }

    /// The same entry, about a site.
    #[must_use]
    pub fn about_site(self, site: &impl ToString) -> Self {
        Self { site: Some(site.to_string()), ..self }
    }

    /// The same entry with the digests of its object before and after.
    #[must_use]
    pub fn changing(self, old: Option<Hash>, new: Option<Hash>) -> Self {
        Self { old, new, ..self }
    }

    /// The same entry resting on a signed statement.
    #[must_use]
    pub fn stated_in(self, statement: Envelope) -> Self {
        Self { statement: Some(statement), ..self }
    }
}

/// Why nothing was appended. Nothing of the command was done, unless it is [`CommandError::Writer`] with a stopped
/// writer: then the gateway is going down and what is true is read back at the next start.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The writer did not take it.
    #[error(transparent)]
    Writer(#[from] WriterError),
    /// A record does not fit into a leaf.
    #[error("the record of `{action}` has {bytes} bytes; a ledger entry holds {MAX_RECORD_BYTES}")]
    RecordTooLarge {
        /// The action.
        action: &'static str,
        /// Its canonical length.
        bytes: usize,
    },
    /// A record has a number that JSON cannot carry exactly.
    #[error("a record has no exact JSON form: {0}")]
    Inexact(#[from] CanonicalError),
    /// A record could not be encoded.
    #[error("a record could not be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    /// A blob that an entry names could not be stored or read.
    #[error("a blob could not be stored or read: {0}")]
    Blob(#[source] std::io::Error),
    /// A task of the gateway was cut off.
    #[error("a task of the gateway was cut off")]
    CutOff,
}

/// The digest of a JSON value: SHA-256 of its canonical bytes. What entries have as `old` and `new` where what they are
/// about has no digest of its own.
///
/// # Errors
/// [`CanonicalError`] for floats and for integers of 2^53 or more.
pub fn digest_of(value: &Value) -> Result<Hash, CanonicalError> {
    Ok(Hash::of(&canonical_json(value)?))
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Writer(WriterError::Busy) => {
                Self::unavailable("the ledger's queue is full; nothing was done", 1)
            }
            CommandError::Writer(WriterError::Stopped) => {
                Self::unavailable("the gateway is stopping; read the state again later", 5)
            }
            CommandError::Writer(WriterError::DiskFull) => Self::full_disk(),
            CommandError::RecordTooLarge { .. } | CommandError::Inexact(_) => {
                Self::rejected(error.to_string())
            }
            CommandError::Blob(source) => source.into(),
            CommandError::Writer(WriterError::Refused { .. })
            | CommandError::Encode(_)
            | CommandError::CutOff => Self::internal(error),
        }
    }
}

impl App {
    /// Holds the aggregate: no other command checks or changes it meanwhile.
    pub async fn lock(&self, aggregate: impl Into<String>) -> Held {
        let lock = {
            let mut aggregates = self.0.aggregates.lock().unwrap_or_else(PoisonError::into_inner);
            if aggregates.len() > MAX_IDLE_LOCKS {
                aggregates.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            Arc::clone(aggregates.entry(aggregate.into()).or_default())
        };
        Held::of(lock).await
    }

    /// Appends the entries together, durably, and applies them to the state before it returns their indexes. The
    /// caller has checked its rules while it held the aggregate, which stays held until they are applied, even if
    /// this future is dropped before.
    ///
    /// # Errors
    /// [`CommandError`]; nothing was appended.
    pub async fn append(
        &self,
        held: &Held,
        caller: &Caller,
        entries: Vec<Entry>,
    ) -> Result<Vec<u64>, CommandError> {
        for entry in &entries {
            let bytes = canonical_json(&entry.record.to_value()?)?.len();
            if bytes > MAX_RECORD_BYTES {
                return Err(CommandError::RecordTooLarge { action: entry.record.action(), bytes });
            }
        }
        Ok(self.0.ledger.append(held.clone(), caller.clone(), entries).await?)
    }

    /// Names a JSON document for a record, storing it as a blob if it is too large to be inline.
    ///
    /// # Errors
    /// [`CommandError`] if it has no exact JSON form or cannot be stored.
    pub async fn document(&self, value: Value) -> Result<Document, CommandError> {
        let (document, bytes) = Document::of(value)?;
        if document.inline.is_none() {
            self.store_blob(&to_digest(&document.digest), bytes).await?;
        }
        Ok(document)
    }

    /// The JSON that a record names.
    ///
    /// # Errors
    /// [`CommandError::Blob`] if it is neither inline nor in the blob store.
    pub async fn read_document(&self, document: &Document) -> Result<Value, CommandError> {
        match &document.inline {
            Some(value) => Ok(value.clone()),
            None => Ok(serde_json::from_slice(&self.read_blob(&to_digest(&document.digest)).await?)?),
        }
    }

    /// Stores bytes as the blob of their digest, durably.
    ///
    /// # Errors
    /// [`CommandError::Blob`].
    pub async fn store_blob(&self, digest: &Digest, bytes: Vec<u8>) -> Result<(), CommandError> {
        let (blobs, digest) = (self.0.blobs.clone(), *digest);
        let stored = tokio::task::spawn_blocking(move || blobs.put_bytes(&bytes)).await;
        let found = stored.map_err(|_| CommandError::CutOff)?.map_err(CommandError::Blob)?;
        debug_assert_eq!(found, digest, "the caller names the bytes it stores");
        Ok(())
    }

    /// A whole blob; for documents and parameter vectors, which are bounded.
    ///
    /// # Errors
    /// [`CommandError::Blob`].
    pub async fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, CommandError> {
        let path = self.0.blobs.path(digest);
        tokio::task::spawn_blocking(move || std::fs::read(path))
            .await
            .map_err(|_| CommandError::CutOff)?
            .map_err(CommandError::Blob)
    }
}
