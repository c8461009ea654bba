//! Replacing the key that signs the heads.
//!
//! With the old key at hand the head over the change carries both keys' signatures, so that a reader who knows the old key
//! alone sees who vouches for the new one. Where the old key is gone, or is not worth anything, the consortium root's word
//! is enough for everybody who knows the root.

use std::path::Path;

use super::errors::{AppendError, OpenError, StorageFailure};
use super::lock::FolderLock;
use super::{Ledger, LedgerOptions};
use crate::draft::EntryDraft;
use crate::dsse::Envelope;
use crate::keys::PublicKey;
use crate::note::VerifierKey;
use crate::records::Record;
use crate::rotation::{ChangeReason, KeyChange, LEDGER_KEY_ROTATED, LogKeys, RotationError};
use crate::signer::LogSigner;
use crate::storage::{FileStorage, Storage};
use crate::timestamp::Timestamp;

impl Ledger {
    /// Appends the change of key that the consortium root authorised; its head carries both keys' signatures, every
    /// later one only that of `next`. Returns the entry's index.
    ///
    /// `draft` says who does it and why; its action and record are set here. After a crash the ledger opens with the
    /// old key if the change is not in it, and with the next one if it is ([`super::OpenError::KeySuperseded`] tells).
    ///
    /// # Errors
    /// [`AppendError::Rotation`] if the change is not authorised or names another key than `next`; otherwise as for
    /// [`Ledger::append`].
    pub fn rotate_key(
        &mut self,
        next: Box<dyn LogSigner>,
        authorisation: &Envelope,
        draft: EntryDraft,
        now: Timestamp,
    ) -> Result<u64, AppendError> {
        let (_, draft) = self.change_of_key(next.public(), authorisation, draft)?;
        let index = self.head().size;
        self.commit(vec![draft], now, Some(&*next))?;
        self.signer = next;
        Ok(index)
    }

    /// The entry that puts `next` in the present key's place, if the root authorised it for this history.
    fn change_of_key(
        &self,
        next: PublicKey,
        authorisation: &Envelope,
        draft: EntryDraft,
    ) -> Result<(KeyChange, EntryDraft), AppendError> {
        let (change, old_vkey, new_vkey) = self.log_keys.check(authorisation)?;
        // Beyond the head, or unreadable: no history of this ledger either.
        if self.root_at(change.trusted_size).ok() != Some(change.trusted_root) {
            return Err(RotationError::OtherHistory { size: change.trusted_size }.into());
        }
        if *new_vkey.public() != next {
            return Err(RotationError::NotALogKey { key: next.to_string() }.into());
        }
        let record = Record::LedgerKeyRotated {
            old_vkey: old_vkey.to_string(),
            new_vkey: new_vkey.to_string(),
            authorisation: serde_json::to_value(authorisation).map_err(|_| RotationError::Malformed)?,
        };
        let draft = EntryDraft {
            action: LEDGER_KEY_ROTATED.to_owned(),
            object: format!("ledger/{}", self.origin),
            old: Some(LogKeys::digest(&old_vkey)),
            new: Some(LogKeys::digest(&new_vkey)),
            record: record.to_value().map_err(|_| RotationError::Malformed)?,
            ..draft
        };
        Ok((change, draft))
    }
}

/// A ledger whose key is gone: it can be read, and take the change to the next key.
#[derive(Debug)]
pub struct KeylessLedger(Ledger);

impl KeylessLedger {
    /// Opens and verifies the ledger in the folder `dir` under the key that is gone. The signer of `options` is the next
    /// key; it signs nothing before [`KeylessLedger::replace_key`].
    ///
    /// # Errors
    /// As for [`Ledger::open`].
    pub fn open(dir: &Path, options: LedgerOptions, gone: &VerifierKey) -> Result<Self, OpenError> {
        let storage =
            FileStorage::new(dir).map_err(StorageFailure::of("create the folder", &dir.display()))?;
        let lock = FolderLock::acquire(dir)?;
        Ledger::open_with(Box::new(storage), None, Some(lock), options, Some(gone)).map(Self)
    }

    /// Opens such a ledger on any storage, as [`Ledger::open_on`] does.
    ///
    /// # Errors
    /// As for [`Ledger::open`].
    pub fn open_on(
        storage: Box<dyn Storage>,
        options: LedgerOptions,
        gone: &VerifierKey,
    ) -> Result<Self, OpenError> {
        Ledger::open_with(storage, None, None, options, Some(gone)).map(Self)
    }

    /// The ledger, to read.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.0
    }

    /// Appends the change of key that the consortium root authorised because the old one is lost or stolen. Its head
    /// carries the next key's signature alone: who knows the root follows it, who knows only the old key stops there.
    ///
    /// # Errors
    /// [`AppendError::Rotation`] if the change is not authorised, is for another key, or is one that needs the old key.
    pub fn replace_key(
        self,
        authorisation: &Envelope,
        draft: EntryDraft,
        now: Timestamp,
    ) -> Result<Ledger, AppendError> {
        let Self(mut ledger) = self;
        let (change, draft) = ledger.change_of_key(ledger.signer.public(), authorisation, draft)?;
        if change.reason == ChangeReason::Scheduled {
            return Err(RotationError::OldKeyNeeded.into());
        }
        ledger.commit(vec![draft], now, None)?;
        Ok(ledger)
    }
}
