//! What the encoding costs in model quality: the demonstration's federated training, averaged in several ways.
//!
//! Everything runs in one process, with the demonstration's data, split, model and settings, and the functions with which
//! sites encode and gateways apply. Masks are left out, because they cancel exactly (`tests/tests/end_to_end/exact_sums.rs`), and so
//! are the canary and the kills: every site is in every round. What is left to make a difference is the encoding.
//!
//! Two trainings that differ in the last bit part company after a few steps, so one run with and one without the encoding
//! say little. Hence several seeds, and one more training without the encoding that differs in its shuffles alone: how far
//! that ends from the first is what chance does.

mod arm;
mod averaging;
mod federation;
mod options;
mod statistics;
mod summary;
mod table;
mod wire;

use std::path::{Path, PathBuf};
use std::{fs, io};

use konclave_policies::rounds::{PolicyError, RoundPolicy};
use konclave_site::offline::OfflineError;
use konclave_site::trainer::TorchScriptModel;

pub use averaging::AveragingError;
pub use options::QualityOptions;
pub use summary::{ArmSummary, Difference, Line, QualitySummary, RoundCounts, Terms};
pub use wire::{Wire, encoding};

use self::arm::arms;
use self::federation::{Federation, Trained};
use super::baselines::Metric;
use super::folder::DemoFolder;
use super::job;
use super::narrator::Narrator;
use super::shares::{Shares, divide, source};
use crate::consortium::Programs;
use crate::error::HarnessError;

/// Where the results are.
const RESULTS: &str = "quality.json";

/// Why the measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum QualityError {
    /// The data could not be divided, or a file not be used.
    #[error(transparent)]
    Harness(#[from] HarnessError),
    /// The built-in rounds policy is at fault.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A model could not be trained or measured.
    #[error("could not {doing}: {source}")]
    Learning {
        /// What was tried.
        doing: &'static str,
        /// The reason.
        source: Box<OfflineError>,
    },
    /// Updates could not be averaged.
    #[error("could not average the updates of {arm}: {source}")]
    Averaging {
        /// In which way they should be.
        arm: String,
        /// The reason.
        source: AveragingError,
    },
}

impl QualityError {
    /// For `map_err` on whatever trains and measures models.
    fn learning<E: Into<OfflineError>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Learning { doing, source: Box::new(source.into()) }
    }
}

/// Measures, prints the table and writes `quality.json`. Gives whether the policy's encoding is within noise.
///
/// # Errors
/// [`QualityError`]; a difference beyond noise is none.
pub fn run(options: &QualityOptions) -> Result<bool, QualityError> {
    let (summary, json) = measure(options)?;
    println!("\n{}", table::Table(&summary));
    println!("Data:    {}", json.display());
    println!(
        "{} in {:.0} s",
        if summary.within_noise { "Within noise," } else { "NOT within noise," },
        summary.seconds
    );
    Ok(summary.within_noise)
}

/// Trains with every seed in every way, and writes `quality.json`, whose path is given too.
///
/// # Errors
/// [`QualityError`].
pub fn measure(options: &QualityOptions) -> Result<(QualitySummary, PathBuf), QualityError> {
    let narrator = Narrator::new();
    let folder = DemoFolder::claim(&options.out)?;
    let data = source(&options.demonstration(1))?;
    let model =
        TorchScriptModel::open(&job::model_file()).map_err(QualityError::learning("open the model"))?;
    let policy = RoundPolicy::embedded()?;
    let arms = arms(options, &policy, model.manifest());
    let ways: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
    narrator.say(format!(
        "{} is divided among {} sites; {} rounds with each of {} seeds, averaged in {} ways: {}",
        data.display(),
        options.sites,
        options.rounds,
        options.seeds,
        arms.len(),
        ways.join("; ")
    ));
    let (programs, staging) = (Programs::find()?, folder.stage()?);
    let mut tasks = None;
    let mut results: Vec<Vec<Trained>> = arms.iter().map(|_| Vec::new()).collect();
    let mut progress = Progress { done: 0, of: options.trainings(arms.len()), narrator: &narrator };
    for seed in options.seed_list() {
        let split = staging.join(format!("seed-{seed}"));
        fs::create_dir(&split).map_err(HarnessError::file("create", &split))?;
        narrator.now(format!("seed {seed}: dividing the data"));
        let demonstration = options.demonstration(seed);
        divide(&programs, &data, &demonstration, &split)?;
        let shares = Shares::read(&split)?;
        let found = tasks.get_or_insert_with(|| names(&shares));
        if *found != names(&shares) {
            let found = "it leaves out other tasks than that of seed 1, so they have no common mean: take them out of the \
                         data";
            return Err(HarnessError::unexpected(format!("the split of seed {seed}"), found).into());
        }
        let mut federation = Federation::gather(&shares, &model, &job::training(seed))?;
        for (arm, trained) in arms.iter().zip(&mut results) {
            narrator.now(format!("seed {seed}: {}", arm.name));
            let result = federation.run(arm, options.rounds, &mut || progress.one_round())?;
            narrator.say(format!("  seed {seed}, {}: {}", arm.name, shown(&result)));
            trained.push(result);
        }
    }
    narrator.finish();
    folder.replace("splits")?;
    let summary = QualitySummary::new(
        options,
        &policy,
        model.manifest().coordinates,
        &arms,
        &results,
        narrator.seconds(),
    );
    let json = folder.path().join(RESULTS);
    write(&json, &summary).map_err(HarnessError::file("write", &json))?;
    Ok((summary, json))
}

/// The tasks that a split can carry to the end.
fn names(shares: &Shares) -> Vec<String> {
    shares.tasks.iter().map(|task| task.task.clone()).collect()
}

/// Rounds done, of all arms and seeds.
struct Progress<'a> {
    done: u64,
    of: u64,
    narrator: &'a Narrator,
}

impl Progress<'_> {
    fn one_round(&mut self) {
        self.done += 1;
        self.narrator.progress(self.done, self.of, "rounds");
    }
}

/// One training's metrics in a sentence.
fn shown(trained: &Trained) -> String {
    let shown = |(task, Metric { name, value, .. }): (&String, &Metric)| format!("{task} {name} {value:.4}");
    trained.metrics.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn write(path: &Path, summary: &QualitySummary) -> io::Result<()> {
    let mut json = serde_json::to_string_pretty(summary)?;
    json.push('\n');
    fs::write(path, json)
}
