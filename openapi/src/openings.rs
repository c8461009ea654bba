//! What commitments in the ledger stand for, and its erasure.

use konclave_ledger::Hash;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a commitment in the ledger stands for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OpeningView {
    /// HMAC-SHA256(salt, value), as the entry carries it.
    pub commitment: Hash,
    /// The entry that carries it.
    pub entry: u64,
    /// The value; absent once it is erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Min-ji Kim, m.kim@pharma.example")]
    pub value: Option<String>,
    /// The salt, 64 hexadecimal characters; absent once it is erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub salt: Option<String>,
    /// The entry that records the erasure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased_by: Option<u64>,
}

/// Asks to erase what a commitment stands for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewErasure {
    /// The commitment.
    pub commitment: Hash,
    /// On what ground; kept in the ledger, so name nobody here.
    #[schema(min_length = 1, max_length = 500, example = "request of the data subject, case 2026-17")]
    pub ground: String,
}
