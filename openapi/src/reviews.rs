//! Reviews of the ledger by auditors.

use konclave_ledger::Hash;
use konclave_ledger::records::ReviewResult;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A recorded review. What was found in detail stands in the signed statement, at `/statements/{statement}.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "entry": 980, "time": "2026-10-01T08:00:00.000Z", "reviewer": "auditor-1", "from": 400, "size": 980,
    "root": "5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592", "result": "sound",
    "statement": "7d793037a0760186574b0282f2f435e77d793037a0760186574b0282f2f435e7"
}))]
pub struct Review {
    /// The entry that records it.
    pub entry: u64,
    /// When it was recorded, RFC 3339.
    pub time: String,
    /// Who reviewed.
    pub reviewer: String,
    /// The first entry of the reviewed period; everything before it was checked too.
    pub from: u64,
    /// Number of entries reviewed.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// What was found.
    pub result: ReviewResult,
    /// The digest of the signed statement.
    pub statement: Hash,
}
