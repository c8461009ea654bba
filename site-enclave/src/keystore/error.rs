//! Why the site's stored state cannot be used.

use std::path::PathBuf;

use konclave_crypto::{Digest, JobId};

use super::disk::DiskError;
use super::journal::{Decision, JournalError};
use super::record::RecordError;

/// Why a job's state cannot be read, written or continued.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file operation failed: the site's disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The journal failed or forbids it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A state file is damaged or from another version.
    #[error("the state file {path} cannot be used: {source}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A secret in a state file cannot be read by the protocol.
    #[error("the secret in the state file {path} cannot be used: {reason}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A stored message is not one of this version.
    #[error("the message in the state file {path} cannot be read: {source}")]
    Message {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// The journal knows of a decision whose state is gone.
    #[error(
        "this site already {decision} in round {round} of job {job}, but the state of that is gone: the state folder was \
         restored from an older copy or files were removed. The site takes no further part in this round"
    )]
    RolledBack {
        /// What.
        decision: Decision,
        /// The round; 0 is the key set-up.
        round: u32,
        /// The job.
        job: JobId,
    },
    /// Shares were given for another update of the same model: a second sum could show a single site's.
    #[error(
        "this site gave shares for an update of model {model} in round {earlier} of job {job}: it gives none in round {round}"
    )]
    SpentModel {
        /// The job.
        job: JobId,
        /// The round asked for.
        round: u32,
        /// The model.
        model: Digest,
        /// The round in which shares were given.
        earlier: u32,
    },
    /// The round is over for this site.
    #[error("round {round} of job {job} is over for this site")]
    Closed {
        /// The job.
        job: JobId,
        /// The round.
        round: u32,
    },
    /// A step was asked for before the one that it builds on.
    #[error("round {round} of job {job}: this site has no {missing} to go on from")]
    OutOfOrder {
        /// The job.
        job: JobId,
        /// The round; 0 is the key set-up.
        round: u32,
        /// What is missing.
        missing: &'static str,
    },
}
