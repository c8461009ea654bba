//! The seam between the driver and the learning half: what is asked of whoever trains or measures.

use std::path::Path;
use std::sync::Arc;

use konclave_ledger::statements::TaskMetric;
use konclave_openapi::jobs::{NewJob, Optimizer as WireOptimizer, TaskKind as WireKind};
use konclave_openapi::models::ModelManifest as WireManifest;

use crate::data::{Collection, TaskFile, TaskFileError, TaskKey, TaskKeyError, TaskKind, TaskSpec};
use crate::deposit::DepositFacts;
use crate::evaluator::{ScoreError, ScoreReport, TaskMetrics, score};
use crate::trainer::{
    Hyperparameters, Inspector, LocalUpdate, ModelError, ModelFault, ModelManifest, Optimizer,
    TorchScriptModel, TorchTrainer, TrainError, training_device,
};

/// Trains at this site. [`TorchLearner`] does it with libtorch; tests give known vectors.
pub trait Learner: Send + Sync + 'static {
    /// Checks before consent that the model is what its manifest says and that this site has labels for the tasks.
    ///
    /// # Errors
    /// [`LearnerFault`], which becomes a refusal.
    fn inspect(&self, model: &Path, manifest: &WireManifest, tasks: &[TaskSpec]) -> Result<(), LearnerFault>;

    /// Whoever trains this model in a round.
    ///
    /// # Errors
    /// [`LearnerFault`].
    fn begin(&self, model: &Path) -> Result<Box<dyn LocalUpdate + Send>, LearnerFault>;

    /// What to declare of the data it trains on; nothing is declared without it.
    fn deposit(&self) -> Option<DepositFacts> {
        None
    }
}

/// Measures models on benchmark data.
pub trait Examiner: Send + Sync + 'static {
    /// Scores parameters of a model.
    ///
    /// # Errors
    /// [`LearnerFault`].
    fn examine(&self, model: &Path, parameters: &[f32], tasks: &[TaskSpec]) -> Result<Scores, LearnerFault>;

    /// What to declare of the benchmark data.
    fn deposit(&self) -> Option<DepositFacts>;
}

/// The result of an examination: integers only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scores {
    /// What contributions are computed from, x 1e-6.
    pub utility_micro: i64,
    /// Each task's metrics.
    pub metrics: Vec<TaskMetric>,
}

/// Why a model cannot be trained or measured here.
#[derive(Debug, thiserror::Error)]
pub enum LearnerFault {
    /// The model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The registered manifest is not that of the file.
    #[error("the model's registered manifest does not describe its TorchScript file: {0} differ")]
    Manifest(&'static str),
    /// A task's name is not one.
    #[error(transparent)]
    TaskName(#[from] TaskKeyError),
    /// The list of tasks breaks a rule.
    #[error(transparent)]
    Tasks(#[from] TaskFileError),
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
    /// Nothing to train on.
    #[error("this site has no label for any of the job's tasks")]
    NoLabels,
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Measuring failed.
    #[error(transparent)]
    Score(#[from] ScoreError),
}

impl LearnerFault {
    /// Whether the fault is this machine's and may be gone at the next attempt.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Model(error) if error.fault() == ModelFault::File)
    }

    /// The kind of fault: what a refusal tells the others, for ever. Details, which may name files of this machine, are
    /// for its log alone.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Model(error) => error.fault().as_str(),
            Self::Manifest(_) => "the registered manifest does not describe the model file",
            Self::TaskName(_) | Self::Tasks(_) => "the list of tasks breaks a rule",
            Self::Output { .. } => "a task uses an output that the model does not have",
            Self::NoLabels => "this site has no label for any of the job's tasks",
            Self::Train(_) => "training failed",
            Self::Score(_) => "measuring failed",
        }
    }
}

/// The job's tasks as the learning half has them.
///
/// # Errors
/// [`LearnerFault`] for a name that is none or a list that breaks a rule: the developer's fault.
pub fn tasks_of(request: &NewJob) -> Result<Vec<TaskSpec>, LearnerFault> {
    let mut tasks = Vec::with_capacity(request.tasks.len());
    for task in &request.tasks {
        tasks.push(TaskSpec {
            task: task.task.parse()?,
            kind: match task.kind {
                WireKind::Regression => TaskKind::Regression,
                WireKind::Classification => TaskKind::Classification,
            },
            unit: task.unit.clone(),
            output: task.output,
            center_micro: task.center_micro,
            scale_micro: task.scale_micro,
        });
    }
    Ok(TaskFile::new(tasks)?.tasks)
}

/// The job's training specification as the learning half has it.
#[must_use]
pub fn hyperparameters_of(request: &NewJob) -> Hyperparameters {
    let training = &request.training;
    Hyperparameters {
        local_epochs: training.local_epochs,
        batch_size: training.batch_size,
        learning_rate_micro: training.learning_rate_micro,
        weight_decay_micro: training.weight_decay_micro,
        optimizer: match training.optimizer {
            WireOptimizer::Adamw => Optimizer::Adamw,
            WireOptimizer::Sgd => Optimizer::Sgd,
        },
        proximal_mu_micro: training.proximal_mu_micro,
    }
}

/// Trains TorchScript models on the site's measurements with libtorch.
#[derive(Debug)]
pub struct TorchLearner {
    collection: Arc<Collection>,
    deposit: Option<DepositFacts>,
    inspector: Inspector,
}

impl TorchLearner {
    /// A learner on a collection.
    #[must_use]
    pub fn new(collection: Arc<Collection>, deposit: Option<DepositFacts>, inspector: Inspector) -> Self {
        Self { collection, deposit, inspector }
    }

    fn has_labels(&self, tasks: &[TaskSpec]) -> bool {
        let wanted = |task: &TaskKey| tasks.iter().any(|spec| spec.task == *task);
        let labels = self.collection.molecules().iter().flat_map(|molecule| molecule.labels());
        labels.filter_map(|label| self.collection.task(label)).any(wanted)
    }
}

impl Learner for TorchLearner {
    fn inspect(&self, model: &Path, manifest: &WireManifest, tasks: &[TaskSpec]) -> Result<(), LearnerFault> {
        check_manifest(&self.inspector.inspect(model)?, manifest)?;
        check_outputs(manifest, tasks)?;
        if self.has_labels(tasks) { Ok(()) } else { Err(LearnerFault::NoLabels) }
    }

    fn begin(&self, model: &Path) -> Result<Box<dyn LocalUpdate + Send>, LearnerFault> {
        let trainer = TorchTrainer::new(TorchScriptModel::open(model)?, Collection::clone(&self.collection));
        Ok(Box::new(trainer))
    }

    fn deposit(&self) -> Option<DepositFacts> {
        self.deposit.clone()
    }
}

/// Measures TorchScript models on benchmark measurements with libtorch.
#[derive(Debug)]
pub struct TorchExaminer {
    collection: Arc<Collection>,
    deposit: DepositFacts,
    inspector: Inspector,
}

impl TorchExaminer {
    /// An examiner on a collection.
    #[must_use]
    pub fn new(collection: Arc<Collection>, deposit: DepositFacts, inspector: Inspector) -> Self {
        Self { collection, deposit, inspector }
    }
}

impl Examiner for TorchExaminer {
    fn examine(&self, model: &Path, parameters: &[f32], tasks: &[TaskSpec]) -> Result<Scores, LearnerFault> {
        self.inspector.inspect(model)?;
        let model = TorchScriptModel::open(model)?;
        Ok(scores_of(&score(&model, parameters, tasks, &self.collection, training_device())?))
    }

    fn deposit(&self) -> Option<DepositFacts> {
        Some(self.deposit.clone())
    }
}

fn check_manifest(found: &ModelManifest, registered: &WireManifest) -> Result<(), LearnerFault> {
    let same_tensors = found.parameters.len() == registered.parameters.len()
        && found
            .parameters
            .iter()
            .zip(&registered.parameters)
            .all(|(one, other)| one.name == other.name && one.shape == other.shape);
    let differs = if found.torchscript != registered.torchscript {
        "the file's digests"
    } else if !same_tensors {
        "the parameter tensors"
    } else if found.coordinates != registered.coordinates {
        "the numbers of coordinates"
    } else if found.heads != registered.heads {
        "the numbers of outputs"
    } else if found.initial_parameters != registered.initial_parameters {
        "the initial parameters"
    } else {
        return Ok(());
    };
    Err(LearnerFault::Manifest(differs))
}

fn check_outputs(manifest: &WireManifest, tasks: &[TaskSpec]) -> Result<(), LearnerFault> {
    match tasks.iter().find(|task| task.output >= manifest.heads) {
        None => Ok(()),
        Some(task) => {
            Err(LearnerFault::Output { task: task.task.clone(), output: task.output, heads: manifest.heads })
        }
    }
}

/// The numbers of a report that are signed.
fn scores_of(report: &ScoreReport) -> Scores {
    let mut metrics = Vec::new();
    for task in &report.tasks {
        let mut push = |metric: &str, value: Option<i64>| {
            if let Some(value_micro) = value {
                let (task, count) = (task.task.to_string(), task.labels);
                metrics.push(TaskMetric { task, metric: metric.to_owned(), value_micro, count });
            }
        };
        match &task.metrics {
            Some(TaskMetrics::Regression(quantity)) => {
                push("rmse", Some(quantity.rmse_micro));
                push("mae", Some(quantity.mae_micro));
                push("r2", quantity.r2_micro);
            }
            Some(TaskMetrics::Classification(class)) => {
                push("auroc", Some(class.auroc_micro));
                push("auprc", Some(class.auprc_micro));
            }
            None => {}
        }
        push("score", task.score_micro);
    }
    Scores { utility_micro: report.utility_micro, metrics }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_learn_the_kind_of_a_fault_and_nothing_of_this_machine() {
        let file = ModelError::File { path: "/home/owner/site".into(), reason: "disk full".to_owned() };
        assert!(LearnerFault::from(file).is_temporary());
        let refused = LearnerFault::from(ModelError::Refused {
            category: ModelFault::Inspection,
            reason: "in /home/owner/site".to_owned(),
        });
        assert!(!refused.is_temporary());
        assert!(!refused.category().contains('/'));
    }
}
