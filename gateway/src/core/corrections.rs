//! Corrections: what an entry should say, and why. The entry itself stays.

use konclave_ledger::Leaf;
use konclave_ledger::records::Record;
use konclave_openapi::corrections::{Correction, NewCorrection};
use serde_json::Value;

use super::statements::field;
use super::{App, Caller, CommandError, Entry, digest_of};
use crate::error::ApiError;

/// The longest reason, in bytes.
const MAX_REASON: usize = 1000;
/// The longest pointer, in bytes.
const MAX_POINTER: usize = 512;

impl App {
    /// Records a correction; the index of its entry.
    ///
    /// # Errors
    /// [`ApiError`]; nothing was recorded.
    pub async fn correct_entry(&self, caller: &Caller, new: NewCorrection) -> Result<u64, ApiError> {
        let reason = reason(&new.reason)?;
        let held = self.lock("corrections").await;
        if let Some(entry) = self.repeated(caller)? {
            return Ok(entry);
        }
        // Only what the state has folded can be corrected: a correction never names itself or a later entry.
        let known = if new.entry < self.state().size {
            self.stored_leaves(vec![new.entry]).await?
        } else {
            Vec::new()
        };
        let stored = known.first().ok_or_else(|| ApiError::not_found(format!("entry {}", new.entry)))?;
        let leaf = parsed(stored)?;
        let was = value_at(stored, &leaf, &new.field)?;
        match self.last_correction(&new).await? {
            Some(standing) if standing.is == new.is => {
                return Err(ApiError::conflict(format!("entry {} says so already", standing.recorded_in)));
            }
            // What was corrected wrongly may be corrected back to what it was.
            Some(_) => {}
            None if was == new.is => return Err(refused("/is", "is what the entry says")),
            None => {}
        }
        let digest = |value: &Value| digest_of(value).map_err(CommandError::from);
        let (old, now) = (digest(&was)?, digest(&new.is)?);
        let object = format!("ledger/entries/{}", new.entry);
        let record = Record::EntryCorrected { entry: new.entry, field: new.field, was, is: new.is };
        let mut entry = Entry::new(object, reason, record).changing(Some(old), Some(now));
        entry.site = leaf.site;
        self.append_one(&held, caller, entry).await
    }

    /// The corrections that these entries record, in their order.
    ///
    /// # Errors
    /// [`ApiError::Internal`] if they cannot be read.
    pub async fn corrections(&self, indexes: Vec<u64>) -> Result<Vec<Correction>, ApiError> {
        let stored = self.stored_leaves(indexes).await?;
        let mut corrections = Vec::with_capacity(stored.len());
        for stored in stored {
            let leaf = parsed(&stored)?;
            let record = Record::parse(&leaf.action, &leaf.record).map_err(ApiError::internal)?;
            let Record::EntryCorrected { entry, field, was, is } = record else {
                return Err(ApiError::internal(format!("entry {} is no correction", leaf.seq)));
            };
            let corrected_by = self.state().corrections.get(&leaf.seq).cloned().unwrap_or_default();
            corrections.push(Correction {
                recorded_in: leaf.seq,
                entry,
                field,
                was,
                is,
                reason: leaf.reason,
                actor: leaf.actor,
                role: leaf.role,
                time: leaf.time,
                corrected_by,
            });
        }
        Ok(corrections)
    }

    /// The latest correction of the same field.
    async fn last_correction(&self, new: &NewCorrection) -> Result<Option<Correction>, ApiError> {
        let before = self.state().corrections.get(&new.entry).cloned().unwrap_or_default();
        Ok(self.corrections(before).await?.into_iter().rfind(|known| known.field == new.field))
    }

    async fn stored_leaves(&self, indexes: Vec<u64>) -> Result<Vec<Vec<u8>>, ApiError> {
        let read = self.ledger().read(move |ledger| ledger.stored_entries(&indexes)).await;
        read.map_err(CommandError::from)?.map_err(ApiError::internal)
    }
}

fn parsed(stored: &[u8]) -> Result<Leaf, ApiError> {
    Leaf::parse(stored).map_err(ApiError::internal)
}

fn reason(text: &str) -> Result<&str, ApiError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(refused("/reason", "must say why"));
    }
    if text.len() > MAX_REASON || text.contains(char::is_control) {
        return Err(refused("/reason", "must be one line of at most 1000 bytes"));
    }
    Ok(text)
}

/// What the field says, if it is one that can be corrected.
fn value_at(stored: &[u8], leaf: &Leaf, pointer: &str) -> Result<Value, ApiError> {
    if !pointer.starts_with('/') || pointer.len() > MAX_POINTER {
        return Err(refused("/field", "is no JSON pointer such as /record/purpose, of at most 512 bytes"));
    }
    let inside = |field: &str| pointer.strip_prefix(field).is_some_and(|rest| rest.starts_with('/'));
    let correctable = if leaf.action == "entry.corrected" {
        // Which entry and field it is about and what they say is not its author's word.
        ["/reason", "/record/is"].contains(&pointer) || inside("/record/is")
    } else {
        ["/site", "/object", "/reason"].contains(&pointer) || inside("/record")
    };
    if !correctable {
        let detail = "is fixed: who did what when, under which rules and at which place of the ledger, is never \
                      corrected; of an entry /site, /object, /reason and what is inside /record can be, of a \
                      correction /reason and /record/is";
        return Err(refused("/field", detail));
    }
    let value: Value = serde_json::from_slice(stored).map_err(ApiError::internal)?;
    value.pointer(pointer).cloned().ok_or_else(|| refused("/field", "is not a field of the entry"))
}

fn refused(at: &str, detail: &str) -> ApiError {
    ApiError::rejected_at(format!("the correction is refused: {at} {detail}"), vec![field(at, detail)])
}
