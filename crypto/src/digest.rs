//! SHA-256 digests.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::text::{from_hex, text_array, to_hex};

/// A SHA-256 digest; 64 lower-case hexadecimal characters on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

text_array!(
    Digest,
    32,
    to_hex,
    from_hex,
    "^[0-9a-f]{64}$",
    "SHA-256 digest, 64 lower-case hexadecimal characters."
);

impl Digest {
    /// SHA-256 of `bytes` (FIPS 180-4).
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}
