//! How records of jobs and rounds change the state.

use std::collections::BTreeMap;

use konclave_crypto::privacy::PrivacyCost;
use konclave_crypto::{RoundNumber, SiteId, UnixSeconds};
use konclave_ledger::records::Record;

use super::apply::Place;
use super::{
    AgreedState, ConsentState, FoldError, JobState, OpenedState, OutcomeState, ParticipationState,
    PhaseState, RoundState, State, StatementState, TagsState, VerificationState, to_digest,
};

impl State {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other records are those of rounds, or of no job")]
    pub(super) fn fold_job(&mut self, place: &Place, record: Record) -> Result<(), FoldError> {
        match record {
            Record::JobRequested {
                job,
                organisation,
                request,
                invited,
                scoring_rounds,
                budget_micro,
                policy,
                consent_deadline,
                initial_parameters,
                ..
            } => {
                let id: konclave_crypto::JobId = place.parse("job", &job)?;
                let requested = JobState {
                    job: id.clone(),
                    organisation,
                    request: place.json("request", request)?,
                    invited: place.sites("invited", &invited)?,
                    scoring_rounds: scoring_rounds.into_iter().collect(),
                    budget_micro: place.parse("budget_micro", &budget_micro)?,
                    policy: to_digest(&policy),
                    created_at: place.time.clone(),
                    entry: place.index,
                    consents: BTreeMap::new(),
                    phase: PhaseState::Consent { deadline: UnixSeconds(consent_deadline) },
                    cohort: Vec::new(),
                    cohort_entry: None,
                    roster: None,
                    parameters: to_digest(&initial_parameters),
                    rounds: BTreeMap::new(),
                    contributions: BTreeMap::new(),
                    statement: None,
                };
                self.jobs.insert(id.clone(), requested);
                self.job_order.push(id);
            }
            Record::ConsentGiven { job, site, statement } => {
                let site: SiteId = place.parse("site", &site)?;
                let consent = ConsentState { accepted: true, rule: None, statement: to_digest(&statement) };
                place.job(self, &job)?.consents.insert(site, consent);
            }
            Record::ConsentRefused { job, site, rule, statement } => {
                let site: SiteId = place.parse("site", &site)?;
                let consent =
                    ConsentState { accepted: false, rule: Some(rule), statement: to_digest(&statement) };
                place.job(self, &job)?.consents.insert(site, consent);
            }
            Record::CohortFixed { job, sites, deadline } => {
                let cohort = place.sites("sites", &sites)?;
                let job = place.job(self, &job)?;
                job.cohort = cohort;
                job.cohort_entry = Some(place.index);
                job.phase = PhaseState::AdvertiseKeys { deadline: UnixSeconds(deadline) };
            }
            Record::RosterFixed { job, roster, sites, deadline } => {
                let cohort = place.sites("sites", &sites)?;
                let job = place.job(self, &job)?;
                job.cohort = cohort;
                job.roster = Some(to_digest(&roster));
                job.phase = PhaseState::Encapsulate { deadline: UnixSeconds(deadline) };
            }
            Record::JobStarted { job } => place.job(self, &job)?.phase = PhaseState::Running,
            Record::JobAborted { job, reason, culprits } => {
                let culprits = place.sites("culprits", &culprits)?;
                place.job(self, &job)?.phase = PhaseState::Aborted { reason, culprits };
            }
            Record::JobFinished { job, .. } => place.job(self, &job)?.phase = PhaseState::Finished,
            Record::ContributionScored { job, round, rows, scores } => {
                let round = place.round(round)?;
                let entry = place.index;
                let scored = super::ContributionState { rows, scores, entry };
                place.job(self, &job)?.contributions.insert(round, scored);
            }
            Record::RewardStated { job, statement, .. } => {
                place.job(self, &job)?.statement = Some(StatementState { statement, entry: place.index });
            }
            other => return self.fold_round(place, other),
        }
        Ok(())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`fold` has told the other records apart")]
    pub(super) fn fold_round(&mut self, place: &Place, record: Record) -> Result<(), FoldError> {
        match record {
            Record::RoundContext {
                job,
                round,
                context,
                signed,
                scoring,
                parameters,
                deadline,
                privacy_cost,
            } => {
                let number = place.round(round)?;
                let begun = RoundState {
                    round: number,
                    context: to_digest(&context),
                    signed,
                    scoring,
                    privacy_cost: privacy_cost.map(PrivacyCost::from_nano_rho),
                    parameters_before: to_digest(&parameters),
                    deadline: UnixSeconds(deadline),
                    started_at: place.time.clone(),
                    entry: place.index,
                    agreed: None,
                    outcome: OutcomeState::Open,
                    participation: BTreeMap::new(),
                };
                place.job(self, &job)?.rounds.insert(number, begun);
            }
            Record::RoundAgreed { job, round, agreed, signed, evidence, deadline } => {
                let agreement = AgreedState {
                    agreed: place.sites("agreed", &agreed)?,
                    signed: place.sites("signed", &signed)?,
                    evidence: to_digest(&evidence),
                    deadline: UnixSeconds(deadline),
                };
                round_of(self, place, &job, round)?.agreed = Some(agreement);
            }
            Record::RoundOpened {
                job,
                round,
                batches,
                total,
                announcement,
                tag_deadline,
                parameters_after,
                coalitions,
                evaluation_deadline,
                ..
            } => {
                let parameters_after = to_digest(&parameters_after);
                round_of(self, place, &job, round)?.outcome = OutcomeState::Opened(Box::new(OpenedState {
                    batches,
                    total,
                    announcement: to_digest(&announcement),
                    verification: VerificationState::Tagging { deadline: UnixSeconds(tag_deadline) },
                    parameters_after,
                    coalitions,
                    evaluation_deadline: UnixSeconds(evaluation_deadline),
                }));
                place.job(self, &job)?.parameters = parameters_after;
            }
            Record::RoundTagged {
                job,
                round,
                evidence,
                tagged,
                uploads,
                missing,
                false_tags,
                deadline,
                ..
            } => {
                let tags = TagsState {
                    evidence: to_digest(&evidence),
                    tagged: place.sites("tagged", &tagged)?,
                    uploads,
                    missing: place.sites("missing", &missing)?,
                    false_tags: place.sites("false_tags", &false_tags)?,
                };
                let deadline = UnixSeconds(deadline);
                opened_of(self, place, &job, round)?.verification =
                    VerificationState::Checking { tags, deadline };
            }
            Record::RoundVerified { job, round, result, accepted, rejected, .. } => {
                let accepted = place.sites("accepted", &accepted)?;
                let rejected = place.sites("rejected", &rejected)?;
                let opened = opened_of(self, place, &job, round)?;
                let untagged = place.unknown("settled tags", format!("{job}/{round}"));
                let tags = opened.verification.tags().cloned().ok_or(untagged)?;
                opened.verification = VerificationState::Settled { tags, result, accepted, rejected };
            }
            Record::RoundAborted { job, round, reason, culprits } => {
                let culprits = place.sites("culprits", &culprits)?;
                round_of(self, place, &job, round)?.outcome = OutcomeState::Aborted { reason, culprits };
            }
            Record::ParticipationRecorded {
                job, round, site, uploaded, agreed, signed, unmasked, ..
            } => {
                let site = place.parse("site", &site)?;
                let part = ParticipationState { uploaded, agreed, signed, unmasked };
                round_of(self, place, &job, round)?.participation.insert(site, part);
            }
            other => return Err(place.misplaced(&other)),
        }
        Ok(())
    }
}

fn round_of<'a>(
    state: &'a mut State,
    place: &Place,
    job: &str,
    round: u32,
) -> Result<&'a mut RoundState, FoldError> {
    let number: RoundNumber = place.round(round)?;
    let unknown = place.unknown("round", format!("{job}/{round}"));
    place.job(state, job)?.rounds.get_mut(&number).ok_or(unknown)
}

fn opened_of<'a>(
    state: &'a mut State,
    place: &Place,
    job: &str,
    round: u32,
) -> Result<&'a mut OpenedState, FoldError> {
    let unopened = place.unknown("opened round", format!("{job}/{round}"));
    match &mut round_of(state, place, job, round)?.outcome {
        OutcomeState::Opened(opened) => Ok(opened),
        OutcomeState::Open | OutcomeState::Aborted { .. } => Err(unopened),
    }
}
