//! Phase 1: take manifests and bodies until the gateway closes the upload window.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Abort, Agreeing, Facts, Rejection};
use crate::context::{ContextError, RoundContext};
use crate::dealing::DealingPlan;
use crate::digest::Digest;
use crate::ids::SiteId;
use crate::messages::{Manifest, SignedManifestHeader};
use crate::round::conflicting_pairs;
use crate::sealing::TAG_BYTES;
use crate::setup::Roster;

/// Root and length of a body as the gateway measured them while storing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StoredBody {
    root: Digest,
    bytes: u64,
}

/// Collects uploads.
pub struct Collecting {
    facts: Facts,
    manifests: BTreeMap<SiteId, Manifest>,
    bodies: BTreeMap<SiteId, StoredBody>,
}

impl Collecting {
    /// Opens the upload window of a round.
    ///
    /// # Errors
    /// [`ContextError`] if the context does not hold for the roster.
    pub fn new(context: RoundContext, roster: Roster) -> Result<Self, ContextError> {
        let facts = Facts::new(context, roster)?;
        Ok(Self { facts, manifests: BTreeMap::new(), bodies: BTreeMap::new() })
    }

    /// Takes the manifest that `from` (as authenticated by the transport) sent.
    ///
    /// # Errors
    /// [`Rejection`] names the failed check.
    pub fn accept_manifest(&mut self, from: &SiteId, manifest: Manifest) -> Result<(), Rejection> {
        let site = || from.clone();
        let header = &manifest.signed.header;
        if header.site != *from {
            return Err(Rejection::Sender { from: site(), claimed: header.site.clone() });
        }
        match self.manifests.get(from) {
            Some(known) if *known == manifest => return Ok(()),
            Some(_) => return Err(Rejection::Changed { site: site() }),
            None => {}
        }
        let round = self.facts.round();
        round.check_header(&manifest.signed).map_err(|fault| Rejection::Header { site: site(), fault })?;
        let plan = DealingPlan::new(&round, from);
        let holders = round.context.share_holders(from);
        let well_formed = manifest.sealed.iter().map(|entry| &entry.to).eq(holders.iter())
            && manifest.sealed.iter().all(|entry| {
                entry.from == *from && entry.sealed.len() == plan.bundle_bytes(&entry.to) + TAG_BYTES
            });
        if !well_formed {
            return Err(Rejection::Sealed { site: site() });
        }
        if self.bodies.get(from).is_some_and(|body| !matches(body, &manifest)) {
            return Err(Rejection::Body { site: site() });
        }
        self.manifests.insert(site(), manifest);
        Ok(())
    }

    /// Takes note that the body of `from` was stored, with the root and length that the gateway measured itself.
    ///
    /// The body may come before the manifest; until the manifest is there, another body replaces it.
    ///
    /// # Errors
    /// [`Rejection`] if the site is unknown or the body is not the one its manifest commits to.
    pub fn accept_body(&mut self, from: &SiteId, body_root: Digest, bytes: u64) -> Result<(), Rejection> {
        if self.facts.roster.index_of(from).is_none() {
            return Err(Rejection::UnknownSite { site: from.clone() });
        }
        let body = StoredBody { root: body_root, bytes };
        let expected = self.facts.context.encoding.body_bytes();
        if bytes != expected || self.manifests.get(from).is_some_and(|manifest| !matches(&body, manifest)) {
            return Err(Rejection::Body { site: from.clone() });
        }
        self.bodies.insert(from.clone(), body);
        Ok(())
    }

    /// The sites whose manifest and body are both there and whose pairwise commitments agree with the others' (V).
    #[must_use]
    pub fn uploaded(&self) -> BTreeSet<SiteId> {
        let conflicting = self.conflicting();
        self.complete().filter(|site| !conflicting.contains(*site)).cloned().collect()
    }

    /// The complete uploads that are left out because the two ends of a pair committed to different seeds.
    ///
    /// Nothing shows which end lied. A site that contradicts as many others as the protocol takes to be able to collude
    /// (`2t - n`) contradicts an honest one and is left out alone; it is a liar, or its keys are broken. Of any other
    /// pair both ends go, so that colluding sites cannot throw out an honest one and stay themselves.
    #[must_use]
    pub fn conflicting(&self) -> BTreeSet<SiteId> {
        let headers: BTreeMap<&SiteId, &SignedManifestHeader> =
            self.complete().filter_map(|site| Some((site, &self.manifests.get(site)?.signed))).collect();
        let pairs = conflicting_pairs(&headers);
        let mut conflicts: BTreeMap<&SiteId, usize> = BTreeMap::new();
        for site in pairs.iter().flat_map(|(one, other)| [one, other]) {
            *conflicts.entry(site).or_default() += 1;
        }
        let colluding = self.facts.colluding();
        let liars: BTreeSet<&SiteId> =
            conflicts.iter().filter(|(_, count)| **count >= colluding).map(|(site, _)| *site).collect();
        let unsettled = pairs.iter().filter(|(one, other)| !liars.contains(one) && !liars.contains(other));
        let both_ends = unsettled.flat_map(|(one, other)| [one, other]);
        liars.iter().copied().chain(both_ends).cloned().collect()
    }

    fn complete(&self) -> impl Iterator<Item = &SiteId> {
        self.manifests.keys().filter(|site| self.bodies.contains_key(*site))
    }

    /// Closes the upload window and fixes the agreed set.
    ///
    /// # Errors
    /// [`Abort`] if too few sites uploaded or too few batches are complete.
    pub fn close(self) -> Result<Agreeing, Abort> {
        let (uploaded, conflicting) = (self.uploaded(), self.conflicting());
        let Self { facts, mut manifests, .. } = self;
        let needed = facts.threshold();
        if uploaded.len() < needed {
            return Err(Abort::TooFewUploads { found: uploaded.len(), needed, conflicting });
        }
        let agreed = facts.context.agreed_set(&uploaded);
        let needed = facts.context.min_agreed.into();
        if agreed.len() < needed {
            return Err(Abort::TooFewAgreed { found: agreed.len(), needed, conflicting });
        }
        manifests.retain(|site, _| uploaded.contains(site));
        Ok(Agreeing::new(facts, manifests, agreed))
    }
}

fn matches(body: &StoredBody, manifest: &Manifest) -> bool {
    let header = &manifest.signed.header;
    body.root == header.body_root && body.bytes == header.body_bytes
}

impl fmt::Debug for Collecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collecting").field("uploaded", &self.uploaded()).finish_non_exhaustive()
    }
}
