//! A training site: what it does for each item of work.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use konclave_crypto::{JobId, MemberRole};
use konclave_openapi::jobs::JobPhase;
use konclave_openapi::work::WorkItem;
use konclave_policies::site::SitePolicy;
use tokio::sync::Mutex;

use super::error::StepError;
use super::learner::Learner;
use super::member::{Member, SiteError};
use super::session::Session;
use super::work::{self, Duties};
use crate::config::{SiteConfig, SiteFolder};
use crate::consent::{RoundPolicies, read_floors, read_site_policy};
use crate::keystore::{Decision, JobStore, Spending};
use crate::witness::Witness;

/// A training site.
#[derive(Debug)]
pub struct Site<L> {
    pub(super) member: Arc<Member>,
    pub(super) learner: Arc<L>,
    pub(super) policies: RoundPolicies,
    pub(super) own_policy: SitePolicy,
    pub(super) witness: Arc<Mutex<Witness>>,
    sessions: std::sync::Mutex<BTreeMap<JobId, Arc<Mutex<Session>>>>,
    spending: std::sync::Mutex<Spending>,
}

impl<L: Learner> Site<L> {
    /// Runs a site until `shutdown` is ready: deposits, witnesses and works. It may be stopped at any moment, also hard;
    /// the next start continues.
    ///
    /// # Errors
    /// [`SiteError`] if it cannot start, or stops because the ledger raised an alarm.
    pub async fn run(
        folder: SiteFolder,
        config: SiteConfig,
        learner: L,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), SiteError> {
        let member = Arc::new(Member::open(folder, config, Some(MemberRole::Site))?);
        let own_policy = read_site_policy(&member.folder, member.config.policy.as_deref())?;
        let floors = read_floors(&member.folder, member.config.floors.as_deref())?;
        let accepted = member.config.rounds_policy.as_deref();
        let policies = RoundPolicies::open(member.disk.clone(), &member.folder, accepted, floors)?;
        let witness = Arc::new(Mutex::new(work::witness_of(&member)?));
        let new = JobStore::decided(member.folder.path())?.is_empty();
        let spending = Spending::open(member.disk.clone(), &member.folder.privacy_spent(), new)?;
        let site = Arc::new(Self {
            member,
            learner: Arc::new(learner),
            policies,
            own_policy,
            witness: Arc::clone(&witness),
            sessions: std::sync::Mutex::default(),
            spending: std::sync::Mutex::new(spending),
        });
        tracing::info!(
            "site {} works for {} with identity {}",
            site.member.site(),
            site.member.config.gateway_url,
            site.member.keys.identity.public()
        );
        work::serve(site, witness, shutdown).await
    }

    /// The session of a job that this site consented to.
    pub(super) async fn session(&self, job: &JobId) -> Result<Arc<Mutex<Session>>, StepError> {
        let known = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(job).cloned();
        if let Some(session) = known {
            return Ok(session);
        }
        let session =
            Session::open(&self.member, &self.policies, &self.own_policy, &self.witness, job).await?;
        let session = Arc::new(Mutex::new(session));
        self.sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(job.clone(), Arc::clone(&session));
        Ok(session)
    }

    /// What this site's updates have cost of its privacy budget.
    pub(super) fn spending(&self) -> std::sync::MutexGuard<'_, Spending> {
        self.spending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stored state of a job.
    pub(super) fn store(&self, job: &JobId) -> Result<JobStore, StepError> {
        Ok(JobStore::open(self.member.disk.clone(), self.member.folder.path(), job)?)
    }
}

impl<L: Learner> Duties for Site<L> {
    fn member(&self) -> &Arc<Member> {
        &self.member
    }

    fn deposit(&self) -> Option<crate::deposit::DepositFacts> {
        self.learner.deposit()
    }

    async fn perform(&self, item: &WorkItem) -> Result<(), StepError> {
        match item {
            WorkItem::Consent { job } => self.consent(job).await,
            WorkItem::AdvertiseKeys { job } => self.advertise_keys(job).await,
            WorkItem::Encapsulate { job } => self.encapsulate(job).await,
            WorkItem::Upload { job, round } => self.upload(job, *round).await,
            WorkItem::Agree { job, round } => self.agree(job, *round).await,
            WorkItem::Unmask { job, round } => self.unmask(job, *round).await,
            WorkItem::Tag { job, round } => self.tag(job, *round).await,
            WorkItem::Verify { job, round } => self.verify_sum(job, *round).await,
            WorkItem::Evaluate { .. } => {
                tracing::warn!("the gateway asks a training site for an evaluation: ignored");
                Ok(())
            }
        }
    }

    /// Erases the secrets of jobs that are over, and what was fetched for them once none is left.
    async fn tidy(&self) -> Result<(), StepError> {
        let mut open = 0;
        for job in JobStore::list(self.member.folder.path())? {
            let mut store = self.store(&job)?;
            if store.journal().decided(Decision::Closed, 0).is_some() {
                continue;
            }
            let phase = match self.member.client.job(&job).await {
                Ok(found) => found.phase,
                Err(error) if error.is_over() => continue,
                Err(error) => return Err(error.into()),
            };
            match phase {
                JobPhase::Finished => tracing::info!(%job, "the job is finished; erasing its secrets"),
                JobPhase::Aborted { reason, .. } => {
                    tracing::warn!(%job, "the job was aborted ({reason}); erasing its secrets");
                }
                JobPhase::Consent { .. }
                | JobPhase::AdvertiseKeys { .. }
                | JobPhase::Encapsulate { .. }
                | JobPhase::Running => {
                    open += 1;
                    continue;
                }
            }
            store.close()?;
            self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
        }
        if open == 0 { work::empty_cache(&self.member) } else { Ok(()) }
    }
}
