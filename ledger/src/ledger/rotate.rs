//! Replacing the key that signs the heads.

use super::Ledger;
use super::errors::AppendError;
use crate::draft::EntryDraft;
use crate::dsse::Envelope;
use crate::records::Record;
use crate::rotation::{LEDGER_KEY_ROTATED, LogKeys, RotationError};
use crate::signer::LogSigner;
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
        let (change, old_vkey, new_vkey) = self.log_keys.check(authorisation)?;
        // Beyond the head, or unreadable: no history of this ledger either.
        if self.root_at(change.trusted_size).ok() != Some(change.trusted_root) {
            return Err(RotationError::OtherHistory { size: change.trusted_size }.into());
        }
        if *new_vkey.public() != next.public() {
            return Err(RotationError::NotALogKey { key: next.public().to_string() }.into());
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
        let index = self.head().size;
        self.commit(vec![draft], now, Some(&*next))?;
        self.signer = next;
        Ok(index)
    }
}
