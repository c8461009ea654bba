//! One job as this site knows it: what it consented to, and what the gateway's answers are checked against.

use std::path::PathBuf;
use std::sync::Arc;

use konclave_crypto::setup::Roster;
use konclave_crypto::{Digest, JobId, RoundNumber, SiteFloor};
use konclave_ledger::canonical::canonical_json;
use konclave_openapi::jobs::{Job, NewJob};
use konclave_openapi::models::ModelManifest;
use konclave_policies::rounds::RoundPolicy;
use konclave_policies::site::{EffectivePolicy, SitePolicy, effective};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::error::{StepError, blob_folder};
use super::member::Member;
use crate::clock;
use crate::consent::RoundPolicies;
use crate::keystore::JobStore;
use crate::witness::Witness;

/// The largest TorchScript file that is fetched, in bytes.
const MODEL_LIMIT: u64 = 2 << 30;

/// Rounds that may abort in a row before a job must end, as the gateway counts them.
pub(super) const ABORTS_IN_A_ROW: u32 = 5;

/// What a site answered to a job, and the terms it answered to; stored before the answer is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredAnswer {
    /// The layout's version, 1.
    pub version: u32,
    /// Whether the site takes part.
    pub accepted: bool,
    /// The job as it was asked for.
    pub request: NewJob,
    /// The consortium's policy then.
    pub policy: Digest,
    /// The signed answer.
    pub statement: konclave_ledger::dsse::Envelope,
}

/// A job that this site consented to, with what later steps need; made anew after a restart.
#[derive(Debug)]
pub struct Session {
    /// The job as consented to.
    pub request: NewJob,
    /// The consortium's policy it runs under.
    pub rounds: Arc<RoundPolicy>,
    /// The strictest of the consortium's and the site's policy.
    pub policy: EffectivePolicy,
    /// What the model is made of.
    pub manifest: ModelManifest,
    /// The TorchScript file.
    pub model: PathBuf,
    roster: Option<Arc<Roster>>,
}

/// The file of a job's answer.
pub(super) fn answer_file(member: &Member, job: &JobId) -> PathBuf {
    member.folder.state().join("jobs").join(job.as_str()).join("consent.json")
}

/// The stored answer to a job.
pub(super) fn stored_answer(member: &Member, job: &JobId) -> Result<Option<StoredAnswer>, StepError> {
    let Some(bytes) = member.disk.read(&answer_file(member, job))? else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| StepError::StoredAnswer { job: job.clone(), source })
}

/// Fetches a job's model by digest and gives its manifest and file; the digests tie both to the request.
pub(super) async fn fetch_model(
    member: &Member,
    job: &JobId,
    request: &NewJob,
) -> Result<(ModelManifest, PathBuf), StepError> {
    let manifest = member.client.model(&request.model).await?.manifest;
    let bytes = serde_json::to_value(&manifest).ok().and_then(|value| canonical_json(&value).ok());
    if bytes.is_none_or(|bytes| Digest::of(&bytes) != request.model) {
        return Err(StepError::Changed { job: job.clone(), what: "model manifest" });
    }
    let blobs = blob_folder(&member.disk, &member.folder)?;
    let model = member.client.fetch_blob(manifest.torchscript, &blobs, MODEL_LIMIT).await?;
    Ok((manifest, model))
}

impl Session {
    /// Opens a job that this site consented to.
    ///
    /// # Errors
    /// [`StepError::NoConsent`], [`StepError::Changed`] if the job is not the one consented to, and others.
    pub async fn open(
        member: &Member,
        policies: &RoundPolicies,
        own: &SitePolicy,
        witness: &Mutex<Witness>,
        job: &JobId,
    ) -> Result<Self, StepError> {
        let answer = stored_answer(member, job)?
            .filter(|answer| answer.accepted)
            .ok_or_else(|| StepError::NoConsent { job: job.clone() })?;
        let now: Job = member.client.job(job).await?;
        let changed = |what| StepError::Changed { job: job.clone(), what };
        if now.job != *job || now.request != answer.request {
            return Err(changed("request"));
        }
        if now.policy != answer.policy {
            return Err(changed("rounds policy"));
        }
        let rounds = policies.with_digest(answer.policy, &member.client, witness).await?;
        let policy = effective(&rounds, own)?;
        let (manifest, model) = fetch_model(member, job, &answer.request).await?;
        Ok(Self { request: answer.request, rounds, policy, manifest, model, roster: None })
    }

    /// Whether a job of so many rounds can get to this one: every opened round may follow a row of aborted ones. The key
    /// chains are never moved beyond it.
    #[must_use]
    pub fn reaches(&self, round: RoundNumber) -> bool {
        u64::from(round.get()) <= u64::from(self.request.rounds) * u64::from(ABORTS_IN_A_ROW + 1)
    }

    /// The site's own floors for a round's context.
    #[must_use]
    pub fn floor(&self) -> SiteFloor {
        SiteFloor {
            min_sites: self.policy.rounds.min_cohort,
            min_agreed: self.policy.rounds.min_agreed,
            min_batch: self.policy.rounds.min_batch,
            scoring_batch_size: (!self.request.scoring_rounds.is_empty())
                .then_some(self.rounds.scoring_batch_size),
            batch_size: self.rounds.batch_size,
        }
    }

    /// The job's roster: every certificate checked under the pinned root, this site's own key as it advertised it.
    ///
    /// # Errors
    /// [`StepError::Roster`], [`StepError::OwnKey`], [`StepError::OtherRoster`] and others.
    pub async fn roster(
        &mut self,
        member: &Member,
        job: &JobId,
        store: &mut JobStore,
    ) -> Result<Arc<Roster>, StepError> {
        if let Some(roster) = &self.roster {
            return Ok(Arc::clone(roster));
        }
        let view = member.client.roster(job).await?;
        let own = store.advertised()?;
        let listed = view.advertisements.iter().find(|entry| entry.site() == member.site());
        if own.is_none() || own.as_ref() != listed {
            return Err(StepError::OwnKey { job: job.clone() });
        }
        let roster = Roster::new(job.clone(), view.advertisements, &member.enrolled.root, clock::now())?;
        if roster.digest() != view.roster {
            return Err(StepError::OtherRoster { job: job.clone() });
        }
        let roster = Arc::new(roster);
        self.roster = Some(Arc::clone(&roster));
        Ok(roster)
    }
}
