//! Benchmark evaluations.

use konclave_crypto::Digest;
use konclave_ledger::dsse::Envelope;
use konclave_ledger::statements::EvaluationStatement;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Reports one evaluation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEvaluation {
    /// A DSSE envelope around an evaluation statement, signed with the evaluator's identity key.
    pub statement: Envelope,
}

/// A recorded evaluation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Evaluation {
    /// Its id: the digest of the signed statement.
    pub evaluation: Digest,
    /// What was stated.
    pub statement: EvaluationStatement,
    /// The ledger entry.
    pub entry: u64,
}
