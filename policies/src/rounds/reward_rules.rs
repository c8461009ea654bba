//! The part of a round policy that says how a budget becomes payouts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of study a deposited record comes from (the programme's classes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum DataClass {
    /// Measured outside a living organism.
    InVitro,
    /// Measured in an animal.
    InVivo,
    /// Measured in people.
    InHuman,
    /// Pharmacokinetic parameters.
    Pk,
    /// A candidate that dropped out of development, with the stage.
    FailedCandidate,
}

impl fmt::Display for DataClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InVitro => "in-vitro",
            Self::InVivo => "in-vivo",
            Self::InHuman => "in-human",
            Self::Pk => "pk",
            Self::FailedCandidate => "failed-candidate",
        })
    }
}

/// The weight of one record of each class; only their proportions matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DataClassWeights {
    /// Weight of [`DataClass::InVitro`].
    pub in_vitro: u32,
    /// Weight of [`DataClass::InVivo`].
    pub in_vivo: u32,
    /// Weight of [`DataClass::InHuman`].
    pub in_human: u32,
    /// Weight of [`DataClass::Pk`].
    pub pk: u32,
    /// Weight of [`DataClass::FailedCandidate`].
    pub failed_candidate: u32,
}

impl DataClassWeights {
    /// The weight of a class.
    pub fn of(&self, class: DataClass) -> u32 {
        match class {
            DataClass::InVitro => self.in_vitro,
            DataClass::InVivo => self.in_vivo,
            DataClass::InHuman => self.in_human,
            DataClass::Pk => self.pk,
            DataClass::FailedCandidate => self.failed_candidate,
        }
    }
}

/// How one deposit's size is counted; only the proportions matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EvidenceWeights {
    /// Weight of one record (a measured value).
    pub record: u32,
    /// Weight of one distinct structure.
    pub unique_structure: u32,
    /// Weight of one distinct scaffold.
    pub scaffold: u32,
}

/// The reward of one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RewardRules {
    /// The budget in millionths of the currency unit, at most [`RewardRules::MAX_BUDGET_MICRO`].
    pub budget_micro: u64,
    /// The currency unit's name, such as `KRW`.
    pub currency: String,
    /// The part of the budget paid by verified participation, in parts per million of the budget
    /// (rho x 10^6); the rest is paid by value.
    pub participation_share_ppm: u32,
    /// How a deposit's size is counted.
    pub evidence: EvidenceWeights,
}

impl RewardRules {
    /// The largest budget: every amount stays an exact integer in any JSON reader (below 2^53).
    pub const MAX_BUDGET_MICRO: u64 = 9_000_000_000_000_000;
}
