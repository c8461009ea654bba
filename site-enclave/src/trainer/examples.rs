//! A site's labels in the form that training and evaluation read.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

use crate::data::{Censoring, Collection, Label, TaskKind, TaskSpec};
use crate::features::Fingerprint;

/// Molecules with at least one label of the wanted tasks.
#[derive(Debug)]
pub(crate) struct Examples {
    rows: Vec<Example>,
    /// Labels of each task, in the order of the task list.
    labels: Vec<u64>,
    unused: UnusedLabels,
}

/// One molecule.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) targets: Vec<Target>,
}

/// One label of a molecule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Target {
    /// Position in the task list.
    pub(crate) task: usize,
    /// The label in the model's scale: normalised quantity, or 1 and 0.
    pub(crate) value: f32,
    /// How a quantity relates to the true value; exact for classes.
    pub(crate) censoring: Censoring,
}

/// Labels of wanted tasks that could not be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnusedLabels {
    /// Their unit is not the task's.
    pub unit: u64,
    /// A class where the task is a regression, or a quantity where it is a classification.
    pub kind: u64,
    /// More than a thousand scales away from the task's centre: one such label would outweigh all others, and it has most
    /// likely a wrong unit.
    pub extreme: u64,
}

impl UnusedLabels {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.unit + self.kind + self.extreme
    }
}

/// The largest distance of a label from its task's centre, in scales.
const EXTREME: f64 = 1_000.0;

impl Examples {
    /// Selects the labels of the tasks.
    pub(crate) fn select(collection: &Collection, tasks: &[TaskSpec]) -> Self {
        let mut labels = vec![0; tasks.len()];
        let mut unused = UnusedLabels::default();
        let mut rows = Vec::new();
        for molecule in collection.molecules() {
            let mut targets = Vec::new();
            for label in molecule.labels() {
                let Some(key) = collection.task(label) else { continue };
                let Some((task, spec)) = tasks.iter().enumerate().find(|(_, spec)| spec.task == *key) else {
                    continue;
                };
                match target(task, spec, label.label, collection.unit(label)) {
                    Ok(target) => {
                        targets.push(target);
                        if let Some(count) = labels.get_mut(task) {
                            *count += 1;
                        }
                    }
                    Err(Mismatch::Unit) => unused.unit += 1,
                    Err(Mismatch::Kind) => unused.kind += 1,
                    Err(Mismatch::Extreme) => unused.extreme += 1,
                }
            }
            if !targets.is_empty() {
                rows.push(Example { fingerprint: *molecule.fingerprint(), targets });
            }
        }
        Self { rows, labels, unused }
    }

    pub(crate) fn rows(&self) -> &[Example] {
        &self.rows
    }

    /// Labels of each task, in the order of the task list.
    pub(crate) fn labels(&self) -> &[u64] {
        &self.labels
    }

    pub(crate) fn unused(&self) -> UnusedLabels {
        self.unused
    }

    /// All labels.
    pub(crate) fn total_labels(&self) -> u64 {
        self.labels.iter().sum()
    }

    /// The rows in a random order, in batches of at most `size`.
    ///
    /// The last batches are of nearly equal size: a last batch of one molecule would make one noisy step.
    pub(crate) fn shuffled_batches(&self, size: usize, random: &mut ChaCha12Rng) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, below(last + 1, random));
        }
        let batches = order.len().div_ceil(size.max(1)).max(1);
        order.chunks(order.len().div_ceil(batches).max(1)).map(<[usize]>::to_vec).collect()
    }
}

/// Why a label does not fit its task.
enum Mismatch {
    Unit,
    Kind,
    Extreme,
}

#[expect(clippy::cast_possible_truncation, reason = "libtorch trains in single precision")]
fn target(task: usize, spec: &TaskSpec, label: Label, unit: &str) -> Result<Target, Mismatch> {
    match (spec.kind, label) {
        (TaskKind::Classification, Label::Class(positive)) => {
            Ok(Target { task, value: f32::from(u8::from(positive)), censoring: Censoring::Exact })
        }
        (TaskKind::Regression, Label::Quantity { value, censoring }) => {
            if spec.unit.as_ref().is_some_and(|expected| expected != unit) {
                return Err(Mismatch::Unit);
            }
            let normalised = spec.normalise(value);
            if normalised.abs() > EXTREME {
                return Err(Mismatch::Extreme);
            }
            Ok(Target { task, value: normalised as f32, censoring })
        }
        (TaskKind::Classification | TaskKind::Regression, Label::Class(_) | Label::Quantity { .. }) => {
            Err(Mismatch::Kind)
        }
    }
}

/// A uniform number below `bound`, by rejection.
fn below(bound: usize, random: &mut ChaCha12Rng) -> usize {
    let bound = (bound as u64).max(1);
    let zone = u64::MAX - u64::MAX % bound;
    loop {
        let drawn = random.next_u64();
        if drawn < zone {
            return usize::try_from(drawn % bound).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn extreme_labels_are_left_out() {
        let spec = TaskSpec {
            task: "Test/Type".parse().unwrap(),
            kind: TaskKind::Regression,
            unit: Some("uM".to_owned()),
            output: 0,
            center_micro: 0,
            scale_micro: 1_000,
        };
        let quantity = |value| Label::Quantity { value, censoring: Censoring::Exact };
        assert!(target(0, &spec, quantity(1.0), "uM").is_ok_and(|target| target.value == 1_000.0));
        assert!(matches!(target(0, &spec, quantity(1.1), "uM"), Err(Mismatch::Extreme)));
        assert!(matches!(target(0, &spec, quantity(-f64::MAX), "uM"), Err(Mismatch::Extreme)));
        assert!(matches!(target(0, &spec, quantity(1.0), "nM"), Err(Mismatch::Unit)));
        assert!(matches!(target(0, &spec, Label::Class(true), ""), Err(Mismatch::Kind)));
    }

    #[test]
    fn draws_are_uniform_enough_and_repeatable() {
        let mut random = ChaCha12Rng::seed_from_u64(1);
        let mut counts = [0_u32; 3];
        for _ in 0..30_000 {
            counts[below(3, &mut random)] += 1;
        }
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
    }

    #[test]
    fn batches_hold_every_row_once_and_have_equal_sizes() {
        let rows = (0..130)
            .map(|_| Example {
                fingerprint: crate::features::Structure::read("C").unwrap().fingerprint().unwrap(),
                targets: Vec::new(),
            })
            .collect();
        let examples = Examples { rows, labels: Vec::new(), unused: UnusedLabels::default() };
        let batches = examples.shuffled_batches(64, &mut ChaCha12Rng::seed_from_u64(5));
        let sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
        assert_eq!(sizes, [44, 44, 42]);
        let mut all: Vec<usize> = batches.concat();
        assert_ne!(all, (0..130).collect::<Vec<_>>());
        all.sort_unstable();
        assert_eq!(all, (0..130).collect::<Vec<_>>());
        assert_eq!(batches, examples.shuffled_batches(64, &mut ChaCha12Rng::seed_from_u64(5)));
        assert_ne!(batches, examples.shuffled_batches(64, &mut ChaCha12Rng::seed_from_u64(6)));
    }
}
