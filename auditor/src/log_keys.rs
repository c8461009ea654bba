//! Which key must have signed a head, from what the reader knows and from what the log tells about its keys.

use std::fmt;
use std::ops::ControlFlow;

use konclave_crypto::ConsortiumRoot;
use konclave_ledger::checkpoint::CheckpointError;
use konclave_ledger::enrolment::{EnrolledKeys, SITE_ENROLLED, SITE_REVOKED};
use konclave_ledger::note::{SignatureLine, SignedNote};
use konclave_ledger::rotation::{LogKeys, RotationError, StolenKey};
use konclave_ledger::{Checkpoint, Leaf, VerifierKey};
use serde::Serialize;

use crate::entries::{self, Flaws};
use crate::folder::{AuditError, Folder};
use crate::report::KeySource;

/// How the stored bytes of an entry with an action begin: canonical JSON sorts `action` before all other fields.
pub(crate) fn has_action(stored: &[u8], action: &str) -> bool {
    let rest = stored.strip_prefix(b"{\"action\":\"").and_then(|rest| rest.strip_prefix(action.as_bytes()));
    rest.is_some_and(|rest| rest.starts_with(b"\""))
}

/// The action of an entry that replaces the log's key.
pub(crate) const KEY_ROTATED: &str = "ledger.key-rotated";

/// The key that must have signed a head, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeadKey {
    pub(crate) key: VerifierKey,
    pub(crate) source: KeySource,
}

/// A head that only a key signed which was declared stolen: whoever has the key can have signed it. It is not accepted,
/// and it is no evidence against the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Theft {
    /// The key, and up to where it is trusted.
    #[serde(flatten)]
    pub stolen: StolenKey,
    /// Whether the consortium root that declared it is one that the reader knows; else it is the log's own word.
    pub root_is_known: bool,
}

impl fmt::Display for Theft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: it proves nothing against the operator", self.stolen)?;
        if self.root_is_known {
            Ok(())
        } else {
            f.write_str(", if the consortium declared it: that is the log's own word until you give the root with --root")
        }
    }
}

/// What the reader knows of a log, and what the log says of its keys.
#[derive(Debug, Default)]
pub(crate) struct LogIdentity {
    pub(crate) keys: LogKeys,
    /// Every key that the log says it had.
    pub(crate) known: Vec<VerifierKey>,
    /// The witnesses that the log enrolled, where its entries were read for them.
    pub(crate) enrolled: EnrolledKeys,
    /// The key that the reader knows.
    pub(crate) given: Option<VerifierKey>,
    /// Whether the reader knows the consortium root, and the log names the same.
    pub(crate) root_is_known: bool,
}

impl LogIdentity {
    /// Reads the log's keys out of its entries, as far as they are there.
    pub(crate) fn read(
        folder: &Folder,
        size: u64,
        given: Option<VerifierKey>,
        root: Option<ConsortiumRoot>,
    ) -> Result<Self, AuditError> {
        let mut identity = Self { given, ..Self::default() };
        entries::each(folder, 0..size, size, &mut Flaws::default(), |entry, _| {
            if (entry.index == 0 || has_action(entry.stored, KEY_ROTATED))
                && let Ok(leaf) = Leaf::parse(entry.stored)
            {
                if entry.index == 0 {
                    identity.root_is_known = root.is_some_and(|root| names_root(&leaf, root));
                }
                // A change that is not authorised leaves the keys as they were.
                let _ = identity.note(&leaf);
            }
            if (has_action(entry.stored, SITE_ENROLLED) || has_action(entry.stored, SITE_REVOKED))
                && let Ok(leaf) = Leaf::parse(entry.stored)
            {
                // An unreadable enrolment is the entry's own defect: `verify` names it.
                let _ = identity.enrolled.note(&leaf);
            }
            Ok::<_, AuditError>(ControlFlow::Continue(()))
        })?;
        Ok(identity)
    }

    /// Takes an entry that may be about the log's key; gives whether the key is another after it.
    ///
    /// # Errors
    /// [`RotationError`] for a change that is not authorised; the keys stay as they were.
    pub(crate) fn note(&mut self, leaf: &Leaf) -> Result<bool, RotationError> {
        self.keys.note(leaf)?;
        let Some(current) = self.keys.current() else { return Ok(false) };
        let changed = self.known.last() != Some(current);
        if changed {
            self.known.push(current.clone());
        }
        Ok(changed)
    }

    /// The key of a head of `size` entries; `None` if none is known.
    ///
    /// # Errors
    /// [`AuditError::KeyReplaced`] if the reader knows only an earlier key, and not the root that authorised the change:
    /// whoever forges a log could name a root of his own in it.
    pub(crate) fn key_at(&self, size: u64, note: &SignedNote) -> Result<Option<HeadKey>, AuditError> {
        let said = self.keys.at_size(size);
        let Some(given) = &self.given else {
            let key = said.cloned();
            return Ok(key.map(|key| HeadKey { key, source: KeySource::FromTheLogItself }));
        };
        match said {
            Some(said) if said != given && self.keys.contains(given) => {
                if !self.root_is_known && !is_signed_by(note, given) {
                    return Err(AuditError::KeyReplaced {
                        given: given.to_string(),
                        current: said.to_string(),
                    });
                }
                Ok(Some(HeadKey { key: said.clone(), source: KeySource::FollowsFromTheGiven }))
            }
            _ => Ok(Some(HeadKey { key: given.clone(), source: KeySource::Given })),
        }
    }

    /// Whether all that speaks for a head is a key that was declared stolen. Up to the trusted head a witness's cosignature
    /// speaks for it too: the thief of the log's key has no witness's.
    pub(crate) fn theft(&self, head: &Checkpoint, note: &SignedNote) -> Option<Theft> {
        let mut found = None;
        for key in self.known.iter().chain(&self.given).filter(|key| is_signed_by(note, key)) {
            found = Some(self.keys.stolen(key)?);
        }
        let stolen = found?;
        let vouches = |line| matches!(self.enrolled.check_cosignature(line, head), Some(Ok(_)));
        let vouched = head.size <= stolen.trusted_size && note.signatures.iter().any(vouches);
        (!vouched).then_some(Theft { stolen, root_is_known: self.root_is_known })
    }

    /// The keys of the log, former ones included, that a signature line claims to be by.
    pub(crate) fn keys_for<'a>(&'a self, line: &'a SignatureLine) -> impl Iterator<Item = &'a VerifierKey> {
        self.known.iter().chain(&self.given).filter(|key| key.claims(line))
    }

    /// Checks the log's signature under a head.
    pub(crate) fn check(
        &self,
        head: &Checkpoint,
        note: &SignedNote,
    ) -> Result<Result<HeadKey, CheckpointError>, AuditError> {
        let by = self.key_at(head.size, note)?.ok_or(AuditError::NoKey)?;
        Ok(Checkpoint::verify(note.to_string().as_bytes(), &by.key).map(|_| by))
    }
}

/// Whether the note carries a valid signature by `key`.
pub(crate) fn is_signed_by(note: &SignedNote, key: &VerifierKey) -> bool {
    Checkpoint::verify(note.to_string().as_bytes(), key).is_ok()
}

/// Whether a log's first entry names this consortium root.
pub(crate) fn names_root(first: &Leaf, root: ConsortiumRoot) -> bool {
    first.record.text("root").is_some_and(|named| named == root.0.to_string())
}
