//! Carries out what [`super::decide`] decided. The job is locked by the caller.

mod open;
mod round;
mod score;
mod setup;

use konclave_crypto::{JobId, SiteId};

use super::{CoordinatorError, Step};
use crate::core::{App, Caller};
use crate::projections::JobState;

/// Carries out one step.
///
/// # Errors
/// [`CoordinatorError`]; it is safe to take the step again.
pub(super) async fn execute(app: &App, id: &JobId, step: Step) -> Result<(), CoordinatorError> {
    let Some((job, policy)) = app.job_and_policy(id)? else { return Ok(()) };
    let policy = policy.as_ref();
    match step {
        Step::FixCohort { sites } => setup::fix_cohort(app, &job, policy, sites).await,
        Step::FixRoster => setup::fix_roster(app, &job, policy).await,
        Step::StartJob => setup::start(app, &job).await,
        Step::AbortJob { reason, culprits } => setup::abort(app, &job, reason, culprits).await,
        Step::BeginRound { round, scoring } => match round::begin(app, &job, policy, round, scoring).await {
            // Policy and model stay what they are, and so does a certificate that ran out: trying again would not help.
            Err(error @ (CoordinatorError::Context(_) | CoordinatorError::Roster(_))) => {
                setup::abort(app, &job, error.to_string(), std::collections::BTreeSet::new()).await
            }
            done => done,
        },
        Step::CloseUploads { round } => round::close_uploads(app, &job, policy, round).await,
        Step::CloseAgreement { round } => round::close_agreement(app, &job, policy, round).await,
        Step::AbortRound { round, reason, culprits } => {
            round::abort(app, &job, round, reason, culprits).await
        }
        Step::OpenRound { round } => open::open(app, &job, policy, round).await,
        Step::Score { round } => score::score(app, &job, policy, round).await,
        Step::StateReward => score::state_reward(app, &job, policy).await,
        Step::FinishJob => setup::finish(app, &job).await,
    }
}

fn names<'a>(sites: impl IntoIterator<Item = &'a SiteId>) -> Vec<String> {
    sites.into_iter().map(ToString::to_string).collect()
}

fn object(job: &JobState) -> String {
    format!("jobs/{}", job.job)
}

fn caller(task: &str) -> Caller {
    Caller::gateway(task)
}
