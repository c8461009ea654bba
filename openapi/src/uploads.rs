//! Resumable uploads of blobs: what is too large to be sent in one breath.

use std::fmt;
use std::str::FromStr;

use konclave_crypto::Digest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of bytes that continue an upload (draft-ietf-httpbis-resumable-upload, section 6).
pub const PARTIAL_UPLOAD: &str = "application/partial-upload";

/// Characters of an upload's id.
const ID_CHARACTERS: usize = 32;

/// A text that is not the id of an upload. Ids come from `POST /v1/uploads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an upload's id has {ID_CHARACTERS} lower-case hexadecimal characters")]
pub struct UploadIdError;

/// Id of an upload: 128 random bits, so that nobody guesses another's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[0-9a-f]{32}$", example = "3c1f9a4be0d25768a1b2c3d4e5f60718")]
pub struct UploadId(String);

impl UploadId {
    /// The id of 128 bits that the caller drew.
    #[must_use]
    pub fn of_bits(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }
}

impl TryFrom<String> for UploadId {
    type Error = UploadIdError;

    fn try_from(text: String) -> Result<Self, UploadIdError> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == ID_CHARACTERS && text.bytes().all(digit) {
            Ok(Self(text))
        } else {
            Err(UploadIdError)
        }
    }
}

impl FromStr for UploadId {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, UploadIdError> {
        Self::try_from(text.to_owned())
    }
}

impl From<UploadId> for String {
    fn from(id: UploadId) -> Self {
        id.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Announces the bytes of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "bytes": 2_147_483_648_u64
}))]
pub struct NewUpload {
    /// The SHA-256 of all the bytes; the blob's digest once they have come.
    pub digest: Digest,
    /// How many bytes there are.
    #[schema(minimum = 1)]
    pub bytes: u64,
}

/// An upload, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "upload": "3c1f9a4be0d25768a1b2c3d4e5f60718",
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "bytes": 2_147_483_648_u64, "offset": 134_217_728, "complete": false, "expires": "2026-12-05T10:00:00Z"
}))]
pub struct Upload {
    /// Its id.
    pub upload: UploadId,
    /// The announced SHA-256.
    pub digest: Digest,
    /// The announced length.
    pub bytes: u64,
    /// The next byte wanted: everything before it is durable.
    pub offset: u64,
    /// Whether the blob is there: all bytes came and have the digest.
    pub complete: bool,
    /// When the upload is forgotten (RFC 3339): a week after bytes last came. A blob that is there stays.
    pub expires: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_128_bits_in_lower_case_hexadecimal() {
        let id = UploadId::of_bits(0xabc);
        assert_eq!(id.to_string(), "00000000000000000000000000000abc");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in
            ["", "abc", "../../../../../etc/passwd/000000", &"A".repeat(32), &"g".repeat(32), &"a".repeat(33)]
        {
            assert_eq!(bad.parse::<UploadId>(), Err(UploadIdError), "{bad}");
        }
    }
}
