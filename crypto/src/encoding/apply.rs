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
    let weight: u64 = sums.iter().map(|sum| sum.weight).sum();
    if weight == 0 {
        return Err(ApplyError::NoWeight);
    }
    let mut totals = vec![0_i64; model.len()];
    for sum in sums {
        for (total, coordinate) in totals.iter_mut().zip(&sum.coordinates) {
            *total += i64::from(*coordinate);
        }
    }
    let rate = f64::from(server_rate_micro) * 1e-6;
    let step = rate * f64::from(encoding.weight_cap) / weight as f64;
    let mut next = Vec::with_capacity(model.len());
    let mut rest = model.iter().zip(&totals);
    for tensor in &encoding.tensors {
        let scale = f64::from(tensor.clip_micro) * 1e-6 / f64::from(encoding.quantised_max());
        for (theta, total) in rest.by_ref().take(usize::try_from(tensor.len).unwrap_or(usize::MAX)) {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "models are stored as f32; overflow is refused"
            )]
            let moved = (f64::from(*theta) + *total as f64 * scale * step) as f32;
            if !moved.is_finite() {
                return Err(ApplyError::NotFinite { index: next.len() as u64 });
            }
            next.push(moved);
        }
    }
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
