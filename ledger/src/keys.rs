//! Ed25519 keys (RFC 8032) for checkpoints, cosignatures and statements.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::hash::{decode_hex, write_hex};

/// An Ed25519 signing key. Neither cloned nor printed; the seed it came from is the caller's to erase.
pub struct SigningKey(Ed25519KeyPair);

/// An Ed25519 public key (32 bytes). Text form: 64 lower-case hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(value_type = String, pattern = "^[0-9a-f]{64}$"))]
pub struct PublicKey(pub [u8; 32]);

/// Text that is not a public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an Ed25519 public key is written as 64 lower-case hexadecimal characters")]
pub struct PublicKeyParseError;

/// The signature does not belong to these bytes and this key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Ed25519 signature does not match the signed bytes and the key")]
pub struct BadSignature;

impl SigningKey {
    /// The key of RFC 8032 section 5.1.5 for a 32-byte secret seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        #[expect(clippy::expect_used, reason = "ring refuses a seed only for a length other than 32 bytes")]
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("32-byte seed"))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs `message`; the same bytes always give the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(message).as_ref());
        bytes
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(public {}, secret not shown)", self.public())
    }
}

impl PublicKey {
    /// Checks a signature over `message`.
    ///
    /// # Errors
    /// [`BadSignature`] if it isn't 64 bytes of a valid signature by this key.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).map_err(|_| BadSignature)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl std::str::FromStr for PublicKey {
    type Err = PublicKeyParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        decode_hex(text).map(Self).ok_or(PublicKeyParseError)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = PublicKeyParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032 section 7.1, test 2.
    #[test]
    fn signs_the_rfc_8032_vector() {
        let seed = decode_hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let key = SigningKey::from_seed(&seed);
        assert_eq!(
            key.public().to_string(),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        let signature = key.sign(&[0x72]);
        assert_eq!(signature[..4], [0x92, 0xa0, 0x09, 0xa9]);
        assert_eq!(key.public().verify(&[0x72], &signature), Ok(()));
        assert_eq!(key.public().verify(&[0x73], &signature), Err(BadSignature));
        assert_eq!(key.public().verify(&[0x72], &signature[..63]), Err(BadSignature));
    }

    #[test]
    fn never_prints_the_secret() {
        let text = format!("{:?}", SigningKey::from_seed(&[7; 32]));
        assert!(!text.contains("07070707") && text.contains("not shown"), "{text}");
    }
}
