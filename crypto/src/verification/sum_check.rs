//! The check that everybody makes: the tags of the agreed sites against the announced sum.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::{AgreedSet, AnnouncementFault, Challenge, RecomputedTag, SumAnnouncement, TagSums};
use crate::aggregator::hash_coordinates;
use crate::context::VerifiedContext;
use crate::digest::Digest;
use crate::encoding::{COORDINATE_BYTES, READ_AT_ONCE, fill, words};
use crate::ids::SiteId;
use crate::messages::SumTag;
use crate::setup::Signatories;

/// Why an opened sum does not count as verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// The announcement does not fit the agreed set. The gateway is at fault.
    #[error("the announcement of the opened sums was refused: {0}")]
    Announcement(#[from] AnnouncementFault),
    /// There is no such sum.
    #[error("the round has {sums} sums, there is no sum {index}")]
    NoSuchSum {
        /// The sum asked for.
        index: usize,
        /// Sums of the round.
        sums: usize,
    },
    /// A tag is for another opening, or not signed by its site. Whoever gave it is at fault.
    #[error("the tag of `{site}` is not its signed tag for this opening")]
    Tag {
        /// The site named in it.
        site: SiteId,
    },
    /// Some tags are not there: the result is pending.
    #[error("{} tags are missing, so the sum cannot be checked yet", .sites.len())]
    Missing {
        /// Whose.
        sites: BTreeSet<SiteId>,
    },
    /// The coordinates are not the announced ones.
    #[error("the coordinates are not those that were announced")]
    Coordinates,
    /// The sum is wrong: it is not what the sites uploaded.
    #[error("the tags do not add up to the announced sum: it is not the sum of what the sites uploaded")]
    Wrong,
}

/// A sum that passed the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedSum {
    /// Digest of its coordinates.
    pub coordinates: Digest,
    /// Sum of the sites' weights.
    pub weight: u64,
}

/// Checks one announced sum while its coordinates come in.
pub struct SumCheck {
    expected: TagSums,
    challenge: Challenge,
    announced: VerifiedSum,
    sums: TagSums,
    hash: Sha256,
    taken: u64,
    coordinates: u64,
    ring_bits: u8,
}

impl SumCheck {
    /// Prepares the check of the total over all agreed sites.
    ///
    /// # Errors
    /// [`Unverified`] if a tag is missing or does not hold.
    pub fn of_total(
        roster: &impl Signatories,
        context: &VerifiedContext,
        agreed: &AgreedSet,
        announcement: &SumAnnouncement,
        tags: &[SumTag],
        recomputed: &[RecomputedTag],
    ) -> Result<Self, Unverified> {
        announcement.check(agreed)?;
        let announced =
            VerifiedSum { coordinates: announcement.total.coordinates, weight: announcement.total.weight };
        let sites: BTreeSet<&SiteId> = agreed.headers().keys().collect();
        Self::new(roster, context, announcement, announced, &sites, (tags, recomputed))
    }

    /// Prepares the check of one of the round's sums.
    ///
    /// # Errors
    /// [`Unverified`] if there is no such sum, or a tag is missing or does not hold.
    pub fn of_sum(
        index: usize,
        roster: &impl Signatories,
        context: &VerifiedContext,
        agreed: &AgreedSet,
        announcement: &SumAnnouncement,
        tags: &[SumTag],
        recomputed: &[RecomputedTag],
    ) -> Result<Self, Unverified> {
        announcement.check(agreed)?;
        let sums = announcement.sums.len();
        let sum = announcement.sums.get(index).ok_or(Unverified::NoSuchSum { index, sums })?;
        let announced = VerifiedSum { coordinates: sum.coordinates, weight: sum.weight };
        let sites: BTreeSet<&SiteId> = sum.sites.iter().collect();
        Self::new(roster, context, announcement, announced, &sites, (tags, recomputed))
    }

    fn new(
        roster: &impl Signatories,
        context: &VerifiedContext,
        announcement: &SumAnnouncement,
        announced: VerifiedSum,
        sites: &BTreeSet<&SiteId>,
        (tags, recomputed): (&[SumTag], &[RecomputedTag]),
    ) -> Result<Self, Unverified> {
        let encoding = &context.context().encoding;
        let digest = announcement.digest();
        let mut values = BTreeMap::new();
        for tag in tags {
            let refused = || Unverified::Tag { site: tag.site.clone() };
            if tag.context != context.digest() || tag.announcement != digest || !tag.verify(roster) {
                return Err(refused());
            }
            let sums = TagSums::of_value(&tag.value, encoding.ring_bits).ok_or_else(refused)?;
            if values.insert(&tag.site, sums).is_some() {
                return Err(refused());
            }
        }
        for tag in recomputed {
            let sums = TagSums::of_value(&tag.value, encoding.ring_bits);
            let sums = sums.ok_or_else(|| Unverified::Tag { site: tag.site.clone() })?;
            // A recomputed tag is what the site had to send; it needs no signature to be believed.
            values.insert(&tag.site, sums);
        }
        let mut expected = TagSums::zero();
        let mut missing = BTreeSet::new();
        for site in sites {
            match values.get(site) {
                Some(sums) => expected.add(sums),
                None => {
                    missing.insert((*site).clone());
                }
            }
        }
        if !missing.is_empty() {
            return Err(Unverified::Missing { sites: missing });
        }
        Ok(Self {
            expected,
            challenge: Challenge::of(&digest),
            announced,
            sums: TagSums::zero(),
            hash: Sha256::new(),
            taken: 0,
            coordinates: encoding.coordinates(),
            ring_bits: encoding.ring_bits,
        })
    }

    /// Takes the next coordinates of the sum.
    pub fn take(&mut self, coordinates: &[i32]) {
        hash_coordinates(&mut self.hash, coordinates);
        let lanes: Vec<u32> = coordinates.iter().map(|value| value.cast_unsigned()).collect();
        self.challenge.accumulate(self.taken, &lanes, &mut self.sums);
        self.taken += coordinates.len() as u64;
    }

    /// Takes a whole stored sum (little-endian i32), and says what [`Self::finish`] says.
    ///
    /// # Errors
    /// Those of the reader; the inner ones are those of [`Self::finish`].
    pub fn read(mut self, mut sum: impl Read) -> io::Result<Result<VerifiedSum, Unverified>> {
        let mut bytes = vec![0; READ_AT_ONCE * COORDINATE_BYTES];
        loop {
            let read = fill(&mut sum, &mut bytes)?;
            if !read.is_multiple_of(COORDINATE_BYTES) {
                return Ok(Err(Unverified::Coordinates));
            }
            let coordinates: Vec<i32> =
                words(&bytes, read).iter().map(|word| i32::from_le_bytes(*word)).collect();
            self.take(&coordinates);
            if read < bytes.len() {
                return Ok(self.finish());
            }
        }
    }

    /// Says whether the sum is the sum of what the sites uploaded.
    ///
    /// # Errors
    /// [`Unverified::Coordinates`] or [`Unverified::Wrong`].
    pub fn finish(mut self) -> Result<VerifiedSum, Unverified> {
        let digest = Digest(std::mem::take(&mut self.hash).finalize().into());
        if self.taken != self.coordinates || digest != self.announced.coordinates {
            return Err(Unverified::Coordinates);
        }
        // The last lane is the weight. A sum of weights that fits the ring fits a lane.
        let weight = u32::try_from(self.announced.weight).map_err(|_| Unverified::Wrong)?;
        self.challenge.accumulate(self.coordinates, &[weight], &mut self.sums);
        if self.sums.reduced(self.ring_bits) == self.expected.reduced(self.ring_bits) {
            Ok(self.announced)
        } else {
            Err(Unverified::Wrong)
        }
    }
}
