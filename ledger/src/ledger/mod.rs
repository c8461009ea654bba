//! The ledger: one writer over one folder, files as the truth, the index as a cache.

mod append;
mod batch;
mod cosign;
mod errors;
mod export;
mod filter;
mod index;
mod lock;
mod query;
mod read;
mod recover;
mod rotate;
mod statement_files;
mod tail;
mod witnessed;

use std::fmt;
use std::path::{Path, PathBuf};

pub use errors::{
    AppendError, CosignError, Damage, ExportError, OpenError, ReadError, StatementFileError, StorageFailure,
};
pub use export::Exported;
pub use filter::Filter;
pub use index::IndexState;
pub use read::Leaves;
pub use witnessed::Quorum;

use crate::checkpoint::Checkpoint;
use crate::enrolment::EnrolledKeys;
use crate::note::{SignatureType, SignedNote, VerifierKey};
use crate::origin::Origin;
use crate::rotation::LogKeys;
use crate::signer::LogSigner;
use crate::storage::{FileStorage, Storage};
use index::IndexSlot;
use lock::FolderLock;
use tail::Tail;
use witnessed::Heads;

/// The signed head: the truth about how long the ledger is.
const HEAD: &str = "head.note";
/// The published checkpoint: the head with its cosignatures.
const CHECKPOINT: &str = "checkpoint";
/// The query index's folder.
const INDEX_FOLDER: &str = "index.sled";

/// What a ledger needs to know besides its folder.
#[derive(Debug)]
pub struct LedgerOptions {
    /// The log's name.
    pub origin: Origin,
    /// The key that signs checkpoints.
    pub signer: Box<dyn LogSigner>,
    /// Name and version of the software, written into every entry.
    pub software: String,
    /// Whether to keep a query index; without one, queries read the entries.
    pub index: bool,
}

/// An open ledger: the single writer of its folder. Closing needs no ceremony; killing it loses nothing acknowledged.
pub struct Ledger {
    storage: Box<dyn Storage>,
    origin: Origin,
    signer: Box<dyn LogSigner>,
    software: String,
    tail: Tail,
    note: SignedNote,
    keys: EnrolledKeys,
    log_keys: LogKeys,
    heads: Heads,
    index: IndexSlot,
    /// The file `checkpoint` could not be written; tried again with the next head.
    unpublished: bool,
    /// A storage failure left unknown what is durable; nothing works any more.
    poisoned: bool,
    _lock: Option<FolderLock>,
}

impl Ledger {
    /// Opens the ledger in the folder `dir`, or creates an empty one.
    ///
    /// Everything is verified against the signed head: each entry, the chain, the tree and every tile. Whatever lies
    /// beyond the head was never acknowledged and is discarded. Reads the whole ledger once.
    ///
    /// # Errors
    /// [`OpenError`]; nothing has been changed unless the ledger verified.
    pub fn open(dir: &Path, options: LedgerOptions) -> Result<Self, OpenError> {
        let storage =
            FileStorage::new(dir).map_err(StorageFailure::of("create the folder", &dir.display()))?;
        let lock = FolderLock::acquire(dir)?;
        let index_folder = options.index.then(|| dir.join(INDEX_FOLDER));
        Self::open_with(Box::new(storage), index_folder, Some(lock), options)
    }

    /// Opens a ledger on any storage, without a query index.
    ///
    /// # Errors
    /// As for [`Ledger::open`]. The caller makes sure that nobody else writes to the storage.
    pub fn open_on(storage: Box<dyn Storage>, options: LedgerOptions) -> Result<Self, OpenError> {
        Self::open_with(storage, None, None, options)
    }

    fn open_with(
        storage: Box<dyn Storage>,
        index_folder: Option<PathBuf>,
        lock: Option<FolderLock>,
        options: LedgerOptions,
    ) -> Result<Self, OpenError> {
        let mut ledger = recover::load(storage, lock, options)?;
        ledger.republish()?;
        if let Some(folder) = index_folder {
            ledger.index = IndexSlot::open(&folder, &ledger);
        }
        Ok(ledger)
    }

    /// The last acknowledged head.
    #[must_use]
    pub fn head(&self) -> Checkpoint {
        Checkpoint { origin: self.origin.clone(), size: self.tail.size(), root: self.tail.root() }
    }

    /// The head as a signed note with the cosignatures collected for it.
    #[must_use]
    pub fn checkpoint_note(&self) -> String {
        self.note.to_string()
    }

    /// The key that verifies the checkpoints (vkey).
    #[must_use]
    pub fn verifier_key(&self) -> VerifierKey {
        VerifierKey::new(self.origin.clone(), SignatureType::Log, self.signer.public())
    }

    /// The keys that sites enrolled with.
    #[must_use]
    pub const fn enrolled_keys(&self) -> &EnrolledKeys {
        &self.keys
    }

    /// The log's own keys, past and present.
    #[must_use]
    pub const fn log_keys(&self) -> &LogKeys {
        &self.log_keys
    }

    /// Whether the query index works; without it, queries are slower and otherwise the same.
    #[must_use]
    pub fn index_state(&self) -> IndexState {
        self.index.state()
    }

    /// Whether the file `checkpoint` lags behind the head because it could not be written.
    #[must_use]
    pub const fn checkpoint_lags(&self) -> bool {
        self.unpublished
    }

    /// Whether a storage failure made the ledger refuse everything; restart the process.
    #[must_use]
    pub const fn is_poisoned(&self) -> bool {
        self.poisoned
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("head", &self.head())
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}
