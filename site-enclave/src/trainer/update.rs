//! The boundary between the driver and whatever trains.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::ZeroizeOnDrop;

use super::examples::UnusedLabels;
use super::model::ModelError;
use crate::data::{TaskKey, TaskSpec};

/// How a site steps downhill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019), betas 0.9 and 0.999.
    Adamw,
    /// Stochastic gradient descent with momentum 0.9.
    Sgd,
}

/// How each site trains in a round; the same for all sites. Real numbers are in millionths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hyperparameters {
    /// Passes over the site's data.
    pub local_epochs: u16,
    /// Molecules in a step.
    pub batch_size: u32,
    /// Learning rate x 1e-6.
    pub learning_rate_micro: u32,
    /// Weight decay x 1e-6.
    pub weight_decay_micro: u32,
    /// The optimiser; its state starts afresh in each round.
    pub optimizer: Optimizer,
    /// The proximal term's mu x 1e-6 (FedProx, Li et al. 2020); 0 is FedAvg.
    pub proximal_mu_micro: u32,
}

/// What the demonstration's job asks for: with them federated training of the baseline model came close to training on
/// pooled data after ten rounds, on public data sets split by scaffold over six sites.
impl Default for Hyperparameters {
    fn default() -> Self {
        Self {
            local_epochs: 2,
            batch_size: 64,
            learning_rate_micro: 2_000,
            weight_decay_micro: 10_000,
            optimizer: Optimizer::Adamw,
            proximal_mu_micro: 0,
        }
    }
}

/// One call to train.
#[derive(Debug)]
pub struct TrainingTask<'a> {
    /// The global parameters, flat, in the manifest's order.
    pub parameters: &'a [f32],
    /// What to predict.
    pub tasks: &'a [TaskSpec],
    /// How to train.
    pub hyperparameters: &'a Hyperparameters,
    /// Seeds shuffles and dropout. Derive it from job, round and site, so that no two calls share it.
    pub seed: u64,
}

/// What one round of local training gives. The changes are this site's secret until they are masked: erased on drop, and
/// not printed.
#[derive(Clone, PartialEq, ZeroizeOnDrop)]
pub struct LocalDelta {
    /// New parameters minus the given ones, in the manifest's order; all finite.
    pub delta: Vec<f32>,
    /// The number of labels trained on: the site's weight in the average.
    pub weight: u32,
    /// What happened, for the site's own log.
    #[zeroize(skip)]
    pub report: TrainingReport,
}

impl fmt::Debug for LocalDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalDelta")
            .field("coordinates", &self.delta.len())
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

/// What happened in one round of local training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainingReport {
    /// Where it ran, for people.
    pub device: String,
    /// Molecules trained on.
    pub molecules: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Wall time in milliseconds.
    pub milliseconds: u64,
    /// Labels and loss of each task in the last epoch; tasks without labels are absent.
    pub tasks: BTreeMap<TaskKey, TaskLoss>,
    /// Labels of the job's tasks that were not trained on.
    pub unused: UnusedLabels,
}

/// One task's labels and training loss.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskLoss {
    /// Labels the site has.
    pub labels: u64,
    /// Mean loss over them in the last epoch: squared error in scaled units, or cross-entropy in nats.
    pub loss: f64,
}

/// Where training stands; given after each epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainProgress {
    /// Epochs done.
    pub epochs_done: u16,
    /// Epochs in all.
    pub epochs: u16,
    /// Mean loss of the epoch just done.
    pub loss: f64,
}

/// Why training gave no delta.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The developer's model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Not one usable label.
    #[error("this site has no label for any of the job's {tasks} tasks: it should not take part")]
    NoLabels {
        /// Tasks asked for.
        tasks: usize,
    },
    /// A hyper-parameter outside its range: the job's fault.
    #[error("the job's {name} is {value}: {rule}")]
    Hyperparameter {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        rule: &'static str,
    },
    /// A task's output column does not exist: the job's fault.
    #[error("task {task} uses output {output}, but the model has {heads} outputs")]
    Output {
        /// The task.
        task: TaskKey,
        /// Its output column.
        output: u16,
        /// The model's width.
        heads: u16,
    },
    /// The loss or a parameter became infinite or not a number.
    #[error(
        "training diverged in epoch {epoch}: the loss is not finite; the job's learning rate may be too high"
    )]
    Diverged {
        /// The epoch, from 1.
        epoch: u16,
    },
    /// libtorch refused an operation.
    #[error("libtorch failed while {during}: {reason}")]
    Torch {
        /// What was being done.
        during: &'static str,
        /// The library's first line of explanation.
        reason: String,
    },
}

/// Trains on the site's own data: the only part of a round that sees it.
pub trait LocalUpdate {
    /// Trains from the given parameters and returns the change.
    ///
    /// The result depends only on the arguments, the site's data and the device.
    ///
    /// # Errors
    /// [`TrainError`]; nothing is kept of a failed attempt, so the call can be repeated.
    fn train(
        &mut self,
        task: &TrainingTask<'_>,
        progress: &mut dyn FnMut(TrainProgress),
    ) -> Result<LocalDelta, TrainError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_erased_on_drop_and_never_printed() {
        fn erased_on_drop<T: ZeroizeOnDrop>(_: &T) {}
        let report = TrainingReport {
            device: "none".into(),
            molecules: 1,
            steps: 1,
            milliseconds: 1,
            tasks: BTreeMap::new(),
            unused: UnusedLabels::default(),
        };
        let local = LocalDelta { delta: vec![0.123_456; 3], weight: 77_777, report };
        erased_on_drop(&local);
        let shown = format!("{local:?}");
        assert!(!shown.contains("0.123") && !shown.contains("77777"), "{shown}");
    }
}
