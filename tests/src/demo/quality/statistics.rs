//! Means, deviations and paired differences over seeds, and when a difference is noise.

use serde::Serialize;

/// When a difference counts as noise; printed beside the results.
pub(super) const RULE: &str = "A difference is within noise if its mean over the seeds is at most twice its standard \
                               error, or at most the root mean square of the differences that new shuffles alone make.";

/// How one way of averaging differs from plain averaging, seed by seed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// The mean over the seeds.
    pub mean: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// The root mean square of what new shuffles alone make.
    pub chance: f64,
    /// By the summary's rule.
    pub within_noise: bool,
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample's standard deviation, with `n - 1`.
pub(super) fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() as f64 - 1.0)).sqrt()
}

impl Difference {
    /// Of values from the reference's, with those of the arm that differs by chance alone; all in the order of the seeds.
    pub(super) fn new(values: &[f64], reference: &[f64], by_chance: &[f64]) -> Self {
        let differences = differences(values, reference);
        let mean = mean(&differences);
        let standard_error = deviation(&differences) / (differences.len() as f64).sqrt();
        let squares: Vec<f64> =
            self::differences(by_chance, reference).iter().map(|value| value.powi(2)).collect();
        let chance = self::mean(&squares).sqrt();
        let within_noise = mean.abs() <= 2.0 * standard_error || mean.abs() <= chance;
        Self { mean, standard_error, chance, within_noise }
    }
}

fn differences(values: &[f64], reference: &[f64]) -> Vec<f64> {
    values.iter().zip(reference).map(|(value, reference)| value - reference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: [f64; 4] = [1.0, 2.0, 3.0, 4.0];

    fn shifted(by: [f64; 4]) -> Vec<f64> {
        REFERENCE.iter().zip(by).map(|(value, by)| value + by).collect()
    }

    #[test]
    fn seeds_may_differ_much_as_long_as_pairs_do_not() {
        let chance = shifted([0.01, -0.01, 0.01, -0.01]);
        let found = Difference::new(&shifted([0.1, 0.11, 0.09, 0.1]), &REFERENCE, &chance);
        assert!((found.mean - 0.1).abs() < 1e-12 && (found.chance - 0.01).abs() < 1e-12, "{found:?}");
        assert!((found.standard_error - 0.004_082).abs() < 1e-6, "{found:?}");
        assert!(!found.within_noise);
    }

    #[test]
    fn either_half_of_the_rule_is_enough() {
        let little = shifted([0.001, -0.001, 0.001, -0.001]);
        let varied = Difference::new(&shifted([0.1, -0.1, 0.1, -0.05]), &REFERENCE, &little);
        assert!(varied.within_noise && varied.mean > varied.chance, "{varied:?}");
        let much = shifted([0.05, -0.05, 0.05, -0.05]);
        let small = Difference::new(&shifted([0.02, 0.02, 0.021, 0.02]), &REFERENCE, &much);
        assert!(small.within_noise && small.mean > 2.0 * small.standard_error, "{small:?}");
    }

    #[test]
    fn the_deviation_is_the_samples() {
        assert!((deviation(&REFERENCE) - 1.290_994).abs() < 1e-6);
        assert!((mean(&REFERENCE) - 2.5).abs() < 1e-12);
    }
}
