//! The loop: ask for work, do it, witness the ledger.
//!
//! Each job's items are done in order and one at a time; jobs do not wait for each other, and a job that fails is tried
//! again with growing pauses while the others go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use konclave_crypto::JobId;
use konclave_openapi::work::WorkItem;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

use super::error::StepError;
use super::member::{Member, SiteError};
use super::renewal::keep_renewing;
use crate::deposit::{self, DepositFacts};
use crate::keystore::{DiskError, KeyError};
use crate::witness::{Alarm, Look, Witness, WitnessFault};

/// The shortest time between two requests for work.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(50);
/// How long to wait with work in hand before asking whether there is more.
const WHILE_BUSY: Duration = Duration::from_secs(1);
/// The shortest time between two comparisons with what other witnesses have seen.
const GOSSIP: Duration = Duration::from_secs(30);
/// The longest pause of a job that fails, and of the loop when the gateway is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often jobs that are over are looked for.
const TIDY: Duration = Duration::from_secs(20);

/// What a member does for its items of work.
pub(crate) trait Duties: Send + Sync + 'static {
    /// The member.
    fn member(&self) -> &Arc<Member>;

    /// What it declares of its data.
    fn deposit(&self) -> Option<DepositFacts>;

    /// Does one item; doing it again is harmless.
    fn perform(&self, item: &WorkItem) -> impl Future<Output = Result<(), StepError>> + Send;

    /// Clears up after jobs that are over.
    fn tidy(&self) -> impl Future<Output = Result<(), StepError>> + Send;
}

/// The witness of a member, with its own copy of the witness key.
pub(crate) fn witness_of(member: &Member) -> Result<Witness, SiteError> {
    let keys = crate::keystore::SiteKeys::read(&member.disk, member.folder.path(), member.site())
        .map_err(|error: KeyError| SiteError::Keys(error))?;
    let log = member.enrolled.ledger_key.clone();
    let root = member.enrolled.root;
    Ok(Witness::open(member.disk.clone(), &member.folder, keys.witness, log, root)?)
}

/// Removes models and parameters that no job needs any more, and what broken downloads left.
pub(crate) fn empty_cache(member: &Member) -> Result<(), StepError> {
    let folder = member.folder.blobs();
    let failed = |source| DiskError { doing: "empty", path: folder.clone(), source };
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error).into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// When a job may be worked on again.
#[derive(Debug, Default)]
struct Pace {
    busy: bool,
    failures: u32,
    not_before: Option<Instant>,
}

impl Pace {
    fn is_free(&self) -> bool {
        !self.busy && self.not_before.is_none_or(|moment| moment <= Instant::now())
    }

    fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        let pause = Duration::from_millis(500).saturating_mul(1 << self.failures.min(10));
        self.not_before = Some(Instant::now() + pause.min(LONGEST_PAUSE));
    }
}

/// Works until `shutdown` is ready or an alarm is raised.
pub(crate) async fn serve<D: Duties>(
    duties: Arc<D>,
    witness: Arc<Mutex<Witness>>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), SiteError> {
    let (grown, growth) = watch::channel(0_u64);
    let mut tasks = JoinSet::new();
    let member = Arc::clone(duties.member());
    tasks.spawn(keep_renewing(Arc::clone(&member)));
    tasks.spawn(keep_witnessing(Arc::clone(&member), witness, growth));
    if let Some(facts) = duties.deposit() {
        tasks.spawn(keep_depositing(Arc::clone(&member), facts));
    }
    tasks.spawn(keep_working(duties, grown));
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => {
                tracing::info!("stopping");
                tasks.shutdown().await;
                return Ok(());
            }
            ended = tasks.join_next() => match ended {
                // The deposit is registered.
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return Err(error),
                Some(Err(stopped)) => {
                    let reason = stopped.to_string();
                    return Err(StepError::Stopped { doing: "the service", reason }.into());
                }
                None => return Ok(()),
            }
        }
    }
}

/// Looks at the ledger whenever it grew, and every few seconds; compares with the other witnesses now and then. Ends with
/// an alarm, also one that somebody else raised: `konclave-site witness compare`.
async fn keep_witnessing(
    member: Arc<Member>,
    witness: Arc<Mutex<Witness>>,
    mut growth: watch::Receiver<u64>,
) -> Result<(), SiteError> {
    let interval = Duration::from_secs(member.config.witness_seconds.into());
    let mut pace = Pace::default();
    let mut compared: Option<Instant> = None;
    loop {
        let mut looked = witness.lock().await.look(&member.client).await;
        if looked.is_ok() && compared.is_none_or(|last| last.elapsed() >= GOSSIP) {
            compared = Some(Instant::now());
            if let Err(fault) = compare_with_others(&member, &witness).await {
                looked = Err(fault);
            }
        }
        if let Some(alarm) = Alarm::standing(&member.folder.alarm())? {
            return Err(WitnessFault::Alarm(Box::new(alarm)).into());
        }
        match looked {
            Ok(found) => {
                pace = Pace::default();
                if let Look::Cosigned(size) = found {
                    tracing::debug!("cosigned the ledger at {size} entries");
                }
            }
            Err(fault @ (WitnessFault::Alarm(_) | WitnessFault::AlarmFile(_))) => return Err(fault.into()),
            Err(fault) => {
                tracing::warn!("the ledger could not be witnessed: {fault}");
                pace.failed();
                tokio::time::sleep_until(pace.not_before.unwrap_or_else(Instant::now)).await;
            }
        }
        // A closed channel means that the work has ended, and with it this task.
        let _ = tokio::time::timeout(interval, growth.changed()).await;
        tokio::time::sleep(BETWEEN_REQUESTS).await;
    }
}

/// Compares this site's head with those of the other witnesses, through the gateway and around it.
async fn compare_with_others(member: &Member, witness: &Mutex<Witness>) -> Result<(), WitnessFault> {
    let mut witness = witness.lock().await;
    let around = match member.config.exchange_folder(&member.folder) {
        Some(folder) => witness.exchange(&member.client, &folder, member.site()).await,
        None => Ok(()),
    };
    // A gateway that tells nothing of the others does not keep their notes from being compared, nor the other way round.
    match witness.gossip(&member.client).await {
        Err(fault @ (WitnessFault::Alarm(_) | WitnessFault::AlarmFile(_))) => Err(fault),
        Err(fault) => around.and(Err(fault)),
        Ok(()) => around,
    }
}

/// Registers the deposit; tries until it is taken or refused for good.
async fn keep_depositing(member: Arc<Member>, facts: DepositFacts) -> Result<(), SiteError> {
    let mut pace = Pace::default();
    loop {
        let Member { disk, folder, keys, enrolled, client, .. } = &*member;
        match deposit::register(&facts, disk, folder, keys, enrolled, client).await {
            Ok(()) => return Ok(()),
            Err(deposit::DepositError::Gateway(error)) if error.is_temporary() => {
                tracing::warn!("the deposit is not registered yet: {error}");
            }
            Err(error) => {
                tracing::error!("the deposit was not registered: {error}");
                return Ok(());
            }
        }
        pace.failed();
        tokio::time::sleep_until(pace.not_before.unwrap_or_else(Instant::now)).await;
    }
}

/// Asks for work and does it.
async fn keep_working<D: Duties>(duties: Arc<D>, grown: watch::Sender<u64>) -> Result<(), SiteError> {
    let member = Arc::clone(duties.member());
    let mut paces = BTreeMap::<JobId, Pace>::new();
    let mut running = JoinSet::<(JobId, Result<(), StepError>)>::new();
    let mut away = Pace::default();
    let mut tidied: Option<Instant> = None;
    loop {
        let busy = !running.is_empty();
        let wait = if busy { 0 } else { member.config.poll_seconds };
        let list = tokio::select! {
            Some(ended) = running.join_next() => {
                finish(ended, &mut paces)?;
                continue;
            }
            answer = member.client.work(wait) => answer,
        };
        let items = match list {
            Ok(list) => {
                away = Pace::default();
                grown.send_replace(list.ledger_size);
                list.items
            }
            Err(error) => {
                tracing::warn!("no work could be asked for: {error}");
                away.failed();
                let until = away.not_before.unwrap_or_else(Instant::now);
                pause(until, &mut running, &mut paces).await?;
                continue;
            }
        };
        let idle = items.is_empty();
        let started = start(&duties, items, &mut paces, &mut running);
        if idle && running.is_empty() && tidied.is_none_or(|last| last.elapsed() >= TIDY) {
            tidied = Some(Instant::now());
            if let Err(error) = duties.tidy().await {
                tracing::warn!("jobs that are over could not be cleared up: {error}");
            }
        }
        let until = if started || idle { BETWEEN_REQUESTS } else { WHILE_BUSY };
        pause(Instant::now() + until, &mut running, &mut paces).await?;
    }
}

/// Starts the items of every job that is free. True if any were started.
fn start<D: Duties>(
    duties: &Arc<D>,
    items: Vec<WorkItem>,
    paces: &mut BTreeMap<JobId, Pace>,
    running: &mut JoinSet<(JobId, Result<(), StepError>)>,
) -> bool {
    let mut by_job = BTreeMap::<JobId, Vec<WorkItem>>::new();
    for item in items {
        by_job.entry(job_of(&item).clone()).or_default().push(item);
    }
    let mut started = false;
    for (job, items) in by_job {
        let pace = paces.entry(job.clone()).or_default();
        if !pace.is_free() {
            continue;
        }
        pace.busy = true;
        started = true;
        let duties = Arc::clone(duties);
        let span = tracing::info_span!("job", %job);
        let work = async move {
            let mut result = Ok(());
            for item in &items {
                result = duties.perform(item).await;
                if result.is_err() {
                    break;
                }
            }
            (job, result)
        };
        running.spawn(work.instrument(span));
    }
    started
}

/// Waits until a moment or until a job's items are done.
async fn pause(
    until: Instant,
    running: &mut JoinSet<(JobId, Result<(), StepError>)>,
    paces: &mut BTreeMap<JobId, Pace>,
) -> Result<(), SiteError> {
    tokio::select! {
        Some(ended) = running.join_next() => finish(ended, paces),
        () = tokio::time::sleep_until(until) => Ok(()),
    }
}

/// Notes how a job's items went.
fn finish(
    ended: Result<(JobId, Result<(), StepError>), tokio::task::JoinError>,
    paces: &mut BTreeMap<JobId, Pace>,
) -> Result<(), SiteError> {
    let (job, result) = match ended {
        Ok(ended) => ended,
        Err(stopped) => {
            tracing::error!("the work on a job stopped unexpectedly: {stopped}");
            // Which job it was is lost with it: free them all, with a pause.
            paces.values_mut().filter(|pace| pace.busy).for_each(|pace| {
                pace.busy = false;
                pace.failed();
            });
            return Ok(());
        }
    };
    let pace = paces.entry(job.clone()).or_default();
    pace.busy = false;
    match result {
        Ok(()) => *pace = Pace::default(),
        Err(error) if error.is_alarm() => return Err(error.into()),
        Err(error) if error.moves_on() => {
            tracing::info!(%job, "too late or too early, moving on: {error}");
            pace.failed();
            pace.not_before = Some(Instant::now() + Duration::from_millis(500));
        }
        Err(error) => {
            pace.failed();
            tracing::error!(%job, "{error}");
        }
    }
    Ok(())
}

/// The job of an item.
fn job_of(item: &WorkItem) -> &JobId {
    match item {
        WorkItem::Consent { job }
        | WorkItem::AdvertiseKeys { job }
        | WorkItem::Encapsulate { job }
        | WorkItem::Upload { job, .. }
        | WorkItem::Agree { job, .. }
        | WorkItem::Unmask { job, .. }
        | WorkItem::Tag { job, .. }
        | WorkItem::Verify { job, .. }
        | WorkItem::Evaluate { job, .. } => job,
    }
}
