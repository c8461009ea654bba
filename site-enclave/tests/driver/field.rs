//! Sites with known vectors around a gateway in memory, and what they said in their logs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use konclave_crypto::JobId;
use konclave_openapi::models::ModelManifest;
use konclave_site::cli::Role;
use konclave_site::client::EgressLine;
use konclave_site::config::{ConfigFlags, SiteConfig, SiteFolder};
use konclave_site::data::TaskSpec;
use konclave_site::deposit::DepositFacts;
use konclave_site::driver::{Evaluator, Examiner, Learner, LearnerFault, Scores, Site, SiteError};
use konclave_site::trainer::{
    LocalDelta, LocalUpdate, TrainError, TrainProgress, TrainingReport, TrainingTask,
};
use tokio::task::JoinHandle;

use crate::support::Pki;
use crate::support::gateway::{COORDINATES, Gateway, router};

const SITES: [&str; 4] = ["site-a", "site-b", "site-c", "site-d"];
const EVALUATOR: &str = "evaluator";

/// All that the sites of all tests have logged.
static LOG: Mutex<String> = Mutex::new(String::new());

struct Captured;

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        print!("{text}");
        LOG.lock().unwrap().push_str(&text);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Gives the same vector in every round.
pub(crate) struct KnownVector(Vec<f32>);

impl Learner for KnownVector {
    fn inspect(&self, _: &Path, _: &ModelManifest, _: &[TaskSpec]) -> Result<(), LearnerFault> {
        if self.0.is_empty() { Err(LearnerFault::NoLabels) } else { Ok(()) }
    }

    fn begin(&self, _: &Path) -> Result<Box<dyn LocalUpdate + Send>, LearnerFault> {
        Ok(Box::new(Self(self.0.clone())))
    }
}

impl LocalUpdate for KnownVector {
    fn train(
        &mut self,
        task: &TrainingTask<'_>,
        progress: &mut dyn FnMut(TrainProgress),
    ) -> Result<LocalDelta, TrainError> {
        assert_eq!(task.parameters.len(), COORDINATES);
        progress(TrainProgress { epochs_done: 1, epochs: 1, loss: 0.5 });
        let report = TrainingReport {
            device: "none".into(),
            molecules: 1,
            steps: 1,
            milliseconds: 1,
            tasks: std::collections::BTreeMap::new(),
            unused: Default::default(),
        };
        // More labels than the cap: the driver must cut the weight.
        Ok(LocalDelta { delta: self.0.clone(), weight: 1_000_000, report })
    }
}

/// Scores a model by its first coordinate, so that the score tells which model it was.
struct FirstCoordinate;

impl Examiner for FirstCoordinate {
    fn examine(&self, _: &Path, parameters: &[f32], _: &[TaskSpec]) -> Result<Scores, LearnerFault> {
        #[expect(clippy::cast_possible_truncation, reason = "the coordinate is a small number")]
        let utility_micro = (f64::from(parameters[0]) * 1e6).round() as i64;
        Ok(Scores { utility_micro, metrics: Vec::new() })
    }

    fn deposit(&self) -> Option<DepositFacts> {
        None
    }
}

/// A gateway and its sites.
pub(crate) struct Field {
    pub(crate) gateway: Arc<Mutex<Gateway>>,
    pub(crate) folders: Vec<PathBuf>,
    keep: tempfile::TempDir,
}

impl Field {
    /// Three sites and an honest gateway.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// Three sites and a gateway that is told what to do before anyone is enrolled.
    pub(crate) fn with(tell: impl FnOnce(&mut Gateway)) -> Self {
        Self::of(3, tell)
    }

    /// As many sites.
    pub(crate) fn of(count: usize, tell: impl FnOnce(&mut Gateway)) -> Self {
        Self::under(|text| text, count, tell)
    }

    /// The same under a rounds policy of its own.
    pub(crate) fn under(policy: fn(String) -> String, count: usize, tell: impl FnOnce(&mut Gateway)) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::WARN)
            .with_writer(|| Captured)
            .try_init();
        let sites = &SITES[..count];
        let keep = tempfile::tempdir().unwrap();
        let gateway = Gateway::with_policy(sites, policy);
        tell(&mut gateway.lock().unwrap());
        let folders = sites
            .iter()
            .map(|site| {
                let pki = Pki::new(site);
                let address = pki.serve(router(&gateway, site));
                let folder = keep.path().join(site);
                gateway.lock().unwrap().enrol(&pki, site, address, &folder);
                std::fs::write(folder.join("data/m.csv"), "SMILES_Structure_Parent\n").unwrap();
                folder
            })
            .collect();
        Self { gateway, folders, keep }
    }

    /// Adds an evaluator, and runs it.
    pub(crate) fn start_evaluator(&mut self) -> JoinHandle<Result<(), SiteError>> {
        let pki = Pki::new(EVALUATOR);
        let address = pki.serve(router(&self.gateway, EVALUATOR));
        let folder = self.keep.path().join(EVALUATOR);
        let mut gateway = self.gateway.lock().unwrap();
        gateway.enrol_as(Role::Evaluator, &pki, EVALUATOR, address, &folder);
        gateway.evaluator = Some(EVALUATOR.parse().unwrap());
        drop(gateway);
        let folder = SiteFolder::new(&folder);
        let flags = ConfigFlags { poll_seconds: Some(1), witness_seconds: Some(1), ..ConfigFlags::default() };
        let config = SiteConfig::load(&folder, &flags).unwrap();
        tokio::spawn(Evaluator::run(folder, config, FirstCoordinate, std::future::pending()))
    }

    /// The gateway's job, which no other field has.
    pub(crate) fn job(&self) -> JobId {
        self.gateway.lock().unwrap().job.clone()
    }

    /// Waits until a site says that it refuses something, with this reason.
    pub(crate) async fn refused(&self, reason: &str) {
        let own = format!("job={}", self.job());
        for _ in 0..600 {
            let said = LOG.lock().unwrap().clone();
            let mut lines = said.lines().filter(|line| line.split_whitespace().any(|word| word == own));
            if lines.any(|line| line.contains(reason)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not said in 30 s: {reason}");
    }

    pub(crate) fn start(&self, index: usize) -> JoinHandle<Result<(), SiteError>> {
        self.start_with(index, vector(index))
    }

    pub(crate) fn start_with(&self, index: usize, vector: Vec<f32>) -> JoinHandle<Result<(), SiteError>> {
        let folder = SiteFolder::new(&self.folders[index]);
        let flags = ConfigFlags { poll_seconds: Some(1), witness_seconds: Some(1), ..ConfigFlags::default() };
        let config = SiteConfig::load(&folder, &flags).unwrap();
        tokio::spawn(Site::run(folder, config, KnownVector(vector), std::future::pending()))
    }

    /// Starts again right after a kill; work of the killed one that cannot be interrupted may hold the lock a moment.
    pub(crate) async fn restart(&self, index: usize) -> JoinHandle<Result<(), SiteError>> {
        for _ in 0..100 {
            let mut site = self.start(index);
            match tokio::time::timeout(Duration::from_millis(100), &mut site).await {
                Ok(ended) => {
                    let error = ended.unwrap().unwrap_err();
                    assert!(matches!(error, SiteError::Locked(_)), "{error}");
                }
                Err(_) => return site,
            }
        }
        panic!("the lock is never released");
    }

    pub(crate) async fn until(&self, what: &str, reached: impl Fn(&Gateway) -> bool) {
        for _ in 0..600 {
            if reached(&self.gateway.lock().unwrap()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not reached in 30 s: {what}");
    }

    pub(crate) fn egress(&self, index: usize) -> Vec<EgressLine> {
        let text = std::fs::read_to_string(self.folders[index].join("state/egress.ndjson")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Multiples of the clip bound that the quantisation represents exactly at full weight.
pub(crate) fn vector(index: usize) -> Vec<f32> {
    (0..COORDINATES).map(|place| if (place + index).is_multiple_of(2) { 0.2 } else { -0.2 }).collect()
}

pub(crate) fn expected_sum(sites: usize) -> Vec<i32> {
    let largest = (1 << 14) - 1;
    let sign =
        |place: usize, index: usize| if (place + index).is_multiple_of(2) { largest } else { -largest };
    (0..COORDINATES).map(|place| (0..sites).map(|index| sign(place, index)).sum()).collect()
}
