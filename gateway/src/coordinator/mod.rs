//! Drives jobs through consent, key set-up and rounds.
//!
//! What to do next is decided by a pure function ([`decide`]) over facts gathered from the fold and the stored
//! messages; the steps carry it out. Every step ends with ledger entries or with a durable file, and can
//! be repeated: killed at any line, the next start gathers the same facts and goes on, or aborts the round with
//! nothing opened. A set of uploads is proposed once (the proposal is durable before it is shown), and an opening is a
//! function of durable messages alone, so a repeated opening gives the same sums.

pub mod decide;
pub mod evaluations;
mod facts;
pub mod live;
mod messages;
mod steps;
pub mod work;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use konclave_crypto::setup::{Roster, RosterError};
use konclave_crypto::{JobId, RoundContext, SignedContext, SiteId};
use konclave_policies::rounds::RoundPolicy;

pub use decide::Step;
pub use facts::gather;

use crate::core::{App, BudgetError, CommandError, Held};
use crate::projections::{JobState, OutcomeState, RoundState};
use crate::rounds_store::{Kind, RoundKey, StoreError};
use live::{LiveRound, RebuildError};

/// How long the coordinator sleeps when nothing happens: deadlines are looked at this often.
const TICK: Duration = Duration::from_millis(500);
/// How long it leaves a job alone after a step failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Why a step was not carried out. It will be tried again.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// Nothing could be appended.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A stored message could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The stored advertisements make no roster.
    #[error("the stored key advertisements make no roster: {0}")]
    Roster(#[from] RosterError),
    /// The stored messages do not lead back to the round's phase.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// A new context breaks a rule of the protocol: policy and model do not fit each other.
    #[error("no round can begin under this policy and model: {0}")]
    Context(#[from] konclave_crypto::ContextError),
    /// The round would tell more of a site than the rounds policy allows.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The rewards cannot be computed.
    #[error("the contributions cannot be computed: {0}")]
    Statement(#[from] konclave_policies::contribution::StatementError),
    /// Something that the ledger names is not there.
    #[error("{what} is missing")]
    Missing {
        /// What.
        what: String,
    },
}

/// Drives all jobs until `stop` is true; returns once the steps under way are done.
pub async fn run(app: App, mut stop: tokio::sync::watch::Receiver<bool>) {
    sweep(&app);
    let busy: Arc<Mutex<BTreeSet<JobId>>> = Arc::default();
    let mut running = tokio::task::JoinSet::new();
    let mut changes = app.changes();
    while !*stop.borrow() {
        for job in active_jobs(&app) {
            let free = lock(&busy).insert(job.clone());
            if free {
                let (app, busy) = (app.clone(), Arc::clone(&busy));
                running.spawn(async move {
                    if let Err(error) = drive(&app, &job).await {
                        tracing::warn!(%job, error = %error, "a step of the job failed; it is tried again");
                        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                    }
                    lock(&busy).remove(&job);
                });
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(TICK) => {}
            Some(_) = running.join_next() => {}
            stopped = stop.changed() => if stopped.is_err() { break },
        }
    }
    while running.join_next().await.is_some() {}
}

/// Carries out what is to be done for one job until nothing is left for now; says whether anything was done.
///
/// # Errors
/// [`CoordinatorError`]; the step is to be tried again.
pub async fn drive(app: &App, job: &JobId) -> Result<bool, CoordinatorError> {
    let mut worked = false;
    loop {
        let held = app.lock_job(job).await;
        let Some(facts) = gather(app, job).await? else { return Ok(worked) };
        let Some(step) = decide::decide(&facts, app.clock().now()) else { return Ok(worked) };
        tracing::info!(%job, ?step, "the coordinator takes a step");
        steps::execute(app, &held, job, step).await?;
        worked = true;
    }
}

fn active_jobs(app: &App) -> Vec<JobId> {
    let state = app.state();
    state.jobs.values().filter(|job| !job.is_over()).map(|job| job.job.clone()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Deletes what a crash kept from being deleted: masked bodies and shares of rounds that are over.
fn sweep(app: &App) {
    let over: Vec<RoundKey> = {
        let state = app.state();
        let rounds = state.jobs.values().flat_map(|job| {
            let over = job.rounds.values().filter(|round| job.is_over() || has_closed(&round.outcome));
            over.map(|round| RoundKey { job: job.job.clone(), round: round.round })
        });
        rounds.collect()
    };
    for key in over {
        if let Err(error) = app.rounds().close_round(&key) {
            tracing::warn!(%key, %error, "the messages of a closed round could not be deleted");
        }
    }
}

/// Whether a round's messages are of no use any more.
fn has_closed(outcome: &OutcomeState) -> bool {
    match outcome {
        OutcomeState::Open => false,
        OutcomeState::Opened(opened) => opened.verification.tags().is_some(),
        OutcomeState::Aborted { .. } => true,
    }
}

/// How many sites of the uploads could be opened together: those of complete batches.
fn agreed_size(context: &RoundContext, uploaded: &BTreeSet<SiteId>) -> usize {
    context.agreed_set(uploaded).len()
}

impl App {
    /// Holds a job: no command and no coordinator step checks or changes it meanwhile.
    pub async fn lock_job(&self, job: &JobId) -> Held {
        self.lock(format!("jobs/{job}")).await
    }

    /// A copy of the job and the policy it runs under.
    ///
    /// # Errors
    /// [`CoordinatorError::Missing`] if its policy is not known.
    pub fn job_and_policy(
        &self,
        job: &JobId,
    ) -> Result<Option<(JobState, Arc<RoundPolicy>)>, CoordinatorError> {
        let state = self.state();
        let Some(known) = state.jobs.get(job) else { return Ok(None) };
        let policy = state.policies.get(&known.policy).cloned();
        let missing = || CoordinatorError::Missing { what: format!("the rounds policy {}", known.policy) };
        Ok(Some((known.clone(), policy.ok_or_else(missing)?)))
    }

    /// Runs `work` on a thread that may wait for the disk or compute for long.
    ///
    /// # Errors
    /// Those of `work`, or [`CommandError::CutOff`].
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&App) -> Result<T, CoordinatorError> + Send + 'static,
    ) -> Result<T, CoordinatorError> {
        let app = self.clone();
        tokio::task::spawn_blocking(move || work(&app)).await.map_err(|_| CommandError::CutOff)?
    }

    /// A job's roster, built from the stored advertisements.
    ///
    /// # Errors
    /// [`CoordinatorError`].
    pub async fn roster(&self, job: &JobId) -> Result<Arc<Roster>, CoordinatorError> {
        if let Some(roster) = self.live().roster(job) {
            return Ok(roster);
        }
        let job = job.clone();
        self.blocking(move |app| {
            let advertisements = app.rounds().all(&Kind::Keys(&job))?.into_values().collect();
            let roster = Roster::new(job, advertisements, app.consortium_root(), app.clock().now())?;
            Ok(app.live().keep_roster(roster))
        })
        .await
    }

    /// The signed context of a round.
    ///
    /// # Errors
    /// [`CoordinatorError`] if it cannot be read.
    pub async fn signed_context(&self, round: &RoundState) -> Result<SignedContext, CoordinatorError> {
        let value = self.read_document(&round.signed).await?;
        Ok(serde_json::from_value(value).map_err(CommandError::from)?)
    }

    /// The round under way, from memory or rebuilt from its stored messages.
    ///
    /// # Errors
    /// [`CoordinatorError::Missing`] if it is not under way, [`CoordinatorError::Rebuild`] if its messages do not lead
    /// back to its phase.
    pub async fn live_round(&self, key: &RoundKey) -> Result<Arc<Mutex<LiveRound>>, CoordinatorError> {
        if let Some(live) = self.live().find(key) {
            return Ok(live);
        }
        // One rebuild at a time: it looks at files that an upload through the rebuilt round changes.
        let held = self.lock(format!("rebuild/{}/{}", key.job, key.round)).await;
        if let Some(live) = self.live().find(key) {
            return Ok(live);
        }
        let missing = || CoordinatorError::Missing { what: key.to_string() };
        let round = {
            let state = self.state();
            let job = state.jobs.get(&key.job).filter(|job| !job.is_over()).ok_or_else(missing)?;
            let tagging = || job.unverified_round().map(|(round, _)| round);
            let under_way = job.current_round().or_else(tagging);
            under_way.filter(|round| round.round == key.round).cloned().ok_or_else(missing)?
        };
        if has_closed(&round.outcome) {
            return Err(missing());
        }
        let context = self.signed_context(&round).await?.context;
        let roster = self.roster(&key.job).await?;
        let key = key.clone();
        self.blocking(move |app| {
            let _held = held;
            let rebuilt = match round.outcome {
                OutcomeState::Opened(_) => LiveRound::rebuild_tagging(app.rounds(), key, context, &roster)?,
                OutcomeState::Open | OutcomeState::Aborted { .. } => {
                    LiveRound::rebuild(app.rounds(), key, context, &roster, round.agreed.is_some())?
                }
            };
            Ok(app.live().insert(rebuilt))
        })
        .await
    }
}
