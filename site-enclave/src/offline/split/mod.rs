//! `split`: divides one file among simulated sites, as a demonstration or a benchmark of federated learning needs.

mod plan;
mod scale;
mod usable;
mod write;

use std::io;
use std::path::PathBuf;

use clap::Args;

use self::plan::{SplitPlan, SplitRules};
use self::scale::{ScaleError, task_specs};
use self::usable::Usable;
use super::files::{FileError, write_json};
use crate::data::{
    Catalogue, CatalogueError, CollectError, Collection, Quorum, ReadError, TaskCounts, TaskFile,
    TaskFileError, TaskKey, ValidationReport,
};

/// Arguments of `split`.
#[derive(Debug, Args)]
pub struct SplitArguments {
    /// A file in the K-MELLODDY standard format, with any tasks.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// How many sites to make.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(2..=64))]
    sites: u16,
    /// Decides which molecules go together; the same seed gives the same files.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder to write: sites/site-N.csv, benchmark.csv, sample.csv, tasks.json and split.json.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The held-out benchmark's share of the molecules.
    #[arg(long, default_value_t = 0.2, value_parser = share)]
    benchmark_share: f64,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.01..=0.5).contains(&value) => Ok(value),
        _ => Err("expected a share from 0.01 to 0.5".to_owned()),
    }
}

/// Why a file could not be split.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// The task catalogue is broken.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The source could not be loaded.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// The source could not be read a second time.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reader's reason.
        source: ReadError,
    },
    /// A file could not be written.
    #[error("cannot use {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No task can be trained.
    #[error(
        "no task of {path} has enough labels to be scaled, trained and measured (check-data shows what there is)\n{}",
        reasons.join("\n")
    )]
    NoTask {
        /// The source.
        path: PathBuf,
        /// What was said of each task.
        reasons: Vec<String>,
    },
    /// Some sites would have nothing to train on.
    #[error(
        "{} would have nothing to train on: the molecules fall into too few groups of one ring framework, or have too \
         few labels, for {sites} sites; ask for fewer SITES (--sites)",
        empty.join(", ")
    )]
    EmptyShare {
        /// These sites.
        empty: Vec<String>,
        /// Sites asked for.
        sites: usize,
    },
    /// The sample gives no scale.
    #[error(transparent)]
    Scale(#[from] ScaleError),
    /// The tasks make no task file.
    #[error(transparent)]
    TaskFile(#[from] TaskFileError),
    /// A JSON file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Splits a file, writes the parts and returns lines for people.
pub(super) fn split(arguments: &SplitArguments) -> Result<Vec<String>, SplitError> {
    let mut said = Vec::new();
    let catalogue = Catalogue::embedded()?;
    let (collection, report) =
        Collection::load(std::slice::from_ref(&arguments.data), &catalogue, &mut |_| {})?;
    said.push(format!("{} rows accepted, {} rejected", report.accepted(), report.rejected()));
    let sites = usize::from(arguments.sites);
    let rules = SplitRules { sites, seed: arguments.seed, benchmark_share: arguments.benchmark_share };
    let (tasks, plan) = plan(arguments, &collection, &report, rules, &mut said)?;
    let summary = write::write_files(
        &arguments.data,
        &catalogue,
        &tasks,
        &plan,
        sites,
        arguments.seed,
        &arguments.out,
    )?;
    let (sample, _) = Collection::load(&[arguments.out.join("sample.csv")], &catalogue, &mut |_| {})?;
    let file = TaskFile::new(task_specs(&sample, &report, &tasks)?)?;
    write_json(&arguments.out.join("tasks.json"), &file)?;
    write_json(&arguments.out.join("split.json"), &summary)?;
    said.extend(summary.lines());
    said.extend(file.tasks.iter().map(|spec| {
        let (center, scale) = (spec.center_micro, spec.scale_micro);
        format!("{}: output {}, center_micro {center}, scale_micro {scale}", spec.task, spec.output)
    }));
    Ok(said)
}

/// The tasks that can be carried to the end, and who gets what of them.
fn plan(
    arguments: &SplitArguments,
    collection: &Collection,
    report: &ValidationReport,
    rules: SplitRules,
    said: &mut Vec<String>,
) -> Result<(Vec<TaskKey>, SplitPlan), SplitError> {
    let mut tasks = tasks_with_quorum(report, said);
    // Without a task the molecules are divided anew, so that another task may become usable, or unusable: each turn
    // leaves out the smallest one that cannot be carried, or is the last.
    while !tasks.is_empty() {
        let plan = SplitPlan::new(collection, &tasks, rules);
        let usable = Usable::count(collection, report, &tasks, &plan);
        let unusable = usable.unusable(report, &tasks, rules.sites);
        let labels = |task: &TaskKey| report.tasks.get(task).map_or(0, TaskCounts::labels);
        let smallest = unusable.into_iter().min_by_key(|(task, _)| labels(task));
        let Some((task, reason)) = smallest else {
            let empty = usable.empty_sites(rules.sites);
            if empty.is_empty() {
                return Ok((tasks, plan));
            }
            let empty = empty.iter().map(|site| format!("site-{}", site + 1)).collect();
            return Err(SplitError::EmptyShare { empty, sites: rules.sites });
        };
        said.push(format!("task {task} is left out: {reason}"));
        tasks.retain(|kept| *kept != task);
    }
    Err(SplitError::NoTask { path: arguments.data.clone(), reasons: std::mem::take(said) })
}

/// The tasks that can be trained, in the order of their names.
fn tasks_with_quorum(report: &ValidationReport, said: &mut Vec<String>) -> Vec<TaskKey> {
    let mut tasks = Vec::new();
    for (task, counts) in &report.tasks {
        match counts.quorum() {
            Quorum::Met => tasks.push(task.clone()),
            Quorum::Missed { reason } => said.push(format!("task {task} is left out: {reason}")),
        }
    }
    tasks
}
