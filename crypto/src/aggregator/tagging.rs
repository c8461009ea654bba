//! Phase 5: gather the tags of the agreed sites, and make up for those that do not come.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read};

use super::{Abort, Facts, Rejection};
use crate::body::BLOCK_LANES;
use crate::context::{ContextError, RoundContext};
use crate::ids::SiteId;
use crate::messages::{AgreementProposal, OpenedSeeds, SumTag, TaggingRequest};
use crate::setup::Roster;
use crate::verification::{AgreedSet, Challenge, SumAnnouncement, TagError, TagSums, compute};

/// Gathers tags for one opening.
pub struct Tagging {
    facts: Facts,
    agreed: AgreedSet,
    announcement: SumAnnouncement,
    opened: BTreeMap<SiteId, OpenedSeeds>,
    tags: BTreeMap<SiteId, SumTag>,
}

/// What came of the tags: together, those that are here and those to be recomputed add up to the opened total.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The tags that the sites sent and that are right.
    pub tags: Vec<SumTag>,
    /// The sites that sent none, or a false one: everybody has to compute theirs from body and seeds.
    pub to_recompute: BTreeSet<SiteId>,
    /// The sites whose tag was false.
    pub false_tags: BTreeSet<SiteId>,
}

impl Tagging {
    pub(super) fn new(
        facts: Facts,
        agreed: AgreedSet,
        announcement: SumAnnouncement,
        opened: BTreeMap<SiteId, OpenedSeeds>,
    ) -> Self {
        Self { facts, agreed, announcement, opened, tags: BTreeMap::new() }
    }

    /// Goes on where a gateway stopped, from what it stored of its own opening.
    ///
    /// # Errors
    /// [`ContextError`] if the context does not hold for the roster.
    pub fn resume(
        context: RoundContext,
        roster: Roster,
        proposal: &AgreementProposal,
        announcement: SumAnnouncement,
        opened: BTreeMap<SiteId, OpenedSeeds>,
    ) -> Result<Self, ContextError> {
        let facts = Facts::new(context, roster)?;
        let agreed = AgreedSet::of(&facts.context, proposal);
        Ok(Self::new(facts, agreed, announcement, opened))
    }

    /// What was opened.
    #[must_use]
    pub fn announcement(&self) -> &SumAnnouncement {
        &self.announcement
    }

    /// The agreed set.
    #[must_use]
    pub fn agreed(&self) -> &AgreedSet {
        &self.agreed
    }

    /// The opened seeds, to be stored until the tags are settled.
    #[must_use]
    pub fn opened(&self) -> &BTreeMap<SiteId, OpenedSeeds> {
        &self.opened
    }

    /// The request for one site; `None` if the site is not in the agreed set.
    #[must_use]
    pub fn request_for(&self, site: &SiteId) -> Option<TaggingRequest> {
        let opened = self.opened.get(site)?.clone();
        Some(TaggingRequest { announcement: self.announcement.clone(), opened })
    }

    /// Takes a site's tag.
    ///
    /// # Errors
    /// [`Rejection`] names the failed check.
    pub fn accept(&mut self, tag: SumTag) -> Result<(), Rejection> {
        let site = tag.site.clone();
        let agreed = self.agreed.headers().keys().cloned().collect();
        self.facts.check_sender(&site, tag.context, &agreed)?;
        match self.tags.get(&site) {
            Some(known) if *known == tag => return Ok(()),
            Some(_) => return Err(Rejection::Changed { site }),
            None => {}
        }
        if tag.announcement != self.announcement.digest()
            || TagSums::of_value(&tag.value, self.facts.context.encoding.ring_bits).is_none()
        {
            return Err(Rejection::Tag { site });
        }
        if !tag.verify(&self.facts.roster) {
            return Err(Rejection::Signature { site });
        }
        self.tags.insert(site, tag);
        Ok(())
    }

    /// The tags that are here, ascending by site.
    pub fn tags(&self) -> impl Iterator<Item = &SumTag> {
        self.tags.values()
    }

    /// The sites whose tag is here.
    #[must_use]
    pub fn tagged_by(&self) -> BTreeSet<SiteId> {
        self.tags.keys().cloned().collect()
    }

    /// The agreed sites whose tag is not here.
    #[must_use]
    pub fn missing(&self) -> BTreeSet<SiteId> {
        self.agreed.headers().keys().filter(|site| !self.tags.contains_key(*site)).cloned().collect()
    }

    /// Settles the tags: finds false ones by computing every tag anew, but only if they do not add up.
    ///
    /// `total` gives the opened total as little-endian i32; `body` the stored body of a site.
    ///
    /// # Errors
    /// [`Abort`] if the total or a body cannot be read or is not what it was: then this gateway's own files are at fault.
    pub fn settle<B: Read>(
        self,
        total: impl Read,
        mut body: impl FnMut(&SiteId) -> io::Result<B>,
    ) -> Result<Settled, Abort> {
        let missing = self.missing();
        let mut recomputed = BTreeMap::new();
        let mut recompute = |site: &SiteId| -> Result<TagSums, Abort> {
            let opened = self.opened.get(site).ok_or(Abort::Bodies)?;
            let bytes = body(site).map_err(|error| Abort::Read { site: site.clone(), kind: error.kind() })?;
            let value = compute(&self.facts.context, &self.agreed, &self.announcement, site, opened, bytes)
                .map_err(|error| tag_abort(site, error))?;
            TagSums::of_value(&value, self.facts.context.encoding.ring_bits).ok_or(Abort::Bodies)
        };
        for site in &missing {
            recomputed.insert(site.clone(), recompute(site)?);
        }
        let bits = self.facts.context.encoding.ring_bits;
        let mut found = TagSums::zero();
        for tag in self.tags.values() {
            found.add(&TagSums::of_value(&tag.value, bits).ok_or(Abort::Bodies)?);
        }
        recomputed.values().for_each(|sums| found.add(sums));
        let expected = self.expected(total).map_err(|error| Abort::Sink { kind: error.kind() })?;
        let mut false_tags = BTreeSet::new();
        if found.reduced(bits) != expected.reduced(bits) {
            for (site, tag) in &self.tags {
                if recompute(site)?.reduced(bits) != tag.value {
                    false_tags.insert(site.clone());
                }
            }
            // Every tag is right, so the total is not what was opened.
            if false_tags.is_empty() {
                return Err(Abort::TotalChanged);
            }
        }
        let tags = self.tags.into_values().filter(|tag| !false_tags.contains(&tag.site)).collect();
        Ok(Settled { tags, to_recompute: missing.union(&false_tags).cloned().collect(), false_tags })
    }

    /// `alpha X`.
    fn expected(&self, mut total: impl Read) -> io::Result<TagSums> {
        let challenge = Challenge::of(&self.announcement.digest());
        let coordinates = self.facts.context.encoding.coordinates();
        let mut sums = TagSums::zero();
        let mut first = 0;
        let mut buffer = vec![0; BLOCK_LANES * 4];
        while first < coordinates {
            let count = usize::try_from(coordinates - first).unwrap_or(BLOCK_LANES).min(BLOCK_LANES);
            let bytes = buffer.get_mut(..count * 4).unwrap_or_default();
            total.read_exact(bytes)?;
            let lanes: Vec<u32> =
                bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
            challenge.accumulate(first, &lanes, &mut sums);
            first += count as u64;
        }
        let weight = u32::try_from(self.announcement.total.weight).unwrap_or(u32::MAX);
        challenge.accumulate(coordinates, &[weight], &mut sums);
        Ok(sums)
    }
}

/// A tag that the gateway cannot compute is the fault of its own files: everything was checked before.
fn tag_abort(site: &SiteId, error: TagError) -> Abort {
    match error {
        TagError::Body { site, fault } => super::opening::body_abort(site, fault),
        TagError::Identity { .. }
        | TagError::OtherSet
        | TagError::NotAgreed { .. }
        | TagError::Announcement(_)
        | TagError::Seeds { .. } => Abort::BodyChanged { site: site.clone() },
    }
}

impl fmt::Debug for Tagging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tagging").field("tagged_by", &self.tagged_by()).finish_non_exhaustive()
    }
}
