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
    /// That of one site over all jobs.
    #[error("the privacy budget of {site} over all its jobs is too small: {over}")]
    Site {
        /// The site.
        site: SiteId,
        /// By how much.
        over: Overspent,
    },
}

/// Checks that a job that is asked for can open all its rounds.
///
/// # Errors
/// [`BudgetError::Job`] for too many rounds, [`BudgetError::Site`] for the first invited site without the budget.
pub(super) fn check_planned(
    state: &State,
    policy: &RoundPolicy,
    rounds: u32,
    invited: &BTreeSet<SiteId>,
) -> Result<(), BudgetError> {
    let Some(rules) = &policy.privacy else { return Ok(()) };
    let planned = rules.cost_of(rounds);
    rules.check(planned, Scope::Job).map_err(|over| BudgetError::Job {
        over,
        rounds: rules.rounds_left(PrivacyCost::NONE, Scope::Job),
    })?;
    check_sites(state, policy, planned, invited)
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
    check_sites(state, policy, cost, &job.cohort)
}

/// Whether a site's budget covers so much more.
pub(super) fn is_covered(state: &State, policy: &RoundPolicy, site: &SiteId, cost: PrivacyCost) -> bool {
    check_sites(state, policy, cost, [site]).is_ok()
}

fn check_sites<'a>(
    state: &State,
    policy: &RoundPolicy,
    cost: PrivacyCost,
    sites: impl IntoIterator<Item = &'a SiteId>,
) -> Result<(), BudgetError> {
    let Some(rules) = &policy.privacy else { return Ok(()) };
    for site in sites {
        let whole = state.privacy_spent(site).and(cost);
        rules.check(whole, Scope::Site).map_err(|over| BudgetError::Site { site: site.clone(), over })?;
    }
    Ok(())
}
