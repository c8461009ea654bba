//! What the federated model is compared with: each site alone, and all data in one place; same model, same settings,
//! same number of passes over the data, same held-out molecules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use konclave_openapi::jobs::TrainingSpec;
use konclave_site::evaluator::{ScoreReport, TaskMetrics};

use super::narrator::Narrator;
use super::shares::Shares;
use crate::consortium::{Programs, call, read_json, text};
use crate::error::HarnessError;

/// A metric's name, its value and the number of molecules.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) higher_is_better: bool,
    pub(super) value: f64,
    pub(super) molecules: u64,
}

/// One model's metrics by task.
pub(super) type Metrics = BTreeMap<String, Metric>;

/// What the comparison is made with.
pub(super) struct Baselines<'a> {
    pub(super) programs: &'a Programs,
    pub(super) model: &'a Path,
    pub(super) shares: &'a Shares,
    pub(super) training: &'a TrainingSpec,
    pub(super) rounds: u32,
    pub(super) folder: PathBuf,
    pub(super) narrator: &'a Narrator,
}

/// One training to do.
struct Plan {
    name: String,
    files: Vec<PathBuf>,
}

impl Baselines<'_> {
    /// Trains and scores all of them; two at a time, because each uses one core.
    pub(super) fn run(&self) -> Result<(BTreeMap<String, Metrics>, Metrics), HarnessError> {
        std::fs::create_dir_all(&self.folder).map_err(HarnessError::file("create", &self.folder))?;
        let all = self.shares.sites.values().map(|share| share.file.clone()).collect();
        // The longest first, so that nothing waits for it at the end.
        let mut plans = vec![Plan { name: "pooled".to_owned(), files: all }];
        let mut alone: Vec<_> = self.shares.sites.iter().collect();
        alone.sort_by_key(|(_, share)| std::cmp::Reverse(share.rows));
        plans.extend(
            alone
                .into_iter()
                .map(|(site, share)| Plan { name: site.clone(), files: vec![share.file.clone()] }),
        );
        plans.reverse();
        let of = plans.len();
        self.narrator.now("training the models to compare with");
        self.narrator.progress(0, of as u64, "models");
        let queue = Mutex::new(plans);
        let results = Mutex::new(BTreeMap::new());
        let worker = || -> Result<(), HarnessError> {
            loop {
                let next = queue.lock().map_or(None, |mut queue| queue.pop());
                let Some(plan) = next else { return Ok(()) };
                let metrics = self.train_and_score(&plan)?;
                if let Ok(mut results) = results.lock() {
                    results.insert(plan.name.clone(), metrics);
                    let done = results.len();
                    self.narrator
                        .say(format!("  {done} of {of} models are trained and scored: {}", plan.name));
                    self.narrator.progress(done as u64, of as u64, "models");
                }
            }
        };
        let workers = thread::available_parallelism().map_or(2, usize::from).min(4);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|_| Err(HarnessError::unexpected("a baseline", "its thread panicked")))
            })
        })?;
        let mut results = results.into_inner().unwrap_or_default();
        let pooled = results
            .remove("pooled")
            .ok_or_else(|| HarnessError::unexpected("the baselines", "none is pooled"))?;
        Ok((results, pooled))
    }

    fn train_and_score(&self, plan: &Plan) -> Result<Metrics, HarnessError> {
        let parameters = self.folder.join(format!("{}.f32", plan.name));
        let training = self.folder.join(format!("{}.training.json", plan.name));
        self.write_training(&training)?;
        let mut words = vec!["train".to_owned(), "--model".to_owned(), text(self.model)];
        words.extend(["--tasks".to_owned(), text(&self.shares.tasks_file)]);
        words.extend(["--training".to_owned(), text(&training), "--out".to_owned(), text(&parameters)]);
        for file in &plan.files {
            words.extend(["--data".to_owned(), text(file)]);
        }
        call(&self.programs.site, &words)?;
        self.score(&plan.name, &parameters)
    }

    /// The federated training's settings, with all rounds' passes in one go.
    fn write_training(&self, path: &Path) -> Result<(), HarnessError> {
        let epochs = u32::from(self.training.local_epochs).saturating_mul(self.rounds);
        let local_epochs = u16::try_from(epochs).unwrap_or(u16::MAX);
        let training = TrainingSpec { local_epochs, ..self.training.clone() };
        let json = serde_json::to_vec_pretty(&training)
            .map_err(|error| HarnessError::unexpected("the training's settings", error))?;
        std::fs::write(path, json).map_err(HarnessError::file("write", path))
    }

    /// Scores a parameter file on the benchmark.
    pub(super) fn score(&self, name: &str, parameters: &Path) -> Result<Metrics, HarnessError> {
        let report = self.folder.join(format!("{name}.score.json"));
        let words = [
            "score",
            "--model",
            &text(self.model),
            "--parameters",
            &text(parameters),
            "--tasks",
            &text(&self.shares.tasks_file),
            "--data",
            &text(&self.shares.benchmark),
            "--out",
            &text(&report),
        ];
        call(&self.programs.site, &words)?;
        let report: ScoreReport = read_json(&report)?;
        Ok(metrics(&report))
    }
}

#[expect(clippy::cast_precision_loss, reason = "metrics in millionths are far below 2^53")]
pub(super) fn metrics(report: &ScoreReport) -> Metrics {
    let line = |metrics: &TaskMetrics, molecules| match metrics {
        TaskMetrics::Regression(quantity) => Metric {
            name: "RMSE",
            higher_is_better: false,
            value: quantity.rmse_micro as f64 / 1e6,
            molecules,
        },
        TaskMetrics::Classification(class) => {
            Metric { name: "AUROC", higher_is_better: true, value: class.auroc_micro as f64 / 1e6, molecules }
        }
    };
    let tasks = report.tasks.iter();
    tasks
        .filter_map(|task| Some((task.task.to_string(), line(task.metrics.as_ref()?, task.labels))))
        .collect()
}
