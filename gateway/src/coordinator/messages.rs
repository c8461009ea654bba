//! Taking the sites' messages: checked against the job's phase, durable before they are acknowledged.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use konclave_crypto::messages::SumVerdict;
use konclave_crypto::setup::{KemCiphertext, KeyAdvertisement};
use konclave_crypto::{JobId, SiteId};
use konclave_openapi::problem::FieldError;

use super::CoordinatorError;
use super::live::{LiveRound, MessageError};
use crate::core::{App, CommandError};
use crate::error::ApiError;
use crate::projections::{JobState, OutcomeState, PhaseState, VerificationState};
use crate::rounds_store::{Kind, RoundKey, RoundsStore, StoreError};

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::AlreadySent { .. } => Self::already_sent(error.to_string()),
            StoreError::Io(error) => error.into(),
            StoreError::Damaged { .. } | StoreError::Encode(_) => Self::internal(error),
        }
    }
}

impl From<MessageError> for ApiError {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::WrongPhase { .. } => Self::wrong_round(error.to_string()),
            MessageError::Stale { .. } => Self::unavailable(error.to_string(), 1),
            MessageError::NoManifest { .. } => Self::conflict(error.to_string()),
            MessageError::Rejected(rejection) => {
                let at = |site: SiteId| FieldError {
                    at: site.to_string(),
                    detail: "sent what is refused".to_owned(),
                };
                let errors = rejection.culprits().into_iter().map(at).collect();
                Self::rejected_at(rejection.to_string(), errors)
            }
            MessageError::Store(error) => error.into(),
        }
    }
}

impl From<CoordinatorError> for ApiError {
    fn from(error: CoordinatorError) -> Self {
        match error {
            CoordinatorError::Command(error) => error.into(),
            CoordinatorError::Store(error) => error.into(),
            CoordinatorError::Io(error) => error.into(),
            CoordinatorError::Missing { what } => Self::wrong_round(format!("{what} is not under way")),
            CoordinatorError::Roster(_)
            | CoordinatorError::Rebuild(_)
            | CoordinatorError::Context(_)
            | CoordinatorError::Budget(_)
            | CoordinatorError::Statement(_) => Self::internal(error),
        }
    }
}

impl App {
    /// The job, if `site` has a seat in it.
    fn job_of_site(&self, job: &JobId, site: &SiteId) -> Result<JobState, ApiError> {
        let known = self.state().jobs.get(job).cloned();
        let known = known.ok_or_else(|| ApiError::not_found(format!("job {job}")))?;
        if known.cohort.contains(site) || (known.cohort.is_empty() && known.invited.contains(site)) {
            return Ok(known);
        }
        Err(ApiError::rejected(format!("{site} does not take part in {job}")))
    }

    /// Takes a site's key advertisement.
    ///
    /// # Errors
    /// [`ApiError`]; nothing was kept.
    pub async fn take_advertisement(
        &self,
        job: &JobId,
        site: &SiteId,
        advertisement: KeyAdvertisement,
    ) -> Result<(), ApiError> {
        let held = self.lock_job(job).await;
        let known = self.job_of_site(job, site)?;
        let (id, sender) = (job.clone(), site.clone());
        self.blocking_api(move |app| {
            // Held here: the closure goes on when the request's future is dropped.
            let _held = held;
            let kind = Kind::Keys(&id);
            if app.rounds().known(&kind, &sender, &advertisement)?.is_some() {
                return Ok(());
            }
            if !matches!(known.phase, PhaseState::AdvertiseKeys { .. }) {
                return Err(wrong_phase(&known, "key advertisements", "advertise-keys"));
            }
            if *advertisement.site() != sender {
                return Err(ApiError::rejected(format!(
                    "{sender} sent the keys of {}",
                    advertisement.site()
                )));
            }
            let enrolled = app.state().sites.get(&sender).map(|member| member.certificate.clone());
            if enrolled.as_ref() != Some(&advertisement.certificate) {
                return Err(ApiError::rejected(format!(
                    "the certificate in the advertisement is not the enrolled one of {sender}"
                )));
            }
            advertisement
                .verify(&id, app.consortium_root(), app.clock().now())
                .map_err(|error| ApiError::rejected(error.to_string()))?;
            app.rounds().put(&kind, &sender, &advertisement)?;
            app.notify();
            Ok(())
        })
        .await
    }

    /// Takes the KEM ciphertexts that a site made: exactly one for every later site of the roster.
    ///
    /// # Errors
    /// [`ApiError`]; nothing was kept.
    pub async fn take_ciphertexts(
        &self,
        job: &JobId,
        site: &SiteId,
        ciphertexts: Vec<KemCiphertext>,
    ) -> Result<(), ApiError> {
        let held = self.lock_job(job).await;
        let known = self.job_of_site(job, site)?;
        if known.roster.is_none() {
            return Err(wrong_phase(&known, "ciphertexts", "encapsulate"));
        }
        let roster = self.roster(job).await?;
        let (id, sender) = (job.clone(), site.clone());
        self.blocking_api(move |app| {
            let _held = held;
            let kind = Kind::Ciphertexts(&id);
            if app.rounds().known(&kind, &sender, &ciphertexts)?.is_some() {
                return Ok(());
            }
            if !matches!(known.phase, PhaseState::Encapsulate { .. }) {
                return Err(wrong_phase(&known, "ciphertexts", "encapsulate"));
            }
            let later: BTreeSet<&SiteId> = roster.sites().filter(|other| **other > sender).collect();
            let receivers: BTreeSet<&SiteId> = ciphertexts.iter().map(|one| &one.to).collect();
            if receivers != later || ciphertexts.len() != later.len() {
                return Err(ApiError::rejected(format!(
                    "{sender} must send one ciphertext to each of the {} sites after it in the roster",
                    later.len()
                )));
            }
            for (index, one) in ciphertexts.iter().enumerate() {
                if one.from != sender || one.verify(&roster).is_err() {
                    let at = format!("/ciphertexts/{index}");
                    let detail = "is not signed by the sender for this job, roster and receiver".to_owned();
                    return Err(ApiError::rejected_at(
                        format!("{at} {detail}"),
                        vec![FieldError { at, detail }],
                    ));
                }
            }
            app.rounds().put(&kind, &sender, &ciphertexts)?;
            app.notify();
            Ok(())
        })
        .await
    }

    /// The KEM ciphertexts for a site that have come so far.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn ciphertexts_for(&self, job: &JobId, site: &SiteId) -> Result<Vec<KemCiphertext>, ApiError> {
        self.job_of_site(job, site)?;
        let (id, receiver) = (job.clone(), site.clone());
        self.blocking_api(move |app| {
            let all = app.rounds().all::<Vec<KemCiphertext>>(&Kind::Ciphertexts(&id))?;
            Ok(all.into_values().flatten().filter(|one| one.to == receiver).collect())
        })
        .await
    }

    /// Does something with the round under way, on a thread that may wait for the disk.
    ///
    /// # Errors
    /// [`ApiError`]: the round is not under way, or what `act` refuses.
    pub async fn with_round<T: Send + 'static>(
        &self,
        key: &RoundKey,
        site: &SiteId,
        act: impl FnOnce(&mut LiveRound, &RoundsStore) -> Result<T, MessageError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.check_under_way(key, site)?;
        let live = self.live_round(key).await?;
        let key = key.clone();
        self.blocking_api(move |app| {
            let mut round = live.lock().unwrap_or_else(PoisonError::into_inner);
            let done = act(&mut round, app.rounds());
            if matches!(done, Err(MessageError::Store(StoreError::Io(_) | StoreError::Encode(_)))) {
                // What is in memory may be more than what is durable: the next use rebuilds it.
                round.retire();
                app.live().forget(&key);
            }
            drop(round);
            Ok(done?)
        })
        .await
    }

    /// Takes a site's verdict on an opened sum; durable on return.
    ///
    /// # Errors
    /// [`ApiError`]; nothing was kept.
    pub async fn take_verdict(
        &self,
        key: &RoundKey,
        site: &SiteId,
        verdict: SumVerdict,
    ) -> Result<(), ApiError> {
        let held = self.lock_job(&key.job).await;
        let known = self.job_of_site(&key.job, site)?;
        let roster = self.roster(&key.job).await?;
        let (key, sender) = (key.clone(), site.clone());
        self.blocking_api(move |app| {
            let _held = held;
            let kind = Kind::Verdict(&key);
            if app.rounds().known(&kind, &sender, &verdict)?.is_some() {
                return Ok(());
            }
            let round = known.rounds.get(&key.round);
            let opened = round.and_then(|round| round.opened().map(|opened| (round.context, opened)));
            let Some((context, opened)) = opened else {
                return Err(ApiError::wrong_round(format!("the sum of {key} is not open")));
            };
            match opened.verification {
                VerificationState::Checking { .. } => {}
                VerificationState::Tagging { .. } => {
                    return Err(ApiError::wrong_round(format!("the tags of {key} are not settled yet")));
                }
                VerificationState::Settled { .. } => {
                    return Err(ApiError::wrong_round(format!("the verdicts on {key} are closed")));
                }
            }
            if verdict.context != context || verdict.announcement != opened.announcement {
                return Err(ApiError::rejected(format!("the verdict of {sender} is for another opening")));
            }
            if !verdict.verify(&roster) {
                return Err(ApiError::rejected(format!("the signature of {sender} does not hold")));
            }
            if !verdict.accepted {
                tracing::error!(%key, site = %sender, "a site found the opened sum wrong");
            }
            app.rounds().put(&kind, &sender, &verdict)?;
            app.notify();
            Ok(())
        })
        .await
    }

    /// Names the phase, where a message comes too early or too late for its round.
    fn check_under_way(&self, key: &RoundKey, site: &SiteId) -> Result<(), ApiError> {
        let known = self.job_of_site(&key.job, site)?;
        match known.rounds.get(&key.round).map(|round| &round.outcome) {
            Some(OutcomeState::Open) if known.phase == PhaseState::Running => Ok(()),
            Some(OutcomeState::Open) => Err(wrong_phase(&known, "messages of rounds", "running")),
            Some(OutcomeState::Opened(opened)) => match &opened.verification {
                VerificationState::Tagging { .. } if known.phase == PhaseState::Running => Ok(()),
                VerificationState::Tagging { .. }
                | VerificationState::Checking { .. }
                | VerificationState::Settled { .. } => {
                    Err(ApiError::wrong_round(format!("{key} is opened, and its tags are settled")))
                }
            },
            Some(OutcomeState::Aborted { reason, .. }) => {
                Err(ApiError::wrong_round(format!("{key} was aborted: {reason}")))
            }
            None => {
                let current =
                    known.current_round().map(|round| format!("; under way is round {}", round.round));
                Err(ApiError::wrong_round(format!("{key} has not begun{}", current.unwrap_or_default())))
            }
        }
    }

    async fn blocking_api<T: Send + 'static>(
        &self,
        work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let app = self.clone();
        tokio::task::spawn_blocking(move || work(&app)).await.map_err(|_| CommandError::CutOff)?
    }
}

fn wrong_phase(job: &JobState, message: &str, belongs: &str) -> ApiError {
    let phase = match &job.phase {
        PhaseState::Consent { .. } => "consent",
        PhaseState::AdvertiseKeys { .. } => "advertise-keys",
        PhaseState::Encapsulate { .. } => "encapsulate",
        PhaseState::Running => "running",
        PhaseState::Finished => "finished",
        PhaseState::Aborted { .. } => "aborted",
    };
    ApiError::wrong_round(format!("{} is in phase {phase}; {message} are taken in phase {belongs}", job.job))
}
