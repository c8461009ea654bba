//! Reviews on record: signed by the client that is said to have reviewed, of the history that this ledger has.

use konclave_ledger::dsse::Envelope;
use konclave_ledger::records::Record;
use konclave_ledger::statements::{ReviewStatement, StatementError, verify};
use konclave_ledger::{Hash, Leaf, PublicKey};

use crate::folder::AuditError;
use crate::subtrees::TileFiles;

/// Why a recorded review is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReviewFault {
    #[error("{reviewer} is no registered client with an Ed25519 key")]
    NoClient { reviewer: String },
    #[error("the review of {reviewer}: {source}")]
    Statement { reviewer: String, source: StatementError },
    #[error("the entry's {field} is not what {reviewer} signed")]
    Differs { field: &'static str, reviewer: String },
    #[error("the review counts {size} entries, more than there were")]
    TooLarge { size: u64 },
    #[error("the review is of another history: its root is not the tree's at {size} entries")]
    OtherHistory { size: u64 },
}

/// Checks the envelope that a `review.recorded` entry names; `key` is that of the client it names.
pub(crate) fn check(
    envelope: &Envelope,
    key: Option<&PublicKey>,
    leaf: &Leaf,
    record: &Record,
) -> Result<(), ReviewFault> {
    let Record::ReviewRecorded { reviewer, from, size, root, result, .. } = record else { return Ok(()) };
    let name = || reviewer.clone();
    let key = key.ok_or_else(|| ReviewFault::NoClient { reviewer: name() })?;
    let said: ReviewStatement =
        verify(envelope, key).map_err(|source| ReviewFault::Statement { reviewer: name(), source })?;
    let differs = [
        ("reviewer", said.reviewer != *reviewer),
        ("origin", said.origin != leaf.origin.as_str()),
        ("from", said.from != *from),
        ("size", said.size != *size),
        ("root", said.root != *root),
        ("result", said.result != *result),
    ];
    match differs.into_iter().find(|(_, differs)| *differs) {
        Some((field, _)) => Err(ReviewFault::Differs { field, reviewer: name() }),
        None => Ok(()),
    }
}

/// Checks that a recorded review is of a beginning of this ledger. `tiles` are the ledger's, compared with its entries in
/// the same walk.
pub(crate) fn check_history(
    tiles: &TileFiles<'_>,
    leaf: &Leaf,
    size: u64,
    root: &Hash,
) -> Result<Result<(), ReviewFault>, AuditError> {
    if size > leaf.seq {
        return Ok(Err(ReviewFault::TooLarge { size }));
    }
    match tiles.root_at(size) {
        Ok(found) if found == *root => Ok(Ok(())),
        // A broken tile is a finding of its own.
        Ok(_) | Err(AuditError::BrokenTile { .. } | AuditError::NoEntry { .. }) => {
            Ok(Err(ReviewFault::OtherHistory { size }))
        }
        Err(error) => Err(error),
    }
}
