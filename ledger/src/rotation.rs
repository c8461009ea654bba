//! Replacing the key that signs a log's checkpoints, on the authority of the consortium root.
//!
//! The operator alone can't do it: whoever stole the old key could otherwise name a key of his own. The root signs a
//! [`KeyChange`]; the entry `ledger.key-rotated` carries it; the head over that entry is signed with both keys, so that
//! readers of the old key see the change proven, and every later one with the new key alone. Where the old key is lost or
//! stolen, the head over the change may lack its signature: readers then need the root's. After a theft,
//! [`KeyChange::trusted_size`] says up to where the old key's heads may be believed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dsse::Envelope;
use crate::enrolment::published_log_key;
use crate::hash::Hash;
use crate::keys::PublicKey;
use crate::leaf::Leaf;
use crate::note::{SignatureType, VerifierKey};
use crate::origin::Origin;
use crate::records::Record;
use crate::statements::{self, Statement, StatementError};

/// The action of an entry that replaces the log's key.
pub const LEDGER_KEY_ROTATED: &str = "ledger.key-rotated";

/// Why a key ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ChangeReason {
    /// Its time was over.
    Scheduled,
    /// It is lost; nobody else has it.
    Lost,
    /// Somebody else has it, or may have it.
    Compromised,
}

/// The change of a log's key, as the consortium root signs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KeyChange {
    /// The log.
    pub origin: Origin,
    /// The key that ends (C2SP vkey).
    pub old_vkey: String,
    /// The key that follows (C2SP vkey).
    pub new_vkey: String,
    /// Why.
    pub reason: ChangeReason,
    /// The size of the last head that the old key is known to have signed rightly.
    pub trusted_size: u64,
    /// The root of that head.
    pub trusted_root: Hash,
    /// When, in seconds since 1970.
    pub made_at: u64,
}

impl Statement for KeyChange {
    const PAYLOAD_TYPE: &'static str = "application/vnd.konclave.key-change.v1+json";
}

/// A key of the log that somebody else has, or may have. What it signed may be anybody's: beyond the trusted head
/// always, and below it too, for whoever has the key can sign a head of any size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StolenKey {
    /// The key (C2SP vkey).
    pub key: String,
    /// The size of the last head that it is known to have signed rightly.
    pub trusted_size: u64,
}

impl fmt::Display for StolenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, trusted_size } = self;
        write!(f, "signed by {key}, which was declared stolen at {trusted_size} entries")
    }
}

/// Why a change of key is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// Not signed by the root, or not a key change.
    #[error("the change of the ledger's key is not authorised by the consortium root: {0}")]
    Unauthorised(#[from] StatementError),
    /// A record that can't be read.
    #[error("the change of the ledger's key holds no readable envelope")]
    Malformed,
    /// The envelope and the record around it differ.
    #[error("the record of the key change says something else than the envelope in it")]
    Differs,
    /// For another log, or after another key.
    #[error("the change replaces the key {old}, but the ledger's key is {current}")]
    OtherKey {
        /// The key that it would replace.
        old: String,
        /// The ledger's key.
        current: String,
    },
    /// The head that the root trusted isn't on this log's history.
    #[error("the change is for a history whose first {size} entries have another root than this ledger's")]
    OtherHistory {
        /// The size of the trusted head.
        size: u64,
    },
    /// The new key was the log's before: heads that it signed then and now could not be told apart.
    #[error("{key} was this log's key before; a key that ended does not come back")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// A change that was planned, without the key that it ends.
    #[error("a scheduled change of key needs the old key's signature; authorise it as lost or compromised")]
    OldKeyNeeded,
    /// The new key isn't a checkpoint key of this log.
    #[error("{key} is not a checkpoint key of this log")]
    NotALogKey {
        /// The key.
        key: String,
    },
}

impl KeyChange {
    /// Checks an envelope: signed by the root, for the log whose key is `current`, from `current` to another key of the
    /// same log. Returns the change and the key that follows.
    ///
    /// # Errors
    /// [`RotationError`].
    pub fn verify(
        envelope: &Envelope,
        root: &PublicKey,
        current: &VerifierKey,
    ) -> Result<(Self, VerifierKey), RotationError> {
        let change: Self = statements::verify(envelope, root)?;
        if change.origin != *current.name() || change.old_vkey != current.to_string() {
            return Err(RotationError::OtherKey { old: change.old_vkey, current: current.to_string() });
        }
        let not_a_log_key = || RotationError::NotALogKey { key: change.new_vkey.clone() };
        let new: VerifierKey = change.new_vkey.parse().map_err(|_| not_a_log_key())?;
        if new.signature_type() != SignatureType::Log || new.name() != current.name() || new == *current {
            return Err(not_a_log_key());
        }
        Ok((change, new))
    }

    /// The key that this change declares stolen, if it is for that reason.
    #[must_use]
    pub fn stolen(&self) -> Option<StolenKey> {
        (self.reason == ChangeReason::Compromised)
            .then(|| StolenKey { key: self.old_vkey.clone(), trusted_size: self.trusted_size })
    }
}

/// The keys of a log as its own entries tell them, each once, checked under the root that its first entry names.
#[derive(Debug, Clone, Default)]
pub struct LogKeys {
    root: Option<PublicKey>,
    keys: Vec<(u64, VerifierKey)>,
    /// The change that ended each key but the last.
    changes: Vec<KeyChange>,
}

impl LogKeys {
    /// Takes the next entry.
    ///
    /// # Errors
    /// [`RotationError`] for a change of key that is not authorised; the keys stay as they were.
    pub fn note(&mut self, leaf: &Leaf) -> Result<(), RotationError> {
        if leaf.seq == 0 {
            self.keys.extend(published_log_key(leaf).map(|key| (0, key)));
            self.root = leaf.record.text("root").and_then(|root| root.parse().ok());
        }
        // Reading every entry's record would cost more than the rest of a walk.
        if leaf.action != LEDGER_KEY_ROTATED {
            return Ok(());
        }
        let Ok(Record::LedgerKeyRotated { old_vkey, new_vkey, authorisation }) =
            Record::parse(&leaf.action, &leaf.record)
        else {
            return Ok(());
        };
        let envelope: Envelope =
            serde_json::from_value(authorisation).map_err(|_| RotationError::Malformed)?;
        let (change, _, new) = self.check(&envelope)?;
        if change.old_vkey != old_vkey || change.new_vkey != new_vkey {
            return Err(RotationError::Differs);
        }
        self.keys.push((leaf.seq, new));
        self.changes.push(change);
        Ok(())
    }

    /// Checks that an envelope may replace the present key now; gives the change, the present key and the next.
    ///
    /// # Errors
    /// [`RotationError`].
    pub fn check(
        &self,
        authorisation: &Envelope,
    ) -> Result<(KeyChange, VerifierKey, VerifierKey), RotationError> {
        let (Some(root), Some(current)) = (&self.root, self.current()) else {
            return Err(RotationError::Malformed);
        };
        let (change, new) = KeyChange::verify(authorisation, root, current)?;
        if self.contains(&new) {
            return Err(RotationError::KeyReused { key: change.new_vkey });
        }
        Ok((change, current.clone(), new))
    }

    /// What the entry names as old and new value.
    #[must_use]
    pub fn digest(key: &VerifierKey) -> Hash {
        Hash::of(key.to_string().as_bytes())
    }

    /// The key of the newest head; none if the first entry publishes none.
    #[must_use]
    pub fn current(&self) -> Option<&VerifierKey> {
        self.keys.last().map(|(_, key)| key)
    }

    /// The key that signs the head of a ledger of `size` entries. The head right after a change carries both keys.
    #[must_use]
    pub fn at_size(&self, size: u64) -> Option<&VerifierKey> {
        self.keys.iter().rev().find(|(entry, _)| *entry < size).map(|(_, key)| key)
    }

    /// The key, if a change declared it stolen.
    #[must_use]
    pub fn stolen(&self, key: &VerifierKey) -> Option<StolenKey> {
        let ending = self.keys.iter().position(|(_, known)| known == key)?;
        self.changes.get(ending)?.stolen()
    }

    /// Whether `key` ever signed for this log.
    #[must_use]
    pub fn contains(&self, key: &VerifierKey) -> bool {
        self.keys.iter().any(|(_, known)| known == key)
    }
}
