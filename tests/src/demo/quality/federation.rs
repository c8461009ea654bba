//! Federated training in one process, with the site's own trainer and the evaluator's own measures.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::slice;

use konclave_crypto::{Digest, SiteId};
use konclave_openapi::jobs::TrainingSpec;
use konclave_site::data::{Catalogue, Collection, TaskFile, TaskSpec};
use konclave_site::evaluator::score;
use konclave_site::offline::TrainingFile;
use konclave_site::trainer::{
    Hyperparameters, LocalDelta, LocalUpdate, TorchScriptModel, TorchTrainer, TrainingTask, training_device,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::QualityError;
use super::arm::Arm;
use super::averaging::Cut;
use crate::demo::baselines::{Metric, Metrics, metrics};
use crate::demo::shares::Shares;
use crate::error::HarnessError;

/// What the mean of the tasks' scores is called among the tasks.
pub(super) const ALL_TASKS: &str = "all tasks";

/// The sites of one split, the benchmark, and how sites train.
pub(super) struct Federation {
    model: TorchScriptModel,
    sites: BTreeMap<SiteId, TorchTrainer>,
    benchmark: Collection,
    tasks: Vec<TaskSpec>,
    hyperparameters: Hyperparameters,
    seed: u64,
}

/// What came of a training.
#[derive(Debug)]
pub(super) struct Trained {
    /// The last model's metrics by task, and the mean of the tasks' scores.
    pub(super) metrics: Metrics,
    /// What was cut in each round.
    pub(super) cuts: Vec<Cut>,
}

impl Federation {
    /// Reads every site's share and the benchmark.
    pub(super) fn gather(
        shares: &Shares,
        model: &TorchScriptModel,
        training: &TrainingSpec,
    ) -> Result<Self, QualityError> {
        let catalogue =
            Catalogue::embedded().map_err(QualityError::learning("read the catalogue of tasks"))?;
        let read = |file: &PathBuf| {
            let loaded = Collection::load(slice::from_ref(file), &catalogue, &mut |_| {});
            loaded.map(|(collection, _)| collection).map_err(QualityError::learning("read a share"))
        };
        let mut sites = BTreeMap::new();
        for (site, share) in &shares.sites {
            let site: SiteId =
                site.parse().map_err(|error| HarnessError::unexpected("a site's name", error))?;
            sites.insert(site, TorchTrainer::new(model.clone(), read(&share.file)?));
        }
        let tasks =
            TaskFile::read(&shares.tasks_file).map_err(QualityError::learning("read the tasks"))?.tasks;
        Ok(Self {
            model: model.clone(),
            sites,
            benchmark: read(&shares.benchmark)?,
            tasks,
            hyperparameters: hyperparameters(training)?,
            seed: training.seed,
        })
    }

    /// Trains from the developer's parameters for so many rounds and measures the last model.
    pub(super) fn run(
        &mut self,
        arm: &Arm,
        rounds: u32,
        after_round: &mut dyn FnMut(),
    ) -> Result<Trained, QualityError> {
        let mut parameters = self.model.initial_parameters().to_vec();
        let mut cuts = Vec::new();
        for round in 1..=rounds {
            let updates = self.train_all(arm, round, &parameters)?;
            // Rounding is repeatable here; a site takes its random numbers from the system.
            let mut random = ChaCha20Rng::from_seed(*self.derive("rounding", round, &arm.name).as_bytes());
            let failed = |source| QualityError::Averaging { arm: arm.name.clone(), source };
            let (after, cut) = arm.averaging.step(&parameters, &updates, &mut random).map_err(failed)?;
            parameters = after;
            cuts.push(cut);
            after_round();
        }
        Ok(Trained { metrics: self.measure(&parameters)?, cuts })
    }

    fn train_all(
        &mut self,
        arm: &Arm,
        round: u32,
        parameters: &[f32],
    ) -> Result<BTreeMap<SiteId, LocalDelta>, QualityError> {
        let names: Vec<SiteId> = self.sites.keys().cloned().collect();
        let seeds: Vec<u64> =
            names.iter().map(|site| self.training_seed(arm.shuffles(), round, site)).collect();
        let (tasks, hyperparameters) = (&self.tasks, &self.hyperparameters);
        let updates = self.sites.iter_mut().zip(seeds).map(|((site, trainer), seed)| {
            let task = TrainingTask { parameters, tasks, hyperparameters, seed };
            let update =
                trainer.train(&task, &mut |_| {}).map_err(QualityError::learning("train at a site"))?;
            Ok((site.clone(), update))
        });
        updates.collect()
    }

    /// The same for all ways of averaging with these shuffles; no other seed, round or site has it.
    fn training_seed(&self, shuffles: &str, round: u32, site: &SiteId) -> u64 {
        let digest = self.derive(shuffles, round, site.as_str());
        digest.as_bytes().first_chunk().map_or(self.seed, |bytes| u64::from_le_bytes(*bytes))
    }

    fn derive(&self, what: &str, round: u32, whose: &str) -> Digest {
        Digest::of(format!("konclave/quality/{what}\n{}\n{round}\n{whose}", self.seed).as_bytes())
    }

    fn measure(&self, parameters: &[f32]) -> Result<Metrics, QualityError> {
        let report = score(&self.model, parameters, &self.tasks, &self.benchmark, training_device())
            .map_err(QualityError::learning("measure a model"))?;
        let mut metrics = metrics(&report);
        let utility = Metric {
            name: "score",
            higher_is_better: true,
            value: report.utility_micro as f64 / 1e6,
            molecules: report.molecules,
        };
        metrics.insert(ALL_TASKS.to_owned(), utility);
        Ok(metrics)
    }
}

/// The job's settings as a trainer takes them: by the same file that the comparison trainings read.
fn hyperparameters(training: &TrainingSpec) -> Result<Hyperparameters, HarnessError> {
    let file = serde_json::to_value(training).and_then(serde_json::from_value::<TrainingFile>);
    let file = file.map_err(|error| HarnessError::unexpected("the training's settings", error))?;
    Ok(file.hyperparameters())
}
