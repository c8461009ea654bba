//! Statements that members sign with their identity key: deposits, consents, evaluations.

use std::collections::BTreeSet;

use konclave_crypto::{Digest, JobId, RoundNumber, SiteId};
use konclave_ledger::PublicKey;
use konclave_ledger::dsse::Envelope;
use konclave_ledger::records::{DepositLine, Record};
use konclave_ledger::statements::{
    self, ConsentDecision, ConsentStatement, DataClass, DepositStatement, EvaluationStatement, Statement,
};
use konclave_openapi::problem::FieldError;
use konclave_policies::contribution::{MAX_DEPOSIT_COUNT, MAX_SCORE_MICRO};

use super::{App, Caller, Entry, Held};
use crate::coordinator::evaluations::{Needed, needed};
use crate::error::ApiError;
use crate::projections::{DepositState, PhaseState, to_digest, to_hash};

/// The most tasks in one deposit.
const MAX_DEPOSIT_TASKS: usize = 100;

impl App {
    /// Checks that an enrolled member signed a statement with its identity key.
    fn verified<S: Statement>(&self, site: &SiteId, envelope: &Envelope) -> Result<S, ApiError> {
        let key = {
            let state = self.state();
            let member = state.sites.get(site).ok_or_else(|| ApiError::not_found(format!("site {site}")))?;
            PublicKey(*member.certificate.membership.identity_key.as_bytes())
        };
        statements::verify(envelope, &key).map_err(|error| {
            let detail =
                format!("the statement is not accepted: {error}; sign it with the identity key of {site}");
            ApiError::rejected_at(detail, vec![field("/statement", "signature, type or payload is wrong")])
        })
    }

    /// Registers a deposit; the entry's index. The same statement again changes nothing.
    ///
    /// # Errors
    /// [`ApiError`]; nothing was registered.
    pub async fn register_deposit(
        &self,
        caller: &Caller,
        site: &SiteId,
        envelope: Envelope,
    ) -> Result<u64, ApiError> {
        let stated: DepositStatement = self.verified(site, &envelope)?;
        own(site, &stated.site)?;
        let deposit = to_digest(&envelope.digest());
        let held = self.lock(format!("deposits/{site}")).await;
        if let Some(known) = self.state().deposits.iter().find(|known| known.deposit == deposit) {
            return Ok(known.entry);
        }
        self.check_idempotency(caller)?;
        self.check_deposit(site, &stated)?;
        let line = |count: &statements::TaskCount| DepositLine {
            task: count.task.clone(),
            records: count.records,
            unique_structures: count.unique_structures,
            scaffolds: count.scaffolds,
        };
        let record = Record::DepositRegistered {
            site: site.to_string(),
            statement: envelope.digest(),
            data_class: match stated.data_class {
                DataClass::Training => "training",
                DataClass::Benchmark => "benchmark",
            }
            .to_owned(),
            lines: stated.catalogue_tasks.iter().map(line).collect(),
        };
        let entry = Entry::new(format!("deposits/{deposit}"), "stated by the member", record)
            .about_site(site)
            .changing(None, Some(to_hash(&deposit)))
            .stated_in(envelope);
        self.append_one(&held, caller, entry).await
    }

    fn check_deposit(&self, site: &SiteId, stated: &DepositStatement) -> Result<(), ApiError> {
        let refuse = |at: &str, detail: &str| {
            Err(ApiError::rejected_at(
                format!("the deposit is refused: {at}: {detail}"),
                vec![field(at, detail)],
            ))
        };
        let entity = self.state().sites.get(site).map(|member| member.legal_entity().to_owned());
        if stated.legal_entity.is_some() && stated.legal_entity != entity {
            return refuse("legal_entity", "is not the one on the membership certificate");
        }
        if stated.catalogue_tasks.is_empty() || stated.catalogue_tasks.len() > MAX_DEPOSIT_TASKS {
            return refuse("catalogue_tasks", "must list 1 to 100 tasks");
        }
        let mut tasks = BTreeSet::new();
        for count in &stated.catalogue_tasks {
            if count.task.is_empty() || count.task.len() > 200 || !tasks.insert(&count.task) {
                return refuse("catalogue_tasks/task", "must be named once, in 1 to 200 bytes");
            }
            if count.records > MAX_DEPOSIT_COUNT {
                let most = format!("is above {MAX_DEPOSIT_COUNT}, the most that is paid for");
                return refuse("catalogue_tasks/records", &most);
            }
            if count.unique_structures > count.records || count.scaffolds > count.records {
                return refuse(
                    "catalogue_tasks/records",
                    "cannot have more structures or scaffolds than records",
                );
            }
        }
        Ok(())
    }

    /// Takes a site's answer to an invitation. The same answer again changes nothing.
    ///
    /// # Errors
    /// [`ApiError`]; nothing was recorded.
    pub async fn consent(
        &self,
        caller: &Caller,
        job: &JobId,
        site: &SiteId,
        envelope: Envelope,
    ) -> Result<(), ApiError> {
        let stated: ConsentStatement = self.verified(site, &envelope)?;
        own(site, &stated.site)?;
        if stated.job != job.as_str() {
            let detail = format!("the statement is about {}, the path about {job}", stated.job);
            return Err(ApiError::rejected_at(detail, vec![field("job", "is another job")]));
        }
        let digest = to_digest(&envelope.digest());
        let held = self.lock_job(job).await;
        {
            let state = self.state();
            let known = state.jobs.get(job).ok_or_else(|| ApiError::not_found(format!("job {job}")))?;
            if !known.invited.contains(site) {
                return Err(ApiError::rejected(format!("{site} is not invited to {job}")));
            }
            match known.consents.get(site) {
                Some(given) if given.statement == digest => return Ok(()),
                Some(_) => {
                    return Err(ApiError::already_sent(format!(
                        "{site} has answered the invitation to {job}"
                    )));
                }
                None => {}
            }
            if !matches!(known.phase, PhaseState::Consent { deadline } if self.clock().now() < deadline) {
                return Err(ApiError::wrong_round(format!("consent to {job} is closed")));
            }
        }
        self.check_idempotency(caller)?;
        let (job_name, site_name, statement) = (job.to_string(), site.to_string(), envelope.digest());
        let (record, reason) = match stated.decision {
            ConsentDecision::Accept => {
                (Record::ConsentGiven { job: job_name, site: site_name, statement }, "the site takes part")
            }
            ConsentDecision::Refuse => {
                let rule = stated.rule.chars().take(200).collect();
                let record = Record::ConsentRefused { job: job_name, site: site_name, rule, statement };
                (record, "the site does not take part")
            }
        };
        let entry = Entry::new(format!("jobs/{job}/consents/{site}"), reason, record)
            .about_site(site)
            .stated_in(envelope);
        self.append_one(&held, caller, entry).await?;
        Ok(())
    }

    /// Takes an evaluator's scores; the entry's index. The same statement again changes nothing.
    ///
    /// # Errors
    /// [`ApiError`]; nothing was recorded.
    pub async fn record_evaluation(
        &self,
        caller: &Caller,
        evaluator: &SiteId,
        envelope: Envelope,
    ) -> Result<u64, ApiError> {
        let stated: EvaluationStatement = self.verified(evaluator, &envelope)?;
        let job: JobId =
            stated.job.parse().map_err(|_| ApiError::not_found(format!("job {}", stated.job)))?;
        let evaluation = to_digest(&envelope.digest());
        let held = self.lock_job(&job).await;
        let asked = self.asked_evaluation(&job, &stated).await?;
        {
            let state = self.state();
            let known = state.evaluations.iter().find(|known| {
                known.job == job && known.parameters == asked.parameters && known.evaluator == *evaluator
            });
            match known {
                Some(known) if known.evaluation == evaluation => return Ok(known.entry),
                Some(_) => {
                    let detail =
                        format!("{evaluator} has scored these parameters of {job}; the first score stands");
                    return Err(ApiError::already_sent(detail));
                }
                None => {}
            }
        }
        if self.clock().now() >= asked.deadline {
            return Err(ApiError::wrong_round(format!(
                "evaluations of round {} of {job} are closed",
                asked.round
            )));
        }
        self.check_benchmark(evaluator, &asked, to_digest(&stated.benchmark)).await?;
        self.check_idempotency(caller)?;
        let record = Record::EvaluationRecorded {
            evaluator: evaluator.to_string(),
            job: job.to_string(),
            round: asked.round.get(),
            parameters: to_hash(&asked.parameters),
            coalition: asked.coalition_sites().iter().map(ToString::to_string).collect(),
            benchmark: stated.benchmark,
            score_micro: stated.utility_micro,
            statement: envelope.digest(),
        };
        let object = format!("jobs/{job}/rounds/{}/evaluations", asked.round);
        let entry = Entry::new(object, "scored on the benchmark", record)
            .about_site(evaluator)
            .changing(None, Some(to_hash(&asked.parameters)))
            .stated_in(envelope);
        self.append_one(&held, caller, entry).await
    }

    /// Who has committed to benchmark data scores on the data it committed to last before the round began: nobody
    /// chooses the benchmark once it has seen the models. An evaluator without any such deposit is not held to one.
    async fn check_benchmark(
        &self,
        evaluator: &SiteId,
        asked: &Needed,
        stated: Digest,
    ) -> Result<(), ApiError> {
        let committed = {
            let state = self.state();
            let own = |deposit: &&DepositState| deposit.site == *evaluator && !deposit.training;
            if !state.deposits.iter().any(|deposit| own(&deposit)) {
                return Ok(());
            }
            let before = |deposit: &&DepositState| own(deposit) && deposit.entry < asked.context_entry;
            state.deposits.iter().rev().find(before).map(|deposit| deposit.deposit)
        };
        let Some(committed) = committed else {
            return Err(ApiError::rejected(format!(
                "{evaluator} deposited its benchmark after round {} began; it scores later rounds",
                asked.round
            )));
        };
        let deposit: DepositStatement = self.statement(to_hash(&committed)).await?;
        if to_digest(&deposit.row_commitment) == stated {
            return Ok(());
        }
        let detail = format!("is not the benchmark that {evaluator} deposited before the round began");
        Err(ApiError::rejected_at(detail.clone(), vec![field("benchmark", &detail)]))
    }

    /// What the gateway asked for that this statement answers.
    async fn asked_evaluation(&self, job: &JobId, stated: &EvaluationStatement) -> Result<Needed, ApiError> {
        let known = self.state().jobs.get(job).cloned();
        let known = known.ok_or_else(|| ApiError::not_found(format!("job {job}")))?;
        let app = self.clone();
        let all = tokio::task::spawn_blocking(move || needed(&known, app.blobs()))
            .await
            .map_err(ApiError::internal)??;
        let parameters = to_digest(&stated.model);
        let wanted = all.into_iter().find(|needed| needed.parameters == parameters);
        let refuse =
            |at: &str, detail: String| ApiError::rejected_at(detail.clone(), vec![field(at, &detail)]);
        let wanted = wanted.ok_or_else(|| {
            refuse("model", format!("{parameters} is not among the parameters of {job} to score"))
        })?;
        if RoundNumber::new(stated.round) != Ok(wanted.round) {
            return Err(refuse("round", format!("these parameters belong to round {}", wanted.round)));
        }
        let mut coalition = stated.coalition.clone();
        coalition.sort();
        if !coalition.iter().map(String::as_str).eq(wanted.coalition_sites().iter().map(SiteId::as_str)) {
            return Err(refuse("coalition", "these parameters were made by another coalition".to_owned()));
        }
        if stated.utility_micro.unsigned_abs() > MAX_SCORE_MICRO.unsigned_abs() {
            return Err(refuse("utility_micro", "is beyond a million either way".to_owned()));
        }
        Ok(wanted)
    }

    /// Appends one entry; its index.
    pub(crate) async fn append_one(
        &self,
        held: &Held,
        caller: &Caller,
        entry: Entry,
    ) -> Result<u64, ApiError> {
        let recorded = self.append(held, caller, vec![entry]).await?;
        recorded.first().copied().ok_or_else(|| ApiError::internal("no entry was appended"))
    }

    /// The entry that a request with the same idempotency key made, if there is one.
    ///
    /// # Errors
    /// [`ApiError::IdempotencyMismatch`] if that request had another body.
    pub fn repeated(&self, caller: &Caller) -> Result<Option<u64>, ApiError> {
        let Some(key) = &caller.idempotency else { return Ok(None) };
        match self.state().idempotency.get(&key.key) {
            Some(known) if known.body == key.body => Ok(Some(known.entry)),
            Some(_) => Err(ApiError::IdempotencyMismatch),
            None => Ok(None),
        }
    }

    /// For commands that recognise a repeated request by what it asks: only a key with another body is refused.
    fn check_idempotency(&self, caller: &Caller) -> Result<(), ApiError> {
        self.repeated(caller).map(|_| ())
    }
}

fn own(site: &SiteId, stated: &str) -> Result<(), ApiError> {
    if stated == site.as_str() {
        return Ok(());
    }
    let detail =
        format!("the statement is {stated}'s, but {site} sent it; members state only for themselves");
    Err(ApiError::rejected_at(detail, vec![field("site", "is not the sender")]))
}

pub(super) fn field(at: &str, detail: &str) -> FieldError {
    FieldError { at: at.to_owned(), detail: detail.to_owned() }
}
