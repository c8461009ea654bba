//! The one way in which Konclave turns fields into bytes that are signed, hashed or fed to HKDF.
//!
//! A transcript starts with a label `konclave/v1/<what>` and holds every field behind its length (u64, big-endian),
//! so two different lists of fields never give the same bytes. Numbers are fields of eight bytes, big-endian;
//! a list is its length followed by its items.

use zeroize::Zeroizing;

use crate::digest::Digest;

/// Bytes of one labelled list of fields. Erased on drop, because seed commitments pass through it.
pub struct Transcript(Zeroizing<Vec<u8>>);

impl Transcript {
    /// Room for every transcript with a secret in it, so that none is left behind by a reallocation.
    const CAPACITY: usize = 1024;

    /// Starts the transcript `konclave/v1/<what>`.
    #[must_use]
    pub fn new(what: &str) -> Self {
        let bytes = Zeroizing::new(Vec::with_capacity(Self::CAPACITY));
        Self(bytes).text(&format!("konclave/v1/{what}"))
    }

    /// Appends a byte string.
    #[must_use]
    pub fn bytes(mut self, field: &[u8]) -> Self {
        self.0.extend_from_slice(&(field.len() as u64).to_be_bytes());
        self.0.extend_from_slice(field);
        self
    }

    /// Appends a text.
    #[must_use]
    pub fn text(self, field: &str) -> Self {
        self.bytes(field.as_bytes())
    }

    /// Appends a number.
    #[must_use]
    pub fn number(self, field: u64) -> Self {
        self.bytes(&field.to_be_bytes())
    }

    /// Appends a digest.
    #[must_use]
    pub fn digest(self, field: &Digest) -> Self {
        self.bytes(field.as_bytes())
    }

    /// Appends a list: its length, then each item.
    #[must_use]
    pub fn list<T>(self, items: impl ExactSizeIterator<Item = T>, each: impl Fn(Self, T) -> Self) -> Self {
        let counted = self.number(items.len() as u64);
        items.fold(counted, each)
    }

    /// The bytes, to be signed or used as HKDF info.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 of the bytes.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn known_answers() {
        let file = vectors::load(include_str!("../vectors/transcript.json"));
        let hash = |case: &serde_json::Value| {
            let start = Transcript::new(case["label"].as_str().unwrap());
            let fields = case["fields"].as_array().unwrap();
            fields.iter().fold(start, |t, field| t.bytes(&vectors::list(field))).hash().to_string()
        };
        for case in vectors::cases(&file, "positive") {
            assert_eq!(hash(&case), case["digest"]);
        }
        for case in vectors::cases(&file, "negative") {
            assert_ne!(hash(&case), case["digest"], "{}", case["why"]);
        }
    }

    #[test]
    fn fields_do_not_run_together() {
        let split = |a: &str, b: &str| Transcript::new("test").text(a).text(b).hash();
        assert_ne!(split("ab", "c"), split("a", "bc"));
        assert_ne!(split("", "abc"), split("abc", ""));
        let nested = |groups: &[&[&str]]| {
            Transcript::new("test")
                .list(groups.iter(), |t, group| t.list(group.iter(), |t, item| t.text(item)))
                .hash()
        };
        assert_ne!(nested(&[&["a"], &["b"]]), nested(&[&["a", "b"]]));
    }
}
