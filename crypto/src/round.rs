//! The facts of a round that sites and gateway check alike.

use std::collections::{BTreeMap, BTreeSet};

use crate::context::RoundContext;
use crate::digest::Digest;
use crate::ids::SiteId;
use crate::messages::SignedManifestHeader;
use crate::setup::{Roster, Signatories};

/// A validated context with its digest and the roster it names, or what is known of that.
pub(crate) struct Round<'a, S = Roster> {
    pub(crate) context: &'a RoundContext,
    pub(crate) digest: Digest,
    pub(crate) roster: &'a S,
}

/// What is wrong with a manifest header. The site that signed it is at fault, or whoever altered it on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// The site is not in the roster.
    #[error("its site is not in the roster")]
    UnknownSite,
    /// It belongs to another round, job or model.
    #[error("it was made for another round context")]
    Context,
    /// The signature does not hold.
    #[error("its signature does not hold")]
    Signature,
    /// Its pairwise commitments are not exactly those with the site's neighbours.
    #[error("it does not commit to a seed with each neighbour and nobody else")]
    Neighbours,
    /// The body has another length than the encoding gives.
    #[error("its body has a wrong length")]
    BodyLength,
}

impl<S: Signatories> Round<'_, S> {
    /// Checks one header by itself.
    pub(crate) fn check_header(&self, signed: &SignedManifestHeader) -> Result<(), HeaderFault> {
        let header = &signed.header;
        if self.roster.identity_key(&header.site).is_none() {
            return Err(HeaderFault::UnknownSite);
        }
        if header.context != self.digest {
            return Err(HeaderFault::Context);
        }
        if !signed.verify(self.roster) {
            return Err(HeaderFault::Signature);
        }
        if !header.pair_seed_hashes.keys().eq(self.context.neighbours(&header.site).iter()) {
            return Err(HeaderFault::Neighbours);
        }
        if header.body_bytes != self.context.encoding.body_bytes() {
            return Err(HeaderFault::BodyLength);
        }
        Ok(())
    }
}

/// The pairs whose two ends committed to different seeds, each named once with the earlier site first.
pub(crate) fn conflicting_pairs(
    headers: &BTreeMap<&SiteId, &SignedManifestHeader>,
) -> BTreeSet<(SiteId, SiteId)> {
    let mut conflicts = BTreeSet::new();
    for (site, signed) in headers {
        for (peer, hash) in signed
            .header
            .pair_seed_hashes
            .range::<SiteId, _>((std::ops::Bound::Excluded(*site), std::ops::Bound::Unbounded))
        {
            let theirs = headers.get(peer).and_then(|signed| signed.header.pair_seed_hashes.get(*site));
            if theirs.is_some_and(|theirs| theirs != hash) {
                conflicts.insert(((*site).clone(), peer.clone()));
            }
        }
    }
    conflicts
}
