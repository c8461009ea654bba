//! C2SP tlog-proof: a receipt in one text file, index, inclusion proof and checkpoint with every cosignature.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::hash::Hash;
use crate::note::{NoteError, SignedNote, VerifierKey};
use crate::proof::{InclusionProof, ProofError};
use crate::tree::leaf_hash;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Longest inclusion proof: a tree of 2^64 leaves is 64 high.
const MAX_HASHES: usize = 64;

/// A receipt. Extra data, which the format allows, is refused: this log has no use for it and it isn't authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// The entry's index.
    pub index: u64,
    /// Sibling hashes from the leaf up.
    pub hashes: Vec<Hash>,
    /// The checkpoint as it was published.
    pub checkpoint: SignedNote,
}

/// Why a receipt is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// Not the lines of a tlog-proof.
    #[error("not a c2sp.org/tlog-proof@v1 without extra data")]
    Malformed,
    /// The checkpoint part isn't a signed note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The checkpoint isn't the log's.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The proof doesn't lead from the entry to the checkpoint.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl TlogProof {
    /// Checks that the log `key` has the entry `stored` (its bytes) at [`TlogProof::index`]. Cosignatures are not
    /// checked; see [`crate::witness::verify_cosignature`].
    ///
    /// # Errors
    /// [`TlogProofError`].
    pub fn verify(&self, stored: &[u8], key: &VerifierKey) -> Result<Checkpoint, TlogProofError> {
        let (checkpoint, _) = Checkpoint::verify(self.checkpoint.to_string().as_bytes(), key)?;
        let proof = InclusionProof { index: self.index, size: checkpoint.size, hashes: self.hashes.clone() };
        proof.verify(&leaf_hash(stored), &checkpoint.root)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}\nindex {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", STANDARD.encode(hash.0)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for TlogProof {
    type Err = TlogProofError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (proof, note) = text.split_once("\n\n").ok_or(TlogProofError::Malformed)?;
        let mut lines = proof.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(TlogProofError::Malformed);
        }
        let index_line = lines.next().ok_or(TlogProofError::Malformed)?;
        let digits = index_line.strip_prefix("index ").ok_or(TlogProofError::Malformed)?;
        let index: u64 = digits.parse().map_err(|_| TlogProofError::Malformed)?;
        let hash = |line: &str| {
            let bytes = STANDARD.decode(line).ok()?;
            Some(Hash(bytes.try_into().ok()?))
        };
        let hashes: Option<Vec<Hash>> = lines.map(hash).take(MAX_HASHES + 1).collect();
        let hashes = hashes.filter(|all| all.len() <= MAX_HASHES).ok_or(TlogProofError::Malformed)?;
        if index.to_string() != digits {
            return Err(TlogProofError::Malformed);
        }
        Ok(Self { index, hashes, checkpoint: SignedNote::parse(note.as_bytes())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::log_key;
    use crate::keys::SigningKey;
    use crate::tree::node_hash;

    #[test]
    fn verifies_its_entry_and_no_other() {
        let signer = SigningKey::from_seed(&[1; 32]);
        let root = node_hash(&leaf_hash(b"a"), &leaf_hash(b"b"));
        let head = Checkpoint { origin: "konclave.example/ledger".parse().unwrap(), size: 2, root };
        let receipt = TlogProof { index: 1, hashes: vec![leaf_hash(b"a")], checkpoint: head.sign(&signer) };
        let text = receipt.to_string();
        assert_eq!(text.parse(), Ok(receipt.clone()));
        let key = log_key(head.origin.clone(), &signer);
        assert_eq!(receipt.verify(b"b", &key), Ok(head));
        assert_eq!(receipt.verify(b"a", &key), Err(ProofError::Root.into()));
        let stranger = log_key("elsewhere".parse().unwrap(), &signer);
        assert!(receipt.verify(b"b", &stranger).is_err());

        for bad in [
            text.replace("@v1", "@v2"),
            text.replace("index 1", "index 01"),
            text.replace("index 1", "index +1"),
            text.replace("index 1", "extra AAAA\nindex 1"),
            text.replacen("\n\n", "\n", 2),
            text.replacen('=', "", 1),
        ] {
            assert!(bad.parse::<TlogProof>().is_err(), "{bad}");
        }
    }
}
