//! What is waited for from one member.

use std::sync::PoisonError;

use konclave_crypto::{MemberRole, SiteId};
use konclave_openapi::work::WorkItem;

use super::CoordinatorError;
use super::evaluations::{is_scored, needed};
use super::live::{LiveRound, Stage};
use crate::core::App;
use crate::projections::{JobState, OpenedState, PhaseState, RoundState, VerificationState};
use crate::rounds_store::{Kind, RoundKey};

/// The member's to-do list, oldest job first.
///
/// A job at fault is left out: it must not keep the member from its other jobs.
///
/// # Errors
/// None at present; [`CoordinatorError`] if something stored cannot be read.
pub async fn work_of(app: &App, site: &SiteId, role: MemberRole) -> Result<Vec<WorkItem>, CoordinatorError> {
    let active: Vec<JobState> = {
        let state = app.state();
        let jobs = state.job_order.iter().filter_map(|id| state.jobs.get(id));
        jobs.filter(|job| !job.is_over()).cloned().collect()
    };
    let mut items = Vec::new();
    for job in &active {
        let work = match role {
            MemberRole::Site => of_site(app, job, site).await.map(Vec::from_iter),
            MemberRole::Evaluator => of_evaluator(app, job, site).await,
            MemberRole::Gateway => Ok(Vec::new()),
        };
        match work {
            Ok(work) => items.extend(work),
            Err(error) => tracing::warn!(job = %job.job, %error, "what a job waits for cannot be told"),
        }
    }
    Ok(items)
}

async fn of_site(app: &App, job: &JobState, site: &SiteId) -> Result<Option<WorkItem>, CoordinatorError> {
    let id = job.job.clone();
    let now = app.clock().now();
    match &job.phase {
        PhaseState::Consent { deadline } => {
            let asked = job.invited.contains(site) && !job.consents.contains_key(site) && now < *deadline;
            Ok(asked.then_some(WorkItem::Consent { job: id }))
        }
        PhaseState::AdvertiseKeys { .. } | PhaseState::Encapsulate { .. } if job.cohort.contains(site) => {
            let advertising = matches!(job.phase, PhaseState::AdvertiseKeys { .. });
            let (key, sender) = (id.clone(), site.clone());
            let sent = app.blocking(move |app| {
                let kind = if advertising { Kind::Keys(&key) } else { Kind::Ciphertexts(&key) };
                Ok(app.rounds().senders(&kind)?.contains(&sender))
            });
            let item = if advertising {
                WorkItem::AdvertiseKeys { job: id }
            } else {
                WorkItem::Encapsulate { job: id }
            };
            Ok((!sent.await?).then_some(item))
        }
        PhaseState::Running if job.cohort.contains(site) => match job.current_round() {
            Some(round) => of_site_in_round(app, job, round, site).await,
            None => match job.unverified_round() {
                Some((round, opened)) => of_site_in_verification(app, job, round, opened, site).await,
                None => Ok(None),
            },
        },
        PhaseState::AdvertiseKeys { .. }
        | PhaseState::Encapsulate { .. }
        | PhaseState::Running
        | PhaseState::Finished
        | PhaseState::Aborted { .. } => Ok(None),
    }
}

async fn of_site_in_round(
    app: &App,
    job: &JobState,
    round: &RoundState,
    site: &SiteId,
) -> Result<Option<WorkItem>, CoordinatorError> {
    let key = RoundKey { job: job.job.clone(), round: round.round };
    let live = match app.live_round(&key).await {
        Ok(live) => live,
        // The coordinator aborts it in a moment, or just closed it.
        Err(CoordinatorError::Rebuild(_) | CoordinatorError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let live = live.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(item(&live, key, site))
}

async fn of_site_in_verification(
    app: &App,
    job: &JobState,
    round: &RoundState,
    opened: &OpenedState,
    site: &SiteId,
) -> Result<Option<WorkItem>, CoordinatorError> {
    match &opened.verification {
        VerificationState::Tagging { .. } => of_site_in_round(app, job, round, site).await,
        VerificationState::Checking { tags, .. } if tags.missing.is_empty() => {
            let key = RoundKey { job: job.job.clone(), round: round.round };
            let said = app.blocking(move |app| Ok(app.rounds().senders(&Kind::Verdict(&key))?)).await?;
            let item = WorkItem::Verify { job: job.job.clone(), round: round.round };
            Ok((!said.contains(site)).then_some(item))
        }
        VerificationState::Checking { .. } | VerificationState::Settled { .. } => Ok(None),
    }
}

fn item(live: &LiveRound, key: RoundKey, site: &SiteId) -> Option<WorkItem> {
    let RoundKey { job, round } = key;
    match live.stage() {
        Stage::Uploading => (!live.uploaded().contains(site)).then_some(WorkItem::Upload { job, round }),
        Stage::Agreeing { .. } => {
            let asked = live.uploaded().contains(site) && !live.signed_by().contains(site);
            asked.then_some(WorkItem::Agree { job, round })
        }
        Stage::Unmasking => {
            let asked = matches!(live.request_for(site), Ok(Some(_)));
            (asked && !live.unmasked_by().0.contains(site)).then_some(WorkItem::Unmask { job, round })
        }
        Stage::Opening => None,
        Stage::Tagging => live.tagged_by().1.contains(site).then_some(WorkItem::Tag { job, round }),
    }
}

async fn of_evaluator(app: &App, job: &JobState, site: &SiteId) -> Result<Vec<WorkItem>, CoordinatorError> {
    if job.rounds_opened() == 0 {
        return Ok(Vec::new());
    }
    let (job, evaluator) = (job.clone(), site.clone());
    app.blocking(move |app| {
        let now = app.clock().now();
        let wanted = needed(&job, app.blobs())?;
        let state = app.state();
        // An evaluator checks what it scores against the tags.
        let is_tagged =
            |round: &RoundState| round.opened().is_some_and(|opened| opened.verification.tags().is_some());
        let open = wanted.into_iter().filter(|needed| {
            now < needed.deadline
                && job.rounds.get(&needed.round).is_some_and(is_tagged)
                && !is_scored(&state, &job, Some(&evaluator), &needed.parameters)
        });
        let item = |needed: super::evaluations::Needed| WorkItem::Evaluate {
            job: job.job.clone(),
            round: needed.round,
            parameters: needed.parameters,
            coalition: needed.coalition,
        };
        Ok(open.map(item).collect())
    })
    .await
}
