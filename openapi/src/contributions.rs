//! Contribution scores and reward statements.

use konclave_crypto::{JobId, RoundNumber};
use konclave_policies::contribution::{ContributionRow, RewardStatement};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The contribution table of one scoring round.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Contribution {
    /// The job.
    pub job: JobId,
    /// The scoring round.
    pub round: RoundNumber,
    /// One row a site.
    pub rows: Vec<ContributionRow>,
    /// The ledger entry.
    pub entry: u64,
}

/// A reward statement with its place in the ledger.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Statement {
    /// The job.
    pub job: JobId,
    /// The statement.
    pub statement: RewardStatement,
    /// The ledger entry.
    pub entry: u64,
}
