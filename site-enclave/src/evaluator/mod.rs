//! Measures models on labelled molecules: per-task metrics and one number of utility.
//!
//! All results are integers in millionths, because they are signed and recorded in the ledger, where floating-point
//! numbers have no place. The evaluator sees only aggregated models, never a single site's update.
//!
//! Not here: confidence intervals, calibration, and the split into training and benchmark data.

mod metrics;
mod scoring;

pub use metrics::{ClassMetrics, QuantityMetrics, class_metrics, quantity_metrics};
pub use scoring::{ScoreError, ScoreReport, TaskMetrics, TaskScore, score};
