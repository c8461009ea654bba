//! What is still written when the disk is full.
//!
//! The ledger keeps disk space back ([`konclave_ledger::Ledger::spend_reserve`]). Work of every day is appended only
//! while all of that is there: a full disk refuses it, and so does one on which the reserve was spent and cannot be had
//! back. What cannot wait, or what makes room, is appended from the reserve, a part of it at a time. The reserve is taken
//! again as soon as there is space for it; no restart is needed.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use konclave_ledger::records::Record;
use konclave_ledger::{EntryDraft, ReserveState};

use super::{Pending, Stop, Thread, WriterError};

impl Pending {
    /// Whether all of its entries are worth the reserve.
    pub(super) fn is_urgent(&self) -> bool {
        self.entries.iter().all(|entry| is_urgent(&entry.record))
    }
}

/// What may be written from the reserve: erasures, which a person has a right to; the ends of rounds and jobs, which say
/// why nothing more comes of them and free their messages; the ends of keys, for it may be their owners who filled the disk;
/// what the operator and the council put right; and that witnesses are missing. None of them can be had in any number by somebody outside.
const fn is_urgent(record: &Record) -> bool {
    matches!(
        record,
        Record::OpeningErased { .. }
            | Record::RoundAborted { .. }
            | Record::JobAborted { .. }
            | Record::SiteRevoked { .. }
            | Record::ClientRevoked { .. }
            | Record::EntryCorrected { .. }
            | Record::WitnessStatus { .. }
    )
}

impl Thread {
    /// Whether the reserve is whole, or is again, so that work of every day may be written.
    pub(super) fn has_room(&self) -> bool {
        let state = self.ledger.read().unwrap_or_else(PoisonError::into_inner).reserve_state();
        match state {
            ReserveState::Off | ReserveState::Held => true,
            ReserveState::Missing => {
                let taken = self.write().take_reserve().is_ok();
                if taken {
                    tracing::info!("there is space for the ledger's reserve again");
                }
                taken
            }
        }
    }

    /// Appends from the reserve, giving up as much of it as the entries need.
    pub(super) fn store_from_reserve(
        &self,
        drafts: &[EntryDraft],
    ) -> Result<Result<Vec<u64>, WriterError>, Stop> {
        loop {
            let spent = self.write().spend_reserve();
            match spent {
                Ok(0) => return Ok(Err(WriterError::DiskFull)),
                Ok(bytes) => tracing::warn!(bytes, "the disk is full: an entry is written from the reserve"),
                Err(error) => return Ok(Err(WriterError::Refused { reason: error.to_string() })),
            }
            match self.store(drafts.to_vec())? {
                Err(WriterError::DiskFull) => {}
                stored => {
                    // What the entries did not need, if nobody else took it meanwhile.
                    self.has_room();
                    return Ok(stored);
                }
            }
        }
    }

    /// Tells the operator once, not for every command that is refused.
    pub(super) fn tell_full(&self, full: bool) {
        if self.full.swap(full, Ordering::SeqCst) != full {
            if full {
                tracing::error!(
                    "the ledger's disk is full: only what is urgent is still written; make space"
                );
            } else {
                tracing::info!("the ledger's disk has space again");
            }
        }
    }
}
