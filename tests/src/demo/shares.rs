//! The data: one file in the standard format, divided among the sites by `konclave-site split`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use konclave_openapi::jobs::{TaskKind, TaskSpec};
use konclave_site::evaluator::ScoreReport;
use serde::Deserialize;

use super::job;
use super::options::Options;
use crate::consortium::{Programs, call, read_json, text};
use crate::error::HarnessError;

/// The divided data.
#[derive(Debug, Clone)]
pub(super) struct Shares {
    /// Each site's file, by pseudonym.
    pub(super) sites: BTreeMap<String, Share>,
    /// The held-out molecules, for the evaluator alone.
    pub(super) benchmark: PathBuf,
    /// Their rows.
    pub(super) benchmark_rows: u64,
    /// The tasks' file, as the offline commands read it.
    pub(super) tasks_file: PathBuf,
    /// The same, as the interface takes it.
    pub(super) tasks: Vec<TaskSpec>,
}

/// One site's file, as it was divided: a planted row is not counted.
#[derive(Debug, Clone)]
pub(super) struct Share {
    pub(super) file: PathBuf,
    pub(super) rows: u64,
    pub(super) labels: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct SplitFile {
    files: Vec<SplitPart>,
}

#[derive(Deserialize)]
struct SplitPart {
    file: String,
    rows: u64,
    tasks: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct TasksFile {
    tasks: Vec<TaskLine>,
}

/// The offline commands' task.
#[derive(Deserialize)]
struct TaskLine {
    task: String,
    kind: TaskKind,
    #[serde(default)]
    unit: Option<String>,
    output: u16,
    center_micro: i64,
    scale_micro: i64,
}

/// The file to divide.
pub(super) fn source(options: &Options) -> Result<PathBuf, HarnessError> {
    match &options.data {
        Some(file) => {
            fs::canonicalize(file).map_err(|source| HarnessError::NoDataFile { path: file.clone(), source })
        }
        None => {
            let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../third_party/demo-data/admet.csv");
            fs::canonicalize(&fetched).map_err(|_| HarnessError::NoPublicData { path: fetched })
        }
    }
}

/// Divides the data into a folder, makes sure that every kept task can be measured, and gives what the division said.
pub(super) fn divide(
    programs: &Programs,
    data: &Path,
    options: &Options,
    folder: &Path,
) -> Result<Vec<String>, HarnessError> {
    let (data, out) = (text(data), text(folder));
    let (sites, seed) = (options.sites.to_string(), options.seed.to_string());
    let words = ["split", "--data", &data, "--sites", &sites, "--seed", &seed, "--out", &out];
    let told = call(&programs.site, &words)?;
    check_measurable(programs, folder)?;
    Ok(told.lines().map(str::to_owned).collect())
}

/// Scores the untrained model: whatever the evaluator could not measure at the end, it cannot measure now.
fn check_measurable(programs: &Programs, folder: &Path) -> Result<(), HarnessError> {
    let (model, report) = (text(&job::model_file()), folder.join("untrained.score.json"));
    let (tasks, benchmark) = (text(&folder.join("tasks.json")), text(&folder.join("benchmark.csv")));
    let words =
        ["score", "--model", &model, "--tasks", &tasks, "--data", &benchmark, "--out", &text(&report)];
    call(&programs.site, &words)?;
    let report: ScoreReport = read_json(&report)?;
    let without = report.tasks.iter().filter(|task| task.score_micro.is_none());
    let tasks: Vec<String> = without.map(|task| task.task.to_string()).collect();
    if tasks.is_empty() { Ok(()) } else { Err(HarnessError::NotMeasurable { tasks }) }
}

impl Shares {
    /// Reads what was divided into a folder.
    pub(super) fn read(folder: &Path) -> Result<Self, HarnessError> {
        let split: SplitFile = read_json(&folder.join("split.json"))?;
        let tasks_file = folder.join("tasks.json");
        let tasks: TasksFile = read_json(&tasks_file)?;
        let (mut sites, mut benchmark_rows) = (BTreeMap::new(), 0);
        for part in split.files {
            if part.file == "benchmark.csv" {
                benchmark_rows = part.rows;
            }
            let Some(site) = part.file.strip_prefix("sites/").and_then(|name| name.strip_suffix(".csv"))
            else {
                continue;
            };
            let share = Share { file: folder.join(&part.file), rows: part.rows, labels: part.tasks };
            sites.insert(site.to_owned(), share);
        }
        let tasks = tasks.tasks.into_iter().map(|line| TaskSpec {
            task: line.task,
            kind: line.kind,
            unit: line.unit,
            output: line.output,
            center_micro: line.center_micro,
            scale_micro: line.scale_micro,
        });
        let benchmark = folder.join("benchmark.csv");
        Ok(Self { sites, benchmark, benchmark_rows, tasks_file, tasks: tasks.collect() })
    }

    /// Rows at all sites.
    pub(super) fn training_rows(&self) -> u64 {
        self.sites.values().map(|share| share.rows).sum()
    }
}
