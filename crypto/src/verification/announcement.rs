//! What the gateway says that it opened, before anybody knows how it is going to be checked.

use serde::{Deserialize, Serialize};

use super::AgreedSet;
use crate::digest::Digest;
use crate::ids::SiteId;
use crate::transcript::Transcript;

/// One opened sum, by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AnnouncedSum {
    /// The sites in the sum, ascending.
    pub sites: Vec<SiteId>,
    /// SHA-256 over the summed coordinates, each a little-endian i32.
    pub coordinates: Digest,
    /// Sum of the sites' sample weights.
    pub weight: u64,
}

/// The sum over all agreed sites, by digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AnnouncedTotal {
    /// SHA-256 over the summed coordinates, each a little-endian i32.
    pub coordinates: Digest,
    /// Sum of the sites' sample weights.
    pub weight: u64,
}

/// What was opened in a round. It fixes the challenge of the verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SumAnnouncement {
    /// Digest of the round context.
    pub context: Digest,
    /// Digest of the agreed set, as the sites signed it.
    pub agreed_digest: Digest,
    /// One sum in mode full, one per complete batch in mode group.
    pub sums: Vec<AnnouncedSum>,
    /// The sum over all of them; in mode full the same as the one sum.
    pub total: AnnouncedTotal,
}

/// Why an announcement does not fit the agreed set. The gateway is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnnouncementFault {
    /// It is for another context or another agreed set.
    #[error("it is for another round context or agreed set")]
    Round,
    /// Its sums are not those that the agreed set gives.
    #[error("its sums are not over the sites whose sums the agreed set opens")]
    Sums,
    /// Its total does not follow from its sums.
    #[error("its total is not the total of its sums")]
    Total,
}

impl SumAnnouncement {
    /// The digest that sites sign with their tags.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Transcript::new("sum-announcement")
            .digest(&self.context)
            .digest(&self.agreed_digest)
            .list(self.sums.iter(), |t, sum| {
                t.list(sum.sites.iter(), |t, site| t.text(site.as_str()))
                    .digest(&sum.coordinates)
                    .number(sum.weight)
            })
            .digest(&self.total.coordinates)
            .number(self.total.weight)
            .hash()
    }

    /// Checks that the announcement is about the agreed set and adds up as far as digests show it.
    ///
    /// # Errors
    /// [`AnnouncementFault`].
    pub fn check(&self, agreed: &AgreedSet) -> Result<(), AnnouncementFault> {
        if self.context != agreed.context() || self.agreed_digest != agreed.digest() {
            return Err(AnnouncementFault::Round);
        }
        let expected = agreed.groups().iter().map(|group| group.iter());
        if expected.len() != self.sums.len()
            || !self.sums.iter().zip(expected).all(|(sum, group)| sum.sites.iter().eq(group))
        {
            return Err(AnnouncementFault::Sums);
        }
        let weight = self.sums.iter().try_fold(0_u64, |all, sum| all.checked_add(sum.weight));
        let same = match self.sums.as_slice() {
            [only] => only.coordinates == self.total.coordinates,
            [] | [..] => true,
        };
        if weight == Some(self.total.weight) && same { Ok(()) } else { Err(AnnouncementFault::Total) }
    }
}
