//! How the records about the ledger itself change the state.

use konclave_ledger::records::Record;

use super::apply::Place;
use super::{FoldError, ReviewState, State, WitnessStatusState};

impl State {
    pub(super) fn fold_audit(&mut self, place: &Place, record: Record) -> Result<(), FoldError> {
        let field = |field| FoldError::Field { index: place.index, action: place.action, field };
        if let Record::EntryCorrected { entry, .. } = record {
            if entry >= place.index {
                return Err(field("entry"));
            }
            self.corrections.entry(entry).or_default().push(place.index);
        } else if let Record::OpeningErased { commitment, entry, .. } = record {
            if entry >= place.index {
                return Err(field("entry"));
            }
            self.erased.entry(commitment).or_insert(place.index);
        } else if let Record::ReviewRecorded { reviewer, from, size, root, result, statement } = record {
            if size > place.index || from > size {
                return Err(field("size"));
            }
            let (entry, time) = (place.index, place.time.clone());
            self.reviews.push(ReviewState { reviewer, from, size, root, result, statement, entry, time });
        } else if let Record::WitnessStatus { quorum, witnessed, .. } = record {
            self.witness_status = Some(WitnessStatusState { quorum, witnessed, entry: place.index });
        } else {
            return Err(place.misplaced(&record));
        }
        Ok(())
    }
}
