//! What the caller says about an event; the ledger adds number, chain, time and origin and makes it a leaf.

use serde_json::{Map, Value};

use crate::canonical::{CanonicalError, canonical_json};
use crate::hash::Hash;
use crate::leaf::{LEAF_VERSION, LeafError, MAX_LEAF_BYTES};
use crate::note::VerifierKey;
use crate::origin::Origin;
use crate::timestamp::Timestamp;

/// The action of a ledger's first entry, whose record carries the log's verifier key as `vkey`.
pub const LEDGER_CREATED: &str = "ledger.created";

/// One event before it has a place in the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryDraft {
    /// Who caused it (subject of a token or certificate).
    pub actor: String,
    /// The role in which the actor did it.
    pub role: String,
    /// Pseudonym of the site it concerns or that signed the statement.
    pub site: Option<String>,
    /// What happened: `deposit.registered`, `round.opened`...
    pub action: String,
    /// What it happened to: `job/admet-1`, `site/a`...
    pub object: String,
    /// Digest of the value before.
    pub old: Option<Hash>,
    /// Digest of the value after.
    pub new: Option<Hash>,
    /// Why, in words.
    pub reason: String,
    /// Identifier of the request that caused it.
    pub request_id: String,
    /// Digest of the policy under which it was allowed.
    pub policy: Option<Hash>,
    /// Salted commitments to values that stay outside the ledger.
    pub commitments: Vec<Hash>,
    /// Digest of the site's signed statement; it must have been stored before.
    pub statement: Option<Hash>,
    /// The typed record of the action, as JSON without floats or integers of 2^53 and more.
    pub record: Value,
}

/// The parts of a leaf that only the ledger knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) seq: u64,
    pub(crate) prev: Hash,
    pub(crate) time: Timestamp,
    pub(crate) software: &'a str,
}

/// Why a draft can't become an entry. Always the caller's fault; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// A field that must say something is empty.
    #[error("the field `{field}` of an entry may not be empty")]
    Empty {
        /// Its name.
        field: &'static str,
    },
    /// A field with line breaks or other control characters.
    #[error("the field `{field}` of an entry may not contain control characters")]
    ControlCharacter {
        /// Its name.
        field: &'static str,
    },
    /// A number that has no exact canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// Larger than [`MAX_LEAF_BYTES`]; keep bulk outside the ledger and record its digest.
    #[error(
        "the entry has {bytes} bytes, at most {MAX_LEAF_BYTES} are allowed; store bulk outside and record its digest"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Written, it would not be readable as an entry.
    #[error("the entry could not be read back: {0}")]
    Unreadable(#[from] LeafError),
}

impl EntryDraft {
    /// The first entry of a ledger. It publishes the verifier key, so that an export can be checked on its own.
    #[must_use]
    pub fn ledger_created(actor: &str, role: &str, request_id: &str, key: &VerifierKey) -> Self {
        Self {
            actor: actor.to_owned(),
            role: role.to_owned(),
            action: LEDGER_CREATED.to_owned(),
            object: format!("ledger/{}", key.name()),
            reason: "the ledger begins".to_owned(),
            request_id: request_id.to_owned(),
            record: serde_json::json!({ "vkey": key.to_string() }),
            ..Self::default()
        }
    }

    /// The leaf's bytes: RFC 8785 JSON with every field present (absent values are null).
    pub(crate) fn encode(self, place: Place<'_>) -> Result<Vec<u8>, DraftError> {
        self.check_fields()?;
        let digest = |hash: Option<Hash>| hash.map_or(Value::Null, |hash| hash.to_string().into());
        let commitments: Vec<Value> = self.commitments.iter().map(|hash| hash.to_string().into()).collect();
        let clock = match place.time.clock() {
            crate::ClockSource::System => "system",
            crate::ClockSource::Synchronised => "synchronised",
            crate::ClockSource::Simulated => "simulated",
        };
        let fields: [(&str, Value); 20] = [
            ("v", LEAF_VERSION.into()),
            ("origin", place.origin.as_str().into()),
            ("seq", place.seq.into()),
            ("prev", place.prev.to_string().into()),
            ("time", place.time.to_string().into()),
            ("clock", clock.into()),
            ("software", place.software.into()),
            ("actor", self.actor.into()),
            ("role", self.role.into()),
            ("site", self.site.into()),
            ("action", self.action.into()),
            ("object", self.object.into()),
            ("old", digest(self.old)),
            ("new", digest(self.new)),
            ("reason", self.reason.into()),
            ("request_id", self.request_id.into()),
            ("policy", digest(self.policy)),
            ("commitments", commitments.into()),
            ("statement", digest(self.statement)),
            ("record", self.record),
        ];
        let object: Map<String, Value> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let bytes = canonical_json(&Value::Object(object))?;
        if bytes.len() > MAX_LEAF_BYTES {
            return Err(DraftError::TooLarge { bytes: bytes.len() });
        }
        Ok(bytes)
    }

    fn check_fields(&self) -> Result<(), DraftError> {
        let named = [
            ("actor", self.actor.as_str()),
            ("role", &self.role),
            ("action", &self.action),
            ("object", &self.object),
            ("request_id", &self.request_id),
            ("reason", &self.reason),
        ];
        if let Some((field, _)) = named.iter().find(|(_, text)| text.is_empty()) {
            return Err(DraftError::Empty { field });
        }
        // These are shown in lists and are keys of the query index, where a NUL ends the value.
        let site = [("site", self.site.as_deref().unwrap_or_default())];
        let controlled = named.iter().chain(&site).find(|(_, text)| text.contains(char::is_control));
        controlled.map_or(Ok(()), |(field, _)| Err(DraftError::ControlCharacter { field }))
    }
}
