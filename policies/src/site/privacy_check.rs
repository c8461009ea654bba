//! What a site's policy asks of the noise in sums, and how much of its budgets a job may use.

use konclave_crypto::privacy::PrivacyCost;

use super::job_check::{at_least, refuse};
use super::{EffectivePolicy, Refusal, Rule};
use crate::rounds::{PrivacyRules, RoundPolicy, Scope};

/// Whether the noise of a job under the consortium's policy is enough for the site.
///
/// # Errors
/// The first broken rule.
pub fn check_privacy(policy: &EffectivePolicy, consortium: &RoundPolicy) -> Result<(), Refusal> {
    match (&consortium.privacy, &policy.rounds.privacy) {
        (Some(common), Some(own)) => {
            let multipliers = (common.noise_multiplier_milli, own.noise_multiplier_milli);
            at_least(Rule::NoiseMultiplier, multipliers.0, multipliers.1)?;
            at_least(Rule::Colluders, common.colluders, own.colluders)
        }
        _ if policy.noise_required => {
            let detail = "the sums of this job are exact; this site takes part only where they have noise";
            refuse(Rule::NoiseRequired, detail.to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether the site's budgets cover a job of so many rounds after what it `spent` in all jobs.
///
/// # Errors
/// The budget that is too small, by its rule.
pub fn check_planned(policy: &EffectivePolicy, rounds: u32, spent: PrivacyCost) -> Result<(), Refusal> {
    let Some(rules) = &policy.rounds.privacy else { return Ok(()) };
    let planned = rules.cost_of(rounds);
    within(rules, planned, Scope::Job)?;
    within(rules, spent.and(planned), Scope::Site)
}

/// Whether the site's budgets cover what the job and all jobs come to with the round at hand.
///
/// # Errors
/// The budget that is too small, by its rule.
pub fn check_spending(
    policy: &EffectivePolicy,
    by_job: PrivacyCost,
    by_all: PrivacyCost,
) -> Result<(), Refusal> {
    let Some(rules) = &policy.rounds.privacy else { return Ok(()) };
    within(rules, by_job, Scope::Job)?;
    within(rules, by_all, Scope::Site)
}

fn within(rules: &PrivacyRules, cost: PrivacyCost, scope: Scope) -> Result<(), Refusal> {
    let rule = match scope {
        Scope::Job => Rule::JobEpsilon,
        Scope::Site => Rule::SiteEpsilon,
    };
    rules.check(cost, scope).or_else(|over| refuse(rule, over.to_string()))
}
