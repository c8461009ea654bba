//! What can go wrong, whose fault it is and what to do next.

use std::io;

use crate::checkpoint::CheckpointError;
use crate::draft::DraftError;
use crate::hash::Hash;
use crate::leaf::LeafError;
use crate::origin::Origin;
use crate::rotation::RotationError;
use crate::signer::SignerError;
use crate::witness::LineError;

/// The ledger's own files don't fit together: storage failed, or somebody changed them.
#[derive(Debug, thiserror::Error)]
#[error(
    "{file} is damaged at entry {first_index}: {what}. Restore the folder from a copy that konclave-audit verifies"
)]
pub struct Damage {
    /// The damaged file.
    pub file: String,
    /// First entry that the damage covers.
    pub first_index: u64,
    /// What is wrong.
    pub what: String,
}

/// A storage operation failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {file}: {source}{}", what_to_do(source))]
pub struct StorageFailure {
    /// What was tried.
    pub operation: &'static str,
    /// With which file.
    pub file: String,
    /// What the operating system says.
    pub source: io::Error,
}

impl StorageFailure {
    /// Whether there was no space left.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        is_disk_full(&self.source)
    }

    /// Says what was tried, for `map_err`.
    pub(super) fn of(
        operation: &'static str,
        file: &impl std::fmt::Display,
    ) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_string();
        move |source| Self { operation, file, source }
    }
}

/// Whether an operation failed for want of space.
pub(super) fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn what_to_do(error: &io::Error) -> &'static str {
    if is_disk_full(error) {
        ". The disk or the quota is full: make space on the ledger's volume; no restart is needed"
    } else {
        ""
    }
}

/// Why a ledger doesn't open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the ledger in {folder} is in use by another process; only one may write")]
    InUse {
        /// Its folder.
        folder: String,
    },
    /// Entries but no head: somebody removed `head.note`, and what was acknowledged can't be known.
    #[error("head.note is missing but other files exist; restore it, or open a folder that is empty")]
    HeadMissing,
    /// `head.note` isn't a checkpoint of this origin by this key.
    #[error("head.note does not fit the configured origin and key: {0}")]
    Head(#[from] CheckpointError),
    /// The configured key was replaced by an entry of the ledger.
    #[error(
        "the ledger's key was replaced: it is {current} now; configure that key's file, the old one signs nothing any more"
    )]
    KeySuperseded {
        /// The ledger's key (vkey).
        current: String,
    },
    /// The signer failed at the head of an empty ledger.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The stored entries or tiles don't lead to the signed head.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// An older copy of the folder, such as a backup: entries that were acknowledged are missing.
    #[error(
        "the ledger ends at {found} entries, but {seen} were acknowledged ({path} remembers it): the folder is an \
         older copy. Restore the newer one. If that is lost for good, the entries after {found} are: tell every site, \
         then remove {path}"
    )]
    RolledBack {
        /// The file that remembers.
        path: String,
        /// Entries when it was last written.
        seen: u64,
        /// Entries in the folder.
        found: u64,
    },
    /// Another history under the same name and key.
    #[error(
        "the ledger's first {seen} entries are not those that were acknowledged ({path} remembers their root): \
         somebody wrote another history with this ledger's key. Restore the folder whose witnesses' cosignatures \
         verify, and find out who has the key"
    )]
    Forked {
        /// The file that remembers.
        path: String,
        /// Entries when it was last written.
        seen: u64,
    },
    /// The file that remembers the last head belongs to another log.
    #[error("{path} remembers a head of the log {origin}; configure another file, or the right ledger")]
    SeenOfOtherLog {
        /// The file.
        path: String,
        /// The log it is for.
        origin: Origin,
    },
    /// The file that remembers the last head holds something else.
    #[error("{path} does not hold a head; if the ledger's folder is certainly the newest, remove the file")]
    SeenMalformed {
        /// The file.
        path: String,
    },
    /// A file operation failed.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
}

impl AppendError {
    /// Whether there was no space left: nothing was appended, and it works again when there is.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::NotStored(failure) if failure.is_disk_full())
    }
}

/// Why entries were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A draft is not acceptable; the caller's fault; nothing was written.
    #[error("draft {position} of the batch: {source}")]
    Draft {
        /// Its place in the batch, from 0.
        position: usize,
        /// What is wrong.
        source: DraftError,
    },
    /// A draft names a statement that was never stored; store it first. Nothing was written.
    #[error("draft {position} names the statement {statement}, which is not stored; store it first")]
    StatementMissing {
        /// Its place in the batch, from 0.
        position: usize,
        /// The named digest.
        statement: Hash,
    },
    /// The head could not be signed; nothing was appended, and it may be tried again.
    #[error("nothing was appended: {0}")]
    NotSigned(#[source] SignerError),
    /// A change of the ledger's key that is not authorised, or that was not made with [`crate::Ledger::rotate_key`].
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// The batch is certainly not stored (disk full, for example); it may be tried again.
    #[error("nothing was appended: {0}; it may be tried again")]
    NotStored(#[source] StorageFailure),
    /// Whether the batch is stored can't be known. The ledger refuses everything from now on.
    #[error("whether the batch is stored is unknown: {0}; restart to find out")]
    Ambiguous(#[source] StorageFailure),
    /// An earlier failure was ambiguous.
    #[error("an earlier storage failure left the ledger's state unknown; restart the process to reload it")]
    Poisoned,
}

/// Why something can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Beyond the head, or sizes in the wrong order: the caller's fault.
    #[error("entry or size {asked} lies beyond the {size} entries asked about")]
    OutOfRange {
        /// What was asked for.
        asked: u64,
        /// The limit.
        size: u64,
    },
    /// A file that must exist is missing or doesn't fit.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// A stored entry isn't readable.
    #[error("entry {index}: {source}")]
    Leaf {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        source: LeafError,
    },
    /// A file operation failed.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// An earlier failure was ambiguous.
    #[error("an earlier storage failure left the ledger's state unknown; restart the process to reload it")]
    Poisoned,
}

impl CosignError {
    /// Whether there was no space left: the head is as before, and it works again when there is.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::NotStored(failure) if failure.is_disk_full())
    }
}

impl StatementFileError {
    /// Whether there was no space left: nothing was stored, and it works again when there is.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::NotStored(failure) if failure.is_disk_full())
    }
}

/// Why a cosignature was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CosignError {
    /// Malformed, or wrong for the current head: made for an older one, or forged.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The line is for a head that is not among the latest; cosign a newer one.
    #[error("{size} is not the size of one of the latest heads; fetch the checkpoint and cosign again")]
    UnknownHead {
        /// The size it is said to be for.
        size: u64,
    },
    /// No entry `site.enrolled` names this witness key.
    #[error("no enrolled site has the witness key {name} with id {key_id}")]
    UnknownWitness {
        /// The name in the line.
        name: String,
        /// The key id in the line.
        key_id: String,
    },
    /// It could not be stored; the head is as before.
    #[error("the cosignature was not stored: {0}")]
    NotStored(#[source] StorageFailure),
    /// An earlier failure was ambiguous.
    #[error("an earlier storage failure left the ledger's state unknown; restart the process to reload it")]
    Poisoned,
}

/// Why a statement was not stored.
#[derive(Debug, thiserror::Error)]
pub enum StatementFileError {
    /// Larger than any reader accepts; the signer's fault.
    #[error("the statement has {bytes} bytes; at most {} are allowed", crate::dsse::MAX_ENVELOPE_BYTES)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It is certainly not stored; it may be tried again.
    #[error("the statement was not stored: {0}; it may be tried again")]
    NotStored(#[source] StorageFailure),
    /// Whether it is stored can't be known. The ledger refuses everything from now on.
    #[error("whether the statement is stored is unknown: {0}; restart to find out")]
    Ambiguous(#[source] StorageFailure),
    /// An earlier failure was ambiguous.
    #[error("an earlier storage failure left the ledger's state unknown; restart the process to reload it")]
    Poisoned,
}

/// Why an export failed. What was copied so far is not a ledger.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The target holds something already.
    #[error("{folder} is not empty; export into a new folder")]
    NotEmpty {
        /// The target.
        folder: String,
    },
    /// The ledger can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The target can't be written.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
}
