//! A witness: it remembers the last head it saw, checks that every newer one extends it, and cosigns.
//!
//! The order that keeps the promise: [`WitnessState::advance`], store [`WitnessState::to_bytes`] durably, then
//! [`WitnessState::cosign`] and send. A state can only come from a check, so an unchecked head can't be cosigned.

mod add_checkpoint;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cosignature::{Cosignature, CosignatureError};
use crate::hash::Hash;
use crate::keys::SigningKey;
use crate::note::{NoteError, VerifierKey};
use crate::origin::Origin;
use crate::proof::{ConsistencyProof, ProofError};
use crate::timestamp::Timestamp;
use crate::tree::empty_root;

pub use add_checkpoint::{AddCheckpoint, AddCheckpointError, Refusal};

/// The last head of one log that the witness saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessState(Checkpoint);

/// The stored form, versioned; refuses unknown fields so that a damaged file is not half read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredState {
    version: u32,
    origin: Origin,
    size: u64,
    root: Hash,
}

/// Why a witness refuses. All but [`WitnessError::StoredState`] and [`WitnessError::Stale`] are the log's fault and
/// should reach the site's owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// Wrong origin, malformed or not signed by the log.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log shows a smaller tree than the witness has seen: an older backup, or entries removed.
    #[error("rollback: the log shows {offered} entries, the witness has seen {seen}")]
    Rollback {
        /// Entries the witness has seen.
        seen: u64,
        /// Entries in the offered checkpoint.
        offered: u64,
    },
    /// Same size, other root: two histories.
    #[error("fork: two different roots for {size} entries")]
    Fork {
        /// The size both claim.
        size: u64,
    },
    /// The newer tree doesn't extend the one the witness saw.
    #[error("the log's new tree does not extend the {seen} entries that the witness has seen: {source}")]
    Inconsistent {
        /// Entries the witness has seen.
        seen: u64,
        /// What the proof lacks.
        source: ProofError,
    },
    /// The proof starts or ends at other sizes than the witness's head and the checkpoint; fetch one from `seen`.
    #[error(
        "the proof is for sizes {proof_old} to {proof_new}, needed from {seen} to {offered}; fetch it again"
    )]
    Stale {
        /// Entries the witness has seen.
        seen: u64,
        /// Entries in the offered checkpoint.
        offered: u64,
        /// Where the proof starts.
        proof_old: u64,
        /// Where the proof ends.
        proof_new: u64,
    },
    /// The bytes are not a state that this module wrote. Do not start anew: that would forget what was seen.
    #[error(
        "the stored witness state is damaged; restore it, do not begin anew, or a rollback could go unseen"
    )]
    StoredState,
}

/// A witness's name and key.
#[derive(Debug)]
pub struct WitnessSigner {
    /// Name in the signature line, such as `konclave.example/site-a`.
    pub name: Origin,
    /// A key used for nothing but cosignatures.
    pub key: SigningKey,
}

impl WitnessState {
    /// For a log never seen before.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        Self(Checkpoint { origin, size: 0, root: empty_root() })
    }

    /// The head the witness vouches for.
    #[must_use]
    pub const fn head(&self) -> &Checkpoint {
        &self.0
    }

    /// Checks a checkpoint against the head seen last and gives the state to store.
    ///
    /// # Errors
    /// [`WitnessError`]; the old state stays valid.
    pub fn advance(
        &self,
        note: &[u8],
        log: &VerifierKey,
        proof: &ConsistencyProof,
    ) -> Result<Self, WitnessError> {
        if *log.name() != self.0.origin {
            let (expected, found) = (self.0.origin.clone(), log.name().clone());
            return Err(CheckpointError::WrongOrigin { expected, found }.into());
        }
        let (offered, _) = Checkpoint::verify(note, log)?;
        let seen = self.0.size;
        if offered.size < seen {
            return Err(WitnessError::Rollback { seen, offered: offered.size });
        }
        if offered.size == seen && offered.root != self.0.root {
            return Err(WitnessError::Fork { size: seen });
        }
        if proof.old_size != seen || proof.new_size != offered.size {
            let (proof_old, proof_new) = (proof.old_size, proof.new_size);
            return Err(WitnessError::Stale { seen, offered: offered.size, proof_old, proof_new });
        }
        let checked = proof.verify(&self.0.root, &offered.root);
        checked.map_err(|source| WitnessError::Inconsistent { seen, source })?;
        Ok(Self(offered))
    }

    /// Cosigns the head. Store the state first: a cosignature that outlives the memory of it can be contradicted.
    #[must_use]
    pub fn cosign(&self, witness: &WitnessSigner, now: Timestamp) -> Cosignature {
        Cosignature::sign(&self.0, &witness.name, &witness.key, now.unix_seconds())
    }

    /// The form to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Checkpoint { origin, size, root } = self.0.clone();
        #[expect(clippy::expect_used, reason = "a struct of strings and integers always encodes")]
        serde_json::to_vec(&StoredState { version: 1, origin, size, root }).expect("plain struct")
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`WitnessError::StoredState`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WitnessError> {
        let stored: StoredState = serde_json::from_slice(bytes).map_err(|_| WitnessError::StoredState)?;
        let StoredState { version: 1, origin, size, root } = stored else {
            return Err(WitnessError::StoredState);
        };
        let state = Self(Checkpoint { origin, size, root });
        // One spelling only: whatever else serde would take was not written by this module.
        if state.to_bytes() == bytes { Ok(state) } else { Err(WitnessError::StoredState) }
    }
}

impl WitnessSigner {
    /// The verifier key (vkey) to enrol.
    #[must_use]
    pub fn verifier_key(&self) -> VerifierKey {
        crate::cosignature::witness_key(self.name.clone(), &self.key)
    }
}

/// Why a cosignature line is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Not a signature line.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Not a valid cosignature of the checkpoint by the key.
    #[error(transparent)]
    Cosignature(#[from] CosignatureError),
}

/// Checks one signature line (without newline) as a cosignature of `checkpoint` by `witness`.
///
/// # Errors
/// [`LineError`].
pub fn verify_cosignature(
    line: &str,
    checkpoint: &Checkpoint,
    witness: &VerifierKey,
) -> Result<Cosignature, LineError> {
    Ok(Cosignature::verify(&line.parse()?, checkpoint, witness)?)
}
