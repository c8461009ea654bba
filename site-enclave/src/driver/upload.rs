//! A round's first step: check the context, train, encode, mask, store, send.

use std::sync::Arc;

use konclave_crypto::setup::Roster;
use konclave_crypto::site::mask;
use konclave_crypto::{Digest, JobId, RoundNumber, SignedContext, VerifiedContext, quantise_within};
use konclave_ledger::Hash;
use konclave_openapi::rounds::{Round, RoundPhase};
use konclave_policies::site::{check_job, check_privacy, check_spending};

use super::error::{StepError, blob_folder, blocking, fresh_random};
use super::learner::{Learner, LearnerFault, hyperparameters_of, tasks_of};
use super::session::Session;
use super::site::Site;
use crate::clock;
use crate::consent::in_round;
use crate::keystore::{Charge, JobStore, MaskedRound, Spending};
use crate::trainer::{LocalDelta, TrainProgress, TrainingTask, read_parameters};

impl<L: Learner> Site<L> {
    /// Sends this site's masked update of a round; makes it first, once.
    pub(super) async fn upload(&self, job: &JobId, round: RoundNumber) -> Result<(), StepError> {
        let mut store = self.store(job)?;
        let masked = match store.masked(round)? {
            Some(masked) => masked,
            None => {
                if !self.make_update(job, round, &mut store).await? {
                    return Ok(());
                }
                store.masked(round)?.ok_or_else(|| StepError::Stopped {
                    doing: "storing the masked update",
                    reason: "it is not there".to_owned(),
                })?
            }
        };
        self.send_update(job, round, &masked).await
    }

    async fn send_update(
        &self,
        job: &JobId,
        round: RoundNumber,
        masked: &MaskedRound,
    ) -> Result<(), StepError> {
        let site = self.member.site();
        let bytes = masked.manifest.signed.header.body_bytes;
        self.member.client.send_manifest(job, round, site, &masked.manifest).await?;
        let receipt = self.member.client.upload(job, round, site, &masked.body).await?;
        if receipt.body_root == masked.manifest.signed.header.body_root {
            tracing::info!("round {round}: masked update of {bytes} bytes uploaded");
        } else {
            tracing::error!("round {round}: the gateway holds other bytes than were uploaded");
        }
        Ok(())
    }

    /// Trains and stores a masked update. False if the round has moved on.
    async fn make_update(
        &self,
        job: &JobId,
        round: RoundNumber,
        store: &mut JobStore,
    ) -> Result<bool, StepError> {
        let shared = self.session(job).await?;
        let view = self.member.client.round(job, round).await?;
        if view.phase != RoundPhase::Uploading {
            tracing::info!("round {round}: uploads are closed; moving on");
            return Ok(false);
        }
        if view.uploaded.contains(self.member.site()) {
            return Err(StepError::Forgotten { job: job.clone(), round, what: "an upload" });
        }
        let (context, roster) = {
            let mut session = shared.lock().await;
            if !session.reaches(round) {
                return Err(StepError::Beyond { round, rounds: session.request.rounds });
            }
            let roster = session.roster(&self.member, job, store).await?;
            (self.check_round(&session, &roster, round, &view, store).await?, roster)
        };
        // Only now: a work item alone must not end a round.
        for over in store.rounds()?.into_iter().filter(|earlier| *earlier < round) {
            store.close_round(over)?;
        }
        let mut chains = self.chains(job, store, &roster).await?;
        if chains.round() < round {
            // Also over rounds that this site missed; the keys of those are gone then.
            let advance = move || chains.advance_to(round).map(|()| chains);
            chains = blocking("the next round's keys", advance).await??;
            store.store_chains(&chains)?;
        }
        let local = {
            let session = shared.lock().await;
            self.train(&session, job, round, context.context().model).await?
        };
        self.pay(&*shared.lock().await, &context)?;
        let member = Arc::clone(&self.member);
        let signed = view.context.clone();
        let masking = move || -> Result<_, StepError> {
            let encoding = &context.context().encoding;
            let weight = local.weight.min(encoding.weight_cap);
            let noise = context.context().noise.as_ref();
            let quantised = quantise_within(&local.delta, weight, encoding, noise, &mut fresh_random()?)?;
            if quantised.shrunk {
                tracing::info!("round {round}: the update was scaled down to the norm that its noise is for");
            }
            if quantised.clipped + quantised.saturated > 0 {
                tracing::info!(
                    "round {round}: {} of {} coordinates clipped, {} saturated",
                    quantised.clipped,
                    local.delta.len(),
                    quantised.saturated
                );
            }
            let random = &mut fresh_random()?;
            Ok(mask(&chains, &roster, &context, &member.keys.identity, quantised, random)?)
        };
        let (secret, manifest, body) = blocking("masking", masking).await??;
        store.store_masked(round, &secret, &signed, &manifest, &body)?;
        Ok(true)
    }

    /// Checks all that a round's context says against the pinned root, the job, the policy, the model and the ledger.
    async fn check_round(
        &self,
        session: &Session,
        roster: &Arc<Roster>,
        round: RoundNumber,
        view: &Round,
        store: &mut JobStore,
    ) -> Result<VerifiedContext, StepError> {
        let verified = self.verify(session, roster, round, &view.context)?;
        let context = verified.context();
        let wrong = |field| Err(StepError::ContextField { round, field });
        if context.round != round {
            return wrong("round number");
        }
        if context.training != session.request.training_digest() {
            return wrong("training digest");
        }
        if context.policy != session.rounds.digest() {
            return wrong("policy");
        }
        if context.noise != session.rounds.noise_terms(&context.encoding, context.fewest_summed()) {
            return wrong("noise");
        }
        if context.encoding.ring_bits < session.rounds.ring_bits(sites_of(roster), context.noise.as_ref()) {
            return wrong("ring width");
        }
        let same_tensors = context.encoding.tensors.len() == session.manifest.parameters.len()
            && context.encoding.tensors.iter().zip(&session.manifest.parameters).all(|(encoded, tensor)| {
                encoded.name == tensor.name
                    && Some(encoded.len)
                        == tensor.shape.iter().try_fold(1_u64, |sum, side| sum.checked_mul(*side))
            });
        if !same_tensors {
            return wrong("list of tensors");
        }
        check_job(&session.policy, &in_round(&session.request, context))
            .and_then(|()| check_privacy(&session.policy, &session.rounds))
            .map_err(|refusal| StepError::Terms { round, refusal })?;
        if let Some(charge) = charge_for(&verified) {
            check_budget(session, &self.spending(), &charge)?;
        }
        let root = Hash(*context.ledger_root.as_bytes());
        self.witness.lock().await.check_head(&self.member.client, context.ledger_size, root).await?;
        let initial = session.manifest.initial_parameters;
        if let Some(came_of) = self.check_history(initial, &verified).await? {
            self.ensure_verified(session, roster, came_of, store).await?;
        }
        let given = store.rounds_answered();
        if given >= usize::try_from(session.request.rounds).unwrap_or(usize::MAX) {
            return Err(StepError::RoundsUsed { round, given });
        }
        match store.answered_for(context.model) {
            Some(earlier) => Err(StepError::SpentModel { round, model: context.model, earlier }),
            None => Ok(verified),
        }
    }

    /// Charges an update to this site's budgets, before it is made.
    fn pay(&self, session: &Session, context: &VerifiedContext) -> Result<(), StepError> {
        let Some(charge) = charge_for(context) else { return Ok(()) };
        let mut spending = self.spending();
        // Once more: other jobs may have spent while this one trained.
        check_budget(session, &spending, &charge)?;
        Ok(spending.charge(charge)?)
    }

    /// Checks a context's signature, rules and this site's floors.
    pub(super) fn verify(
        &self,
        session: &Session,
        roster: &Roster,
        round: RoundNumber,
        signed: &SignedContext,
    ) -> Result<VerifiedContext, StepError> {
        signed
            .verify(&self.member.enrolled.root, roster, clock::now(), &session.floor())
            .map_err(|source| StepError::Context { round, source })
    }

    async fn train(
        &self,
        session: &Session,
        job: &JobId,
        round: RoundNumber,
        parameters: Digest,
    ) -> Result<LocalDelta, StepError> {
        let coordinates = session.manifest.coordinates;
        let blobs = blob_folder(&self.member.disk, &self.member.folder)?;
        let limit = coordinates.saturating_mul(4);
        let file = self.member.client.fetch_blob(parameters, &blobs, limit).await?;
        let tasks = tasks_of(&session.request)?;
        let hyperparameters = hyperparameters_of(&session.request);
        let seed = training_seed(session.request.training.seed, job, round, self.member.site().as_str());
        let (learner, model) = (Arc::clone(&self.learner), session.model.clone());
        let span = tracing::Span::current();
        let local = blocking("training", move || -> Result<LocalDelta, StepError> {
            let _in_span = span.enter();
            let parameters = read_parameters(&file, coordinates)?;
            let task = TrainingTask {
                parameters: &parameters,
                tasks: &tasks,
                hyperparameters: &hyperparameters,
                seed,
            };
            let mut show = |progress: TrainProgress| {
                let TrainProgress { epochs_done, epochs, loss } = progress;
                tracing::info!("round {round}: training {epochs_done}/{epochs} epochs, loss {loss:.4}");
            };
            let local = learner.begin(&model)?.train(&task, &mut show).map_err(LearnerFault::from)?;
            // The parameters of a round are not needed again.
            if let Err(error) = std::fs::remove_file(&file) {
                tracing::debug!("{} stays: {error}", file.display());
            }
            Ok(local)
        })
        .await??;
        tracing::info!(
            "round {round}: trained on {} labels of {} molecules in {} ms on {}",
            local.weight,
            local.report.molecules,
            local.report.milliseconds,
            local.report.device
        );
        Ok(local)
    }
}

fn sites_of(roster: &Roster) -> u16 {
    u16::try_from(roster.len()).unwrap_or(u16::MAX)
}

/// What an update under a context costs; nothing where sums are exact, of which no budget tells.
fn charge_for(verified: &VerifiedContext) -> Option<Charge> {
    let context = verified.context();
    let cost = context.privacy_cost()?;
    Some(Charge { context: verified.digest(), job: context.job.clone(), round: context.round, cost })
}

/// Whether this site's budgets cover a charge.
fn check_budget(session: &Session, spending: &Spending, charge: &Charge) -> Result<(), StepError> {
    let spent = spending.with(charge);
    check_spending(&session.policy, spent.by_job, spent.by_all)
        .map_err(|refusal| StepError::Terms { round: charge.round, refusal })
}

/// A seed that no other job, round or site has.
fn training_seed(seed: u64, job: &JobId, round: RoundNumber, site: &str) -> u64 {
    let digest = Digest::of(format!("konclave/v1/training-seed\n{seed}\n{job}\n{round}\n{site}").as_bytes());
    digest.as_bytes().first_chunk().map_or(seed, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_seeds_differ_by_job_round_and_site() {
        let (one, two): (JobId, JobId) = ("job-1".parse().unwrap(), "job-2".parse().unwrap());
        let second = RoundNumber::new(2).unwrap();
        let base = training_seed(7, &one, RoundNumber::FIRST, "a");
        assert_eq!(base, training_seed(7, &one, RoundNumber::FIRST, "a"));
        for other in [
            training_seed(8, &one, RoundNumber::FIRST, "a"),
            training_seed(7, &two, RoundNumber::FIRST, "a"),
            training_seed(7, &one, second, "a"),
            training_seed(7, &one, RoundNumber::FIRST, "b"),
        ] {
            assert_ne!(base, other);
        }
    }
}
