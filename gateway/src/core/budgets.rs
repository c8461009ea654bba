//! Privacy budgets: what rounds with noise have told of each site by the ledger, and what the rounds policy still allows.
//!
//! A round counts from its context on, also if it is aborted: whether its sum was opened after all cannot be shown. It
//! counts for every site of the roster. So no site has spent more by its own account than it has here.

use std::collections::BTreeSet;

use konclave_crypto::SiteId;
use konclave_crypto::privacy::PrivacyCost;
use konclave_policies::rounds::{Overspent, RoundPolicy, Scope};

use crate::projections::{JobState, State};

/// A budget that does not cover what is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// The job's own.
    #[error("the privacy budget of the job is too small: {over}; it allows {rounds} more rounds")]
    Job {
        /// By how much.
        over: Overspent,
        /// Rounds that it allows.
        rounds: u32,
    },
    /// That of one site over all jobs. By how much is not told: it would tell partners of each other's jobs.
    #[error("the privacy budget of {site} over all its jobs is too small")]
    Site {
        /// The site.
        site: SiteId,
    },
}

/// Checks that a job's own budget covers all the rounds that are asked for.
///
/// # Errors
/// [`BudgetError::Job`].
pub(super) fn check_rounds(policy: &RoundPolicy, rounds: u32) -> Result<(), BudgetError> {
    let Some(rules) = &policy.privacy else { return Ok(()) };
    rules
        .check(rules.cost_of(rounds), Scope::Job)
        .map_err(|over| BudgetError::Job { over, rounds: rules.rounds_left(PrivacyCost::NONE, Scope::Job) })
}

/// Checks that every invited site's budget covers a job's rounds beside those of the jobs that it is in.
///
/// # Errors
/// [`BudgetError::Site`] for the first that does not.
pub(super) fn check_invited(
    state: &State,
    policy: &RoundPolicy,
    rounds: u32,
    invited: &BTreeSet<SiteId>,
) -> Result<(), BudgetError> {
    match invited.iter().find(|site| !is_covered(state, policy, rounds, site)) {
        Some(site) => Err(BudgetError::Site { site: site.clone() }),
        None => Ok(()),
    }
}

/// Whether a site's budget covers so many rounds beside those of the jobs that it is in.
pub(super) fn is_covered(state: &State, policy: &RoundPolicy, rounds: u32, site: &SiteId) -> bool {
    let Some(rules) = &policy.privacy else { return true };
    let whole = state.privacy_spent(site).and(promised(state, site)).and(rules.cost_of(rounds));
    rules.check(whole, Scope::Site).is_ok()
}

/// What the rounds still to come of a site's jobs will cost it, if none is aborted.
fn promised(state: &State, site: &SiteId) -> PrivacyCost {
    let of_site = |job: &&JobState| {
        let sites = if job.cohort.is_empty() { &job.invited } else { &job.cohort };
        !job.is_over() && sites.contains(site)
    };
    let to_come = |job: &JobState| {
        let rules = state.policies.get(&job.policy)?.privacy?;
        Some(rules.cost_of(job.request.rounds.saturating_sub(job.rounds_opened())))
    };
    state.jobs.values().filter(of_site).filter_map(to_come).sum()
}

/// Checks that a job's next round may cost so much.
///
/// # Errors
/// [`BudgetError`]: the round must not begin.
pub(crate) fn check_round(
    state: &State,
    job: &JobState,
    policy: &RoundPolicy,
    cost: PrivacyCost,
) -> Result<(), BudgetError> {
    let Some(rules) = &policy.privacy else { return Ok(()) };
    let spent = job.privacy_spent();
    rules
        .check(spent.and(cost), Scope::Job)
        .map_err(|over| BudgetError::Job { over, rounds: rules.rounds_left(spent, Scope::Job) })?;
    let is_over = |site: &&SiteId| rules.check(state.privacy_spent(site).and(cost), Scope::Site).is_err();
    match job.cohort.iter().find(is_over) {
        Some(site) => Err(BudgetError::Site { site: site.clone() }),
        None => Ok(()),
    }
}
