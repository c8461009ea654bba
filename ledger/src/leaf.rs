//! The parsed view of an entry. What is hashed are always the stored bytes; this view is only for reading.

use std::borrow::Cow;

use serde::de::{Error, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::canonical::{CanonicalText, canonical_text};
use crate::frontier::Frontier;
use crate::hash::Hash;
use crate::origin::Origin;
use crate::timestamp::{ClockSource, Timestamp};

mod read;

/// Most bytes an entry may have.
pub const MAX_LEAF_BYTES: usize = 16 * 1024;

/// The version of the leaf format, field `v`.
pub const LEAF_VERSION: u64 = 1;

/// An entry of the ledger, every field present.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Leaf {
    /// Format version, 1.
    pub v: u64,
    /// The log's name.
    pub origin: Origin,
    /// Number of the entry, from 0; its index in the tree.
    pub seq: u64,
    /// SHA-256 of the previous entry's stored bytes; zeros in the first.
    pub prev: Hash,
    /// When the ledger took the entry: RFC 3339, UTC, milliseconds.
    pub time: String,
    /// The clock that `time` was read from.
    #[serde(deserialize_with = "by_name")]
    pub clock: ClockSource,
    /// The software that wrote the entry, with version.
    pub software: String,
    /// Who caused it.
    pub actor: String,
    /// The role in which the actor did it.
    pub role: String,
    /// Pseudonym of the site it concerns.
    #[serde(deserialize_with = "present")]
    pub site: Option<String>,
    /// What happened.
    pub action: String,
    /// What it happened to.
    pub object: String,
    /// Digest of the value before.
    #[serde(deserialize_with = "present")]
    pub old: Option<Hash>,
    /// Digest of the value after.
    #[serde(deserialize_with = "present")]
    pub new: Option<Hash>,
    /// Why.
    pub reason: String,
    /// Identifier of the request that caused it.
    pub request_id: String,
    /// Digest of the policy under which it was allowed.
    #[serde(deserialize_with = "present")]
    pub policy: Option<Hash>,
    /// Salted commitments to values that stay outside the ledger.
    pub commitments: Vec<Hash>,
    /// Digest of the site's signed statement.
    #[serde(deserialize_with = "present")]
    pub statement: Option<Hash>,
    /// The typed record of the action.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub record: CanonicalText,
}

/// Why bytes are not an entry.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// More than [`MAX_LEAF_BYTES`].
    #[error("an entry has at most {MAX_LEAF_BYTES} bytes, this one {bytes}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not JSON with exactly the fields of an entry.
    #[error("not an entry: {0}")]
    Json(#[from] serde_json::Error),
    /// Readable JSON, but not its own canonical form: two readers could see two different entries.
    #[error("the entry is not in RFC 8785 canonical form")]
    NotCanonical,
    /// A version this software doesn't know.
    #[error("entry version {version} is not known to this software; use a newer one")]
    Version {
        /// The version found.
        version: u64,
    },
    /// `time` isn't written as the ledger writes it.
    #[error("the entry's time is not RFC 3339 UTC with milliseconds")]
    Time,
}

/// An entry that doesn't belong where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Another log's entry.
    #[error("the entry belongs to the log {found}")]
    Origin {
        /// The log it names.
        found: Origin,
    },
    /// Its number is not its place.
    #[error("the entry carries the number {found}")]
    Sequence {
        /// The number it carries.
        found: u64,
    },
    /// It doesn't follow the entry before it.
    #[error("the entry does not carry the hash of the entry before it")]
    Previous,
}

impl Leaf {
    /// Checks that the entry is the next one of `origin` after everything that `before` has taken.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn check_link(&self, origin: &Origin, before: &Frontier) -> Result<(), LinkError> {
        if self.origin != *origin {
            return Err(LinkError::Origin { found: self.origin.clone() });
        }
        if self.seq != before.size() {
            return Err(LinkError::Sequence { found: self.seq });
        }
        if self.prev == before.last_entry() { Ok(()) } else { Err(LinkError::Previous) }
    }

    /// The job that the record names.
    #[must_use]
    pub fn job(&self) -> Option<Cow<'_, str>> {
        self.record.text("job")
    }

    /// The round that the record names.
    #[must_use]
    pub fn round(&self) -> Option<u32> {
        u32::try_from(self.record.integer("round")?).ok()
    }

    /// Reads an entry strictly: known version, all fields and no others, canonical bytes.
    ///
    /// # Errors
    /// [`LeafError`].
    pub fn parse(stored: &[u8]) -> Result<Self, LeafError> {
        if stored.len() > MAX_LEAF_BYTES {
            return Err(LeafError::TooLarge { bytes: stored.len() });
        }
        let read = str::from_utf8(stored).ok().and_then(read::entry);
        read.map_or_else(|| Self::parse_slowly(stored), Ok)
    }

    /// The same in any order, which says what is wrong with bytes that are no entry.
    fn parse_slowly(stored: &[u8]) -> Result<Self, LeafError> {
        let Some(text) = canonical_text(stored) else {
            // Tells apart what is no JSON at all.
            let _: Value = serde_json::from_slice(stored)?;
            return Err(LeafError::NotCanonical);
        };
        if !text.starts_with('{') {
            // serde would take a list of the fields' values too.
            return Err(serde_json::Error::custom("it is not an object").into());
        }
        let leaf: Self = serde_json::from_str(text)?;
        if leaf.v != LEAF_VERSION {
            return Err(LeafError::Version { version: leaf.v });
        }
        Timestamp::parse(&leaf.time).map_err(|_| LeafError::Time)?;
        Ok(leaf)
    }

    /// The entry's time with its clock.
    ///
    /// # Errors
    /// [`LeafError::Time`] for a leaf that was not made by [`Leaf::parse`] and holds another spelling.
    pub fn timestamp(&self) -> Result<Timestamp, LeafError> {
        Ok(Timestamp::parse(&self.time).map_err(|_| LeafError::Time)?.with_clock(self.clock))
    }
}

/// An optional field whose name must be there even when it is null.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// A clock by its name alone. serde would take `{"system":null}` too, a second spelling.
fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClockSource, D::Error> {
    let name = String::deserialize(deserializer)?;
    ClockSource::deserialize(name.into_deserializer())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DraftError;
    use crate::draft::{EntryDraft, Place};
    use serde_json::json;

    fn draft() -> EntryDraft {
        EntryDraft {
            actor: "ann".into(),
            role: "operator".into(),
            site: Some("site-a".into()),
            action: "deposit.registered".into(),
            object: "deposit/1".into(),
            new: Some(Hash::of(b"new")),
            reason: "first \u{e9}\u{1f600}".into(),
            request_id: "r-1".into(),
            commitments: vec![Hash::of(b"c")],
            record: json!({"b": 1, "a": [true, null, "x"]}),
            ..EntryDraft::default()
        }
    }

    fn encode(draft: EntryDraft) -> Result<Vec<u8>, DraftError> {
        let origin = "konclave.example/ledger".parse().unwrap();
        let time = Timestamp::from_unix_millis(1_767_225_600_123).unwrap().with_clock(ClockSource::Simulated);
        draft.encode(Place {
            origin: &origin,
            seq: 7,
            prev: Hash::of(b"prev"),
            time,
            software: "konclave/0.1.0",
        })
    }

    #[test]
    fn reads_back_what_was_written() {
        let stored = encode(draft()).unwrap();
        let leaf = Leaf::parse(&stored).unwrap();
        assert_eq!(serde_json_canonicalizer::to_vec(&leaf).unwrap(), stored);
        assert_eq!((leaf.seq, leaf.prev, leaf.site.as_deref()), (7, Hash::of(b"prev"), Some("site-a")));
        assert_eq!(leaf.timestamp().unwrap().unix_millis(), 1_767_225_600_123);
        assert_eq!(leaf.timestamp().unwrap().clock(), ClockSource::Simulated);
        assert_eq!((leaf.old, leaf.new), (None, Some(Hash::of(b"new"))));
    }

    #[test]
    fn refuses_bytes_that_two_readers_could_read_differently() {
        let stored = String::from_utf8(encode(draft()).unwrap()).unwrap();
        let changed = |from: &str, to: &str| {
            let text = stored.replacen(from, to, 1);
            assert_ne!(text, stored, "{from}");
            text
        };
        for bad in [
            changed("{", "{ "),
            changed("\"b\":1", "\"b\":1,\"b\":1"),
            changed("\"b\":1", "\"b\":1.0"),
            changed("\"b\":1", "\"b\":9007199254740993"),
            changed("\"v\":1", "\"v\":2"),
            changed("\"seq\":7", "\"seq\":-7"),
            changed("\"old\":null,", ""),
            changed("\"v\":1", "\"v\":1,\"w\":1"),
            changed("\u{e9}", "\\u00e9"),
            changed(".123Z", "Z"),
            changed("simulated", "sundial"),
            changed("\"simulated\"", "{\"simulated\":null}"),
            changed("\"policy\":null", "\"policy\":\"00\""),
        ] {
            assert!(Leaf::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(matches!(Leaf::parse(&[b' '; MAX_LEAF_BYTES + 1]), Err(LeafError::TooLarge { .. })));
        assert!(Leaf::parse(&[b'['; 10_000]).is_err());
        let fields: serde_json::Map<String, Value> = serde_json::from_str(&stored).unwrap();
        let in_order = [
            "v",
            "origin",
            "seq",
            "prev",
            "time",
            "clock",
            "software",
            "actor",
            "role",
            "site",
            "action",
            "object",
            "old",
            "new",
            "reason",
            "request_id",
            "policy",
            "commitments",
            "statement",
            "record",
        ];
        let list = Value::from_iter(in_order.map(|name| fields[name].clone())).to_string();
        assert!(matches!(Leaf::parse(list.as_bytes()), Err(LeafError::Json(_))), "{list}");
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        let empty = encode(EntryDraft { actor: String::new(), ..draft() });
        assert!(matches!(empty, Err(DraftError::Empty { field: "actor" })));
        let controlled = encode(EntryDraft { site: Some("a\0b".into()), ..draft() });
        assert!(matches!(controlled, Err(DraftError::ControlCharacter { field: "site" })));
        let large = encode(EntryDraft { record: json!("x".repeat(MAX_LEAF_BYTES)), ..draft() });
        assert!(matches!(large, Err(DraftError::TooLarge { .. })));
        assert!(matches!(
            encode(EntryDraft { record: json!(0.5), ..draft() }),
            Err(DraftError::Canonical(_))
        ));
    }
}
