//! The scale of each task's labels, derived from the sample that all participants see.

use crate::data::{Censoring, Collection, Label, TaskCounts, TaskKey, TaskKind, TaskSpec, ValidationReport};

/// Fewest sample labels that give a usable scale.
pub(super) const FEWEST: usize = 5;

/// Why a task has no scale.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// Too few sample labels.
    #[error(
        "the sample has {found} uncensored labels of task {task} in {unit:?}, at least {FEWEST} are needed"
    )]
    TooFew {
        /// The task.
        task: TaskKey,
        /// Labels found.
        found: usize,
        /// The unit.
        unit: String,
    },
    /// All sample labels are equal.
    #[error("all sample labels of task {task} are equal: they give no scale")]
    Constant {
        /// The task.
        task: TaskKey,
    },
    /// More tasks than outputs can be numbered.
    #[error("more than 65536 tasks")]
    TooManyTasks,
}

/// One specification for each task, outputs numbered in their order.
///
/// Centre and scale are the mean and standard deviation of the sample's uncensored labels: derived from shared data only,
/// so that no site reveals its own distribution.
pub(super) fn task_specs(
    sample: &Collection,
    report: &ValidationReport,
    tasks: &[TaskKey],
) -> Result<Vec<TaskSpec>, ScaleError> {
    tasks
        .iter()
        .enumerate()
        .map(|(output, task)| {
            let output = u16::try_from(output).map_err(|_| ScaleError::TooManyTasks)?;
            let counts = report.tasks.get(task).cloned().unwrap_or_default();
            match counts.kind() {
                TaskKind::Classification => Ok(classification(task, output)),
                TaskKind::Regression => regression(sample, task, &counts, output),
            }
        })
        .collect()
}

fn classification(task: &TaskKey, output: u16) -> TaskSpec {
    TaskSpec {
        task: task.clone(),
        kind: TaskKind::Classification,
        unit: None,
        output,
        center_micro: 0,
        scale_micro: 1_000_000,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn regression(
    sample: &Collection,
    task: &TaskKey,
    counts: &TaskCounts,
    output: u16,
) -> Result<TaskSpec, ScaleError> {
    let unit = counts.main_unit();
    let labels = sample.molecules().iter().flat_map(|molecule| molecule.labels());
    let values: Vec<f64> = labels
        .filter(|label| sample.task(label) == Some(task) && sample.unit(label) == unit)
        .filter_map(|label| match label.label {
            Label::Quantity { value, censoring: Censoring::Exact } => Some(value),
            Label::Quantity { .. } | Label::Class(_) => None,
        })
        .collect();
    if values.len() < FEWEST {
        return Err(ScaleError::TooFew { task: task.clone(), found: values.len(), unit: unit.to_owned() });
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
    let scale_micro = to_micro(variance.sqrt());
    if scale_micro <= 0 {
        return Err(ScaleError::Constant { task: task.clone() });
    }
    Ok(TaskSpec {
        task: task.clone(),
        kind: TaskKind::Regression,
        unit: Some(unit.to_owned()),
        output,
        center_micro: to_micro(mean),
        scale_micro,
    })
}

/// Millionths, rounded.
#[expect(clippy::cast_possible_truncation, reason = "saturates at the ends of i64; labels are far from them")]
fn to_micro(value: f64) -> i64 {
    (value * 1e6).round() as i64
}
