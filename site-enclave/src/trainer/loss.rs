//! The masked multi-task loss.

use tch::{Device, Kind, Reduction, TchError, Tensor};

use super::examples::{Example, Target};
use crate::data::{Censoring, TaskKind, TaskSpec};
use crate::features::FINGERPRINT_BITS;

/// The labels of a batch of one kind, as tensors: element `i` belongs to output cell `cells[i]`.
struct Labels {
    cells: Tensor,
    values: Tensor,
    weights: Tensor,
    tasks: Tensor,
    /// Bounds of the residual (prediction minus label) that counts: a censored label asks for one side only.
    lowest: Tensor,
    highest: Tensor,
}

/// A batch of molecules as tensors.
pub(super) struct Batch {
    pub(super) fingerprints: Tensor,
    quantities: Option<Labels>,
    classes: Option<Labels>,
    labels: f64,
}

/// What a batch contributes.
pub(super) struct BatchLoss {
    /// The loss to descend: each label's loss times its task's weight, over the number of labels.
    pub(super) loss: Tensor,
    /// The unweighted sum of losses of each task.
    pub(super) sums: Tensor,
}

/// Turns fingerprints into one dense matrix.
pub(super) fn dense<'a>(
    fingerprints: impl ExactSizeIterator<Item = &'a crate::features::Fingerprint>,
    device: Device,
) -> Result<Tensor, TchError> {
    let rows = fingerprints.len();
    let mut cells = vec![0.0_f32; rows * FINGERPRINT_BITS];
    let (chunks, _) = cells.as_chunks_mut::<FINGERPRINT_BITS>();
    for (row, fingerprint) in chunks.iter_mut().zip(fingerprints) {
        fingerprint.write_row(row);
    }
    Tensor::f_from_slice(&cells)?.f_view([-1, FINGERPRINT_BITS as i64])?.f_to_device(device)
}

impl Batch {
    /// Gathers molecules; `heads` is the model's width and `weights` has a factor for each task.
    pub(super) fn gather(
        examples: &[&Example],
        tasks: &[TaskSpec],
        weights: &[f32],
        heads: u16,
        device: Device,
    ) -> Result<Self, TchError> {
        let fingerprints = dense(examples.iter().map(|example| &example.fingerprint), device)?;
        let of_kind = |kind: TaskKind| -> Vec<(usize, Target)> {
            let all = examples.iter().enumerate();
            all.flat_map(|(row, example)| example.targets.iter().map(move |target| (row, *target)))
                .filter(|(_, target)| tasks.get(target.task).is_some_and(|spec| spec.kind == kind))
                .collect()
        };
        let (quantities, classes) = (of_kind(TaskKind::Regression), of_kind(TaskKind::Classification));
        Ok(Self {
            labels: (quantities.len() + classes.len()) as f64,
            fingerprints,
            quantities: Labels::new(&quantities, tasks, weights, heads, device)?,
            classes: Labels::new(&classes, tasks, weights, heads, device)?,
        })
    }

    /// The loss of the model's outputs, a matrix of a row for each molecule.
    pub(super) fn loss(&self, outputs: &Tensor, tasks: usize) -> Result<BatchLoss, TchError> {
        let cells = outputs.f_to_kind(Kind::Float)?.f_flatten(0, -1)?;
        let device = outputs.device();
        let mut sums = Tensor::f_zeros([i64::try_from(tasks).unwrap_or(i64::MAX)], (Kind::Double, device))?;
        let mut loss = Tensor::f_zeros([] as [i64; 0], (Kind::Float, device))?;
        if let Some(labels) = &self.quantities {
            let residuals = cells.f_index_select(0, &labels.cells)?.f_sub(&labels.values)?;
            let losses = residuals.f_clamp_tensor(Some(&labels.lowest), Some(&labels.highest))?.f_square()?;
            loss = loss.f_add(&labels.add(&losses, &mut sums)?)?;
        }
        if let Some(labels) = &self.classes {
            let logits = cells.f_index_select(0, &labels.cells)?;
            let none: Option<&Tensor> = None;
            let losses =
                logits.f_binary_cross_entropy_with_logits(&labels.values, none, none, Reduction::None)?;
            loss = loss.f_add(&labels.add(&losses, &mut sums)?)?;
        }
        Ok(BatchLoss { loss: loss.f_div_scalar(self.labels.max(1.0))?, sums })
    }
}

impl Labels {
    fn new(
        targets: &[(usize, Target)],
        tasks: &[TaskSpec],
        weights: &[f32],
        heads: u16,
        device: Device,
    ) -> Result<Option<Self>, TchError> {
        if targets.is_empty() {
            return Ok(None);
        }
        let cell = |(row, target): &(usize, Target)| {
            let output = tasks.get(target.task).map_or(0, |spec| usize::from(spec.output));
            i64::try_from(row * usize::from(heads) + output).unwrap_or(i64::MAX)
        };
        let weight = |(_, target): &(usize, Target)| weights.get(target.task).copied().unwrap_or(0.0);
        // A prediction above an "at most" label is wrong by the residual, one below it is not wrong at all.
        let lowest = |(_, target): &(usize, Target)| match target.censoring {
            Censoring::AtMost => 0.0,
            Censoring::Exact | Censoring::AtLeast => f32::NEG_INFINITY,
        };
        let highest = |(_, target): &(usize, Target)| match target.censoring {
            Censoring::AtLeast => 0.0,
            Censoring::Exact | Censoring::AtMost => f32::INFINITY,
        };
        let floats = |value: &dyn Fn(&(usize, Target)) -> f32| {
            Tensor::f_from_slice(&targets.iter().map(value).collect::<Vec<f32>>())?.f_to_device(device)
        };
        let integers = |value: &dyn Fn(&(usize, Target)) -> i64| {
            Tensor::f_from_slice(&targets.iter().map(value).collect::<Vec<i64>>())?.f_to_device(device)
        };
        Ok(Some(Self {
            cells: integers(&cell)?,
            values: floats(&|(_, target)| target.value)?,
            weights: floats(&weight)?,
            tasks: integers(&|(_, target)| i64::try_from(target.task).unwrap_or(i64::MAX))?,
            lowest: floats(&lowest)?,
            highest: floats(&highest)?,
        }))
    }

    /// Adds each task's unweighted losses to `sums` and returns the weighted sum.
    fn add(&self, losses: &Tensor, sums: &mut Tensor) -> Result<Tensor, TchError> {
        let _ = sums.f_index_add_(0, &self.tasks, &losses.f_detach()?.f_to_kind(Kind::Double)?)?;
        losses.f_mul(&self.weights)?.f_sum(Kind::Float)
    }
}

/// The factor of each task's labels: the mean number of labels over its own, so that each task has the same say however
/// many labels the site has for it; 0 without labels.
#[expect(clippy::cast_possible_truncation, reason = "a factor of the loss")]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) fn balanced_weights(labels: &[u64]) -> Vec<f32> {
    let present = labels.iter().filter(|count| **count > 0).count().max(1);
    let mean = labels.iter().sum::<u64>() as f64 / present as f64;
    labels.iter().map(|count| if *count == 0 { 0.0 } else { (mean / *count as f64) as f32 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Structure;

    fn spec(kind: TaskKind, output: u16) -> TaskSpec {
        TaskSpec {
            task: format!("Test/Type{output}").parse().unwrap(),
            kind,
            unit: None,
            output,
            center_micro: 0,
            scale_micro: 1_000_000,
        }
    }

    fn example(targets: Vec<Target>) -> Example {
        Example { fingerprint: Structure::read("CCO").unwrap().fingerprint().unwrap(), targets }
    }

    fn quantity(value: f32, censoring: Censoring) -> Target {
        Target { task: 0, value, censoring }
    }

    fn loss_of(examples: &[Example], outputs: &[f32]) -> (f64, Vec<f64>) {
        let tasks = [spec(TaskKind::Regression, 1), spec(TaskKind::Classification, 0)];
        let rows: Vec<&Example> = examples.iter().collect();
        let batch = Batch::gather(&rows, &tasks, &[1.0, 1.0], 2, Device::Cpu).unwrap();
        let outputs = Tensor::from_slice(outputs).view([-1, 2]);
        let result = batch.loss(&outputs, tasks.len()).unwrap();
        (result.loss.double_value(&[]), Vec::<f64>::try_from(result.sums).unwrap())
    }

    #[test]
    fn absent_labels_do_not_count() {
        let examples = [
            example(vec![quantity(1.0, Censoring::Exact)]),
            example(vec![Target { task: 1, value: 1.0, censoring: Censoring::Exact }]),
        ];
        // Row 0: residual 3 - 1. Row 1: logit 0 for a positive. The other two outputs have no label.
        let (loss, sums) = loss_of(&examples, &[77.0, 3.0, 0.0, -55.0]);
        let entropy = std::f64::consts::LN_2;
        assert!((loss - (4.0 + entropy) / 2.0).abs() < 1e-6, "{loss}");
        assert!((sums[0] - 4.0).abs() < 1e-6 && (sums[1] - entropy).abs() < 1e-6, "{sums:?}");
    }

    #[test]
    fn censored_labels_ask_for_one_side() {
        for (censoring, prediction, expected) in [
            (Censoring::AtLeast, 5.0, 0.0),
            (Censoring::AtLeast, 1.0, 4.0),
            (Censoring::AtMost, 5.0, 4.0),
            (Censoring::AtMost, 1.0, 0.0),
            (Censoring::Exact, 1.0, 4.0),
        ] {
            let (loss, _) = loss_of(&[example(vec![quantity(3.0, censoring)])], &[0.0, prediction]);
            assert!((loss - expected).abs() < 1e-6, "{censoring:?} {prediction}: {loss}");
        }
    }

    #[test]
    fn each_task_has_the_same_say() {
        let weights = balanced_weights(&[900, 100, 0]);
        assert!((weights[0] * 900.0 - weights[1] * 100.0).abs() < 1e-3);
        assert_eq!(weights[2], 0.0);
    }
}
