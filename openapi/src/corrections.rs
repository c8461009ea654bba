//! Corrections: entries that say what another entry should say, and why.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// Corrects an entry. The entry itself stays as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "entry": 41, "field": "/record/purpose", "is": "admet-prediction", "reason": "the request named another purpose"
}))]
pub struct NewCorrection {
    /// The entry to correct.
    pub entry: u64,
    /// Which of its fields, as a JSON pointer into the leaf (RFC 6901): `/site`, `/object`, `/reason`, or one inside
    /// `/record`.
    pub field: String,
    /// What the field should say.
    pub is: Value,
    /// Why, in words.
    pub reason: String,
}

/// A correction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "recorded_in": 57, "entry": 41, "field": "/record/purpose", "was": "admet", "is": "admet-prediction",
    "reason": "the request named another purpose", "actor": "operator-1", "role": "operator",
    "time": "2026-11-23T10:00:00.000Z"
}))]
pub struct Correction {
    /// The entry that says so.
    pub recorded_in: u64,
    /// The corrected entry.
    pub entry: u64,
    /// The corrected field, as a JSON pointer into the leaf.
    pub field: String,
    /// What it says.
    pub was: Value,
    /// What it should say.
    pub is: Value,
    /// Why.
    pub reason: String,
    /// Who corrected it.
    pub actor: String,
    /// In which role.
    pub role: String,
    /// When, RFC 3339.
    pub time: String,
    /// The entries that correct this correction, oldest first; absent if none does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrected_by: Vec<u64>,
}

/// Which corrections.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CorrectionQuery {
    /// The `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The most corrections wanted, 1 to 500; 100 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u16>,
    /// Only those of this entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
}
