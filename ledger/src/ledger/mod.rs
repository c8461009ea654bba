//! The ledger: one writer over one folder, files as the truth, the index as a cache.

mod append;
mod batch;
mod cosign;
mod errors;
mod export;
mod filter;
mod index;
mod key_sum;
mod last_head;
mod lock;
mod query;
mod read;
mod recover;
mod reserve;
mod rotate;
mod sealed;
mod statement_files;
mod tail;
mod witnessed;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use errors::{
    AppendError, CosignError, Damage, ExportError, OpenError, ReadError, StatementFileError, StorageFailure,
};
pub use export::Exported;
pub use filter::Filter;
pub use index::IndexState;
pub use read::Leaves;
pub use reserve::ReserveState;
pub use rotate::KeylessLedger;
pub use witnessed::Quorum;

use crate::checkpoint::Checkpoint;
use crate::enrolment::EnrolledKeys;
use crate::hash::Hash;
use crate::note::{SignatureType, SignedNote, VerifierKey};
use crate::origin::Origin;
use crate::rotation::LogKeys;
use crate::signer::LogSigner;
use crate::storage::{FileStorage, Storage};
use index::IndexSlot;
use last_head::LastHead;
use lock::FolderLock;
use reserve::Reserve;
use sealed::Sealed;
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
    /// Bytes of disk space kept back for the operator's last entries when the disk is full; 0 for none. 64 MiB are
    /// enough for thousands of entries.
    pub reserve_bytes: u64,
    /// A file outside the ledger's folder, and outside its backups, that remembers the last head: a ledger that is
    /// older than it, or has another history, does not open.
    pub seen: Option<PathBuf>,
}

/// An open ledger: the single writer of its folder. Closing needs no ceremony; killing it loses nothing acknowledged.
pub struct Ledger {
    storage: Box<dyn Storage>,
    origin: Origin,
    signer: Box<dyn LogSigner>,
    software: String,
    tail: Tail,
    sealed: Sealed,
    note: SignedNote,
    /// The statements that entries name, with the first entry that names each.
    statements: BTreeMap<Hash, u64>,
    keys: EnrolledKeys,
    log_keys: LogKeys,
    heads: Heads,
    index: IndexSlot,
    reserve: Option<Reserve>,
    last_head: LastHead,
    /// The file `checkpoint` could not be written; tried again with the next head.
    unpublished: bool,
    /// A storage failure left unknown what is durable; nothing works any more.
    poisoned: bool,
    _lock: Option<FolderLock>,
}

impl Ledger {
    /// Opens the ledger in the folder `dir`, or creates an empty one.
    ///
    /// Everything is verified against the signed head: each entry, the chain, the tree, every tile and every statement
    /// that an entry names. Whatever lies beyond the head was never acknowledged and is discarded; the rest is made
    /// durable. Reads the whole ledger once.
    ///
    /// # Errors
    /// [`OpenError`]; nothing has been changed unless the ledger verified.
    pub fn open(dir: &Path, options: LedgerOptions) -> Result<Self, OpenError> {
        let storage =
            FileStorage::new(dir).map_err(StorageFailure::of("create the folder", &dir.display()))?;
        let lock = FolderLock::acquire(dir)?;
        let index_folder = options.index.then(|| dir.join(INDEX_FOLDER));
        let reserve = Reserve::open(dir.join(reserve::FILE), options.reserve_bytes);
        let mut ledger = Self::open_with(Box::new(storage), index_folder, Some(lock), options, None)?;
        ledger.reserve = reserve;
        Ok(ledger)
    }

    /// Opens a ledger on any storage, without a query index and without a reserve.
    ///
    /// # Errors
    /// As for [`Ledger::open`]. The caller makes sure that nobody else writes to the storage.
    pub fn open_on(storage: Box<dyn Storage>, options: LedgerOptions) -> Result<Self, OpenError> {
        Self::open_with(storage, None, None, options, None)
    }

    fn open_with(
        storage: Box<dyn Storage>,
        index_folder: Option<PathBuf>,
        lock: Option<FolderLock>,
        options: LedgerOptions,
        gone: Option<&VerifierKey>,
    ) -> Result<Self, OpenError> {
        let (mut ledger, index_keys) = recover::load(storage, lock, options, gone)?;
        match ledger.republish() {
            // `checkpoint` is also served from memory, and a full disk must not lock the readers out.
            Err(OpenError::Storage(failure)) if failure.is_disk_full() => {}
            done => done?,
        }
        let head = ledger.head();
        ledger.last_head.establish(&head)?;
        if let Some(folder) = index_folder {
            ledger.index = IndexSlot::open(&folder, &ledger, index_keys);
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

    /// Whether the file that remembers the last head ([`LedgerOptions::seen`]) lags behind it because it could not be
    /// written.
    #[must_use]
    pub const fn seen_lags(&self) -> bool {
        self.last_head.lags()
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
