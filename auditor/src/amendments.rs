//! Entries about earlier entries: corrections, and openings of commitments that were erased.

use std::collections::HashSet;

use konclave_ledger::records::Record;
use konclave_ledger::{Hash, Leaf};
use serde_json::Value;

use crate::folder::{AuditError, Folder};
use crate::show::show_in;

/// Why an entry about an earlier one is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AmendmentFault {
    #[error("it is about entry {entry}, which does not come before it")]
    NotEarlier { entry: u64 },
    #[error("it is about entry {entry}, which is unreadable")]
    Unreadable { entry: u64 },
    #[error("it corrects {field} of entry {entry}, but there is no such field")]
    NoField { entry: u64, field: String },
    #[error("it says that {field} of entry {entry} was another value than it is")]
    WasOther { entry: u64, field: String },
    #[error("it corrects {field} of entry {entry} to what it says already")]
    Unchanged { entry: u64, field: String },
    #[error("it erases the opening of a commitment that entry {entry} does not carry")]
    NoCommitment { entry: u64 },
    #[error("the opening of this commitment of entry {entry} was erased before")]
    ErasedBefore { entry: u64 },
}

/// Remembers which openings were erased: 40 bytes for each.
#[derive(Debug, Default)]
pub(crate) struct Amendments {
    erased: HashSet<(u64, Hash)>,
}

impl Amendments {
    /// Checks an entry, if it is about an earlier one. `leaf` is the entry, in a ledger of `size` entries.
    pub(crate) fn entry(
        &mut self,
        folder: &Folder,
        size: u64,
        leaf: &Leaf,
        record: &Record,
    ) -> Result<Result<(), AmendmentFault>, AuditError> {
        let (Record::EntryCorrected { entry, .. } | Record::OpeningErased { entry, .. }) = record else {
            return Ok(Ok(()));
        };
        let entry = *entry;
        if entry >= leaf.seq {
            return Ok(Err(AmendmentFault::NotEarlier { entry }));
        }
        let earlier = match show_in(folder, entry, size) {
            Ok(shown) => shown.leaf,
            Err(AuditError::NoEntry { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(earlier) = earlier else { return Ok(Err(AmendmentFault::Unreadable { entry })) };
        if let Record::EntryCorrected { field, was, is, .. } = record {
            return Ok(corrects(&earlier, field, was, is));
        }
        if let Record::OpeningErased { commitment, .. } = record {
            if !earlier.commitments.contains(commitment) {
                return Ok(Err(AmendmentFault::NoCommitment { entry }));
            }
            if !self.erased.insert((entry, *commitment)) {
                return Ok(Err(AmendmentFault::ErasedBefore { entry }));
            }
        }
        Ok(Ok(()))
    }
}

fn corrects(earlier: &Leaf, field: &str, was: &Value, is: &Value) -> Result<(), AmendmentFault> {
    let (entry, name) = (earlier.seq, || field.to_owned());
    let whole = serde_json::to_value(earlier).unwrap_or_default();
    // The empty pointer is the whole entry, which no correction can be about.
    let said = whole.pointer(field).filter(|_| !field.is_empty());
    let said = said.ok_or_else(|| AmendmentFault::NoField { entry, field: name() })?;
    if said != was {
        return Err(AmendmentFault::WasOther { entry, field: name() });
    }
    if is == was { Err(AmendmentFault::Unchanged { entry, field: name() }) } else { Ok(()) }
}
