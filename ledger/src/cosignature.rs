//! C2SP tlog-cosignature v1: a witness says when it saw a checkpoint as the largest consistent one.

use crate::checkpoint::Checkpoint;
use crate::keys::SigningKey;
use crate::note::{SignatureLine, SignatureType, VerifierKey};
use crate::origin::Origin;

/// A cosignature by a witness. Its line goes under the log's checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    line: SignatureLine,
    unix_seconds: u64,
}

/// Why a cosignature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// The line isn't by this key.
    #[error("the signature line is not by the witness key {key}")]
    OtherKey {
        /// The witness's verifier key.
        key: String,
    },
    /// Not 8 bytes of time and 64 of signature, or a time beyond 2^63 - 1.
    #[error("a cosignature has 8 bytes of time (below 2^63) and 64 bytes of Ed25519 signature")]
    Malformed,
    /// The signature is wrong for this checkpoint.
    #[error("the cosignature of {witness} does not match the checkpoint")]
    BadSignature {
        /// The witness's name.
        witness: Origin,
    },
}

impl Cosignature {
    /// Signs `checkpoint`. The caller has checked consistency; use [`crate::witness::WitnessState::cosign`].
    pub(crate) fn sign(
        checkpoint: &Checkpoint,
        name: &Origin,
        signer: &SigningKey,
        unix_seconds: u64,
    ) -> Self {
        let key = witness_key(name.clone(), signer);
        let mut signature = unix_seconds.to_be_bytes().to_vec();
        signature.extend(signer.sign(message(checkpoint, unix_seconds).as_bytes()));
        Self { line: SignatureLine { name: name.clone(), key_id: key.key_id(), signature }, unix_seconds }
    }

    /// Checks a line against the checkpoint it should cover.
    ///
    /// # Errors
    /// [`CosignatureError`]; a line by another key is not an attack, a wrong signature by this key is.
    pub fn verify(
        line: &SignatureLine,
        checkpoint: &Checkpoint,
        key: &VerifierKey,
    ) -> Result<Self, CosignatureError> {
        if key.signature_type() != SignatureType::Cosignature || !key.claims(line) {
            return Err(CosignatureError::OtherKey { key: key.to_string() });
        }
        let (time, signature) = line.signature.split_first_chunk::<8>().ok_or(CosignatureError::Malformed)?;
        let unix_seconds = u64::from_be_bytes(*time);
        if i64::try_from(unix_seconds).is_err() {
            return Err(CosignatureError::Malformed);
        }
        key.public()
            .verify(message(checkpoint, unix_seconds).as_bytes(), signature)
            .map_err(|_| CosignatureError::BadSignature { witness: line.name.clone() })?;
        Ok(Self { line: line.clone(), unix_seconds })
    }

    /// The line to put under the checkpoint.
    #[must_use]
    pub const fn line(&self) -> &SignatureLine {
        &self.line
    }

    /// When the witness signed, in seconds since 1970.
    #[must_use]
    pub const fn unix_seconds(&self) -> u64 {
        self.unix_seconds
    }

    /// Who signed.
    #[must_use]
    pub const fn witness(&self) -> &Origin {
        &self.line.name
    }
}

/// The verifier key of the witness `name` that signs with `signer`.
#[must_use]
pub fn witness_key(name: Origin, signer: &SigningKey) -> VerifierKey {
    VerifierKey::new(name, SignatureType::Cosignature, signer.public())
}

fn message(checkpoint: &Checkpoint, unix_seconds: u64) -> String {
    format!("cosignature/v1\ntime {unix_seconds}\n{}", checkpoint.text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Hash;

    #[test]
    fn binds_time_checkpoint_and_key() {
        let signer = SigningKey::from_seed(&[3; 32]);
        let name: Origin = "konclave.example/site-a".parse().unwrap();
        let key = witness_key(name.clone(), &signer);
        let head =
            Checkpoint { origin: "konclave.example/ledger".parse().unwrap(), size: 7, root: Hash::of(b"r") };
        let cosignature = Cosignature::sign(&head, &name, &signer, 1_767_225_600);
        let line: SignatureLine = cosignature.line().to_string().parse().unwrap();
        assert_eq!(Cosignature::verify(&line, &head, &key), Ok(cosignature.clone()));

        let larger = Checkpoint { size: 8, ..head.clone() };
        assert!(matches!(
            Cosignature::verify(&line, &larger, &key),
            Err(CosignatureError::BadSignature { .. })
        ));
        let mut later = line.clone();
        later.signature[7] ^= 1;
        assert!(matches!(
            Cosignature::verify(&later, &head, &key),
            Err(CosignatureError::BadSignature { .. })
        ));
        let mut beyond = line.clone();
        beyond.signature[0] = 0x80;
        assert_eq!(Cosignature::verify(&beyond, &head, &key), Err(CosignatureError::Malformed));
        let other = witness_key(name.clone(), &SigningKey::from_seed(&[4; 32]));
        assert!(matches!(Cosignature::verify(&line, &head, &other), Err(CosignatureError::OtherKey { .. })));
        let as_log = VerifierKey::new(name, SignatureType::Log, signer.public());
        assert!(matches!(Cosignature::verify(&line, &head, &as_log), Err(CosignatureError::OtherKey { .. })));
    }
}
