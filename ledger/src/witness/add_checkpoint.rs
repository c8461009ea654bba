//! The `add-checkpoint` exchange of C2SP tlog-witness: what a log asks a witness, and what the witness may answer.
//!
//! In the specification the log calls the witness. Site enclaves take no calls, so here the site fetches the same body
//! from the gateway and hands the cosignature in; the bytes and the rules are the specification's.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{WitnessError, WitnessState};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::hash::Hash;
use crate::note::{SignedNote, VerifierKey};
use crate::proof::ConsistencyProof;

/// The most hashes of a proof, by the specification.
const MAX_HASHES: usize = 63;

/// The body of an `add-checkpoint` request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// How many entries the witness has seen, as the log believes.
    pub old_size: u64,
    /// The consistency proof from there to the checkpoint.
    pub hashes: Vec<Hash>,
    /// The checkpoint with the log's signature.
    pub checkpoint: SignedNote,
}

/// Bytes that are no `add-checkpoint` body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an add-checkpoint body: `old` and a decimal size, at most {MAX_HASHES} base64 hashes, a blank line, a signed note"
)]
pub struct AddCheckpointError;

/// Why a witness doesn't cosign; the specification gives each its HTTP status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 404: another log.
    #[error("this witness does not know the log {found}")]
    UnknownLog {
        /// The log named in the checkpoint.
        found: String,
    },
    /// 403: not signed by the log's key.
    #[error(transparent)]
    NotSigned(CheckpointError),
    /// 400: the checkpoint is smaller than the size that the proof begins at, or not a checkpoint.
    #[error("the checkpoint is malformed or smaller than the old size")]
    BadRequest,
    /// 409: the witness has seen another size; ask again from there.
    #[error("the witness has seen {seen} entries")]
    Conflict {
        /// The size it has seen: the body of the answer.
        seen: u64,
    },
    /// 409: the same size with another root; two histories.
    #[error(transparent)]
    Fork(WitnessError),
    /// 422: the proof doesn't show that the checkpoint extends what the witness has seen.
    #[error(transparent)]
    Unproven(WitnessError),
}

impl Refusal {
    /// The HTTP status that the specification names.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::UnknownLog { .. } => 404,
            Self::NotSigned(_) => 403,
            Self::BadRequest => 400,
            Self::Conflict { .. } | Self::Fork(_) => 409,
            Self::Unproven(_) => 422,
        }
    }
}

impl WitnessState {
    /// Answers an `add-checkpoint` request as the specification orders the checks: the state to store before anything
    /// is cosigned.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn add_checkpoint(&self, request: &AddCheckpoint, log: &VerifierKey) -> Result<Self, Refusal> {
        let note = request.checkpoint.to_string();
        let offered = match Checkpoint::verify(note.as_bytes(), log) {
            Ok((offered, _)) if offered.origin == self.head().origin => offered,
            Ok((offered, _)) => return Err(Refusal::UnknownLog { found: offered.origin.to_string() }),
            Err(CheckpointError::WrongOrigin { found, .. }) => {
                return Err(Refusal::UnknownLog { found: found.to_string() });
            }
            Err(error @ (CheckpointError::NotSigned { .. } | CheckpointError::BadSignature { .. })) => {
                return Err(Refusal::NotSigned(error));
            }
            Err(CheckpointError::Note(_) | CheckpointError::Malformed) => return Err(Refusal::BadRequest),
        };
        if request.old_size > offered.size {
            return Err(Refusal::BadRequest);
        }
        let seen = self.head().size;
        if request.old_size != seen {
            return Err(Refusal::Conflict { seen });
        }
        let proof = request.proof(offered.size);
        self.advance(note.as_bytes(), log, &proof).map_err(|error| match error {
            WitnessError::Fork { .. } => Refusal::Fork(error),
            WitnessError::Checkpoint(_)
            | WitnessError::Rollback { .. }
            | WitnessError::Inconsistent { .. }
            | WitnessError::Stale { .. }
            | WitnessError::StoredState => Refusal::Unproven(error),
        })
    }
}

impl AddCheckpoint {
    /// The proof, for a checkpoint of `new_size` entries.
    #[must_use]
    pub fn proof(&self, new_size: u64) -> ConsistencyProof {
        ConsistencyProof { old_size: self.old_size, new_size, hashes: self.hashes.clone() }
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", STANDARD.encode(hash.0)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for AddCheckpoint {
    type Err = AddCheckpointError;

    fn from_str(text: &str) -> Result<Self, AddCheckpointError> {
        let (head, note) = text.split_once("\n\n").ok_or(AddCheckpointError)?;
        let mut lines = head.split('\n');
        let size = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(AddCheckpointError)?;
        let old_size: u64 = size.parse().map_err(|_| AddCheckpointError)?;
        let hash = |line: &str| {
            let bytes = STANDARD.decode(line).map_err(|_| AddCheckpointError)?;
            Ok(Hash(bytes.try_into().map_err(|_| AddCheckpointError)?))
        };
        let hashes: Vec<Hash> = lines.take(MAX_HASHES + 1).map(hash).collect::<Result<_, _>>()?;
        let checkpoint = SignedNote::parse(note.as_bytes()).map_err(|_| AddCheckpointError)?;
        // The integer parser lets "+5" and "05" through.
        if hashes.len() > MAX_HASHES || old_size.to_string() != size {
            return Err(AddCheckpointError);
        }
        Ok(Self { old_size, hashes, checkpoint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::log_key;
    use crate::keys::SigningKey;
    use crate::tree::{leaf_hash, node_hash};

    /// A log of the entries `a`, `b`, `c`, and a witness that has seen `seen` of them.
    fn request(old: u64) -> (AddCheckpoint, VerifierKey, [Checkpoint; 4]) {
        let signer = SigningKey::from_seed(&[1; 32]);
        let origin: crate::Origin = "konclave.example/ledger".parse().unwrap();
        let [a, b, c] = [b"a", b"b", b"c"].map(|entry| leaf_hash(entry));
        let roots = [crate::tree::empty_root(), a, node_hash(&a, &b), node_hash(&node_hash(&a, &b), &c)];
        let heads = [0, 1, 2, 3].map(|size: usize| Checkpoint {
            origin: origin.clone(),
            size: size as u64,
            root: roots[size],
        });
        let hashes = match old {
            1 => vec![b, c],
            2 => vec![c],
            _ => vec![],
        };
        (
            AddCheckpoint { old_size: old, hashes, checkpoint: heads[3].sign(&signer) },
            log_key(origin, &signer),
            heads,
        )
    }

    #[test]
    fn the_body_reads_back_and_other_spellings_do_not() {
        for old in 0..4 {
            let (request, ..) = request(old);
            let text = request.to_string();
            assert_eq!(text.parse(), Ok(request), "{text}");
            for bad in [
                text.replace("old ", "old +"),
                text.replace("old ", "old 0"),
                text.replace("old ", "Old "),
                text.replacen("\n\n", "\n", 1),
                text.replacen("\n\n", "\nAAAA\n\n", 1),
                text.replacen("\n\n", &format!("\n{}\n\n", "A".repeat(43)), 1),
                text.trim_end().to_owned(),
            ] {
                assert!(bad.parse::<AddCheckpoint>().is_err(), "{bad}");
            }
        }
        let (mut long, ..) = request(2);
        long.hashes = vec![Hash::ZERO; MAX_HASHES];
        assert!(long.to_string().parse::<AddCheckpoint>().is_ok());
        long.hashes.push(Hash::ZERO);
        assert!(long.to_string().parse::<AddCheckpoint>().is_err());
    }

    #[test]
    fn cosigns_what_extends_and_answers_the_rest_as_specified() {
        for old in 0..4 {
            let (request, log, heads) = request(old);
            let state = WitnessState(heads[usize::try_from(old).unwrap()].clone());
            assert_eq!(state.add_checkpoint(&request, &log).map(|state| state.0), Ok(heads[3].clone()));
        }
        let (good, log, heads) = request(2);
        let status = |state: &Checkpoint, request: &AddCheckpoint, log: &VerifierKey| {
            WitnessState(state.clone()).add_checkpoint(request, log).map_err(|refusal| refusal.status())
        };
        assert_eq!(status(&heads[1], &good, &log), Err(409));
        let other = log_key("elsewhere".parse().unwrap(), &SigningKey::from_seed(&[1; 32]));
        assert_eq!(status(&heads[2], &good, &other), Err(404));
        let stranger = log_key(heads[0].origin.clone(), &SigningKey::from_seed(&[2; 32]));
        assert_eq!(status(&heads[2], &good, &stranger), Err(403));
        let wrong = AddCheckpoint { hashes: vec![Hash::ZERO], ..good.clone() };
        assert_eq!(status(&heads[2], &wrong, &log), Err(422));
        assert_eq!(status(&heads[2], &AddCheckpoint { hashes: vec![], ..good.clone() }, &log), Err(422));
        assert_eq!(status(&heads[2], &AddCheckpoint { old_size: 4, ..good }, &log), Err(400));
        let (same, ..) = request(3);
        let forked = Checkpoint { root: Hash::ZERO, ..heads[3].clone() };
        assert_eq!(status(&forked, &same, &log), Err(409));
    }
}
