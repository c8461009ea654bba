//! The agreed set of a round as anybody can check it: the proposal and the signatures of a quorum.

use std::collections::{BTreeMap, BTreeSet};

use crate::context::{RoundContext, VerifiedContext};
use crate::digest::Digest;
use crate::ids::SiteId;
use crate::messages::{AgreementEvidence, AgreementProposal, ManifestHeader};
use crate::round::Round;
use crate::setup::Signatories;
use crate::site::{AgreeError, UnmaskError};

/// The agreed set of a round with what its sites committed to. Made only by a check of a quorum's signatures, or from
/// an aggregator that has made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreedSet {
    context: Digest,
    digest: Digest,
    headers: BTreeMap<SiteId, ManifestHeader>,
    groups: Vec<BTreeSet<SiteId>>,
    open_pairs: BTreeMap<SiteId, BTreeSet<SiteId>>,
}

/// Why evidence shows no agreed set. Whoever gave it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// The proposal breaks a rule.
    #[error("the proposal of the agreed set was refused: {0}")]
    Proposal(#[from] AgreeError),
    /// The signatures are not a quorum's.
    #[error("the signatures on the agreed set were refused: {0}")]
    Signatures(#[from] UnmaskError),
}

impl AgreementEvidence {
    /// Checks the proposal by the rules that sites sign by, and that at least t of its sites signed it.
    ///
    /// # Errors
    /// [`EvidenceError`] names the first rule that is broken.
    pub fn verify(
        &self,
        roster: &impl Signatories,
        context: &VerifiedContext,
    ) -> Result<AgreedSet, EvidenceError> {
        let round = Round { context: context.context(), digest: context.digest(), roster };
        let headers = round.check_proposal(&self.proposal)?;
        let uploaded = headers.keys().copied().cloned().collect();
        round.check_signatures(&self.signatures, &self.proposal.agreed_digest(), &uploaded)?;
        Ok(AgreedSet::of(round.context, &self.proposal))
    }
}

impl AgreedSet {
    /// The set of a proposal that the caller has checked or made.
    pub(crate) fn of(context: &RoundContext, proposal: &AgreementProposal) -> Self {
        let agreed: BTreeSet<SiteId> = proposal.agreed.iter().cloned().collect();
        let headers = proposal
            .manifests
            .iter()
            .map(|signed| (signed.header.site.clone(), signed.header.clone()))
            .filter(|(site, _)| agreed.contains(site))
            .collect();
        Self {
            context: proposal.context,
            digest: proposal.agreed_digest(),
            headers,
            groups: context.opened_groups(&agreed),
            open_pairs: context.open_pairs(&agreed),
        }
    }

    /// Digest of the round context.
    #[must_use]
    pub fn context(&self) -> Digest {
        self.context
    }

    /// Digest of the set and all headers, as the sites signed it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What each agreed site committed to.
    #[must_use]
    pub fn headers(&self) -> &BTreeMap<SiteId, ManifestHeader> {
        &self.headers
    }

    /// The sites of each sum that is opened.
    pub(crate) fn groups(&self) -> &[BTreeSet<SiteId>] {
        &self.groups
    }

    /// For each agreed site, its neighbours outside the set.
    pub(crate) fn open_pairs(&self) -> &BTreeMap<SiteId, BTreeSet<SiteId>> {
        &self.open_pairs
    }
}
