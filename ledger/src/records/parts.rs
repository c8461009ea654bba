//! What records are made of.

use serde::{Deserialize, Serialize};

use crate::hash::Hash;

/// The size of a deposit for one task, as its member declared it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DepositLine {
    /// The task, `Test/Test_Type`.
    pub task: String,
    /// Measured values.
    pub records: u64,
    /// Distinct structures.
    pub unique_structures: u64,
    /// Distinct scaffolds.
    pub scaffolds: u64,
}

/// One opened sum of a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenedBatch {
    /// The sites summed.
    pub sites: Vec<String>,
    /// The blob of the summed coordinates (little-endian i32).
    pub sum: Hash,
    /// The sum of the sites' weights.
    pub weight: u64,
}

/// The sum over all sites of a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenedTotal {
    /// The blob of the summed coordinates (little-endian i32).
    pub sum: Hash,
    /// The sum of the sites' weights.
    pub weight: u64,
}

/// A masked upload whose tag everybody computes, because its site sent none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenedUpload {
    /// The site.
    pub site: String,
    /// The blob of the masked body.
    pub body: Hash,
}

/// What is known of an opened sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema, schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SumResult {
    /// Too few sites have checked it.
    Pending,
    /// A quorum checked that it is the sum of what the sites uploaded.
    Verified,
    /// Sites found it wrong.
    Rejected,
}

/// The parameters of one coalition of a scoring round's batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CoalitionParameters {
    /// Bit g is the g-th opened batch.
    pub coalition: u16,
    /// The blob of the flat parameter vector.
    pub parameters: Hash,
}

/// What an auditor's review found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema, schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ReviewResult {
    /// Everything that was checked is as it should be.
    Sound,
    /// It is, but the reviewer has remarks.
    Remarks,
    /// Something is wrong.
    Findings,
}
