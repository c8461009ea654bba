//! Asking for federated learning.

use std::collections::BTreeSet;

use konclave_crypto::setup::MAX_SITES;
use konclave_crypto::{Digest, Encoding, JobId, MemberRole, SiteId, TensorEncoding};
use konclave_ledger::canonical::canonical_json;
use konclave_ledger::records::Record;
use konclave_openapi::jobs::{NewJob, TaskKind};
use konclave_policies::rounds::{RewardRules, RoundPolicy, almost_equal};

use super::budgets::{BudgetError, check_invited, check_rounds, is_covered};
use super::statements::field;
use super::{App, Caller, CommandError, Entry};
use crate::error::ApiError;
use crate::projections::{JobState, State, to_hash};

/// The largest request, in bytes of canonical JSON: it is part of a ledger entry.
const MAX_REQUEST_BYTES: usize = 8 * 1024;
/// The most rounds of a job.
const MAX_ROUNDS: u32 = 10_000;
/// What JSON carries exactly.
const MAX_EXACT: u64 = (1 << 53) - 1;

impl App {
    /// Records a request for federated learning; the job's id. A repeated request with the same idempotency key gives
    /// the job it made.
    ///
    /// # Errors
    /// [`ApiError`] names the field at fault; nothing was recorded.
    pub async fn request_job(
        &self,
        caller: &Caller,
        organisation: &str,
        request: NewJob,
    ) -> Result<JobId, ApiError> {
        let held = self.lock("jobs").await;
        if let Some(entry) = self.repeated(caller)? {
            let state = self.state();
            let made = state.jobs.values().find(|job| job.entry == entry).map(|job| job.job.clone());
            return made.ok_or(ApiError::IdempotencyMismatch);
        }
        let (record, job) = self.checked_request(organisation, request)?;
        let entry = Entry::new(format!("jobs/{job}"), "asked for by a model developer", record);
        self.append_one(&held, caller, entry).await?;
        Ok(job)
    }

    fn checked_request(&self, organisation: &str, request: NewJob) -> Result<(Record, JobId), ApiError> {
        let state = self.state();
        let policy =
            state.current_policy().ok_or_else(|| ApiError::internal("no rounds policy is in force"))?;
        let model = state.model(&request.model).filter(|model| model.organisation == organisation);
        let model =
            model.ok_or_else(|| refuse("/model", "is not a registered model of your organisation"))?;
        check_request(&request, policy, model.heads)?;
        let uncovered =
            |at: &'static str| move |error: BudgetError| refuse(at, &format!("are not covered: {error}"));
        check_rounds(policy, request.rounds).map_err(uncovered("/rounds"))?;
        let invited = invited(&state, &request, policy, self)?;
        check_invited(&state, policy, request.rounds, &invited).map_err(uncovered("/invited"))?;
        check_noise(policy, model.coordinates, invited.len())?;
        if let Some(earlier) = Differenced::by(&state, None, &model.initial_parameters, &invited, policy) {
            return Err(refuse("/invited", &earlier.to_string()));
        }
        let budget_micro = check_budget(&request.budget_micro)?;
        let body = serde_json::to_value(&request).map_err(CommandError::from)?;
        let bytes = canonical_json(&body).map_err(CommandError::from)?.len();
        if bytes > MAX_REQUEST_BYTES {
            return Err(refuse(
                "",
                &format!("the request has {bytes} bytes, at most {MAX_REQUEST_BYTES} are kept"),
            ));
        }
        let job: JobId = format!("job-{}", state.job_order.len() + 1).parse().map_err(ApiError::internal)?;
        let record = Record::JobRequested {
            job: job.to_string(),
            organisation: organisation.to_owned(),
            model: to_hash(&request.model),
            initial_parameters: to_hash(&model.initial_parameters),
            invited: invited.iter().map(ToString::to_string).collect(),
            rounds: request.rounds,
            scoring_rounds: request.scoring_rounds.clone(),
            budget_micro: budget_micro.to_string(),
            policy: to_hash(&policy.digest()),
            consent_deadline: self.clock().now().get().saturating_add(policy.consent_seconds.into()),
            request: body,
        };
        Ok((record, job))
    }
}

/// An earlier job on the same initial parameters with almost the same sites: subtracting its first sum would leave the
/// updates of fewer sites than may be opened by themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "are the sites of {job}, which began with the same parameters, but for {sites}; both sums together would show less than {min_batch} sites' updates: invite the same sites, or differ by {min_batch}"
)]
pub(crate) struct Differenced {
    job: JobId,
    sites: usize,
    min_batch: u16,
}

impl Differenced {
    /// Looks for one among the jobs that have opened a round or still may. Without `own`, of a job that is asked for,
    /// also those whose invited sites have not all answered count, with all of them; a job that fixes its cohort is
    /// compared with cohorts.
    pub(crate) fn by(
        state: &State,
        own: Option<&JobId>,
        initial_parameters: &Digest,
        sites: &BTreeSet<SiteId>,
        policy: &RoundPolicy,
    ) -> Option<Self> {
        let on_same = |job: &&JobState| {
            let model = state.model(&job.request.model);
            let counts = !job.is_over() || job.rounds_opened() > 0;
            counts
                && own != Some(&job.job)
                && model.is_some_and(|model| model.initial_parameters == *initial_parameters)
        };
        state.jobs.values().filter(on_same).find_map(|job| {
            let known: BTreeSet<SiteId> = match job.cohort.as_slice() {
                [] if own.is_some() => return None,
                [] => job.invited.iter().cloned().collect(),
                cohort => cohort.iter().cloned().collect(),
            };
            let differing = almost_equal(&known, sites, policy.min_batch)?;
            Some(Self { job: job.job.clone(), sites: differing, min_batch: policy.min_batch })
        })
    }
}

fn refuse(at: &str, detail: &str) -> ApiError {
    let place = if at.is_empty() { String::new() } else { format!("{at} ") };
    ApiError::rejected_at(format!("the job is refused: {place}{detail}"), vec![field(at, detail)])
}

fn check_request(request: &NewJob, policy: &RoundPolicy, heads: u16) -> Result<(), ApiError> {
    if !(1..=120).contains(&request.name.chars().count()) || request.name.contains(char::is_control) {
        return Err(refuse("/name", "must have 1 to 120 printable characters"));
    }
    if !policy.approved_purposes.contains(&request.purpose) {
        let approved = policy.approved_purposes.iter().cloned().collect::<Vec<_>>().join(", ");
        return Err(refuse("/purpose", &format!("is not approved; approved are: {approved}")));
    }
    check_tasks(request, heads)?;
    check_training(request)?;
    if !(1..=MAX_ROUNDS).contains(&request.rounds) {
        return Err(refuse("/rounds", &format!("must be 1 to {MAX_ROUNDS}")));
    }
    let mut scoring = BTreeSet::new();
    if !request
        .scoring_rounds
        .iter()
        .all(|round| (1..=request.rounds).contains(round) && scoring.insert(*round))
    {
        return Err(refuse("/scoring_rounds", "must name rounds of this job, each once"));
    }
    Ok(())
}

/// Whether the noise that the rounds policy asks for fits a model and so many sites, or fewer.
fn check_noise(policy: &RoundPolicy, coordinates: u64, sites: usize) -> Result<(), ApiError> {
    let sites = u16::try_from(sites).unwrap_or(u16::MAX);
    for summed in [policy.min_agreed, policy.scoring_batch_size].map(usize::from) {
        let tensor = TensorEncoding { name: String::new(), len: coordinates, clip_micro: policy.clip_micro };
        let mut encoding = Encoding {
            tensors: vec![tensor],
            quantisation_bits: policy.quantisation_bits,
            ring_bits: 0,
            weight_cap: policy.weight_cap,
        };
        let Some(terms) = policy.noise_terms(&encoding, summed) else { return Ok(()) };
        encoding.ring_bits = policy.ring_bits(sites, Some(&terms));
        if encoding.ring_bits > 32 {
            let bits = encoding.ring_bits;
            return Err(refuse(
                "/model",
                &format!(
                    "does not fit the rounds policy: its noise takes a ring of {bits} bits, and 32 are the most"
                ),
            ));
        }
        terms
            .validate(&encoding, summed, sites.into())
            .map_err(|error| refuse("/model", &format!("does not fit the rounds policy: {error}")))?;
    }
    Ok(())
}

fn check_tasks(request: &NewJob, heads: u16) -> Result<(), ApiError> {
    if request.tasks.is_empty() {
        return Err(refuse("/tasks", "must name at least one task"));
    }
    let (mut names, mut outputs) = (BTreeSet::new(), BTreeSet::new());
    for (index, task) in request.tasks.iter().enumerate() {
        let at = |part: &str| format!("/tasks/{index}/{part}");
        if task.task.is_empty() || task.task.len() > 200 || !names.insert(&task.task) {
            return Err(refuse(&at("task"), "must be named once, in 1 to 200 bytes"));
        }
        if task.output >= heads || !outputs.insert(task.output) {
            return Err(refuse(&at("output"), &format!("must be an output of its own below {heads}")));
        }
        if task.unit.as_ref().is_some_and(|unit| unit.len() > 200 || unit.contains(char::is_control)) {
            return Err(refuse(&at("unit"), "must have at most 200 bytes, all printable"));
        }
        let exact = |value: i64| value.unsigned_abs() <= MAX_EXACT;
        if !exact(task.center_micro) || !exact(task.scale_micro) || task.scale_micro <= 0 {
            return Err(refuse(&at("scale_micro"), "must be above 0, and both below 2^53"));
        }
        let neutral = task.center_micro == 0 && task.scale_micro == 1_000_000;
        if task.kind == TaskKind::Classification && !neutral {
            return Err(refuse(&at("center_micro"), "a classification has centre 0 and scale 1000000"));
        }
    }
    Ok(())
}

fn check_training(request: &NewJob) -> Result<(), ApiError> {
    let training = &request.training;
    for (at, value) in [
        ("/training/local_epochs", u32::from(training.local_epochs)),
        ("/training/batch_size", training.batch_size),
        ("/training/learning_rate_micro", training.learning_rate_micro),
        ("/server_rate_micro", request.server_rate_micro),
    ] {
        if value == 0 {
            return Err(refuse(at, "must be above 0"));
        }
    }
    if training.seed > MAX_EXACT {
        return Err(refuse("/training/seed", "must be below 2^53"));
    }
    Ok(())
}

fn check_budget(text: &str) -> Result<u64, ApiError> {
    let refused = || {
        let most = RewardRules::MAX_BUDGET_MICRO;
        refuse("/budget_micro", &format!("must be a whole number from 0 to {most} in decimal digits"))
    };
    let value: u64 = text.parse().map_err(|_| refused())?;
    if value > RewardRules::MAX_BUDGET_MICRO || value.to_string() != text {
        return Err(refused());
    }
    Ok(value)
}

fn invited(
    state: &State,
    request: &NewJob,
    policy: &RoundPolicy,
    app: &App,
) -> Result<BTreeSet<SiteId>, ApiError> {
    let now = app.clock().now();
    let able = |site: &SiteId| {
        state.sites.get(site).is_some_and(|known| known.role() == MemberRole::Site && known.is_valid_at(now))
    };
    let mut invited = BTreeSet::new();
    if request.invited.is_empty() {
        // All who can: a site whose privacy budget is used up cannot.
        let covered = |site: &SiteId| is_covered(state, policy, request.rounds, site);
        invited.extend(state.sites.keys().filter(|site| able(site) && covered(site)).cloned());
    }
    for (index, site) in request.invited.iter().enumerate() {
        if !able(site) {
            return Err(refuse(&format!("/invited/{index}"), &format!("{site} is not an enrolled site")));
        }
        if !invited.insert(site.clone()) {
            return Err(refuse(&format!("/invited/{index}"), &format!("{site} is invited twice")));
        }
    }
    let (count, least) = (invited.len(), usize::from(policy.min_cohort));
    if count < least {
        return Err(refuse("/invited", &format!("are {count} sites; the rounds policy asks for {least}")));
    }
    if count > MAX_SITES {
        return Err(refuse("/invited", &format!("are {count} sites; a roster holds {MAX_SITES}")));
    }
    Ok(invited)
}
