//! What a round's noise costs its sites, held against the entry and the policy.

use konclave_crypto::privacy::{Delta, PrivacyCost};
use serde::Deserialize;

use super::begin::Beginning;
use super::checks::{Checked, RoundFault, expect};
use super::job::{Job, Round};
use super::policy::PolicyLimits;

/// The part of a policy's table of noise that is read here.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct PrivacyLimits {
    noise_multiplier_milli: u32,
    job_epsilon_milli: u32,
    delta_exponent: Delta,
}

/// The cost in the entry is what the context's noise makes it, the noise is as strong as the policy asks for, and the job has
/// not spent more than its budget. What sites have spent over all jobs is not added up.
pub(super) fn privacy(
    job: &mut Job,
    round: &Round,
    said: &Beginning<'_>,
    policy: Option<&PolicyLimits>,
) -> Checked {
    let cost = round.context()?.context().privacy_cost();
    expect(
        said.privacy_cost == cost.map(PrivacyCost::nano_rho),
        "the privacy cost",
        "that of the context's noise",
    )?;
    let limits = policy.ok_or(RoundFault::NoPolicy)?.privacy;
    expect(cost.is_some() == limits.is_some(), "whether sums have noise", "as the policy says")?;
    let (Some(cost), Some(limits)) = (cost, limits) else { return Ok(()) };
    job.privacy_spent = job.privacy_spent.and(cost);
    // As strong as the multiplier says; the last term is what a sum of discrete Gaussians lacks of one.
    let least = PrivacyCost::at_least((1e3 / f64::from(limits.noise_multiplier_milli) + 1e-11).powi(2) / 2.0);
    expect(cost <= least, "the noise", "as strong as the policy asks for")?;
    let epsilon = job.privacy_spent.epsilon_milli(limits.delta_exponent);
    expect(
        epsilon <= limits.job_epsilon_milli.into(),
        "what the job has told of each site",
        "within its budget",
    )
}
