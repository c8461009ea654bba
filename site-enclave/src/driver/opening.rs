//! A round's later steps: agree to one set, and give the shares that open its sum.

use konclave_crypto::messages::AgreementSignature;
use konclave_crypto::setup::Roster;
use konclave_crypto::{JobId, RoundNumber, VerifiedContext};

use super::error::StepError;
use super::learner::Learner;
use super::site::Site;
use crate::keystore::{JobStore, MaskedRound};

use std::sync::Arc;

impl<L: Learner> Site<L> {
    /// Signs the proposed set, once; sends the same signature however often.
    pub(super) async fn agree(&self, job: &JobId, round: RoundNumber) -> Result<(), StepError> {
        let mut store = self.store(job)?;
        let signature = match store.agreed(round)? {
            Some(agreed) => agreed.signature,
            None => {
                let Some(masked) = self.taking_part(job, round, &mut store).await? else { return Ok(()) };
                self.decide_set(job, round, &mut store, &masked).await?
            }
        };
        Ok(self.member.client.send_agreement(job, round, self.member.site(), &signature).await?)
    }

    /// Decides on the proposed set for good: durable on return.
    async fn decide_set(
        &self,
        job: &JobId,
        round: RoundNumber,
        store: &mut JobStore,
        masked: &MaskedRound,
    ) -> Result<AgreementSignature, StepError> {
        if self.member.client.round(job, round).await?.signed.contains(self.member.site()) {
            return Err(StepError::Forgotten { job: job.clone(), round, what: "an agreement" });
        }
        let (roster, context) = self.context_of(job, round, store, masked).await?;
        let proposal = self.member.client.agreement(job, round).await?;
        let (secret, signature) = store
            .await_agreement(round)?
            .agree(&roster, &context, &proposal, &self.member.keys.identity)
            .map_err(|refused| StepError::Agreement { round, source: refused.error })?;
        store.store_agreed(round, &secret, &signature)?;
        tracing::info!("round {round}: agreed to open the sum of {} sites", proposal.agreed.len());
        Ok(signature)
    }

    /// Gives the shares for the agreed set, once; sends the same response however often. A site that was late to sign
    /// decides on the set first, as durably as if it had been asked; its signature is not wanted any more.
    ///
    /// Only shares for a set that a quorum signed are given, whoever this site's signature reached.
    pub(super) async fn unmask(&self, job: &JobId, round: RoundNumber) -> Result<(), StepError> {
        let mut store = self.store(job)?;
        let response = match store.unmasked(round)? {
            Some(response) => response,
            None => {
                let Some(masked) = self.taking_part(job, round, &mut store).await? else { return Ok(()) };
                if store.agreed(round)?.is_none() {
                    self.decide_set(job, round, &mut store, &masked).await?;
                }
                let (roster, context) = self.context_of(job, round, &mut store, &masked).await?;
                let request = self.member.client.unmasking(job, round, self.member.site()).await?;
                let (_closed, response) = store
                    .await_unmasking(round)?
                    .unmask(&roster, &context, &request, &self.member.keys.identity)
                    .map_err(|refused| StepError::Unmasking { round, source: refused.error })?;
                store.store_unmasked(round, masked.context.context.model, &response)?;
                if !response.complaints.is_empty() {
                    let names: Vec<&str> = response.complaints.iter().map(|site| site.as_str()).collect();
                    tracing::warn!("round {round}: shares of {} could not be read", names.join(", "));
                }
                tracing::info!("round {round}: giving the shares that remove the masks from the sum");
                response
            }
        };
        Ok(self.member.client.send_unmasking(job, round, self.member.site(), &response).await?)
    }

    /// What this site uploaded in a round; `None` if it made no update, and so has nothing to agree to.
    async fn taking_part(
        &self,
        job: &JobId,
        round: RoundNumber,
        store: &mut JobStore,
    ) -> Result<Option<MaskedRound>, StepError> {
        if let Some(masked) = store.masked(round)? {
            return Ok(Some(masked));
        }
        if self.member.client.round(job, round).await?.uploaded.contains(self.member.site()) {
            return Err(StepError::Forgotten { job: job.clone(), round, what: "an upload" });
        }
        tracing::info!("round {round}: this site made no update, so it has nothing to open");
        Ok(None)
    }

    /// The context under which this site masked: the stored one, whatever the gateway says now.
    pub(super) async fn context_of(
        &self,
        job: &JobId,
        round: RoundNumber,
        store: &mut JobStore,
        masked: &MaskedRound,
    ) -> Result<(Arc<Roster>, VerifiedContext), StepError> {
        let session = self.session(job).await?;
        let mut session = session.lock().await;
        let roster = session.roster(&self.member, job, store).await?;
        let context = self.verify(&session, &roster, round, &masked.context)?;
        Ok((roster, context))
    }
}
