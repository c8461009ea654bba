//! JSON inside a record that may outgrow a leaf.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::{CanonicalError, canonical_json};
use crate::hash::Hash;

/// The largest inline document, in bytes of canonical JSON.
pub const MAX_INLINE_BYTES: usize = 8 * 1024;

/// JSON that is part of a record: always named by digest, and included while it is small.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// SHA-256 of the canonical bytes (RFC 8785); the blob's name where it is not inline.
    pub digest: Hash,
    /// The document itself, if its canonical bytes are at most [`MAX_INLINE_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<Value>,
}

impl Document {
    /// Names `value`, and includes it if it is small. The second part is the canonical bytes: the blob to store
    /// where [`Document::inline`] is absent.
    ///
    /// # Errors
    /// [`CanonicalError`] for floats and for integers of 2^53 or more.
    pub fn of(value: Value) -> Result<(Self, Vec<u8>), CanonicalError> {
        let bytes = canonical_json(&value)?;
        let inline = (bytes.len() <= MAX_INLINE_BYTES).then_some(value);
        Ok((Self { digest: Hash::of(&bytes), inline }, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_small_document_is_inline_and_a_large_one_only_named() {
        let (small, bytes) = Document::of(json!({"b": 1, "a": 2})).unwrap();
        assert_eq!(bytes, br#"{"a":2,"b":1}"#);
        assert_eq!(small, Document { digest: Hash::of(&bytes), inline: Some(json!({"a": 2, "b": 1})) });
        let (large, bytes) = Document::of(json!("x".repeat(MAX_INLINE_BYTES))).unwrap();
        assert_eq!((large.digest, large.inline), (Hash::of(&bytes), None));
        assert!(Document::of(json!(0.5)).is_err());
    }
}
