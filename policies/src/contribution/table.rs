//! From a scoring round and evidence to figures per site.

use std::collections::{BTreeMap, BTreeSet};

use konclave_crypto::{Digest, RoundNumber, SiteId};

use super::apportion::{ApportionError, multiply_divide};
use super::evidence::{self, MAX_DEPOSIT_COUNT};
use super::inputs::{ScoringRound, SiteEvidence, StatementInputs};
use super::ratio::Ratio;
use super::shapley::{Coalition, ShapleyError, shapley};
use super::statement::ContributionRow;
use crate::rounds::RewardRules;

/// The largest score, either way, in millionths: a score of one million.
pub const MAX_SCORE_MICRO: i64 = 1_000_000_000_000;

/// Why inputs cannot be the record of a job. Whoever assembled them from the ledger must correct them;
/// if they are what the ledger holds, the ledger's writer is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// A site is listed twice.
    #[error("site {site} is listed twice")]
    DuplicateSite {
        /// The site.
        site: SiteId,
    },
    /// A deposit statement counts twice for one task and class.
    #[error("site {site}: deposit {statement} is counted twice for task \"{task}\"")]
    DuplicateDeposit {
        /// The site of the second.
        site: SiteId,
        /// The deposit statement.
        statement: Digest,
        /// The task.
        task: String,
    },
    /// A deposit declares an impossible size.
    #[error("site {site}: deposit {statement} declares more than {MAX_DEPOSIT_COUNT} of something")]
    CountTooLarge {
        /// The site.
        site: SiteId,
        /// The deposit statement.
        statement: Digest,
    },
    /// A site's evidence, or the sum over a batch, does not fit 126 bits.
    #[error(
        "the weight of the evidence of site {site} or of its batch does not fit; lower the policy's weights"
    )]
    EvidenceTooLarge {
        /// The site.
        site: SiteId,
    },
    /// A batch holds a site that is not in the roster.
    #[error("batch {batch} holds site {site}, which is not in the roster")]
    UnknownSite {
        /// The batch.
        batch: usize,
        /// The site.
        site: SiteId,
    },
    /// A site is in two batches, or twice in one.
    #[error("batch {batch} holds site {site}, which is already in a batch")]
    SiteInTwoBatches {
        /// The second batch.
        batch: usize,
        /// The site.
        site: SiteId,
    },
    /// A batch is empty.
    #[error("batch {batch} holds no site")]
    EmptyBatch {
        /// The batch.
        batch: usize,
    },
    /// A batch was opened with a site that did not take part.
    #[error(
        "site {site} is in an opened batch of scoring round {round}, but that round is not among its rounds"
    )]
    NotInScoringRound {
        /// The site.
        site: SiteId,
        /// The scoring round.
        round: RoundNumber,
    },
    /// A coalition has two scores.
    #[error("coalition {bits:#012b} has two scores")]
    DuplicateScore {
        /// The coalition's bits.
        bits: u16,
    },
    /// A score is out of range.
    #[error("the score of coalition {bits:#012b} is {score_micro}; at most {MAX_SCORE_MICRO} either way")]
    ScoreTooLarge {
        /// The coalition's bits.
        bits: u16,
        /// The score in millionths.
        score_micro: i64,
    },
    /// The table of scores is not complete.
    #[error(transparent)]
    Shapley(#[from] ShapleyError),
    /// The reward rules are out of range.
    #[error("{key} is {found}; at most {most}")]
    RuleOutOfRange {
        /// The policy key.
        key: &'static str,
        /// The value found.
        found: u64,
        /// The largest allowed.
        most: u64,
    },
    /// Weights that cannot be apportioned by.
    #[error(transparent)]
    Apportion(#[from] ApportionError),
}

/// The checked inputs with the value of each batch and the weight of each site.
pub(super) struct Assessment<'a> {
    /// By site id.
    pub(super) sites: BTreeMap<&'a SiteId, AssessedSite<'a>>,
    pub(super) batches: Vec<AssessedBatch<'a>>,
    pub(super) scoring_round: Option<RoundNumber>,
}

pub(super) struct AssessedSite<'a> {
    pub(super) evidence: &'a SiteEvidence,
    pub(super) weight: u128,
    pub(super) batch: Option<usize>,
}

pub(super) struct AssessedBatch<'a> {
    pub(super) sites: BTreeSet<&'a SiteId>,
    pub(super) value: Ratio,
    /// The sum of its sites' weights, below 2^126.
    pub(super) weight: u128,
}

impl AssessedBatch<'_> {
    /// The part of the batch's value that falls to a weight within it, rounded toward zero.
    fn share_of_value(&self, weight: u128) -> Option<i64> {
        if self.weight == 0 {
            return Some(0);
        }
        let magnitude = u64::try_from(self.value.numerator().unsigned_abs()).ok()?;
        let (share, _) = multiply_divide(magnitude, weight, self.weight);
        let signed = i128::from(share).checked_mul(self.value.numerator().signum())?;
        i64::try_from(signed.checked_div(self.value.denominator())?).ok()
    }

    /// The weight's part of the batch's evidence in parts per million, rounded down.
    pub(super) fn share_ppm(&self, weight: u128) -> u32 {
        if self.weight == 0 {
            return 0;
        }
        u32::try_from(multiply_divide(1_000_000, weight, self.weight).0).unwrap_or(u32::MAX)
    }
}

/// One row per site of the roster, by site id. The rows' values sum to v(all) - v(empty) but for the
/// rounding of each toward zero and for batches without any evidence, whose value is nobody's.
///
/// # Errors
/// [`StatementError`] if the inputs contradict themselves.
pub fn contribution_table(inputs: &StatementInputs) -> Result<Vec<ContributionRow>, StatementError> {
    assess(inputs)?.rows()
}

impl Assessment<'_> {
    pub(super) fn rows(&self) -> Result<Vec<ContributionRow>, StatementError> {
        self.sites.values().map(|site| self.row(site)).collect()
    }

    fn row(&self, site: &AssessedSite<'_>) -> Result<ContributionRow, StatementError> {
        let name = &site.evidence.site;
        let too_large = || StatementError::EvidenceTooLarge { site: name.clone() };
        let batch = site.batch.and_then(|index| self.batches.get(index));
        Ok(ContributionRow {
            site: name.clone(),
            legal_entity: site.evidence.legal_entity.clone(),
            batch: site.batch.and_then(|index| u16::try_from(index).ok()),
            evidence: evidence::figures(std::iter::once((site.evidence, site.weight)))
                .ok_or_else(too_large)?,
            batch_share_ppm: batch.map_or(0, |batch| batch.share_ppm(site.weight)),
            value_micro: batch
                .map_or(Some(0), |batch| batch.share_of_value(site.weight))
                .ok_or_else(too_large)?,
            standard_error_micro: None,
            provisional: true,
        })
    }
}

pub(super) fn assess(inputs: &StatementInputs) -> Result<Assessment<'_>, StatementError> {
    check_rules(&inputs.reward)?;
    let mut sites = assess_sites(inputs)?;
    let Some(scoring) = &inputs.scoring else {
        return Ok(Assessment { sites, batches: Vec::new(), scoring_round: None });
    };
    let values = shapley(scoring.batches.len(), &score_table(scoring)?)?;
    let mut batches = Vec::new();
    for (index, (members, value)) in scoring.batches.iter().zip(values).enumerate() {
        batches.push(assess_batch(index, members, value, scoring.round, &mut sites)?);
    }
    Ok(Assessment { sites, batches, scoring_round: Some(scoring.round) })
}

fn check_rules(reward: &RewardRules) -> Result<(), StatementError> {
    let at_most = |key, found: u64, most: u64| {
        if found > most { Err(StatementError::RuleOutOfRange { key, found, most }) } else { Ok(()) }
    };
    at_most("reward.budget_micro", reward.budget_micro, RewardRules::MAX_BUDGET_MICRO)?;
    at_most("reward.participation_share_ppm", reward.participation_share_ppm.into(), 1_000_000)
}

fn assess_sites(inputs: &StatementInputs) -> Result<BTreeMap<&SiteId, AssessedSite<'_>>, StatementError> {
    let mut counted = BTreeSet::new();
    let mut sites = BTreeMap::new();
    for evidence in &inputs.sites {
        let site = &evidence.site;
        for deposit in &evidence.deposits {
            if !deposit.is_admissible() {
                return Err(StatementError::CountTooLarge {
                    site: site.clone(),
                    statement: deposit.statement,
                });
            }
            if !counted.insert((deposit.statement, deposit.task.as_str(), deposit.class)) {
                let (statement, task) = (deposit.statement, deposit.task.clone());
                return Err(StatementError::DuplicateDeposit { site: site.clone(), statement, task });
            }
        }
        let weight = evidence::weight(evidence, &inputs.reward.evidence, &inputs.data_class_weights)
            .ok_or_else(|| StatementError::EvidenceTooLarge { site: site.clone() })?;
        if sites.insert(site, AssessedSite { evidence, weight, batch: None }).is_some() {
            return Err(StatementError::DuplicateSite { site: site.clone() });
        }
    }
    Ok(sites)
}

fn score_table(scoring: &ScoringRound) -> Result<BTreeMap<Coalition, i64>, StatementError> {
    let mut scores = BTreeMap::new();
    for row in &scoring.scores {
        let (bits, score_micro) = (row.coalition.bits(), row.score_micro);
        if score_micro.unsigned_abs() > MAX_SCORE_MICRO.unsigned_abs() {
            return Err(StatementError::ScoreTooLarge { bits, score_micro });
        }
        if scores.insert(row.coalition, score_micro).is_some() {
            return Err(StatementError::DuplicateScore { bits });
        }
    }
    Ok(scores)
}

fn assess_batch<'a>(
    batch: usize,
    members: &'a [SiteId],
    value: Ratio,
    round: RoundNumber,
    sites: &mut BTreeMap<&'a SiteId, AssessedSite<'a>>,
) -> Result<AssessedBatch<'a>, StatementError> {
    let mut assessed = AssessedBatch { sites: BTreeSet::new(), value, weight: 0 };
    for site in members {
        let Some(member) = sites.get_mut(site) else {
            return Err(StatementError::UnknownSite { batch, site: site.clone() });
        };
        if member.batch.replace(batch).is_some() {
            return Err(StatementError::SiteInTwoBatches { batch, site: site.clone() });
        }
        if !member.evidence.rounds.contains(&round) {
            return Err(StatementError::NotInScoringRound { site: site.clone(), round });
        }
        assessed.weight = assessed
            .weight
            .checked_add(member.weight)
            .filter(|sum| *sum < 1 << 126)
            .ok_or_else(|| StatementError::EvidenceTooLarge { site: site.clone() })?;
        assessed.sites.insert(site);
    }
    if assessed.sites.is_empty() { Err(StatementError::EmptyBatch { batch }) } else { Ok(assessed) }
}
