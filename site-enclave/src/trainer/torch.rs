//! Local training with libtorch.

use std::sync::Arc;
use std::time::Instant;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use tch::nn::{Optimizer as TorchOptimizer, OptimizerConfig};
use tch::{Device, Kind, TchError, Tensor, nn};
use zeroize::Zeroizing;

use super::device::{device_name, training_device, with_libtorch};
use super::examples::{Example, Examples};
use super::loss::{Batch, balanced_weights};
use super::model::{LoadedModel, TorchScriptModel, reason};
use super::update::{
    Hyperparameters, LocalDelta, LocalUpdate, Optimizer, TaskLoss, TrainError, TrainProgress, TrainingReport,
    TrainingTask,
};
use crate::data::{Collection, TaskSpec};

/// Largest batch, so that one dense batch of fingerprints stays below 1 GB.
const MAX_BATCH: u32 = 100_000;

/// Most passes over the data in one round.
const MAX_EPOCHS: u16 = 1_000;

/// Trains a TorchScript model on a collection of measurements.
///
/// The model is loaded afresh for each call: nothing of one round is left for the next but what the caller passes on.
#[derive(Debug)]
pub struct TorchTrainer {
    model: TorchScriptModel,
    collection: Arc<Collection>,
    device: Device,
}

impl TorchTrainer {
    /// A trainer on the first CUDA device, or the CPU if there is none.
    #[must_use]
    pub fn new(model: TorchScriptModel, collection: impl Into<Arc<Collection>>) -> Self {
        Self { model, collection: collection.into(), device: training_device() }
    }

    /// Where it trains, for people.
    #[must_use]
    pub fn device(&self) -> String {
        device_name(self.device)
    }

    /// The model it trains.
    #[must_use]
    pub fn model(&self) -> &TorchScriptModel {
        &self.model
    }
}

impl LocalUpdate for TorchTrainer {
    fn train(
        &mut self,
        task: &TrainingTask<'_>,
        progress: &mut dyn FnMut(TrainProgress),
    ) -> Result<LocalDelta, TrainError> {
        check(task.hyperparameters)?;
        let heads = self.model.manifest().heads;
        if let Some(spec) = task.tasks.iter().find(|spec| spec.output >= heads) {
            return Err(TrainError::Output { task: spec.task.clone(), output: spec.output, heads });
        }
        let examples = Examples::select(&self.collection, task.tasks);
        if examples.total_labels() == 0 {
            return Err(TrainError::NoLabels { tasks: task.tasks.len() });
        }
        with_libtorch(|| {
            let loaded = self.model.load(task.parameters, self.device)?;
            Run { loaded, examples: &examples, task, heads, device: self.device }.all_epochs(progress)
        })
    }
}

fn check(hyperparameters: &Hyperparameters) -> Result<(), TrainError> {
    let refuse = |name: &'static str, value: u64, rule: &'static str| {
        Err(TrainError::Hyperparameter { name, value, rule })
    };
    if hyperparameters.local_epochs == 0 || hyperparameters.local_epochs > MAX_EPOCHS {
        return refuse("local_epochs", hyperparameters.local_epochs.into(), "it must be from 1 to 1000");
    }
    if hyperparameters.batch_size == 0 || hyperparameters.batch_size > MAX_BATCH {
        return refuse("batch_size", hyperparameters.batch_size.into(), "it must be from 1 to 100000");
    }
    if hyperparameters.learning_rate_micro == 0 || hyperparameters.learning_rate_micro > 10_000_000 {
        let rate = hyperparameters.learning_rate_micro.into();
        return refuse("learning_rate_micro", rate, "it must be from 1 to 10000000 (a rate of at most 10)");
    }
    Ok(())
}

fn torch(during: &'static str) -> impl Fn(TchError) -> TrainError {
    move |error| TrainError::Torch { during, reason: reason(&error) }
}

/// One call to train.
struct Run<'a> {
    loaded: LoadedModel,
    examples: &'a Examples,
    task: &'a TrainingTask<'a>,
    heads: u16,
    device: Device,
}

impl Run<'_> {
    fn all_epochs(mut self, progress: &mut dyn FnMut(TrainProgress)) -> Result<LocalDelta, TrainError> {
        let started = Instant::now();
        let hyperparameters = self.task.hyperparameters;
        let mut random = ChaCha12Rng::seed_from_u64(self.task.seed);
        tch::manual_seed(self.task.seed.cast_signed());
        self.loaded.module.f_set_train().map_err(torch("switching to training"))?;
        let mut optimizer = build_optimizer(hyperparameters, &self.loaded)?;
        let start = self.start_of_proximal_term()?;
        let weights = balanced_weights(self.examples.labels());
        let batch_size = usize::try_from(hyperparameters.batch_size).unwrap_or(usize::MAX);
        let (mut steps, mut last_losses) = (0, Vec::new());
        for epoch in 1..=hyperparameters.local_epochs {
            let mut sums = vec![0.0; self.task.tasks.len()];
            for batch in self.examples.shuffled_batches(batch_size, &mut random) {
                let rows: Vec<&Example> =
                    batch.iter().filter_map(|row| self.examples.rows().get(*row)).collect();
                let batch_sums = self.step(&rows, &weights, &start, &mut optimizer)?;
                sums.iter_mut().zip(batch_sums).for_each(|(sum, more)| *sum += more);
                steps += 1;
            }
            if sums.iter().any(|sum| !sum.is_finite()) {
                return Err(TrainError::Diverged { epoch });
            }
            let loss = sums.iter().sum::<f64>() / as_f64(self.examples.total_labels());
            last_losses = sums;
            progress(TrainProgress { epochs_done: epoch, epochs: hyperparameters.local_epochs, loss });
        }
        let delta = self.delta()?;
        Ok(LocalDelta {
            delta,
            weight: u32::try_from(self.examples.total_labels()).unwrap_or(u32::MAX),
            report: TrainingReport {
                device: device_name(self.device),
                molecules: self.examples.rows().len() as u64,
                steps,
                milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
                tasks: task_losses(self.task.tasks, self.examples, &last_losses),
                unused: self.examples.unused(),
            },
        })
    }

    /// One optimiser step; returns the sum of losses of each task.
    fn step(
        &self,
        rows: &[&Example],
        weights: &[f32],
        start: &[Tensor],
        optimizer: &mut TorchOptimizer,
    ) -> Result<Vec<f64>, TrainError> {
        let tasks = self.task.tasks;
        let failed = torch("computing the loss");
        let batch = Batch::gather(rows, tasks, weights, self.heads, self.device).map_err(&failed)?;
        let outputs =
            self.loaded.module.forward_ts(&[&batch.fingerprints]).map_err(torch("running the model"))?;
        let expected = [i64::try_from(rows.len()).unwrap_or(i64::MAX), i64::from(self.heads)];
        let shape = outputs.size();
        if shape != expected {
            return Err(super::ModelError::OutputShape { batch: expected[0], shape }.into());
        }
        let result = batch.loss(&outputs, tasks.len()).map_err(&failed)?;
        let loss = self.with_proximal_term(result.loss, start).map_err(&failed)?;
        optimizer.zero_grad();
        loss.f_backward().map_err(torch("computing gradients"))?;
        optimizer.step();
        Vec::<f64>::try_from(result.sums.f_to_device(Device::Cpu).map_err(&failed)?).map_err(failed)
    }

    /// Copies of the starting parameters, only if the proximal term needs them.
    fn start_of_proximal_term(&self) -> Result<Vec<Tensor>, TrainError> {
        if self.task.hyperparameters.proximal_mu_micro == 0 {
            return Ok(Vec::new());
        }
        let copies = self.loaded.parameters.iter().map(|(_, tensor)| tensor.f_detach()?.f_detach_copy());
        copies.collect::<Result<_, _>>().map_err(torch("copying parameters"))
    }

    /// Adds `mu / 2 * |parameters - start|^2` (FedProx).
    fn with_proximal_term(&self, loss: Tensor, start: &[Tensor]) -> Result<Tensor, TchError> {
        let half = f64::from(self.task.hyperparameters.proximal_mu_micro) * 0.5e-6;
        self.loaded.parameters.iter().zip(start).try_fold(loss, |loss, ((_, tensor), start)| {
            loss.f_add(&tensor.f_sub(start)?.f_square()?.f_sum(Kind::Float)?.f_mul_scalar(half)?)
        })
    }

    /// New parameters minus the given ones.
    fn delta(&self) -> Result<Vec<f32>, TrainError> {
        let diverged = TrainError::Diverged { epoch: self.task.hyperparameters.local_epochs };
        let trained = Zeroizing::new(match self.loaded.parameters() {
            Err(super::ModelError::NotFinite { .. }) => return Err(diverged),
            other => other?,
        });
        let delta: Vec<f32> = trained.iter().zip(self.task.parameters).map(|(new, old)| new - old).collect();
        if delta.iter().all(|change| change.is_finite()) { Ok(delta) } else { Err(diverged) }
    }
}

fn build_optimizer(
    hyperparameters: &Hyperparameters,
    loaded: &LoadedModel,
) -> Result<TorchOptimizer, TrainError> {
    let rate = f64::from(hyperparameters.learning_rate_micro) * 1e-6;
    let decay = f64::from(hyperparameters.weight_decay_micro) * 1e-6;
    match hyperparameters.optimizer {
        Optimizer::Adamw => nn::adamw(0.9, 0.999, decay).build(&loaded.store, rate),
        Optimizer::Sgd => nn::sgd(0.9, 0.0, decay, false).build(&loaded.store, rate),
    }
    .map_err(torch("making the optimiser"))
}

fn task_losses(
    tasks: &[TaskSpec],
    examples: &Examples,
    sums: &[f64],
) -> std::collections::BTreeMap<crate::data::TaskKey, TaskLoss> {
    tasks
        .iter()
        .zip(examples.labels().iter().zip(sums))
        .filter(|(_, (labels, _))| **labels > 0)
        .map(|(spec, (labels, sum))| {
            (spec.task.clone(), TaskLoss { labels: *labels, loss: sum / as_f64(*labels) })
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
