//! Messages that exist once: prepared, entered in the journal, then named.
//!
//! ```text
//! after a power cut ...            a restart finds            and
//! before the journal line          no decision                decides anew; nothing was sent
//! after it, before the name        decision + prepared file   gives the file its name
//! after the name                   decision + file            sends the same bytes again
//! ```

use std::path::{Path, PathBuf};

use konclave_crypto::{Digest, JobId};
use zeroize::Zeroizing;

use super::disk::Disk;
use super::error::StateError;
use super::journal::{Decision, Journal};
use super::record::{self, RecordKind};

/// The files and the journal of one job.
#[derive(Debug)]
pub(super) struct OnceFiles {
    pub(super) job: JobId,
    pub(super) disk: Disk,
    pub(super) folder: PathBuf,
    pub(super) journal: Journal,
}

/// A message and its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) kind: RecordKind,
    pub(super) decision: Decision,
    /// 0 for the key set-up.
    pub(super) round: u32,
    pub(super) name: &'static str,
}

impl OnceFiles {
    /// The folder of a round, or of the job for round 0.
    pub(super) fn folder_of(&self, round: u32) -> PathBuf {
        if round == 0 { self.folder.clone() } else { self.folder.join("rounds").join(round.to_string()) }
    }

    pub(super) fn path(&self, round: u32, name: &str) -> PathBuf {
        self.folder_of(round).join(name)
    }

    /// Stores a message of `N` parts for good; the last part is what is sent and what the journal names.
    pub(super) fn store<const N: usize>(&mut self, slot: Slot, parts: [&[u8]; N]) -> Result<(), StateError> {
        let path = self.path(slot.round, slot.name);
        let message = parts.last().copied().unwrap_or_default();
        let prepared = self.disk.prepare(&path, &record::encode(slot.kind, &parts))?;
        self.journal.decide(slot.decision, slot.round, Digest::of(message))?;
        prepared.commit()?;
        Ok(())
    }

    /// The stored message, if it was decided.
    pub(super) fn load<const N: usize>(
        &mut self,
        slot: Slot,
    ) -> Result<Option<[Zeroizing<Vec<u8>>; N]>, StateError> {
        if self.journal.decided(Decision::Closed, slot.round).is_some() {
            return Err(StateError::Closed { job: self.job.clone(), round: slot.round });
        }
        let path = self.path(slot.round, slot.name);
        let decided = self.journal.decided(slot.decision, slot.round);
        if let Some(content) = self.disk.read(&path)? {
            let parts = self.parse(&path, slot, &content)?;
            let digest = Digest::of(parts.last().map_or(&[][..], |message| message.as_slice()));
            // A journal that lost the line gets it back; one that has another refuses.
            self.journal.decide(slot.decision, slot.round, digest)?;
            return Ok(Some(parts));
        }
        let prepared = self.disk.prepared(&path);
        match (decided, prepared) {
            (None, None) => Ok(None),
            (None, Some(undecided)) => {
                undecided.discard()?;
                Ok(None)
            }
            (Some(digest), Some(prepared)) => {
                let parts = self.parse::<N>(&path, slot, &prepared.content()?)?;
                if parts.last().is_none_or(|message| Digest::of(message) != digest) {
                    return Err(self.rolled_back(slot));
                }
                prepared.commit()?;
                Ok(Some(parts))
            }
            (Some(_), None) => Err(self.rolled_back(slot)),
        }
    }

    fn parse<const N: usize>(
        &self,
        path: &Path,
        slot: Slot,
        content: &[u8],
    ) -> Result<[Zeroizing<Vec<u8>>; N], StateError> {
        record::decode(slot.kind, content)
            .map_err(|source| StateError::Record { path: path.to_path_buf(), source })
    }

    fn rolled_back(&self, slot: Slot) -> StateError {
        StateError::RolledBack { decision: slot.decision, round: slot.round, job: self.job.clone() }
    }

    /// Stores a secret; an older one under the same name is overwritten.
    pub(super) fn store_secret(
        &self,
        kind: RecordKind,
        round: u32,
        name: &str,
        secret: &[u8],
    ) -> Result<(), StateError> {
        Ok(self.disk.replace_secret(&self.path(round, name), &record::encode(kind, &[secret]))?)
    }

    /// A stored secret.
    pub(super) fn secret(
        &self,
        kind: RecordKind,
        round: u32,
        name: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
        let path = self.path(round, name);
        let Some(content) = self.disk.read(&path)? else { return Ok(None) };
        let [secret] =
            record::decode(kind, &content).map_err(|source| StateError::Record { path, source })?;
        Ok(Some(secret))
    }

    /// Erases files of a round.
    pub(super) fn erase(&self, round: u32, names: &[&str]) -> Result<(), StateError> {
        for name in names {
            self.disk.erase(&self.path(round, name))?;
            if let Some(prepared) = self.disk.prepared(&self.path(round, name)) {
                prepared.discard()?;
            }
        }
        Ok(())
    }
}
