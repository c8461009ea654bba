//! Scores a model on a collection.

use serde::{Deserialize, Serialize};
use tch::Device;

use super::metrics::{ClassMetrics, QuantityMetrics, class_metrics, quantity_metrics, to_micro};
use crate::data::{Censoring, Collection, TaskKey, TaskKind, TaskSpec};
use crate::trainer::{ModelError, TorchScriptModel, UnusedLabels, predict};

/// A model's results on one set of labelled molecules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreReport {
    /// The mean of the tasks' scores x 1e6; tasks without a score do not count.
    pub utility_micro: i64,
    /// Molecules with a label of one of the tasks.
    pub molecules: u64,
    /// Labels of the tasks that were not compared.
    pub unused: UnusedLabels,
    /// Each task, in the task list's order.
    pub tasks: Vec<TaskScore>,
}

/// One task's results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskScore {
    /// The task.
    pub task: TaskKey,
    /// Labels compared; censored ones are left out.
    pub labels: u64,
    /// What a perfect model would have 1 000 000 of: R2 for a regression, 2 AUROC - 1 for a classification. A model that
    /// always predicts the mean, or guesses, has 0; a worse one is negative. Absent where the labels allow no metric.
    pub score_micro: Option<i64>,
    /// The metrics.
    pub metrics: Option<TaskMetrics>,
}

/// The metrics of a task's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TaskMetrics {
    /// Of a regression.
    Regression(QuantityMetrics),
    /// Of a classification.
    Classification(ClassMetrics),
}

/// Why a model could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// The model or its parameters are not usable.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A task's output column does not exist.
    #[error("task {task} uses output {output}, but the model has {heads} outputs")]
    Output {
        /// The task.
        task: TaskKey,
        /// Its output column.
        output: u16,
        /// The model's width.
        heads: u16,
    },
    /// No label to compare with.
    #[error("the file has no uncensored label for any of the {tasks} tasks: check its tasks with check-data")]
    NoLabels {
        /// Tasks asked for.
        tasks: usize,
    },
}

/// Predicts every labelled molecule and compares.
///
/// # Errors
/// [`ScoreError`].
pub fn score(
    model: &TorchScriptModel,
    parameters: &[f32],
    tasks: &[TaskSpec],
    collection: &Collection,
    device: Device,
) -> Result<ScoreReport, ScoreError> {
    let heads = model.manifest().heads;
    if let Some(spec) = tasks.iter().find(|spec| spec.output >= heads) {
        return Err(ScoreError::Output { task: spec.task.clone(), output: spec.output, heads });
    }
    let examples = crate::trainer::Examples::select(collection, tasks);
    let fingerprints: Vec<_> = examples.rows().iter().map(|example| &example.fingerprint).collect();
    let outputs = predict(model, parameters, &fingerprints, device)?;
    let scores: Vec<TaskScore> = tasks
        .iter()
        .enumerate()
        .map(|(task, spec)| {
            let pairs = examples.rows().iter().zip(&outputs).flat_map(|(example, row)| {
                let output = row.get(usize::from(spec.output)).copied().map_or(f64::NAN, f64::from);
                let own = example
                    .targets
                    .iter()
                    .filter(move |target| target.task == task && target.censoring == Censoring::Exact);
                own.map(move |target| (output, f64::from(target.value)))
            });
            task_score(spec, pairs.collect())
        })
        .collect();
    let counted: Vec<i64> = scores.iter().filter_map(|task| task.score_micro).collect();
    if scores.iter().all(|task| task.labels == 0) {
        return Err(ScoreError::NoLabels { tasks: tasks.len() });
    }
    let utility_micro = i64::try_from(counted.len())
        .ok()
        .filter(|count| *count > 0)
        .map_or(0, |count| counted.iter().sum::<i64>().div_euclid(count));
    let molecules = examples.rows().len() as u64;
    Ok(ScoreReport { utility_micro, molecules, unused: examples.unused(), tasks: scores })
}

/// Compares normalised outputs with normalised labels.
fn task_score(spec: &TaskSpec, pairs: Vec<(f64, f64)>) -> TaskScore {
    let labels = pairs.len() as u64;
    let metrics = match spec.kind {
        TaskKind::Regression => {
            let restored: Vec<(f64, f64)> = pairs
                .into_iter()
                .map(|(output, label)| (spec.restore(output), spec.restore(label)))
                .collect();
            quantity_metrics(&restored).map(TaskMetrics::Regression)
        }
        TaskKind::Classification => {
            let classes: Vec<(f64, bool)> =
                pairs.into_iter().map(|(logit, label)| (logit, label > 0.5)).collect();
            class_metrics(&classes).map(TaskMetrics::Classification)
        }
    };
    let score_micro = metrics.and_then(|metrics| match metrics {
        TaskMetrics::Regression(quantity) => quantity.r2_micro,
        TaskMetrics::Classification(class) => Some(2 * class.auroc_micro - to_micro(1.0)),
    });
    TaskScore { task: spec.task.clone(), labels, score_micro, metrics }
}
