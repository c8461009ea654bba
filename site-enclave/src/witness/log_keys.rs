//! The keys of the log as this site knows them: the one it was enrolled with, and every change of it that the consortium
//! root authorised.
//!
//! The changes are kept with the root's signatures and checked again at every start, so that the file can add no key that
//! the root did not name. A file that is lost costs nothing: the changes are asked for again.

use std::path::Path;

use konclave_crypto::ConsortiumRoot;
use konclave_ledger::checkpoint::CheckpointError;
use konclave_ledger::dsse::Envelope;
use konclave_ledger::rotation::{ChangeReason, KeyChange, RotationError};
use konclave_ledger::{Checkpoint, PublicKey, VerifierKey};

use super::WitnessFault;
use crate::keystore::{Disk, RecordError, RecordKind, decode, encode};

/// One change that was followed.
#[derive(Debug, Clone)]
pub(super) struct Followed {
    envelope: Envelope,
    /// What the root signed.
    pub(super) change: KeyChange,
    key: VerifierKey,
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
        Ok(Followed { envelope: envelope.clone(), change, key })
    }

    pub(super) fn follow(&mut self, followed: Followed) {
        self.followed.push(followed);
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

    /// Reads a head that one of the log's keys signed, as others may show it from earlier times. A key that somebody else
    /// may have counts up to the last head that is known to be the operator's, and not beyond: what it signed there may
    /// be anybody's, and proves nothing against the operator.
    ///
    /// # Errors
    /// [`CheckpointError`] under the present key, if none signed it.
    pub fn read_head(&self, note: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let error = match Checkpoint::verify(note, self.current()) {
            Ok((head, _)) => return Ok(head),
            Err(error) => error,
        };
        let ended = [&self.first].into_iter().chain(self.followed.iter().map(|followed| &followed.key));
        for (key, ending) in ended.zip(&self.followed) {
            let compromised = ending.change.reason == ChangeReason::Compromised;
            match Checkpoint::verify(note, key) {
                Ok((head, _)) if !compromised || head.size <= ending.change.trusted_size => return Ok(head),
                Ok(_) | Err(_) => {}
            }
        }
        Err(error)
    }
}
