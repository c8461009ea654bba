//! The keys of the log as this site knows them: the one it was enrolled with, and every change of it that the consortium
//! root authorised.
//!
//! The changes are kept with the root's signatures and checked again at every start, so that the file can add no key that
//! the root did not name. A file that is lost costs nothing: the changes are asked for again, and nothing is accepted
//! until they lead to the key that signed the head which this site has seen ([`super::Witness`]).

use std::path::Path;

use konclave_crypto::ConsortiumRoot;
use konclave_ledger::checkpoint::CheckpointError;
use konclave_ledger::dsse::Envelope;
use konclave_ledger::note::SignatureLine;
use konclave_ledger::rotation::{KeyChange, RotationError, StolenKey};
use konclave_ledger::{Checkpoint, PublicKey, VerifierKey};
use konclave_openapi::witnesses::KeyChangeView;

use super::WitnessFault;
use crate::keystore::{Disk, RecordError, RecordKind, decode, encode};

/// One change that was followed.
#[derive(Debug, Clone)]
pub(super) struct Followed {
    envelope: Envelope,
    /// What the root signed.
    pub(super) change: KeyChange,
    /// The key that follows.
    pub(super) key: VerifierKey,
}

/// A head that a key of the log signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// The head.
    pub head: Checkpoint,
    /// The key, if it was declared stolen: the head is not to be accepted on its word, and proves nothing against the
    /// operator.
    pub stolen: Option<StolenKey>,
}

/// The keys of one log, oldest first.
#[derive(Debug, Clone)]
pub struct KnownKeys {
    root: PublicKey,
    first: VerifierKey,
    followed: Vec<Followed>,
}

impl KnownKeys {
    /// The key of the enrolment alone.
    #[must_use]
    pub fn new(first: VerifierKey, root: &ConsortiumRoot) -> Self {
        Self { root: PublicKey(*root.0.as_bytes()), first, followed: Vec::new() }
    }

    /// The key of the enrolment, and the stored changes of it.
    ///
    /// # Errors
    /// [`WitnessFault::Disk`] or [`WitnessFault::LogKeys`].
    pub fn open(
        disk: &Disk,
        path: &Path,
        first: VerifierKey,
        root: &ConsortiumRoot,
    ) -> Result<Self, WitnessFault> {
        let mut keys = Self::new(first, root);
        let Some(bytes) = disk.read(path)? else { return Ok(keys) };
        let damaged = |source| WitnessFault::LogKeys { path: path.to_path_buf(), source };
        let [stored] = decode(RecordKind::LogKeys, &bytes).map_err(damaged)?;
        let stored: Vec<Envelope> =
            serde_json::from_slice(&stored).map_err(|_| damaged(RecordError::Malformed))?;
        for envelope in stored {
            // A site that enrolled anew begins with a later key: what led there is not needed any more.
            if let Ok(followed) = keys.next(&envelope) {
                keys.follow(followed);
            }
        }
        Ok(keys)
    }

    /// The key that signs the heads now.
    #[must_use]
    pub fn current(&self) -> &VerifierKey {
        self.followed.last().map_or(&self.first, |followed| &followed.key)
    }

    /// Checks that the root put another key in the present one's place.
    pub(super) fn next(&self, envelope: &Envelope) -> Result<Followed, RotationError> {
        let (change, key) = KeyChange::verify(envelope, &self.root, self.current())?;
        if self.all().any(|known| *known == key) {
            return Err(RotationError::KeyReused { key: change.new_vkey });
        }
        Ok(Followed { envelope: envelope.clone(), change, key })
    }

    pub(super) fn follow(&mut self, followed: Followed) {
        self.followed.push(followed);
    }

    fn all(&self) -> impl Iterator<Item = &VerifierKey> {
        [&self.first].into_iter().chain(self.followed.iter().map(|followed| &followed.key))
    }

    /// Whether a signature line claims to be by one of these keys.
    pub(super) fn claim(&self, line: &SignatureLine) -> bool {
        self.all().any(|key| key.claims(line))
    }

    /// Whether the root's changes lead from a key that signed the note to the first one of these: the note is from before
    /// the enrolment.
    pub(super) fn follow_from(&self, note: &[u8], changes: &[KeyChangeView]) -> bool {
        let mut key: Option<VerifierKey> = None;
        for view in changes {
            let old = key.take().or_else(|| {
                let old: VerifierKey = view.old_vkey.parse().ok()?;
                Checkpoint::verify(note, &old).is_ok().then_some(old)
            });
            let Some(old) = old else { continue };
            match KeyChange::verify(&view.authorisation, &self.root, &old) {
                Ok((_, new)) if new == self.first => return true,
                Ok((_, new)) => key = Some(new),
                Err(_) => return false,
            }
        }
        false
    }

    /// The changes from the `known`th on.
    pub(super) fn changes_since(&self, known: &Self) -> &[Followed] {
        self.followed.get(known.followed.len()..).unwrap_or_default()
    }

    /// Makes the changes durable.
    pub(super) fn store(&self, disk: &Disk, path: &Path) -> Result<(), WitnessFault> {
        let envelopes: Vec<&Envelope> = self.followed.iter().map(|followed| &followed.envelope).collect();
        let damaged = |_| WitnessFault::LogKeys { path: path.to_path_buf(), source: RecordError::Malformed };
        let json = serde_json::to_vec(&envelopes).map_err(damaged)?;
        Ok(disk.write(path, &encode(RecordKind::LogKeys, &[&json]))?)
    }

    /// Reads a head that one of the log's keys signed, as others may show it from earlier times; says so if that key was
    /// declared stolen, and no other one signed the head.
    ///
    /// # Errors
    /// [`CheckpointError`] under the present key, if none signed it.
    pub fn read_head(&self, note: &[u8]) -> Result<SignedHead, CheckpointError> {
        let error = match Checkpoint::verify(note, self.current()) {
            Ok((head, _)) => return Ok(SignedHead { head, stolen: None }),
            Err(error) => error,
        };
        let mut by_stolen = None;
        for (key, ending) in self.all().zip(&self.followed) {
            let Ok((head, _)) = Checkpoint::verify(note, key) else { continue };
            let stolen = ending.change.stolen();
            if stolen.is_none() {
                return Ok(SignedHead { head, stolen });
            }
            by_stolen = Some(SignedHead { head, stolen });
        }
        by_stolen.ok_or(error)
    }
}
