//! The data: one file in the standard format, divided among the sites by `konclave-site split`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use konclave_openapi::jobs::{TaskKind, TaskSpec};
use serde::Deserialize;

use crate::consortium::{Programs, call, read_json, text};
use crate::error::HarnessError;

/// The divided data.
#[derive(Debug, Clone)]
pub(super) struct Shares {
    /// Each site's file, by pseudonym.
    pub(super) sites: BTreeMap<String, Share>,
    /// What all sites have put together, for the pooled baseline: the same files.
    pub(super) benchmark: PathBuf,
    /// The tasks' file, as the offline commands read it.
    pub(super) tasks_file: PathBuf,
    /// The same, as the interface takes it.
    pub(super) tasks: Vec<TaskSpec>,
    /// What the split said.
    pub(super) told: Vec<String>,
}

/// One site's file.
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

/// Divides the data among the sites.
pub(super) fn divide(
    programs: &Programs,
    data: &Path,
    sites: u16,
    seed: u64,
    folder: &Path,
) -> Result<Shares, HarnessError> {
    let (data, out, sites, seed) = (text(data), text(folder), sites.to_string(), seed.to_string());
    let words = ["split", "--data", &data, "--sites", &sites, "--seed", &seed, "--out", &out];
    let told = call(&programs.site, &words)?;
    let split: SplitFile = read_json(&folder.join("split.json"))?;
    let tasks_file = folder.join("tasks.json");
    let tasks: TasksFile = read_json(&tasks_file)?;
    let mut by_site = BTreeMap::new();
    for part in split.files {
        let Some(site) = part.file.strip_prefix("sites/").and_then(|name| name.strip_suffix(".csv")) else {
            continue;
        };
        let share = Share { file: folder.join(&part.file), rows: part.rows, labels: part.tasks };
        by_site.insert(site.to_owned(), share);
    }
    let tasks = tasks.tasks.into_iter().map(|line| TaskSpec {
        task: line.task,
        kind: line.kind,
        unit: line.unit,
        output: line.output,
        center_micro: line.center_micro,
        scale_micro: line.scale_micro,
    });
    Ok(Shares {
        sites: by_site,
        benchmark: folder.join("benchmark.csv"),
        tasks_file,
        tasks: tasks.collect(),
        told: told.lines().map(str::to_owned).collect(),
    })
}
