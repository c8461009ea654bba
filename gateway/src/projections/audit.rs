//! What the ledger says about itself.

use konclave_ledger::Hash;
use konclave_ledger::records::ReviewResult;

/// A review by an auditor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewState {
    /// Who reviewed: the id of an API client.
    pub reviewer: String,
    /// The first entry of the reviewed period.
    pub from: u64,
    /// The size of the reviewed ledger.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// What was found.
    pub result: ReviewResult,
    /// The signed review.
    pub statement: Hash,
    /// The entry that records it.
    pub entry: u64,
    /// When it was recorded, RFC 3339.
    pub time: String,
}

/// What the last entry about the witnesses says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessStatusState {
    /// Whether the quorum stands.
    pub quorum: bool,
    /// The size of the newest head that a quorum cosigned.
    pub witnessed: u64,
    /// The entry.
    pub entry: u64,
}
