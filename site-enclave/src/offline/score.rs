//! `score`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::OfflineError;
use super::files::write_json;
use crate::data::{Catalogue, Collection, TaskFile};
use crate::evaluator::{ScoreReport, TaskMetrics, score};
use crate::trainer::{TorchScriptModel, read_parameters, training_device};

/// Arguments of `score`.
#[derive(Debug, Args)]
pub struct ScoreArguments {
    /// The TorchScript model.
    #[arg(long, value_name = "MODEL.pt")]
    model: PathBuf,
    /// The parameters to measure; without them those in the model file.
    #[arg(long, value_name = "P.f32")]
    parameters: Option<PathBuf>,
    /// The tasks (tasks.json).
    #[arg(long, value_name = "FILE")]
    tasks: PathBuf,
    /// A file in the standard format; may be given several times.
    #[arg(long, required = true, value_name = "FILE")]
    data: Vec<PathBuf>,
    /// Write the results to this JSON file; all numbers are millionths.
    #[arg(long, alias = "out", value_name = "OUT")]
    json: Option<PathBuf>,
}

pub(super) fn score_files(arguments: &ScoreArguments, out: &mut dyn Write) -> Result<(), OfflineError> {
    let model = TorchScriptModel::open(&arguments.model)?;
    let parameters = match &arguments.parameters {
        Some(path) => read_parameters(path, model.manifest().coordinates)?,
        None => model.initial_parameters().to_vec(),
    };
    let tasks = TaskFile::read(&arguments.tasks)?.tasks;
    let (collection, _) = Collection::load(&arguments.data, &Catalogue::embedded()?, &mut |_| {})?;
    let report = score(&model, &parameters, &tasks, &collection, training_device())?;
    print(&report, out)?;
    if let Some(path) = &arguments.json {
        write_json(path, &report)?;
    }
    Ok(())
}

fn print(report: &ScoreReport, out: &mut dyn Write) -> Result<(), OfflineError> {
    for task in &report.tasks {
        write!(out, "{}: {} labels", task.task, task.labels)?;
        match task.metrics {
            Some(TaskMetrics::Regression(metrics)) => {
                write!(out, ", RMSE {}, MAE {}", units(metrics.rmse_micro), units(metrics.mae_micro))?;
                if let Some(r2) = metrics.r2_micro {
                    write!(out, ", R2 {}", units(r2))?;
                }
                writeln!(out)?;
            }
            Some(TaskMetrics::Classification(metrics)) => {
                writeln!(
                    out,
                    ", AUROC {}, AUPRC {}",
                    units(metrics.auroc_micro),
                    units(metrics.auprc_micro)
                )?;
            }
            None => writeln!(out, ", no metric possible (one class or one value only)")?,
        }
    }
    writeln!(out, "utility {} over {} molecules", units(report.utility_micro), report.molecules)?;
    Ok(())
}

/// Millionths as a decimal with four digits, for people.
#[expect(clippy::cast_precision_loss, reason = "printed with four digits")]
fn units(micro: i64) -> String {
    format!("{:.4}", micro as f64 / 1e6)
}
