//! What of a rounds policy an audit needs: the floors and limits that every context must keep to.

use konclave_crypto::{Encoding, SiteFloor};
use serde::Deserialize;

use super::privacy::PrivacyLimits;

/// The part of a policy file that is read here; the rest is about payments and deadlines.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct PolicyLimits {
    min_cohort: u16,
    min_agreed: u16,
    min_batch: u16,
    scoring_batch_size: u16,
    batch_size: u16,
    clip_micro: u32,
    quantisation_bits: u8,
    weight_cap: u32,
    pub(super) privacy: Option<PrivacyLimits>,
}

impl PolicyLimits {
    pub(super) fn parse(text: &str) -> Option<Self> {
        toml::from_str(text).ok()
    }

    /// The floors of a job's contexts, as each site holds them too.
    pub(super) const fn floor(&self, scoring: bool) -> SiteFloor {
        SiteFloor {
            min_sites: self.min_cohort,
            min_agreed: self.min_agreed,
            min_batch: self.min_batch,
            scoring_batch_size: if scoring { Some(self.scoring_batch_size) } else { None },
            batch_size: self.batch_size,
        }
    }

    /// Whether updates are encoded as the policy allows.
    pub(super) fn allows(&self, encoding: &Encoding) -> bool {
        encoding.quantisation_bits <= self.quantisation_bits
            && encoding.weight_cap <= self.weight_cap
            && encoding.tensors.iter().all(|tensor| tensor.clip_micro <= self.clip_micro)
    }
}
