//! A learner whose update is known in advance, down to the quantised integers, and a gate to hold it back.
//!
//! Quantisation rounds stochastically. The known updates avoid that: each coordinate is an integer multiple of the
//! scale whose nearest 32-bit float is so close to it that rounding goes the other way with a probability below 1e-7.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use konclave_crypto::Digest;
use konclave_openapi::models::ModelManifest;
use konclave_site::data::TaskSpec;
use konclave_site::deposit::DepositFacts;
use konclave_site::driver::{Examiner, Learner, LearnerFault, Scores};
use konclave_site::trainer::{
    LocalDelta, LocalUpdate, TrainError, TrainProgress, TrainingReport, TrainingTask, parameters_to_bytes,
};

/// The policy's figures that the known updates are made for; the tests check that the rounds use them.
pub(crate) const CLIP_MICRO: u32 = 200_000;
pub(crate) const QUANTISED_MAX: i32 = 16_383;
pub(crate) const WEIGHT_CAP: u32 = 8_192;

/// How far a float may be from a multiple of the scale, in multiples.
const CLOSE: f64 = 1e-7;
/// Largest multiple: a quarter of the range, so that the smallest weight still fits.
const LARGEST: i32 = QUANTISED_MAX / 4;

/// What one site gives in one round.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    /// The quantised update, coordinate by coordinate.
    pub(crate) plain: Vec<i32>,
    /// The float update it is made from.
    pub(crate) delta: Vec<f32>,
    /// The weight: a power of two, so that dividing by it is exact.
    pub(crate) weight: u32,
}

/// The multiples that floats can hit.
fn multiples() -> Vec<i32> {
    let scale = f64::from(CLIP_MICRO) * 1e-6 / f64::from(QUANTISED_MAX);
    let is_close = |multiple: &i32| {
        let float = (f64::from(*multiple) * scale) as f32;
        (f64::from(float) / scale - f64::from(*multiple)).abs() < CLOSE
    };
    (-LARGEST..=LARGEST).filter(is_close).collect()
}

/// What a site gives from these parameters.
pub(crate) fn known(site: &str, parameters: &Digest, coordinates: usize) -> Known {
    let multiples = multiples();
    assert!(multiples.len() >= 16, "only {} multiples can be used", multiples.len());
    let scale = f64::from(CLIP_MICRO) * 1e-6 / f64::from(QUANTISED_MAX);
    let seed = Digest::of(format!("{site} from {parameters}").as_bytes());
    let number = u64::from_le_bytes(*seed.as_bytes().first_chunk().unwrap());
    let weight = WEIGHT_CAP >> (number % 3);
    let mut state = number;
    let plain: Vec<i32> = (0..coordinates)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            multiples[usize::try_from(state >> 33).unwrap() % multiples.len()]
        })
        .collect();
    let factor = f64::from(WEIGHT_CAP / weight);
    let delta = plain.iter().map(|multiple| (f64::from(*multiple) * scale) as f32 * factor as f32).collect();
    Known { plain, delta, weight }
}

/// Holds callers back while it is closed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn close(&self) {
        *self.0.0.lock().unwrap() = true;
    }

    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let closed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(closed, |closed| *closed).unwrap());
    }
}

/// Gives known updates, once its gate is open.
#[derive(Debug, Clone)]
pub(crate) struct KnownLearner {
    pub(crate) site: String,
    pub(crate) gate: Gate,
}

impl Learner for KnownLearner {
    fn inspect(&self, _: &Path, _: &ModelManifest, _: &[TaskSpec]) -> Result<(), LearnerFault> {
        Ok(())
    }

    fn begin(&self, _: &Path) -> Result<Box<dyn LocalUpdate + Send>, LearnerFault> {
        Ok(Box::new(self.clone()))
    }
}

impl LocalUpdate for KnownLearner {
    fn train(
        &mut self,
        task: &TrainingTask<'_>,
        _: &mut dyn FnMut(TrainProgress),
    ) -> Result<LocalDelta, TrainError> {
        self.gate.pass();
        let digest = Digest::of(&parameters_to_bytes(task.parameters));
        let Known { delta, weight, .. } = known(&self.site, &digest, task.parameters.len());
        let report = TrainingReport {
            device: "known vectors".to_owned(),
            molecules: u64::from(weight),
            steps: 1,
            milliseconds: 0,
            tasks: BTreeMap::new(),
            unused: Default::default(),
        };
        Ok(LocalDelta { delta, weight, report })
    }
}

/// Scores parameters by a number made from them, once its gate is open.
#[derive(Debug, Clone)]
pub(crate) struct KnownExaminer {
    pub(crate) gate: Gate,
}

impl Examiner for KnownExaminer {
    fn examine(&self, _: &Path, parameters: &[f32], _: &[TaskSpec]) -> Result<Scores, LearnerFault> {
        self.gate.pass();
        let digest = Digest::of(&parameters_to_bytes(parameters));
        let score = i64::from(u16::from_le_bytes(*digest.as_bytes().first_chunk().unwrap())) * 10;
        Ok(Scores { utility_micro: score, metrics: Vec::new() })
    }

    fn deposit(&self) -> Option<DepositFacts> {
        None
    }
}
