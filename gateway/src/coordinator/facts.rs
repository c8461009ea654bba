//! Gathers what [`super::decide`] decides by: from the fold, the stored set-up messages and the round under way.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use konclave_crypto::messages::SumVerdict;
use konclave_crypto::{JobId, MemberRole, SiteId, UnixSeconds};
use konclave_policies::quorum;
use konclave_policies::rounds::RoundPolicy;

use super::decide::{JobFacts, JobStage, RoundFacts, RoundStage, VerificationFacts, VerificationStage, Wait};
use super::evaluations::{complete_scores, is_scored, needed};
use super::live::{Awaited, LiveRound, RebuildError, Stage};
use super::{CoordinatorError, agreed_size};
use crate::core::App;
use crate::projections::{JobState, OpenedState, PhaseState, RoundState, VerificationState};
use crate::rounds_store::{Kind, RoundKey, StoreError};

/// What is known of a job now; nothing if there is no such job.
///
/// # Errors
/// [`CoordinatorError`] if something stored cannot be read.
pub async fn gather(app: &App, id: &JobId) -> Result<Option<JobFacts>, CoordinatorError> {
    let Some((job, policy)) = app.job_and_policy(id)? else { return Ok(None) };
    let stage = stage(app, &job, &policy).await?;
    let round = match job.current_round() {
        Some(round) if stage == JobStage::Running => Some(round_facts(app, &job, round, &policy).await?),
        Some(_) | None => None,
    };
    let verification = match job.unverified_round() {
        Some((round, opened)) if stage == JobStage::Running => {
            Some(verification_facts(app, &job, round, opened, &policy).await?)
        }
        Some(_) | None => None,
    };
    let (to_score, evaluations_until) = evaluation_facts(app, &job).await?;
    let next_round = match job.rounds.keys().next_back() {
        Some(last) => last.next(),
        None => Some(konclave_crypto::RoundNumber::FIRST),
    };
    Ok(Some(JobFacts {
        stage,
        rounds_wanted: job.request.rounds,
        rounds_opened: job.rounds_opened(),
        aborts_in_a_row: job.aborts_in_a_row(),
        next_round,
        scoring_rounds: job.scoring_rounds.clone(),
        round,
        verification,
        to_score,
        evaluations_until,
        reward_stated: job.statement.is_some(),
    }))
}

async fn stage(app: &App, job: &JobState, policy: &RoundPolicy) -> Result<JobStage, CoordinatorError> {
    Ok(match &job.phase {
        PhaseState::Consent { deadline } => JobStage::Consent {
            deadline: *deadline,
            invited: job.invited.len(),
            answered: job.consents.len(),
            accepted: job.accepted().cloned().collect(),
            min_cohort: policy.min_cohort.into(),
        },
        PhaseState::AdvertiseKeys { deadline } => {
            let id = job.job.clone();
            let sent = app.blocking(move |app| Ok(app.rounds().senders(&Kind::Keys(&id))?)).await?;
            JobStage::AdvertiseKeys { deadline: *deadline, missing: without(&job.cohort, &sent) }
        }
        PhaseState::Encapsulate { deadline } => {
            let id = job.job.clone();
            let sent = app.blocking(move |app| Ok(app.rounds().senders(&Kind::Ciphertexts(&id))?)).await?;
            JobStage::Encapsulate { deadline: *deadline, missing: without(&job.cohort, &sent) }
        }
        PhaseState::Running => JobStage::Running,
        PhaseState::Finished | PhaseState::Aborted { .. } => JobStage::Over,
    })
}

fn without(all: &[SiteId], some: &BTreeSet<SiteId>) -> BTreeSet<SiteId> {
    all.iter().filter(|site| !some.contains(*site)).cloned().collect()
}

/// Sites of a cohort that were revoked: nothing comes of them any more, so a round does not wait for them.
fn revoked(app: &App, cohort: &[SiteId]) -> BTreeSet<SiteId> {
    cohort.iter().filter(|site| !app.is_member(site)).cloned().collect()
}

async fn round_facts(
    app: &App,
    job: &JobState,
    round: &RoundState,
    policy: &RoundPolicy,
) -> Result<RoundFacts, CoordinatorError> {
    let key = RoundKey { job: job.job.clone(), round: round.round };
    let live = match app.live_round(&key).await {
        Ok(live) => live,
        // A file that cannot be read now may be readable in a moment: that is an error, not a lost round.
        Err(CoordinatorError::Rebuild(error)) if !matches!(error, RebuildError::Store(StoreError::Io(_))) => {
            let reason = format!("the round's messages could not be brought back: {error}");
            return Ok(RoundFacts { round: round.round, stage: RoundStage::Lost { reason } });
        }
        // The round cannot go on, and neither will the job's next one begin.
        Err(CoordinatorError::Roster(error)) => {
            let reason = format!("the roster can no longer be formed: {error}");
            return Ok(RoundFacts { round: round.round, stage: RoundStage::Lost { reason } });
        }
        Err(error) => return Err(error),
    };
    let now = app.clock().now();
    let revoked = revoked(app, &job.cohort);
    let mut live = live.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(RoundFacts { round: round.round, stage: round_stage(&mut live, job, round, policy, &revoked, now) })
}

fn round_stage(
    live: &mut LiveRound,
    job: &JobState,
    round: &RoundState,
    policy: &RoundPolicy,
    revoked: &BTreeSet<SiteId>,
    now: UnixSeconds,
) -> RoundStage {
    let awaited = |missing: BTreeSet<SiteId>| &missing - revoked;
    match live.stage() {
        Stage::Uploading => {
            let context = live.context();
            let enough = live.uploaded().len() >= usize::from(context.threshold)
                && agreed_size(context, live.uploaded()) >= usize::from(context.min_agreed);
            RoundStage::Uploading {
                deadline: round.deadline,
                extended: UnixSeconds(round.deadline.get().saturating_add(policy.upload_seconds.into())),
                last_byte: live.last_byte(),
                missing: awaited(without(&job.cohort, live.uploaded())),
                enough,
            }
        }
        Stage::Agreeing { deadline } => {
            live.quorum(now);
            let signed = live.signed_by();
            let missing = awaited(live.uploaded() - &signed);
            RoundStage::Agreeing { deadline, quorum_since: live.quorum_since(), missing }
        }
        Stage::Unmasking => {
            let (answered, sufficient) = live.unmasked_by();
            let asked = round.agreed.as_ref();
            let deadline = asked.map_or(round.deadline, |agreed| agreed.deadline);
            let missing = asked.map(|agreed| without(&agreed.signed, &answered)).unwrap_or_default();
            let missing = awaited(missing);
            RoundStage::Unmasking {
                deadline,
                sufficient,
                missing,
                all_answered: awaited(&live.proposed() - &answered).is_empty(),
                complaints: live.complaints(),
                // So many that an honest site must be among them (2t - n > n/3; see `quorum::threshold`).
                believed: (2 * usize::from(live.context().threshold)).saturating_sub(job.cohort.len()).max(1),
            }
        }
        Stage::Opening | Stage::Tagging => RoundStage::Opening,
    }
}

async fn verification_facts(
    app: &App,
    job: &JobState,
    round: &RoundState,
    opened: &OpenedState,
    policy: &RoundPolicy,
) -> Result<VerificationFacts, CoordinatorError> {
    let key = RoundKey { job: job.job.clone(), round: round.round };
    let sites = u16::try_from(job.cohort.len()).unwrap_or(u16::MAX);
    let threshold = usize::from(quorum::threshold(sites));
    let wait = |awaited: Awaited, reached: bool, seconds: u32, deadline: UnixSeconds| Wait {
        begun: UnixSeconds(deadline.get().saturating_sub(seconds.into())),
        quorum_since: app.live().quorum_since(&key, awaited, reached, app.clock().now()),
        deadline,
    };
    let stage = match &opened.verification {
        VerificationState::Checking { tags, deadline } => {
            let owned = key.clone();
            let said =
                app.blocking(move |app| Ok(app.rounds().all::<SumVerdict>(&Kind::Verdict(&owned))?)).await?;
            // Only a quorum that accepts settles anything: with a liar among those that spoke, a slow site's word counts.
            let accepted = said.values().filter(|verdict| verdict.accepted).count();
            VerificationStage::Checking {
                wait: wait(Awaited::Verdicts, accepted >= threshold, policy.agree_seconds, *deadline),
                silent: &without(&job.cohort, &said.into_keys().collect()) - &revoked(app, &job.cohort),
                possible: tags.missing.is_empty(),
            }
        }
        VerificationState::Tagging { deadline } => {
            let (tagged, missing) = match app.live_round(&key).await {
                Ok(live) => live.lock().unwrap_or_else(PoisonError::into_inner).tagged_by(),
                // What is lost cannot be waited for: the tags are settled with what is there.
                Err(CoordinatorError::Rebuild(error))
                    if !matches!(error, RebuildError::Store(StoreError::Io(_))) =>
                {
                    tracing::warn!(%key, %error, "the tags cannot be gathered");
                    (BTreeSet::new(), BTreeSet::new())
                }
                Err(error) => return Err(error),
            };
            // A scoring round's missing tag cannot be made up for: there it is waited for to the end.
            let enough = !round.scoring && tagged.len() >= threshold;
            VerificationStage::Tagging {
                wait: wait(Awaited::Tags, enough, policy.unmask_seconds, *deadline),
                missing,
            }
        }
        VerificationState::Settled { .. } => {
            return Err(CoordinatorError::Missing { what: format!("an unverified sum of {key}") });
        }
    };
    Ok(VerificationFacts { round: round.round, stage })
}

type EvaluationFacts = (Option<konclave_crypto::RoundNumber>, Option<UnixSeconds>);

async fn evaluation_facts(app: &App, job: &JobState) -> Result<EvaluationFacts, CoordinatorError> {
    if !matches!(job.phase, PhaseState::Running) {
        return Ok((None, None));
    }
    let job = job.clone();
    app.blocking(move |app| {
        let needed = needed(&job, app.blobs())?;
        let state = app.state();
        let mut to_score = None;
        for round in job.rounds.values().filter(|round| round.scoring) {
            if !job.contributions.contains_key(&round.round)
                && complete_scores(&state, &job, round, app.blobs())?.is_some()
            {
                to_score = Some(round.round);
                break;
            }
        }
        let evaluators = state.sites.values().any(|site| site.role() == MemberRole::Evaluator);
        let missing = needed.iter().filter(|needed| !is_scored(&state, &job, None, &needed.parameters));
        let until = missing.map(|needed| needed.deadline).max().filter(|_| evaluators);
        Ok((to_score, until))
    })
    .await
}
