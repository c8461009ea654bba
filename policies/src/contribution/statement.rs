//! The wire form of contribution figures and reward statements. Deterministic: the same inputs give
//! the same bytes.

use konclave_crypto::{Digest, JobId, SiteId};
use serde::{Deserialize, Serialize};

use super::amount::Amount;
use super::ratio::Ratio;

/// One site's contribution figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ContributionRow {
    /// The site.
    pub site: SiteId,
    /// Its legal entity.
    pub legal_entity: String,
    /// The index of its batch in the scoring round; absent if its batch was not opened.
    pub batch: Option<u16>,
    /// What it brought.
    pub evidence: Evidence,
    /// Its part of its batch's evidence, in parts per million, rounded down.
    pub batch_share_ppm: u32,
    /// Its contribution to the benchmark score in millionths: the batch's Shapley value split by
    /// evidence, rounded toward zero. Negative where the batch lowered the score.
    pub value_micro: i64,
    /// The standard error of `value_micro` in millionths; absent until enough partitions were scored.
    pub standard_error_micro: Option<i64>,
    /// Whether the figure is provisional: it has no standard error, because one partition cannot tell
    /// the sites of a batch apart.
    pub provisional: bool,
}

/// Evidence in figures, for one site or summed over a legal entity's sites.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Evidence {
    /// Rounds whose opened sum holds the update; of several sites, rounds in which at least one took part.
    pub rounds: u32,
    /// Tasks with a deposit.
    pub tasks: u32,
    /// Measured values deposited.
    pub records: u64,
    /// Distinct structures deposited, summed over deposits.
    pub unique_structures: u64,
    /// Distinct scaffolds deposited, summed over deposits.
    pub scaffolds: u64,
    /// The weight the policy makes of all this, as decimal digits: rounds x sum over deposits of class
    /// weight x (weighted records, structures and scaffolds).
    pub weight: String,
}

/// The exact value of one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BatchValue {
    /// The batch's index in the scoring round.
    pub batch: u16,
    /// Its sites, sorted.
    pub sites: Vec<SiteId>,
    /// Its Shapley value in millionths of the score, exact.
    pub shapley_micro: Ratio,
}

/// A text for people, in both languages of the consortium.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Reason {
    /// English.
    pub en: String,
    /// Korean.
    pub ko: String,
}

/// What one legal entity is paid, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RewardLine {
    /// The legal entity.
    pub legal_entity: String,
    /// Its sites in the job, sorted.
    pub sites: Vec<SiteId>,
    /// Its sites' contribution to the score in millionths, the sum of their rows; may be negative.
    pub value_micro: i64,
    /// The standard error of `value_micro` in millionths; absent until enough partitions were scored.
    pub standard_error_micro: Option<i64>,
    /// Whether the figure is provisional (no standard error yet).
    pub provisional: bool,
    /// What its sites brought.
    pub evidence: Evidence,
    /// What it gets from the value part.
    pub value_amount: Amount,
    /// What it gets from the participation part.
    pub participation_amount: Amount,
    /// What it gets: the sum of both.
    pub amount: Amount,
    /// Why this figure.
    pub reason: Reason,
}

/// How one job's budget is paid out: `paid + returned == budget`, to the micro-unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RewardStatement {
    /// The rule that made it: [`RewardStatement::RULE`].
    pub rule: String,
    /// The job.
    pub job: JobId,
    /// The round policy.
    pub policy: Digest,
    /// The currency unit of all amounts; amounts are in its millionths.
    pub currency: String,
    /// The whole budget.
    pub budget: Amount,
    /// The part of the budget for value.
    pub value_part: Amount,
    /// The part of the budget for participation.
    pub participation_part: Amount,
    /// The sum of all lines.
    pub paid: Amount,
    /// What goes back to the budget holder.
    pub returned: Amount,
    /// Who pays, and gets back what is returned.
    pub budget_holder: String,
    /// Why something goes back; absent if nothing does.
    pub returned_reason: Option<Reason>,
    /// Whether any line is provisional.
    pub provisional: bool,
    /// The batches' exact values; empty without a scoring round.
    pub batches: Vec<BatchValue>,
    /// One line per legal entity, by name.
    pub lines: Vec<RewardLine>,
}

impl RewardStatement {
    /// The name of the payout rule: batches by exact Shapley value, sites by evidence.
    pub const RULE: &'static str = "konclave/batch-shapley-evidence/v1";
}
