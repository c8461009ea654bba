//! The results as data: what `quality.json` holds.

use konclave_policies::rounds::RoundPolicy;
use serde::Serialize;

use super::arm::{Arm, Role};
use super::federation::Trained;
use super::options::QualityOptions;
pub use super::statistics::Difference;
use super::statistics::{RULE, deviation, mean};
use super::wire::{Wire, wire};
use crate::demo::baselines::Metric;

/// All results of a measurement.
#[derive(Debug, Clone, Serialize)]
pub struct QualitySummary {
    /// Sites.
    pub sites: u16,
    /// Rounds of each training.
    pub rounds: u32,
    /// The seeds, in the order of all lists of values below.
    pub seeds: Vec<u64>,
    /// Parameters of the model.
    pub parameters: u64,
    /// What the default rounds policy says of the encoding.
    pub policy: Terms,
    /// When a difference is within noise.
    pub rule: &'static str,
    /// Each way of averaging; the first is the reference.
    pub arms: Vec<ArmSummary>,
    /// Uploads under the default policy.
    pub wire: Vec<Wire>,
    /// Whether the default encoding is within noise for every task and for their mean.
    pub within_noise: bool,
    /// How long it took.
    pub seconds: f64,
}

/// The policy's keys for the encoding.
#[derive(Debug, Clone, Serialize)]
pub struct Terms {
    /// Clip bound of a coordinate, in millionths.
    pub clip_micro: u32,
    /// Bits of a quantised coordinate.
    pub quantisation_bits: u8,
    /// Spare bits of the ring.
    pub guard_bits: u8,
    /// Largest weight of a site.
    pub weight_cap: u32,
}

/// One way of averaging.
#[derive(Debug, Clone, Serialize)]
pub struct ArmSummary {
    /// Its name.
    pub name: String,
    /// Whether it is the default policy's encoding.
    pub is_default: bool,
    /// Bits of a quantised coordinate; absent without encoding.
    pub quantisation_bits: Option<u8>,
    /// Bits of a ring element; absent without encoding.
    pub ring_bits: Option<u8>,
    /// The benchmark metric of each task, and the mean of the tasks' scores.
    pub lines: Vec<Line>,
    /// What was cut in each round.
    pub rounds: Vec<RoundCounts>,
}

/// One metric over the seeds.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The task, or `all tasks`.
    pub task: String,
    /// The metric.
    pub metric: &'static str,
    /// Which way is better.
    pub higher_is_better: bool,
    /// By seed.
    pub values: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// From the reference; absent at the reference itself.
    pub difference: Option<Difference>,
}

/// What was cut in one round, over all sites and seeds.
#[derive(Debug, Clone, Serialize)]
pub struct RoundCounts {
    /// The round, from 1.
    pub round: u32,
    /// Coordinates encoded.
    pub coordinates: u64,
    /// Of them, cut to the clip bound.
    pub clipped: u64,
    /// Of them, cut to the quantised range after rounding.
    pub saturated: u64,
    /// Sites whose weight was cut to the cap.
    pub weights_cut: u64,
}

impl QualitySummary {
    /// Sums up; `results` has one list by arm, in the order of the seeds.
    pub(super) fn new(
        options: &QualityOptions,
        policy: &RoundPolicy,
        parameters: u64,
        arms: &[Arm],
        results: &[Vec<Trained>],
        seconds: f64,
    ) -> Self {
        let of_role = |role| {
            let found = arms.iter().zip(results).find(|(arm, _)| arm.role == role);
            found.map(|(_, trained)| trained.as_slice()).unwrap_or_default()
        };
        let (reference, by_chance) = (of_role(Role::Reference), of_role(Role::Chance));
        let coordinates = parameters * u64::from(options.sites) * options.seeds;
        let arms: Vec<ArmSummary> = arms
            .iter()
            .zip(results)
            .map(|(arm, trained)| ArmSummary {
                name: arm.name.clone(),
                is_default: arm.role == Role::Judged,
                quantisation_bits: arm.encoding().map(|encoding| encoding.quantisation_bits),
                ring_bits: arm.encoding().map(|encoding| encoding.ring_bits),
                lines: lines(arm.role, trained, reference, by_chance),
                rounds: arm.encoding().map_or_else(Vec::new, |_| counts(trained, coordinates)),
            })
            .collect();
        let judged = arms.iter().filter(|arm| arm.is_default).flat_map(|arm| &arm.lines);
        let within_noise =
            judged.filter_map(|line| line.difference).all(|difference| difference.within_noise);
        Self {
            sites: options.sites,
            rounds: options.rounds,
            seeds: options.seed_list().collect(),
            parameters,
            policy: Terms {
                clip_micro: policy.clip_micro,
                quantisation_bits: policy.quantisation_bits,
                guard_bits: policy.guard_bits,
                weight_cap: policy.weight_cap,
            },
            rule: RULE,
            arms,
            wire: wire(policy, parameters),
            within_noise,
            seconds,
        }
    }
}

/// Each task's line, and that of all tasks.
fn lines(role: Role, trained: &[Trained], reference: &[Trained], by_chance: &[Trained]) -> Vec<Line> {
    let Some(first) = trained.first() else { return Vec::new() };
    let line = |(task, metric): (&String, &Metric)| {
        let values = by_seed(trained, task);
        let difference = (role != Role::Reference)
            .then(|| Difference::new(&values, &by_seed(reference, task), &by_seed(by_chance, task)));
        Line {
            task: task.clone(),
            metric: metric.name,
            higher_is_better: metric.higher_is_better,
            mean: mean(&values),
            deviation: deviation(&values),
            values,
            difference,
        }
    };
    first.metrics.iter().map(line).collect()
}

/// One task's metric by seed; every seed's split has the same tasks.
fn by_seed(trained: &[Trained], task: &str) -> Vec<f64> {
    trained.iter().filter_map(|trained| trained.metrics.get(task)).map(|metric| metric.value).collect()
}

fn counts(trained: &[Trained], coordinates: u64) -> Vec<RoundCounts> {
    let rounds = trained.iter().map(|trained| trained.cuts.len()).max().unwrap_or(0);
    let of_round = |(round, index): (u32, usize)| {
        let cuts = || trained.iter().filter_map(|trained| trained.cuts.get(index));
        RoundCounts {
            round,
            coordinates,
            clipped: cuts().map(|cut| cut.clipped).sum(),
            saturated: cuts().map(|cut| cut.saturated).sum(),
            weights_cut: cuts().map(|cut| cut.weights).sum(),
        }
    };
    (1..).zip(0..rounds).map(of_round).collect()
}
