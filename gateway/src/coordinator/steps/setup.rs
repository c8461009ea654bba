//! Consent, key set-up, and the end of a job.

use std::collections::BTreeSet;

use konclave_crypto::{SiteId, UnixSeconds};
use konclave_ledger::records::Record;
use konclave_policies::rounds::RoundPolicy;

use super::{caller, names, object};
use crate::coordinator::CoordinatorError;
use crate::core::{App, Differenced, Entry, Held};
use crate::projections::{JobState, to_hash};
use crate::rounds_store::RoundKey;

pub(super) async fn fix_cohort(
    app: &App,
    held: &Held,
    job: &JobState,
    policy: &RoundPolicy,
    sites: BTreeSet<SiteId>,
) -> Result<(), CoordinatorError> {
    // Sites that refused make a cohort of their own out of an invitation that was fine.
    let differenced = {
        let state = app.state();
        let model = state.model(&job.request.model);
        model.and_then(|model| {
            Differenced::by(&state, Some(&job.job), &model.initial_parameters, &sites, policy)
        })
    };
    if let Some(earlier) = differenced {
        return abort(app, held, job, format!("the sites that consented {earlier}"), BTreeSet::new()).await;
    }
    let record = Record::CohortFixed {
        job: job.job.to_string(),
        sites: names(&sites),
        deadline: deadline(app.clock().now(), policy.setup_seconds),
    };
    let entry = Entry::new(object(job), format!("{} sites consented", sites.len()), record);
    app.append(held, &caller("fix-cohort"), vec![entry]).await?;
    Ok(())
}

pub(super) async fn fix_roster(
    app: &App,
    held: &Held,
    job: &JobState,
    policy: &RoundPolicy,
) -> Result<(), CoordinatorError> {
    let roster = match app.roster(&job.job).await {
        Ok(roster) => roster,
        // Each advertisement was checked when it came; only together do they fail, or a certificate ran out.
        Err(CoordinatorError::Roster(error)) => {
            return abort(app, held, job, format!("no roster: {error}"), BTreeSet::new()).await;
        }
        Err(error) => return Err(error),
    };
    let digest = to_hash(&roster.digest());
    let record = Record::RosterFixed {
        job: job.job.to_string(),
        roster: digest,
        sites: names(roster.sites()),
        deadline: deadline(app.clock().now(), policy.setup_seconds),
    };
    let entry = Entry::new(object(job), "all keys are advertised", record).changing(None, Some(digest));
    app.append(held, &caller("fix-roster"), vec![entry]).await?;
    Ok(())
}

pub(super) async fn start(app: &App, held: &Held, job: &JobState) -> Result<(), CoordinatorError> {
    let record = Record::JobStarted { job: job.job.to_string() };
    app.append(
        held,
        &caller("start-job"),
        vec![Entry::new(object(job), "the key set-up is complete", record)],
    )
    .await?;
    Ok(())
}

pub(super) async fn abort(
    app: &App,
    held: &Held,
    job: &JobState,
    reason: String,
    culprits: BTreeSet<SiteId>,
) -> Result<(), CoordinatorError> {
    let record =
        Record::JobAborted { job: job.job.to_string(), reason: reason.clone(), culprits: names(&culprits) };
    app.append(held, &caller("abort-job"), vec![Entry::new(object(job), reason, record)]).await?;
    let unverified = || job.unverified_round().map(|(round, _)| round);
    if let Some(round) = job.current_round().or_else(unverified) {
        let key = RoundKey { job: job.job.clone(), round: round.round };
        app.live().forget(&key);
        app.live().forget_quorums(&key);
        app.blocking(move |app| Ok(app.rounds().close_round(&key)?)).await?;
    }
    Ok(())
}

pub(super) async fn finish(app: &App, held: &Held, job: &JobState) -> Result<(), CoordinatorError> {
    let parameters = to_hash(&job.parameters);
    let record = Record::JobFinished { job: job.job.to_string(), parameters };
    let entry = Entry::new(object(job), "all rounds are done", record).changing(None, Some(parameters));
    app.append(held, &caller("finish-job"), vec![entry]).await?;
    Ok(())
}

pub(super) fn deadline(now: UnixSeconds, seconds: u32) -> u64 {
    now.get().saturating_add(seconds.into())
}
