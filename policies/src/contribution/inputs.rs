//! What a reward statement is computed from: only what the ledger holds.

use std::collections::BTreeSet;

use konclave_crypto::{Digest, JobId, RoundNumber, SiteId};
use serde::{Deserialize, Serialize};

use super::evidence::MAX_DEPOSIT_COUNT;
use super::shapley::Coalition;
use crate::rounds::{DataClass, DataClassWeights, RewardRules, RoundPolicy};

/// Everything [`super::reward_statement`] reads. An auditor fills it from ledger entries and must get
/// the same statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatementInputs {
    /// The job that is paid for.
    pub job: JobId,
    /// The round policy the job ran under.
    pub policy: Digest,
    /// That policy's reward rules; [`StatementInputs::follows`] compares them with the file.
    pub reward: RewardRules,
    /// That policy's class weights.
    pub data_class_weights: DataClassWeights,
    /// The organisation that pays, and to which an unpaid part goes back.
    pub budget_holder: String,
    /// The roster with each site's evidence, in any order.
    pub sites: Vec<SiteEvidence>,
    /// The job's scoring round; without one, the value part goes back.
    pub scoring: Option<ScoringRound>,
}

/// One site of the roster and what can be said of its part without seeing an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteEvidence {
    /// The site.
    pub site: SiteId,
    /// The legal entity on its membership certificate; sites of one entity are one player.
    pub legal_entity: String,
    /// The rounds whose opened sum holds the site's update.
    pub rounds: BTreeSet<RoundNumber>,
    /// Its signed deposits, in any order: those stated before the cohort was fixed, so that nobody raises its weight
    /// once it knows what is paid for.
    pub deposits: Vec<DepositEvidence>,
}

/// The size of one deposit for one task, as the site declared it under its signature.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepositEvidence {
    /// The task.
    pub task: String,
    /// The class of the records.
    pub class: DataClass,
    /// Measured values.
    pub records: u64,
    /// Distinct structures.
    pub unique_structures: u64,
    /// Distinct scaffolds.
    pub scaffolds: u64,
    /// The signed deposit statement.
    pub statement: Digest,
}

/// A round in which each batch's sum was opened by itself and every coalition of batches was scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoringRound {
    /// The round.
    pub round: RoundNumber,
    /// Digest of the round's context.
    pub context: Digest,
    /// The evaluator that scored.
    pub evaluator: SiteId,
    /// The benchmark data it scored on.
    pub benchmark: Digest,
    /// The batches whose sums were opened, at most [`super::MAX_BATCHES`]; bit g of a coalition is
    /// batch g.
    pub batches: Vec<Vec<SiteId>>,
    /// The score of every coalition's model, the empty one (the round's starting model) included.
    pub scores: Vec<CoalitionScore>,
}

/// One row of the table v(S).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoalitionScore {
    /// The coalition S.
    pub coalition: Coalition,
    /// Its model's score in millionths, higher is better, at most [`super::MAX_SCORE_MICRO`] either way.
    pub score_micro: i64,
}

impl DepositEvidence {
    /// Whether a statement may count it: no count is above [`super::MAX_DEPOSIT_COUNT`].
    #[must_use]
    pub fn is_admissible(&self) -> bool {
        [self.records, self.unique_structures, self.scaffolds].iter().all(|count| *count <= MAX_DEPOSIT_COUNT)
    }
}

impl StatementInputs {
    /// Whether the policy these inputs name is this one, and the rules they quote are its rules.
    pub fn follows(&self, policy: &RoundPolicy) -> bool {
        self.policy == policy.digest()
            && self.reward == policy.reward
            && self.data_class_weights == policy.data_class_weights
    }
}
