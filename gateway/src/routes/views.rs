//! The fold's parts as the API shows them.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use konclave_crypto::messages::SumVerdict;
use konclave_crypto::{SiteId, UnixSeconds};
use konclave_ledger::records::SumResult;
use konclave_openapi::jobs::{Consent, Job, JobPhase, JobPrivacy};
use konclave_openapi::models::Model;
use konclave_openapi::rounds::{OpeningView, Round, RoundPhase, Verification};
use konclave_policies::rounds::{RoundPolicy, Scope};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::coordinator::CoordinatorError;
use crate::coordinator::live::Stage;
use crate::core::{App, CommandError};
use crate::error::ApiError;
use crate::projections::{
    JobState, ModelState, OpenedState, OutcomeState, ParticipationState, PhaseState, RoundState,
    VerificationState, to_digest,
};
use crate::rounds_store::{Kind, RoundKey};

/// A time as the API writes it.
pub(crate) fn rfc3339(time: UnixSeconds) -> String {
    let moment = i64::try_from(time.get()).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_else(|| time.to_string())
}

pub(crate) async fn model(app: &App, state: &ModelState) -> Result<Model, ApiError> {
    let manifest = app.read_document(&state.manifest).await?;
    Ok(Model {
        model: state.model,
        name: state.name.clone(),
        organisation: state.organisation.clone(),
        manifest: serde_json::from_value(manifest).map_err(CommandError::from)?,
        entry: state.entry,
    })
}

pub(crate) fn job(app: &App, state: &JobState) -> Job {
    let consent = |(site, consent): (&SiteId, &crate::projections::ConsentState)| Consent {
        site: site.clone(),
        accepted: consent.accepted,
        rule: consent.rule.clone(),
        statement: consent.statement,
    };
    // Taken out first: what is left of a budget is searched for without the state's lock.
    let policy = app.state().policies.get(&state.policy).cloned();
    Job {
        job: state.job.clone(),
        request: state.request.clone(),
        organisation: state.organisation.clone(),
        phase: job_phase(&state.phase),
        consents: state.consents.iter().map(consent).collect(),
        roster: state.roster,
        sites: state.cohort.clone(),
        global_parameters: state.parameters,
        rounds_opened: state.rounds_opened(),
        current_round: state.current_round().filter(|_| !state.is_over()).map(|round| round.round),
        policy: state.policy,
        privacy: policy.and_then(|policy| job_privacy(state, &policy)),
        created_at: state.created_at.clone(),
        entry: state.entry,
    }
}

fn job_privacy(state: &JobState, policy: &RoundPolicy) -> Option<JobPrivacy> {
    let rules = policy.privacy.as_ref()?;
    let spent = state.privacy_spent();
    Some(JobPrivacy {
        spent,
        epsilon_milli: spent.epsilon_milli(rules.delta()),
        budget_epsilon_milli: rules.job_epsilon_milli,
        delta_exponent: rules.delta(),
        rounds_left: rules.rounds_left(spent, Scope::Job),
    })
}

fn job_phase(phase: &PhaseState) -> JobPhase {
    match phase {
        PhaseState::Consent { deadline } => JobPhase::Consent { deadline: rfc3339(*deadline) },
        PhaseState::AdvertiseKeys { deadline } => JobPhase::AdvertiseKeys { deadline: rfc3339(*deadline) },
        PhaseState::Encapsulate { deadline } => JobPhase::Encapsulate { deadline: rfc3339(*deadline) },
        PhaseState::Running => JobPhase::Running,
        PhaseState::Finished => JobPhase::Finished,
        PhaseState::Aborted { reason, culprits } => {
            JobPhase::Aborted { reason: reason.clone(), culprits: culprits.clone() }
        }
    }
}

/// A round, with what the messages in memory say of one that is under way.
pub(crate) async fn round(app: &App, job: &JobState, state: &RoundState) -> Result<Round, ApiError> {
    let context = app.signed_context(state).await?;
    let did = |part: fn(&ParticipationState) -> bool| {
        state.participation.iter().filter(|(_, did)| part(did)).map(|(site, _)| site.clone()).collect()
    };
    let agreed = state.agreed.as_ref();
    let mut view = Round {
        job: job.job.clone(),
        round: state.round,
        phase: RoundPhase::Uploading,
        context,
        context_digest: state.context,
        uploaded: did(|did| did.uploaded),
        agreed: agreed.map(|agreed| agreed.agreed.clone()).unwrap_or_default(),
        signed: agreed.map(|agreed| agreed.signed.clone()).unwrap_or_default(),
        unmasked: did(|did| did.unmasked),
        parameters_before: state.parameters_before,
        parameters_after: state.opened().map(|opened| opened.parameters_after),
        openings: openings(state),
        agreement_evidence: agreed.map(|agreed| agreed.evidence),
        verification: state.opened().map(verification),
        started_at: state.started_at.clone(),
        deadline: None,
    };
    match &state.outcome {
        OutcomeState::Opened(opened) => {
            view.phase = RoundPhase::Opened;
            verification_under_way(app, job, state, opened, &mut view).await?;
        }
        OutcomeState::Aborted { reason, culprits } => {
            view.phase = RoundPhase::Aborted { reason: reason.clone(), culprits: culprits.clone() };
        }
        OutcomeState::Open => match &job.phase {
            // The job ended with this round under way.
            PhaseState::Aborted { reason, culprits } => {
                view.phase = RoundPhase::Aborted { reason: reason.clone(), culprits: culprits.clone() };
            }
            PhaseState::Consent { .. }
            | PhaseState::AdvertiseKeys { .. }
            | PhaseState::Encapsulate { .. }
            | PhaseState::Running
            | PhaseState::Finished => under_way(app, job, state, &mut view).await?,
        },
    }
    Ok(view)
}

async fn under_way(app: &App, job: &JobState, state: &RoundState, view: &mut Round) -> Result<(), ApiError> {
    let key = RoundKey { job: job.job.clone(), round: state.round };
    let live = app.live_round(&key).await?;
    let live = live.lock().unwrap_or_else(PoisonError::into_inner);
    let listed = |sites: &BTreeSet<SiteId>| sites.iter().cloned().collect::<Vec<_>>();
    view.uploaded = listed(live.uploaded());
    if let Some(proposal) = live.proposal() {
        view.agreed.clone_from(&proposal.agreed);
    }
    let deadline = match live.stage() {
        Stage::Uploading => Some(state.deadline),
        Stage::Agreeing { deadline } => {
            view.phase = RoundPhase::Agreeing;
            view.signed = listed(&live.signed_by());
            Some(deadline)
        }
        Stage::Unmasking | Stage::Opening | Stage::Tagging => {
            view.phase = RoundPhase::Unmasking;
            view.unmasked = listed(&live.unmasked_by().0);
            state.agreed.as_ref().map(|agreed| agreed.deadline)
        }
    };
    view.deadline = deadline.map(rfc3339);
    Ok(())
}

/// Who has sent a tag or a verdict so far, while they are waited for.
async fn verification_under_way(
    app: &App,
    job: &JobState,
    state: &RoundState,
    opened: &OpenedState,
    view: &mut Round,
) -> Result<(), ApiError> {
    let Some(verification) = &mut view.verification else { return Ok(()) };
    if job.is_over() {
        return Ok(());
    }
    let key = RoundKey { job: job.job.clone(), round: state.round };
    match &opened.verification {
        VerificationState::Tagging { .. } => match app.live_round(&key).await {
            Ok(live) => {
                let live = live.lock().unwrap_or_else(PoisonError::into_inner);
                verification.tagged = live.tagged_by().0.into_iter().collect();
            }
            // What was stored of the opening is lost, or the tags were settled this moment.
            Err(CoordinatorError::Rebuild(_) | CoordinatorError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        },
        VerificationState::Checking { .. } => {
            let kind = move |app: &App| Ok(app.rounds().all::<SumVerdict>(&Kind::Verdict(&key))?);
            for (site, verdict) in app.blocking(kind).await? {
                let said =
                    if verdict.accepted { &mut verification.accepted } else { &mut verification.rejected };
                said.push(site);
            }
        }
        VerificationState::Settled { .. } => {}
    }
    Ok(())
}

fn verification(opened: &OpenedState) -> Verification {
    let tags = opened.verification.tags();
    let (deadline, result, accepted, rejected) = match &opened.verification {
        VerificationState::Tagging { deadline } | VerificationState::Checking { deadline, .. } => {
            (Some(*deadline), SumResult::Pending, &[][..], &[][..])
        }
        VerificationState::Settled { result, accepted, rejected, .. } => {
            (None, *result, accepted.as_slice(), rejected.as_slice())
        }
    };
    Verification {
        result,
        total: to_digest(&opened.total.sum),
        weight: opened.total.weight,
        announcement: opened.announcement,
        tags: tags.map(|tags| tags.evidence),
        tagged: tags.map(|tags| tags.tagged.clone()).unwrap_or_default(),
        missing: tags.map(|tags| tags.missing.clone()).unwrap_or_default(),
        false_tags: tags.map(|tags| tags.false_tags.clone()).unwrap_or_default(),
        accepted: accepted.to_vec(),
        rejected: rejected.to_vec(),
        deadline: deadline.map(rfc3339),
    }
}

fn openings(state: &RoundState) -> Vec<OpeningView> {
    let batches = state.opened().map(|opened| opened.batches.as_slice()).unwrap_or_default();
    let view = |batch: &konclave_ledger::records::OpenedBatch| OpeningView {
        sites: batch.sites.iter().filter_map(|name| name.parse().ok()).collect(),
        sum: to_digest(&batch.sum),
        weight: batch.weight,
    };
    batches.iter().map(view).collect()
}
