//! A site's check of a job's terms against its effective policy.

use std::collections::BTreeSet;
use std::fmt;

use konclave_crypto::Digest;
use serde::{Deserialize, Serialize};

use super::{ConsentMode, EffectivePolicy};
use crate::quorum;
use crate::rounds::Scope;

/// The terms of a job as a site is asked to accept them. They are known when consent is asked for;
/// a site checks them again when the roster is fixed, with the roster's size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobTerms {
    /// What the model is for.
    pub purpose: String,
    /// The tasks it is trained on.
    pub tasks: BTreeSet<String>,
    /// The consortium policy the job runs under.
    pub policy: Digest,
    /// Sites in the roster, or invited as long as there is none.
    pub sites: u16,
    /// Shares that open a secret (t).
    pub threshold: u16,
    /// Fewest sites in an agreed set.
    pub min_agreed: u16,
    /// Fewest sites whose sum may be opened by itself.
    pub min_batch: u16,
    /// Sites per batch of a scoring round; absent if the job has no scoring round.
    pub scoring_batch_size: Option<u16>,
    /// The largest clip bound over all tensors, in millionths.
    pub clip_micro: u32,
    /// Bits per quantised coordinate (q).
    pub quantisation_bits: u8,
    /// Bits of the ring (b).
    pub ring_bits: u8,
    /// Largest sample weight of one site in a round.
    pub weight_cap: u32,
}

/// A rule that a job can break, by the name of its policy key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Rule {
    /// The site's `consent` is `never`.
    Consent,
    /// The job names another consortium policy than the site holds.
    Policy,
    /// The purpose is not among `approved_purposes` or the site's `allowed_purposes`.
    ApprovedPurposes,
    /// A task is not among the site's `tasks`.
    Tasks,
    /// Fewer sites than `min_cohort`.
    MinCohort,
    /// A threshold of two thirds of the sites or less, or one that cannot be reached.
    Threshold,
    /// `min_agreed` below the policy's.
    MinAgreed,
    /// `min_batch` below the policy's.
    MinBatch,
    /// `scoring_batch_size` below the policy's.
    ScoringBatchSize,
    /// A clip bound above `clip_micro`.
    ClipMicro,
    /// More bits than `quantisation_bits`.
    QuantisationBits,
    /// A ring with fewer than `guard_bits` to spare.
    GuardBits,
    /// `weight_cap` above the policy's.
    WeightCap,
    /// Exact sums, though the site's policy asks for noise.
    NoiseRequired,
    /// Less noise than the site's policy asks for.
    NoiseMultiplier,
    /// Fewer colluding sites assumed than the site's policy asks for.
    Colluders,
    /// More rounds than the budget of a job covers.
    JobEpsilon,
    /// More rounds than is left of the site's budget.
    SiteEpsilon,
}

impl Rule {
    /// The rule's name: the policy key it comes from.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Policy => "policy",
            Self::ApprovedPurposes => "approved_purposes",
            Self::Tasks => "tasks",
            Self::MinCohort => "min_cohort",
            Self::Threshold => "threshold",
            Self::MinAgreed => "min_agreed",
            Self::MinBatch => "min_batch",
            Self::ScoringBatchSize => "scoring_batch_size",
            Self::ClipMicro => "clip_micro",
            Self::QuantisationBits => "quantisation_bits",
            Self::GuardBits => "guard_bits",
            Self::WeightCap => "weight_cap",
            Self::NoiseRequired => "privacy.required",
            Self::NoiseMultiplier => "privacy.noise_multiplier_milli",
            Self::Colluders => "privacy.colluders",
            Self::JobEpsilon => Scope::Job.key(),
            Self::SiteEpsilon => Scope::Site.key(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A site's refusal of a job. It is a decision, not a failure: the site signs it, and it does not
/// count as a dropout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(deny_unknown_fields)]
#[error("refused by rule {rule}: {detail}")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Refusal {
    /// The rule that is broken.
    pub rule: Rule,
    /// What was asked and what the rule allows.
    pub detail: String,
}

/// Whether a site may take part in a job with these terms.
///
/// # Errors
/// The first broken rule. The proposer must change the terms, or go on without this site.
pub fn check_job(policy: &EffectivePolicy, terms: &JobTerms) -> Result<(), Refusal> {
    let rounds = &policy.rounds;
    if policy.consent == ConsentMode::Never {
        return refuse(Rule::Consent, "this site's policy refuses every job".to_owned());
    }
    if terms.policy != rounds.digest() {
        let detail =
            format!("the job runs under policy {}, this site holds {}", terms.policy, rounds.digest());
        return refuse(Rule::Policy, detail);
    }
    if !rounds.approved_purposes.contains(&terms.purpose) {
        let allowed = join(&rounds.approved_purposes);
        return refuse(Rule::ApprovedPurposes, format!("purpose \"{}\"; allowed: {allowed}", terms.purpose));
    }
    if let Some(tasks) = &policy.tasks
        && let Some(other) = terms.tasks.difference(tasks).next()
    {
        return refuse(Rule::Tasks, format!("task \"{other}\"; allowed: {}", join(tasks)));
    }
    check_quorums(policy, terms)?;
    check_encoding(policy, terms)
}

fn check_quorums(policy: &EffectivePolicy, terms: &JobTerms) -> Result<(), Refusal> {
    let rounds = &policy.rounds;
    at_least(Rule::MinCohort, terms.sites, rounds.min_cohort)?;
    at_least(Rule::Threshold, terms.threshold, quorum::threshold(terms.sites))?;
    at_most(Rule::Threshold, terms.threshold, terms.sites)?;
    at_least(Rule::MinAgreed, terms.min_agreed, rounds.min_agreed)?;
    at_most(Rule::MinAgreed, terms.min_agreed, terms.sites)?;
    at_least(Rule::MinBatch, terms.min_batch, rounds.min_batch)?;
    match terms.scoring_batch_size {
        Some(size) => at_least(Rule::ScoringBatchSize, size, rounds.scoring_batch_size),
        None => Ok(()),
    }
}

fn check_encoding(policy: &EffectivePolicy, terms: &JobTerms) -> Result<(), Refusal> {
    let rounds = &policy.rounds;
    at_most(Rule::ClipMicro, terms.clip_micro, rounds.clip_micro)?;
    at_most(Rule::QuantisationBits, terms.quantisation_bits, rounds.quantisation_bits)?;
    at_most(Rule::WeightCap, terms.weight_cap, rounds.weight_cap)?;
    let needed = quorum::ring_bits(terms.quantisation_bits, terms.sites, rounds.guard_bits);
    if terms.ring_bits < needed {
        let detail = format!(
            "a ring of {} bits; {} sites with {} bits each and {} guard bits need {needed}",
            terms.ring_bits, terms.sites, terms.quantisation_bits, rounds.guard_bits
        );
        return refuse(Rule::GuardBits, detail);
    }
    Ok(())
}

pub(super) fn at_least<T: PartialOrd + fmt::Display>(rule: Rule, asked: T, least: T) -> Result<(), Refusal> {
    if asked < least { refuse(rule, format!("{asked} asked; at least {least} needed")) } else { Ok(()) }
}

fn at_most<T: PartialOrd + fmt::Display>(rule: Rule, asked: T, most: T) -> Result<(), Refusal> {
    if asked > most { refuse(rule, format!("{asked} asked; at most {most} allowed")) } else { Ok(()) }
}

pub(super) fn refuse(rule: Rule, detail: String) -> Result<(), Refusal> {
    Err(Refusal { rule, detail })
}

fn join(names: &BTreeSet<String>) -> String {
    Vec::from_iter(names.iter().map(String::as_str)).join(", ")
}
