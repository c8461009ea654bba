//! Why the witness cannot go on.

use std::path::PathBuf;

use konclave_ledger::TimestampError;
use konclave_ledger::proof::ProofError;
use konclave_ledger::witness::{AddCheckpointError, Refusal, WitnessError};

use super::{Alarm, AlarmError};
use crate::client::ClientError;
use crate::keystore::{DiskError, RecordError};

/// Why the witness cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WitnessFault {
    /// The ledger contradicts what this site has seen; the alarm was raised.
    #[error("ALARM: {0}")]
    Alarm(Box<Alarm>),
    /// The alarm could not be written.
    #[error(transparent)]
    AlarmFile(#[from] AlarmError),
    /// The gateway could not be asked.
    #[error(transparent)]
    Gateway(#[from] ClientError),
    /// The stored head cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The stored head is damaged.
    #[error(
        "the witness's stored head {path} cannot be used: {source}; restore it from a copy, do not remove it: a witness that \
         forgets cannot see a rollback"
    )]
    Head {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RecordError,
    },
    /// The stored changes of the ledger's key are damaged.
    #[error(
        "the stored changes of the ledger's key {path} cannot be used: {source}; restore the file from a copy, or remove it: \
         the changes are then asked for and checked again"
    )]
    LogKeys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RecordError,
    },
    /// The stored changes of the ledger's key are gone, and the ledger does not show them: an error of the gateway's, or
    /// somebody else answers in its place.
    #[error(
        "another key of the ledger signed the head that this site has seen than those that {path} tells of, and no change \
         that the consortium root authorised was shown to lead there: nothing is accepted until it is, for an older key \
         may have been stolen since; restore the file from a copy, or let the site ask its gateway"
    )]
    KeysForgotten {
        /// The file.
        path: PathBuf,
    },
    /// The head could not be checked, for a reason that is no contradiction.
    #[error("the ledger's head cannot be checked: {0}")]
    Unchecked(WitnessError),
    /// What was sent to be cosigned is no `add-checkpoint` body: the gateway's fault, or a proxy's.
    #[error("what the gateway asks to be cosigned cannot be read: {0}")]
    Body(#[from] AddCheckpointError),
    /// What was sent to be cosigned does not begin at the head that this site has seen: the gateway's fault.
    #[error("the gateway does not ask for what this site could cosign: {0}")]
    Refused(Refusal),
    /// An entry was shown that the ledger this site has seen does not hold: the gateway's fault.
    #[error("entry {index} is not proven to be in the ledger: {source}")]
    Unproven {
        /// The index it was said to have.
        index: u64,
        /// What is wrong with the proof.
        source: ProofError,
    },
    /// The system's clock is unusable.
    #[error("the system's clock cannot be used for a cosignature: {0}")]
    Clock(#[from] TimestampError),
}
