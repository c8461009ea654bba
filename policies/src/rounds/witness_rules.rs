//! How many witnesses the consortium wants under the ledger's heads, and how long it waits for them.

use serde::Serialize;

use super::narrow;
use crate::strict_toml::{PolicyError, StrictTable};

/// The table's name.
pub(crate) const TABLE: &str = "witnesses";

/// The most witnesses that can be asked for: as many as the largest roster has sites.
const MOST: u64 = 256;
/// The longest patience: a day.
const LONGEST_SECONDS: u64 = 24 * 3_600;

/// What is asked of the ledger's witnesses. Appending never waits for them: a missing quorum shows, it does not stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WitnessRules {
    /// How many witnesses must cosign one head before its entries count as witnessed; 0 asks for none.
    pub quorum: u16,
    /// How long an entry may lack its quorum, in seconds, before the ledger says so.
    pub patience_seconds: u32,
}

impl Default for WitnessRules {
    fn default() -> Self {
        Self { quorum: 0, patience_seconds: 600 }
    }
}

impl WitnessRules {
    pub(super) fn read(mut table: StrictTable<'_>) -> Result<Self, PolicyError> {
        let mut rules = Self::default();
        if let Some(quorum) = table.optional_integer("quorum", &(0..=MOST))? {
            rules.quorum = u16::try_from(quorum.value).unwrap_or_default();
        }
        if let Some(patience) = table.optional_integer("patience_seconds", &(1..=LONGEST_SECONDS))? {
            rules.patience_seconds = narrow(patience.value);
        }
        table.finish()?;
        Ok(rules)
    }
}
