//! From opened sums back to a model.

use serde::{Deserialize, Serialize};

use super::Encoding;
use crate::ids::SiteId;

/// The exact sum of the quantised updates of some sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenedSum {
    /// The sites in the sum, ascending.
    pub sites: Vec<SiteId>,
    /// One signed sum per model coordinate.
    pub coordinates: Vec<i32>,
    /// Sum of the sites' sample weights.
    pub weight: u64,
}

/// Why sums could not be applied to a model: the caller mixed up rounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Model and sums differ in length.
    #[error("a vector has {found} coordinates, the encoding {expected}")]
    Length {
        /// Length found.
        found: u64,
        /// Length of the encoding.
        expected: u64,
    },
    /// There is no sum, or the weights add up to zero.
    #[error("no weight was opened, so there is no average")]
    NoWeight,
    /// A model coordinate is not finite before or after the step.
    #[error("model coordinate {index} is not a finite number")]
    NotFinite {
        /// Position in the model.
        index: u64,
    },
}

/// One server step: `theta + rate * sum(x) * scale * weight_cap / sum(weight)`, in f64, in a fixed order.
///
/// The same inputs give the same bits on every machine: only IEEE additions, multiplications and divisions are used.
#[derive(Debug, Clone, Copy)]
pub struct ServerStep<'a> {
    encoding: &'a Encoding,
    step: f64,
}

impl<'a> ServerStep<'a> {
    /// The step for sums of the given total weight.
    ///
    /// # Errors
    /// [`ApplyError::NoWeight`].
    pub fn new(encoding: &'a Encoding, weight: u64, server_rate_micro: u32) -> Result<Self, ApplyError> {
        if weight == 0 {
            return Err(ApplyError::NoWeight);
        }
        let rate = f64::from(server_rate_micro) * 1e-6;
        Ok(Self { encoding, step: rate * f64::from(encoding.weight_cap) / weight as f64 })
    }

    /// Coordinates of the model that it moves.
    pub(super) fn coordinates(&self) -> u64 {
        self.encoding.coordinates()
    }

    /// Moves the coordinates from `first` on by the totals of all sums.
    ///
    /// # Errors
    /// [`ApplyError::NotFinite`], with the coordinates before it moved already.
    pub fn apply(&self, first: u64, model: &mut [f32], totals: &[i64]) -> Result<(), ApplyError> {
        let mut rest = model.iter_mut().zip(totals);
        let (mut index, mut end) = (first, 0_u64);
        for tensor in &self.encoding.tensors {
            end = end.saturating_add(tensor.len);
            let scale = f64::from(tensor.clip_micro) * 1e-6 / f64::from(self.encoding.quantised_max());
            let here = usize::try_from(end.saturating_sub(index)).unwrap_or(usize::MAX);
            for (theta, total) in rest.by_ref().take(here) {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "models are stored as f32; overflow is refused"
                )]
                let moved = (f64::from(*theta) + *total as f64 * scale * self.step) as f32;
                if !moved.is_finite() {
                    return Err(ApplyError::NotFinite { index });
                }
                *theta = moved;
                index += 1;
            }
        }
        Ok(())
    }
}

/// A [`ServerStep`] over a whole model in memory.
///
/// # Errors
/// [`ApplyError`] if lengths differ, the weight is zero or a coordinate is not finite.
pub fn apply_sums(
    model: &[f32],
    sums: &[OpenedSum],
    encoding: &Encoding,
    server_rate_micro: u32,
) -> Result<Vec<f32>, ApplyError> {
    let expected = encoding.coordinates();
    for found in std::iter::once(model.len()).chain(sums.iter().map(|sum| sum.coordinates.len())) {
        if found as u64 != expected {
            return Err(ApplyError::Length { found: found as u64, expected });
        }
    }
    let step = ServerStep::new(encoding, sums.iter().map(|sum| sum.weight).sum(), server_rate_micro)?;
    let mut totals = vec![0_i64; model.len()];
    for sum in sums {
        for (total, coordinate) in totals.iter_mut().zip(&sum.coordinates) {
            *total += i64::from(*coordinate);
        }
    }
    let mut next = model.to_vec();
    step.apply(0, &mut next, &totals)?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::super::TensorEncoding;
    use super::*;

    fn encoding() -> Encoding {
        let tensor = |name: &str, len, clip_micro| TensorEncoding { name: name.into(), len, clip_micro };
        Encoding {
            tensors: vec![tensor("a", 1, 1_270_000), tensor("b", 1, 127_000)],
            quantisation_bits: 8,
            ring_bits: 16,
            weight_cap: 10,
        }
    }

    fn sum(coordinates: [i32; 2], weight: u64) -> OpenedSum {
        OpenedSum { sites: vec!["a".parse().unwrap()], coordinates: coordinates.to_vec(), weight }
    }

    #[test]
    fn the_step_is_the_weighted_mean() {
        // Scales are 0.01 and 0.001; weights 4 + 6 = the cap, so the mean step is sum * scale.
        let sums = [sum([30, 7], 4), sum([20, -27], 6)];
        let next = apply_sums(&[1.0, 2.0], &sums, &encoding(), 1_000_000).unwrap();
        assert!((next[0] - 1.5).abs() < 1e-6 && (next[1] - 1.98).abs() < 1e-6, "{next:?}");
        let half = apply_sums(&[1.0, 2.0], &sums, &encoding(), 500_000).unwrap();
        assert!((half[0] - 1.25).abs() < 1e-6, "{half:?}");
    }

    #[test]
    fn blocks_give_the_same_as_the_whole() {
        let tensor = |name: &str, len, clip_micro| TensorEncoding { name: name.into(), len, clip_micro };
        let tensors = vec![tensor("a", 3, 1_000_000), tensor("b", 1, 20_000), tensor("c", 5, 300_000)];
        let encoding = Encoding { tensors, ..encoding() };
        let coordinates: Vec<i32> = (0..9).map(|index| index * 37 - 100).collect();
        let model: Vec<f32> = coordinates.iter().map(|value| *value as f32 / 7.0).collect();
        let sum = OpenedSum { sites: Vec::new(), coordinates: coordinates.clone(), weight: 13 };
        let whole = apply_sums(&model, &[sum], &encoding, 900_000).unwrap();
        let totals: Vec<i64> = coordinates.into_iter().map(i64::from).collect();
        let step = ServerStep::new(&encoding, 13, 900_000).unwrap();
        for size in 1..=9 {
            let mut parts = model.clone();
            for (index, (part, totals)) in parts.chunks_mut(size).zip(totals.chunks(size)).enumerate() {
                step.apply((index * size) as u64, part, totals).unwrap();
            }
            assert_eq!(parts, whole, "blocks of {size}");
        }
    }

    #[test]
    fn mixed_up_inputs_are_refused() {
        let good = sum([0, 0], 1);
        assert_eq!(
            apply_sums(&[0.0], std::slice::from_ref(&good), &encoding(), 1),
            Err(ApplyError::Length { found: 1, expected: 2 })
        );
        assert_eq!(apply_sums(&[0.0, 0.0], &[], &encoding(), 1), Err(ApplyError::NoWeight));
        assert_eq!(
            apply_sums(&[0.0, f32::NAN], &[good], &encoding(), 1),
            Err(ApplyError::NotFinite { index: 1 })
        );
    }
}
