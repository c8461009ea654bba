//! What signs a log's checkpoints: a key in a file today, a hardware module or a key service behind the same trait.

use std::fmt;

use crate::keys::{PublicKey, SigningKey};

/// Signs with an Ed25519 key that need not be in this process. One call is made for each batch of entries, from the
/// one thread that writes, and the ledger waits for it: a PKCS#11 module or a key service sets its own time limit.
///
/// The ledger checks every signature with [`LogSigner::public`] before it writes it, so that a faulty module can't
/// put a head on disk that nobody can verify.
pub trait LogSigner: fmt::Debug + Send + Sync {
    /// The public half; it must not change over the signer's life.
    fn public(&self) -> PublicKey;

    /// The Ed25519 signature over `message` (RFC 8032, pure).
    ///
    /// # Errors
    /// [`SignerError`]; the batch is then not appended and may be tried again.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError>;
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The module or service doesn't answer; trying again may help.
    #[error("the signer does not answer: {0}")]
    Unavailable(#[source] std::io::Error),
    /// It answers, but refuses: the key is disabled, or this process may not use it.
    #[error("the signer refuses: {0}")]
    Refused(#[source] std::io::Error),
    /// What it gave is no signature of the message by its key.
    #[error("the signer gave a signature that its own key {key} does not verify")]
    Wrong {
        /// Its public key.
        key: PublicKey,
    },
}

impl LogSigner for SigningKey {
    fn public(&self) -> PublicKey {
        Self::public(self)
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        Ok(Self::sign(self, message))
    }
}
