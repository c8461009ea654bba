//! `train`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::OfflineError;
use super::files::{read_json, write_json};
use crate::data::{Catalogue, Collection, TaskFile};
use crate::trainer::{
    Hyperparameters, LocalUpdate, Optimizer, TorchScriptModel, TorchTrainer, TrainProgress, TrainingTask,
    read_parameters, write_parameters,
};

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct TrainArguments {
    /// The TorchScript model.
    #[arg(long, value_name = "MODEL.pt")]
    model: PathBuf,
    /// Start from these parameters instead of those in the model file.
    #[arg(long, value_name = "P.f32")]
    parameters: Option<PathBuf>,
    /// The tasks (tasks.json).
    #[arg(long, value_name = "FILE")]
    tasks: PathBuf,
    /// A file in the standard format; may be given several times.
    #[arg(long, required = true, value_name = "FILE")]
    data: Vec<PathBuf>,
    /// The training settings (JSON, as in a job request); without it this program's defaults are used.
    #[arg(long, value_name = "FILE")]
    training: Option<PathBuf>,
    /// Passes over the data, instead of the settings' local_epochs.
    #[arg(long)]
    epochs: Option<u16>,
    /// The seed of shuffles and dropout, instead of the settings' seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Write the trained parameters to this file.
    #[arg(long, value_name = "OUT.f32")]
    out: PathBuf,
    /// Write what happened to this JSON file.
    #[arg(long, value_name = "OUT")]
    report: Option<PathBuf>,
}

/// Training settings as a file; the fields are those of a job request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingFile {
    /// Passes over the data.
    pub local_epochs: u16,
    /// Molecules in a step.
    pub batch_size: u32,
    /// Learning rate x 1e-6.
    pub learning_rate_micro: u32,
    /// Weight decay x 1e-6.
    pub weight_decay_micro: u32,
    /// FedProx's mu x 1e-6.
    pub proximal_mu_micro: u32,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// Seeds shuffles and dropout.
    pub seed: u64,
}

impl Default for TrainingFile {
    fn default() -> Self {
        let Hyperparameters {
            local_epochs,
            batch_size,
            learning_rate_micro,
            weight_decay_micro,
            optimizer,
            proximal_mu_micro,
        } = Hyperparameters::default();
        Self {
            local_epochs,
            batch_size,
            learning_rate_micro,
            weight_decay_micro,
            proximal_mu_micro,
            optimizer,
            seed: 1,
        }
    }
}

impl TrainingFile {
    /// The settings as a trainer takes them; the seed goes beside them.
    #[must_use]
    pub fn hyperparameters(&self) -> Hyperparameters {
        Hyperparameters {
            local_epochs: self.local_epochs,
            batch_size: self.batch_size,
            learning_rate_micro: self.learning_rate_micro,
            weight_decay_micro: self.weight_decay_micro,
            optimizer: self.optimizer,
            proximal_mu_micro: self.proximal_mu_micro,
        }
    }
}

pub(super) fn train(arguments: &TrainArguments, out: &mut dyn Write) -> Result<(), OfflineError> {
    let model = TorchScriptModel::open(&arguments.model)?;
    let start = match &arguments.parameters {
        Some(path) => read_parameters(path, model.manifest().coordinates)?,
        None => model.initial_parameters().to_vec(),
    };
    let tasks = TaskFile::read(&arguments.tasks)?.tasks;
    let mut settings: TrainingFile = match &arguments.training {
        Some(path) => read_json(path)?,
        None => TrainingFile::default(),
    };
    settings.local_epochs = arguments.epochs.unwrap_or(settings.local_epochs);
    settings.seed = arguments.seed.unwrap_or(settings.seed);
    let (collection, report) = Collection::load(&arguments.data, &Catalogue::embedded()?, &mut |_| {})?;
    writeln!(out, "{} rows accepted, {} rejected", report.accepted(), report.rejected())?;
    let mut trainer = TorchTrainer::new(model, collection);
    writeln!(out, "training on {}", trainer.device())?;
    let result = trainer.train(
        &TrainingTask {
            parameters: &start,
            tasks: &tasks,
            hyperparameters: &settings.hyperparameters(),
            seed: settings.seed,
        },
        &mut show_progress,
    )?;
    let trained: Vec<f32> = start.iter().zip(&result.delta).map(|(old, change)| old + change).collect();
    write_parameters(&arguments.out, &trained)?;
    let report = &result.report;
    let (molecules, steps) = (report.molecules, report.steps);
    writeln!(out, "{molecules} molecules, {steps} steps, {} ms", report.milliseconds)?;
    for (task, loss) in &report.tasks {
        writeln!(out, "  {task}: {} labels, training loss {:.4}", loss.labels, loss.loss)?;
    }
    let unused = report.unused;
    if unused.total() > 0 {
        writeln!(
            out,
            "  not used: {} labels in another unit, {} of another kind than the task, {} extreme values",
            unused.unit, unused.kind, unused.extreme
        )?;
    }
    if let Some(path) = &arguments.report {
        write_json(path, report)?;
    }
    Ok(())
}

/// A line that is overwritten after each epoch, for people who wait at a terminal.
fn show_progress(progress: TrainProgress) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        let TrainProgress { epochs_done, epochs, loss } = progress;
        let end = if epochs_done == epochs { "\n" } else { "\r" };
        // Progress is a courtesy: a closed terminal must not stop the training.
        let _ = write!(terminal, "epoch {epochs_done}/{epochs}, loss {loss:.4}{end}");
    }
}
