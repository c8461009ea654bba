//! C2SP tlog-checkpoint: origin, tree size and root, signed by the log as a note without extension lines.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::hash::Hash;
use crate::keys::SigningKey;
use crate::note::{NoteError, SignatureLine, SignatureType, SignedNote, VerifierKey};
use crate::origin::Origin;
use crate::signer::{LogSigner, SignerError};

/// A tree head: which log, how many entries, and the RFC 6962 root over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Checkpoint {
    /// The log's name.
    pub origin: Origin,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over all of them; SHA-256 of nothing for an empty log.
    pub root: Hash,
}

/// Why a checkpoint is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a signed note.
    #[error("the checkpoint is not a signed note: {0}")]
    Note(#[from] NoteError),
    /// The text isn't origin, size and root on three lines.
    #[error("the checkpoint's text is not origin, decimal size and base64 root on exactly three lines")]
    Malformed,
    /// Another log's checkpoint.
    #[error("the checkpoint is for the log {found}, not for {expected}")]
    WrongOrigin {
        /// The log asked for.
        expected: Origin,
        /// The log named in the checkpoint.
        found: Origin,
    },
    /// No line by the log's key.
    #[error("the checkpoint carries no signature by the log's key {key}")]
    NotSigned {
        /// The log's verifier key.
        key: String,
    },
    /// A line by the log's key that doesn't verify.
    #[error("the log's signature under the checkpoint is wrong (key {key})")]
    BadSignature {
        /// The log's verifier key.
        key: String,
    },
}

impl Checkpoint {
    /// The note text: three lines, the bytes that log and witnesses sign.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    /// Reads a note text; exactly the bytes that [`Checkpoint::text`] writes are accepted.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] for everything else, extension lines included.
    pub fn parse_text(text: &str) -> Result<Self, CheckpointError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointError::Malformed)?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Malformed);
        };
        let root = STANDARD.decode(root).map_err(|_| CheckpointError::Malformed)?;
        let parsed = Self {
            origin: origin.parse().map_err(|_| CheckpointError::Malformed)?,
            size: size.parse().map_err(|_| CheckpointError::Malformed)?,
            root: Hash(root.try_into().map_err(|_| CheckpointError::Malformed)?),
        };
        // Refuses "+5" and "05", which the integer parser lets through.
        if parsed.text() == text { Ok(parsed) } else { Err(CheckpointError::Malformed) }
    }

    /// Signs as the log whose origin the checkpoint names.
    #[must_use]
    pub fn sign(&self, signer: &SigningKey) -> SignedNote {
        let text = self.text();
        let line = log_key(self.origin.clone(), signer).sign_note(signer, &text);
        SignedNote { text, signatures: vec![line] }
    }

    /// Signs with each of these keys of the log, and checks what they gave.
    ///
    /// # Errors
    /// [`SignerError`] of the first that fails.
    pub fn signed_by(&self, signers: &[&dyn LogSigner]) -> Result<SignedNote, SignerError> {
        let text = self.text();
        let line = |signer: &&dyn LogSigner| {
            let key = VerifierKey::new(self.origin.clone(), SignatureType::Log, signer.public());
            let signature = signer.sign(text.as_bytes())?.to_vec();
            let wrong = |_| SignerError::Wrong { key: *key.public() };
            key.public().verify(text.as_bytes(), &signature).map_err(wrong)?;
            Ok(SignatureLine { name: self.origin.clone(), key_id: key.key_id(), signature })
        };
        let signatures = signers.iter().map(line).collect::<Result<_, SignerError>>()?;
        Ok(SignedNote { text, signatures })
    }

    /// Reads a signed checkpoint and checks the log's signature; other lines are left unchecked in the returned note.
    ///
    /// # Errors
    /// [`CheckpointError`] if anything is malformed, from another log, unsigned or wrongly signed.
    pub fn verify(note: &[u8], key: &VerifierKey) -> Result<(Self, SignedNote), CheckpointError> {
        let note = SignedNote::parse(note)?;
        let checkpoint = Self::parse_text(&note.text)?;
        if checkpoint.origin != *key.name() {
            return Err(CheckpointError::WrongOrigin {
                expected: key.name().clone(),
                found: checkpoint.origin,
            });
        }
        let mut by_log = note.signatures.iter().filter(|line| key.claims(line)).peekable();
        if by_log.peek().is_none() || key.signature_type() != SignatureType::Log {
            return Err(CheckpointError::NotSigned { key: key.to_string() });
        }
        // The specification lets a reader reject the whole note for one wrong line by a known key; so do we.
        if by_log.any(|line| key.public().verify(note.text.as_bytes(), &line.signature).is_err()) {
            return Err(CheckpointError::BadSignature { key: key.to_string() });
        }
        Ok((checkpoint, note))
    }
}

/// The verifier key of the log `origin` that signs with `signer`.
#[must_use]
pub fn log_key(origin: Origin, signer: &SigningKey) -> VerifierKey {
    VerifierKey::new(origin, SignatureType::Log, signer.public())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "konclave.example/ledger".parse().unwrap(), size: 42, root: Hash::of(b"root") }
    }

    #[test]
    fn signs_and_verifies() {
        let signer = SigningKey::from_seed(&[1; 32]);
        let key = log_key(checkpoint().origin, &signer);
        let note = checkpoint().sign(&signer).to_string();
        assert_eq!(Checkpoint::verify(note.as_bytes(), &key).unwrap().0, checkpoint());

        let other = log_key(checkpoint().origin, &SigningKey::from_seed(&[2; 32]));
        assert!(matches!(
            Checkpoint::verify(note.as_bytes(), &other),
            Err(CheckpointError::NotSigned { .. })
        ));
        let other = log_key("elsewhere".parse().unwrap(), &signer);
        assert!(matches!(
            Checkpoint::verify(note.as_bytes(), &other),
            Err(CheckpointError::WrongOrigin { .. })
        ));
        let changed = note.replace("\n42\n", "\n43\n");
        assert!(matches!(
            Checkpoint::verify(changed.as_bytes(), &key),
            Err(CheckpointError::BadSignature { .. })
        ));
    }

    #[test]
    fn refuses_other_spellings() {
        let text = checkpoint().text();
        assert_eq!(Checkpoint::parse_text(&text), Ok(checkpoint()));
        for bad in [
            text.replace("42", "042"),
            text.replace("42", "+42"),
            text.replace("42", "-1"),
            text.replace("42", ""),
            format!("{text}extension\n"),
            text.trim_end().to_owned(),
            text.replace('=', ""),
            String::new(),
            text.replace("42", "18446744073709551616"),
        ] {
            assert_eq!(Checkpoint::parse_text(&bad), Err(CheckpointError::Malformed), "{bad:?}");
        }
    }
}
