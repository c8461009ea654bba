//! What can go wrong with an upload.

use std::error::Error;
use std::io;

use konclave_crypto::Digest;

use crate::error::ApiError;
use crate::extract::body_error;

/// Why an upload was not opened or bytes were not taken. What was durable stays, unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The bytes do not continue where the upload stands.
    #[error("the next byte wanted is {wanted}, these begin at {offered}")]
    Offset {
        /// The next byte wanted.
        wanted: u64,
        /// Where the bytes begin.
        offered: u64,
    },
    /// There are more than were announced.
    #[error("{expected} bytes were announced; more came")]
    TooLong {
        /// The announced length.
        expected: u64,
    },
    /// The upload was said to be complete, but bytes are missing.
    #[error("{offset} of {expected} bytes came")]
    Incomplete {
        /// How many came.
        offset: u64,
        /// How many were announced.
        expected: u64,
    },
    /// All bytes came, but they are not the announced ones. The upload begins anew.
    #[error("announced was SHA-256 {announced}, but the bytes have {found}; send them again from offset 0")]
    Digest {
        /// What was announced.
        announced: Digest,
        /// What came.
        found: Digest,
    },
    /// It is complete: nothing can be appended.
    #[error("the upload is complete; the blob is {digest}")]
    Complete {
        /// The blob.
        digest: Digest,
    },
    /// Another request went on with the upload; the bytes up to there are durable.
    #[error("another request went on with this upload; ask where it stands before you go on")]
    TakenOver,
    /// Another request still holds the upload.
    #[error("another request holds this upload; try again in some seconds")]
    Busy,
    /// It was deleted or has expired.
    #[error("the upload is gone")]
    Gone,
    /// The idempotency key came before with another announcement.
    #[error("the idempotency key was used for another upload")]
    OtherRequest,
    /// The organisation has as many uploads open as it may.
    #[error("{open} uploads of your organisation are open, and {most} may be; finish or delete one")]
    TooMany {
        /// How many are open.
        open: usize,
        /// How many may be.
        most: usize,
    },
    /// The organisation's open uploads would have more bytes than they may.
    #[error(
        "the open uploads of your organisation have {announced} bytes together, and {most} are allowed; finish or delete one"
    )]
    TooMuch {
        /// How many bytes they have.
        announced: u64,
        /// How many they may have.
        most: u64,
    },
    /// The sender's stream broke off; what came before is durable.
    #[error("the bytes broke off")]
    Source(#[source] Box<dyn Error + Send + Sync>),
    /// The file system failed, or is full.
    #[error("the upload's files could not be read or written")]
    Io(#[from] io::Error),
    /// A task of the gateway was cut off.
    #[error("a task of the gateway was cut off")]
    CutOff,
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Offset { wanted, offered } => Self::UploadOffset { wanted, offered },
            UploadError::TooLong { expected } => Self::too_large(expected),
            UploadError::Incomplete { offset, expected } => Self::UploadIncomplete { offset, expected },
            UploadError::Digest { .. } => Self::digest_mismatch(error.to_string()),
            UploadError::Complete { .. } | UploadError::TakenOver | UploadError::Busy => {
                Self::conflict(error.to_string())
            }
            UploadError::Gone => Self::not_found("such upload"),
            UploadError::OtherRequest => Self::IdempotencyMismatch,
            UploadError::TooMany { .. } | UploadError::TooMuch { .. } => {
                Self::UploadQuota { detail: error.to_string() }
            }
            UploadError::Source(source) => body_error(source.as_ref(), 0),
            UploadError::Io(error) => error.into(),
            UploadError::CutOff => Self::internal(error),
        }
    }
}
