//! Carries out what [`super::decide`] decided. The job is locked by the caller.

mod open;
mod round;
mod score;
mod setup;
mod verify;

use konclave_crypto::{JobId, SiteId};

use super::{CoordinatorError, Step};
use crate::core::{App, Caller, Held};
use crate::projections::JobState;
use crate::rounds_store::RoundKey;

/// Carries out one step.
///
/// # Errors
/// [`CoordinatorError`]; it is safe to take the step again.
pub(super) async fn execute(app: &App, held: &Held, id: &JobId, step: Step) -> Result<(), CoordinatorError> {
    let Some((job, policy)) = app.job_and_policy(id)? else { return Ok(()) };
    let policy = policy.as_ref();
    match step {
        Step::FixCohort { sites } => setup::fix_cohort(app, held, &job, policy, sites).await,
        Step::FixRoster => setup::fix_roster(app, held, &job, policy).await,
        Step::StartJob => setup::start(app, held, &job).await,
        Step::AbortJob { reason, culprits } => setup::abort(app, held, &job, reason, culprits).await,
        Step::BeginRound { round, scoring } => {
            match round::begin(app, held, &job, policy, round, scoring).await {
                // Policy and model stay what they are, and so do a certificate that ran out and a budget that is used up:
                // trying again would not help.
                Err(
                    error @ (CoordinatorError::Context(_)
                    | CoordinatorError::Roster(_)
                    | CoordinatorError::Budget(_)),
                ) => {
                    setup::abort(app, held, &job, error.to_string(), std::collections::BTreeSet::new()).await
                }
                done => done,
            }
        }
        Step::CloseUploads { round } => {
            let key = RoundKey { job: job.job.clone(), round };
            or_discard(app, &key, round::close_uploads(app, held, &job, policy, &key).await)
        }
        Step::CloseAgreement { round } => {
            let key = RoundKey { job: job.job.clone(), round };
            or_discard(app, &key, round::close_agreement(app, held, &job, policy, &key).await)
        }
        Step::AbortRound { round, reason, culprits } => {
            round::abort(app, held, &job, round, reason, culprits).await
        }
        Step::OpenRound { round } => {
            let key = RoundKey { job: job.job.clone(), round };
            or_discard(app, &key, open::open(app, held, &job, policy, &key).await)
        }
        Step::SettleTags { round } => {
            let key = RoundKey { job: job.job.clone(), round };
            or_discard(app, &key, verify::settle_tags(app, held, &job, policy, &key).await)
        }
        Step::CloseVerification { round } => {
            let key = RoundKey { job: job.job.clone(), round };
            verify::close(app, held, &job, &key).await
        }
        Step::Score { round } => score::score(app, held, &job, policy, round).await,
        Step::StateReward => score::state_reward(app, held, &job, policy).await,
        Step::FinishJob => setup::finish(app, held, &job).await,
    }
}

/// A failed step may have used up the phase in memory; the next try rebuilds it from the stored messages.
fn or_discard(app: &App, key: &RoundKey, done: Result<(), CoordinatorError>) -> Result<(), CoordinatorError> {
    if done.is_err() {
        app.live().discard(key);
    }
    done
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
