//! Metrics of one task, as exact as the order of summation allows and rounded to millionths.

use serde::{Deserialize, Serialize};

/// Metrics of a regression task, in the labels' unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantityMetrics {
    /// Root mean squared error x 1e6.
    pub rmse_micro: i64,
    /// Mean absolute error x 1e6.
    pub mae_micro: i64,
    /// Coefficient of determination x 1e6: 1 - residual sum of squares / sum of squares around the labels' mean. Absent
    /// where all labels are equal.
    pub r2_micro: Option<i64>,
}

/// Metrics of a classification task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassMetrics {
    /// Area under the receiver operating characteristic x 1e6: the probability that a random positive has a higher score
    /// than a random negative, ties counting half (Hanley and McNeil 1982).
    pub auroc_micro: i64,
    /// Area under the precision-recall curve x 1e6 as average precision, ties taken together.
    pub auprc_micro: i64,
}

/// Metrics of predictions against labels, pair by pair; `None` without any or if one is not finite.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn quantity_metrics(pairs: &[(f64, f64)]) -> Option<QuantityMetrics> {
    if pairs.is_empty() || pairs.iter().any(|(prediction, label)| !(prediction - label).is_finite()) {
        return None;
    }
    let count = pairs.len() as f64;
    let mean = pairs.iter().map(|(_, label)| label).sum::<f64>() / count;
    let residual: f64 = pairs.iter().map(|(prediction, label)| (prediction - label).powi(2)).sum();
    let around_mean: f64 = pairs.iter().map(|(_, label)| (label - mean).powi(2)).sum();
    let absolute: f64 = pairs.iter().map(|(prediction, label)| (prediction - label).abs()).sum();
    Some(QuantityMetrics {
        rmse_micro: to_micro((residual / count).sqrt()),
        mae_micro: to_micro(absolute / count),
        r2_micro: (around_mean > 0.0).then(|| to_micro(1.0 - residual / around_mean)),
    })
}

/// Metrics of scores against classes, pair by pair; `None` unless both classes are present and all scores are numbers.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn class_metrics(pairs: &[(f64, bool)]) -> Option<ClassMetrics> {
    let positives = pairs.iter().filter(|(_, class)| *class).count() as f64;
    let negatives = pairs.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 || pairs.iter().any(|(score, _)| score.is_nan()) {
        return None;
    }
    let mut ranked = pairs.to_vec();
    ranked.sort_by(|one, other| other.0.total_cmp(&one.0));
    let (mut found, mut passed) = (0.0, 0.0);
    let (mut pairs_in_order, mut precision_sum) = (0.0, 0.0);
    for tied in ranked.chunk_by(|one, other| one.0 == other.0) {
        let here = tied.iter().filter(|(_, class)| *class).count() as f64;
        let others = tied.len() as f64 - here;
        // The positives here come before the negatives still to come, and tie with those here.
        pairs_in_order += here * (negatives - passed - others + others / 2.0);
        found += here;
        passed += others;
        precision_sum += here * found / (found + passed);
    }
    Some(ClassMetrics {
        auroc_micro: to_micro(pairs_in_order / (positives * negatives)),
        auprc_micro: to_micro(precision_sum / positives),
    })
}

/// Millionths, rounded to the nearest, held inside the range that JSON numbers carry exactly.
#[expect(clippy::cast_possible_truncation, reason = "clamped to 2^53 first")]
pub(super) fn to_micro(value: f64) -> i64 {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    (value * 1e6).round().clamp(-LIMIT, LIMIT) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_metrics_of_a_hand_computed_case() {
        // Residuals 1, -1, 0, 2; labels' mean 2.5, sum of squares 5.
        let metrics = quantity_metrics(&[(2.0, 1.0), (1.0, 2.0), (3.0, 3.0), (6.0, 4.0)]).unwrap();
        assert_eq!(metrics.rmse_micro, 1_224_745);
        assert_eq!(metrics.mae_micro, 1_000_000);
        assert_eq!(metrics.r2_micro, Some(-200_000));
    }

    #[test]
    fn equal_labels_have_no_r2() {
        assert_eq!(quantity_metrics(&[(1.0, 2.0), (2.0, 2.0)]).unwrap().r2_micro, None);
        assert_eq!(quantity_metrics(&[]), None);
        assert_eq!(quantity_metrics(&[(f64::NAN, 1.0)]), None);
    }

    #[test]
    fn classification_metrics_of_hand_computed_cases() {
        let perfect = class_metrics(&[(0.9, true), (0.8, true), (0.1, false)]).unwrap();
        assert_eq!((perfect.auroc_micro, perfect.auprc_micro), (1_000_000, 1_000_000));
        // Order: + - + -. Three of four pairs in order; precision 1 at the first positive and 2/3 at the second.
        let mixed = class_metrics(&[(0.4, false), (0.9, true), (0.7, false), (0.6, true)]).unwrap();
        assert_eq!((mixed.auroc_micro, mixed.auprc_micro), (750_000, 833_333));
    }

    #[test]
    fn constant_scores_are_chance() {
        let metrics = class_metrics(&[(0.0, true), (0.0, false), (0.0, false), (0.0, false)]).unwrap();
        assert_eq!((metrics.auroc_micro, metrics.auprc_micro), (500_000, 250_000));
    }

    #[test]
    fn one_class_alone_has_no_metrics() {
        assert_eq!(class_metrics(&[(0.1, true), (0.2, true)]), None);
        assert_eq!(class_metrics(&[(f64::NAN, true), (0.2, false)]), None);
    }
}
