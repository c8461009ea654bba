//! Evaluations, contribution figures and reward statements.

use konclave_crypto::{Digest, JobId, RoundNumber, SiteId};
use konclave_ledger::records::Document;

/// A recorded evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationState {
    /// Its id: the digest of the signed statement.
    pub evaluation: Digest,
    /// Who scored.
    pub evaluator: SiteId,
    /// The job.
    pub job: JobId,
    /// The round.
    pub round: RoundNumber,
    /// The scored parameters.
    pub parameters: Digest,
    /// The sites whose updates they contain, sorted; empty for a global model.
    pub coalition: Vec<SiteId>,
    /// The benchmark data.
    pub benchmark: Digest,
    /// The score, x 1e-6; higher is better.
    pub score_micro: i64,
    /// The entry.
    pub entry: u64,
}

/// The contribution figures of a scoring round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContributionState {
    /// The rows.
    pub rows: Document,
    /// The scoring round they were computed from: evaluator, benchmark, batches and every coalition's score.
    pub scores: Document,
    /// The entry.
    pub entry: u64,
}

/// A job's reward statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementState {
    /// The statement.
    pub statement: Document,
    /// The entry.
    pub entry: u64,
}
