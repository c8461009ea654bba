//! Consent and the key set-up of a job.

use konclave_crypto::JobId;
use konclave_crypto::setup::{PairwiseChains, Roster, advertise};
use konclave_ledger::statements::ConsentDecision;
use konclave_openapi::jobs::{Ciphertexts, Job};

use super::error::{StepError, blocking, fresh_random};
use super::learner::{Learner, LearnerFault, tasks_of};
use super::session::{StoredAnswer, answer_file, fetch_model, stored_answer};
use super::site::Site;
use crate::consent::{self, Answer};
use crate::keystore::JobStore;

impl<L: Learner> Site<L> {
    /// Answers an invitation: by policy, then by a look at the model. The answer is stored before it is sent and
    /// never changes.
    pub(super) async fn consent(&self, job: &JobId) -> Result<(), StepError> {
        let answer = match stored_answer(&self.member, job)? {
            Some(answer) => answer,
            None => {
                let asked = self.member.client.job(job).await?;
                if asked.job != *job {
                    return Err(StepError::Changed { job: job.clone(), what: "id" });
                }
                let answer = self.decide(&asked).await?;
                match answer.decision {
                    ConsentDecision::Accept => tracing::info!("consenting: {}", answer.detail),
                    ConsentDecision::Refuse => {
                        tracing::warn!("refusing by rule {}: {}", answer.rule, answer.detail);
                    }
                }
                let stored = StoredAnswer {
                    version: 1,
                    accepted: answer.decision == ConsentDecision::Accept,
                    statement: consent::sign(&answer, &asked, self.member.site(), &self.member.keys)?,
                    request: asked.request,
                    policy: asked.policy,
                };
                self.store(job)?;
                let bytes = serde_json::to_vec_pretty(&stored)
                    .map_err(|source| StepError::StoredAnswer { job: job.clone(), source })?;
                self.member.disk.write(&answer_file(&self.member, job), &bytes)?;
                stored
            }
        };
        Ok(self.member.client.send_consent(job, &answer.statement).await?)
    }

    async fn decide(&self, job: &Job) -> Result<Answer, StepError> {
        let rounds = match self.policies.with_digest(job.policy, &self.member.client, &self.witness).await {
            Ok(rounds) => rounds,
            Err(fault) if fault.is_temporary() => return Err(fault.into()),
            // No policy, no consent; and the answer says why.
            Err(fault) => return Ok(Answer::refuse(fault.rule(), fault.to_string())),
        };
        let spent = self.spending().total();
        let answer = consent::decide(job, self.member.site(), &rounds, &self.own_policy, spent);
        if answer.decision == ConsentDecision::Refuse {
            return Ok(answer);
        }
        let (manifest, model) = match fetch_model(&self.member, &job.job, &job.request).await {
            Ok(found) => found,
            Err(error @ StepError::Changed { .. }) => return Ok(Answer::refuse("model", error.to_string())),
            Err(error) => return Err(error),
        };
        let tasks = match tasks_of(&job.request) {
            Ok(tasks) => tasks,
            Err(fault) => return Ok(Answer::refuse("tasks", fault.to_string())),
        };
        let learner = std::sync::Arc::clone(&self.learner);
        let found =
            blocking("the look at the model", move || learner.inspect(&model, &manifest, &tasks)).await?;
        match found {
            Ok(()) => Ok(answer),
            Err(fault @ (LearnerFault::NoLabels | LearnerFault::TaskName(_) | LearnerFault::Tasks(_))) => {
                Ok(Answer::refuse("tasks", fault.to_string()))
            }
            Err(fault) if fault.is_temporary() => Err(fault.into()),
            Err(fault) => {
                tracing::warn!("the model is refused: {fault}");
                Ok(Answer::refuse("model", fault.category()))
            }
        }
    }

    /// Sends this site's KEM key for the job, the same one however often.
    pub(super) async fn advertise_keys(&self, job: &JobId) -> Result<(), StepError> {
        self.session(job).await?;
        let mut store = self.store(job)?;
        let advertisement = match store.advertised()? {
            Some(sent) => sent,
            None => {
                let certificate = &self.member.enrolled.certificate;
                let (secret, advertisement) =
                    advertise(job, &self.member.keys.identity, certificate, &mut fresh_random()?);
                store.store_advertised(&secret, &advertisement)?;
                tracing::info!("advertising a fresh key");
                advertisement
            }
        };
        Ok(self.member.client.send_key(job, self.member.site(), &advertisement).await?)
    }

    /// Checks the roster and sends the ciphertexts for the sites after this one.
    pub(super) async fn encapsulate(&self, job: &JobId) -> Result<(), StepError> {
        let session = self.session(job).await?;
        let mut store = self.store(job)?;
        let ciphertexts = match store.encapsulated()? {
            Some(sent) => sent,
            None => {
                let mut session = session.lock().await;
                let roster = session.roster(&self.member, job, &mut store).await?;
                let (found, least) = (roster.len(), session.floor().min_sites);
                if found < usize::from(least) {
                    return Err(StepError::SmallRoster { found, least });
                }
                let (secret, ciphertexts) = store.await_roster()?.encapsulate(
                    &roster,
                    &self.member.keys.identity,
                    &mut fresh_random()?,
                )?;
                let message = Ciphertexts { ciphertexts };
                store.store_encapsulated(&secret, &message)?;
                tracing::info!("the roster of {} sites holds; sending ciphertexts", roster.len());
                message
            }
        };
        Ok(self.member.client.send_ciphertexts(job, self.member.site(), &ciphertexts).await?)
    }

    /// The chains, made from the other sites' ciphertexts when they are first needed.
    pub(super) async fn chains(
        &self,
        job: &JobId,
        store: &mut JobStore,
        roster: &Roster,
    ) -> Result<PairwiseChains, StepError> {
        if let Some(chains) = store.chains()? {
            return Ok(chains);
        }
        let waiting = store.await_ciphertexts()?;
        let received = self.member.client.ciphertexts(job, self.member.site()).await?;
        let chains = waiting.finish(roster, received.ciphertexts)?;
        store.store_chains(&chains)?;
        Ok(chains)
    }
}
