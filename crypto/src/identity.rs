//! Long-term Ed25519 identity keys (RFC 8032, by `ring`).

use std::fmt;

use rand_core::CryptoRng;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::text::{array_from_base64, from_hex, text_array, to_base64, to_hex};
use crate::transcript::Transcript;

/// An Ed25519 public key; 64 lower-case hexadecimal characters on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdentityPublicKey([u8; 32]);

text_array!(
    IdentityPublicKey,
    32,
    to_hex,
    from_hex,
    "^[0-9a-f]{64}$",
    "Ed25519 public key, 64 lower-case hexadecimal characters."
);

impl IdentityPublicKey {
    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, &signature.0).is_ok()
    }

    pub(crate) fn verifies_transcript(&self, transcript: &Transcript, signature: &Signature) -> bool {
        self.verifies(transcript.as_bytes(), signature)
    }
}

/// An Ed25519 signature; base64 on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signature([u8; 64]);

text_array!(
    Signature,
    64,
    to_base64,
    array_from_base64,
    "^[A-Za-z0-9+/]{86}==$",
    "Ed25519 signature in standard base64."
);

impl Signature {
    /// Stands in a message until it is signed; verifies under no key.
    pub(crate) const UNSIGNED: Self = Self([0; 64]);
}

/// An Ed25519 private key. Not `Clone`; its seed is erased on drop.
///
/// `ring` expands the seed anew for every signature, and does not erase that short-lived expansion.
pub struct IdentityKey {
    seed: Zeroizing<[u8; 32]>,
    public: IdentityPublicKey,
}

impl IdentityKey {
    /// Draws a new key.
    #[must_use]
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_seed(seed)
    }

    /// The key of a 32-byte RFC 8032 seed.
    #[must_use]
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Self {
        let mut public = [0; 32];
        public.copy_from_slice(expand(&seed).public_key().as_ref());
        Self { seed, public: IdentityPublicKey(public) }
    }

    /// The seed, to be stored in a key store.
    #[must_use]
    pub fn seed(&self) -> &Zeroizing<[u8; 32]> {
        &self.seed
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> IdentityPublicKey {
        self.public
    }

    /// Signs raw bytes. Callers own the domain separation of what they sign with this.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(expand(&self.seed).sign(message).as_ref());
        Signature(bytes)
    }

    pub(crate) fn sign_transcript(&self, transcript: &Transcript) -> Signature {
        self.sign(transcript.as_bytes())
    }
}

#[expect(clippy::expect_used, reason = "ring refuses a seed only for its length, which the type fixes at 32")]
fn expand(seed: &Zeroizing<[u8; 32]>) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).expect("a 32-byte seed")
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityKey").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_8032_test_2() {
        let seed: [u8; 32] =
            from_hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let key = IdentityKey::from_seed(Zeroizing::new(seed));
        assert_eq!(
            key.public().to_string(),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        let signature = key.sign(&[0x72]);
        assert_eq!(
            to_hex(signature.as_bytes()),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert!(key.public().verifies(&[0x72], &signature));
        assert!(!key.public().verifies(&[0x73], &signature));
    }

    #[test]
    fn debug_shows_no_seed() {
        let key = IdentityKey::from_seed(Zeroizing::new([7; 32]));
        assert!(!format!("{key:?}").contains(&to_hex(&[7; 32])));
        assert!(!format!("{key:?}").contains("7, 7"));
    }
}
