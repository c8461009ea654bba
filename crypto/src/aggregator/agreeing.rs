//! Phase 2: take the sites' signatures on the agreed set.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Abort, Facts, Rejection, Unmasking};
use crate::digest::Digest;
use crate::ids::SiteId;
use crate::messages::{AgreementProposal, AgreementSignature, Manifest, SealedShares};

/// Collects signatures on one agreed set.
///
/// Nothing can be opened before it is closed:
///
/// ```compile_fail,E0599
/// # use konclave_crypto::{SiteId, aggregator::Agreeing};
/// # fn early(phase: Agreeing, site: &SiteId) {
/// let request = phase.request_for(site);
/// # }
/// ```
pub struct Agreeing {
    facts: Facts,
    proposal: AgreementProposal,
    agreed_digest: Digest,
    /// Sealed shares of the agreed sites, by dealer.
    sealed: BTreeMap<SiteId, Vec<SealedShares>>,
    signatures: BTreeMap<SiteId, AgreementSignature>,
}

impl Agreeing {
    pub(super) fn new(facts: Facts, manifests: BTreeMap<SiteId, Manifest>, agreed: BTreeSet<SiteId>) -> Self {
        let (mut headers, mut sealed) = (Vec::new(), BTreeMap::new());
        for (site, manifest) in manifests {
            headers.push(manifest.signed);
            if agreed.contains(&site) {
                sealed.insert(site, manifest.sealed);
            }
        }
        let proposal = AgreementProposal {
            context: facts.digest,
            manifests: headers,
            agreed: agreed.into_iter().collect(),
        };
        let agreed_digest = proposal.agreed_digest();
        Self { facts, proposal, agreed_digest, sealed, signatures: BTreeMap::new() }
    }

    /// What every uploader is asked to sign.
    #[must_use]
    pub fn proposal(&self) -> &AgreementProposal {
        &self.proposal
    }

    /// Takes a site's signature. Every uploader counts, in the agreed set or not: all hold shares.
    ///
    /// # Errors
    /// [`Rejection`] names the failed check.
    pub fn accept(&mut self, signature: AgreementSignature) -> Result<(), Rejection> {
        let site = signature.site.clone();
        self.facts.check_sender(&site, signature.context, &uploaders(&self.proposal))?;
        if signature.agreed_digest != self.agreed_digest {
            return Err(Rejection::AgreedSet { site });
        }
        if !signature.verify(&self.facts.roster) {
            return Err(Rejection::Signature { site });
        }
        self.signatures.insert(site, signature);
        Ok(())
    }

    /// The sites that signed.
    #[must_use]
    pub fn signed_by(&self) -> BTreeSet<SiteId> {
        self.signatures.keys().cloned().collect()
    }

    /// Whether at least t sites signed.
    #[must_use]
    pub fn quorum(&self) -> bool {
        self.signatures.len() >= self.facts.threshold()
    }

    /// Goes on to unmasking.
    ///
    /// # Errors
    /// [`Abort::NoQuorum`] if fewer than t sites signed.
    pub fn close(self) -> Result<Unmasking, Abort> {
        if !self.quorum() {
            return Err(Abort::NoQuorum { found: self.signatures.len(), needed: self.facts.threshold() });
        }
        let Self { facts, proposal, sealed, signatures, .. } = self;
        Ok(Unmasking::new(facts, proposal, sealed, signatures.into_values().collect()))
    }
}

/// The sites of a proposal's headers (V).
pub(super) fn uploaders(proposal: &AgreementProposal) -> BTreeSet<SiteId> {
    proposal.manifests.iter().map(|signed| signed.header.site.clone()).collect()
}

impl fmt::Debug for Agreeing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agreeing").field("signed_by", &self.signed_by()).finish_non_exhaustive()
    }
}
