//! Step 2: check the proposed set and sign it, once.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{Agreed, Uploaded};
use super::{AwaitAgreement, AwaitUnmasking, Refused};
use crate::context::VerifiedContext;
use crate::identity::IdentityKey;
use crate::ids::SiteId;
use crate::messages::{AgreementProposal, AgreementSignature, SignedManifestHeader};
use crate::round::{HeaderFault, Round, conflicting_pairs};
use crate::setup::{Roster, Signatories};

/// Why a proposal was not signed. The gateway that made it, or the named site, is at fault; nothing was revealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgreeError {
    /// The proposal, the context or the roster belongs to another round.
    #[error("the proposal belongs to another round context than this site masked for")]
    Context,
    /// The identity key is not the one in the roster.
    #[error("the identity key is not the one that the roster lists for `{site}`")]
    Identity {
        /// This site.
        site: SiteId,
    },
    /// The headers are not ascending by site, or one site appears twice.
    #[error("the proposal's manifests are not ascending by site: `{site}` is repeated or out of place")]
    Order {
        /// The site out of place.
        site: SiteId,
    },
    /// A header does not hold.
    #[error("the manifest header of `{site}` was refused: {fault}")]
    Header {
        /// The header's site.
        site: SiteId,
        /// What is wrong with it.
        fault: HeaderFault,
    },
    /// Two ends of a pair committed to different seeds.
    #[error("`{site}` and `{peer}` committed to different seeds of their pairwise mask")]
    PairSeeds {
        /// The earlier site.
        site: SiteId,
        /// The later site.
        peer: SiteId,
    },
    /// This site's own header was altered.
    #[error("the proposal holds another manifest of this site than the one it sent")]
    OwnManifest,
    /// Fewer uploads than the threshold.
    #[error("only {found} sites uploaded; {threshold} are needed to open anything")]
    TooFewUploads {
        /// Number of uploads.
        found: usize,
        /// The threshold.
        threshold: u16,
    },
    /// The set is not the union of the complete batches.
    #[error("the proposed set is not the union of the batches that uploaded completely")]
    AgreedSet,
    /// The set is too small.
    #[error("the proposed set has {found} sites; at least {min_agreed} must be summed")]
    TooFewAgreed {
        /// Sites in the set.
        found: usize,
        /// Least number.
        min_agreed: u16,
    },
}

impl AwaitAgreement {
    /// Checks a proposal and signs its set. The state is consumed: there is no second signature in this round.
    ///
    /// Store the new state's bytes durably **before** sending the signature.
    ///
    /// # Errors
    /// [`AgreeError`], with this state unchanged.
    pub fn agree(
        self,
        roster: &Roster,
        context: &VerifiedContext,
        proposal: &AgreementProposal,
        key: &IdentityKey,
    ) -> Result<(AwaitUnmasking, AgreementSignature), Refused<Self, AgreeError>> {
        let round = Round { context: context.context(), digest: context.digest(), roster };
        match check(&self.0, &round, proposal, key) {
            Ok(headers) => Ok(sign(*self.0, &headers, proposal, key)),
            Err(error) => Err(Refused::new(self, error)),
        }
    }
}

fn check<'a>(
    own: &Uploaded,
    round: &Round<'_>,
    proposal: &'a AgreementProposal,
    key: &IdentityKey,
) -> Result<BTreeMap<&'a SiteId, &'a SignedManifestHeader>, AgreeError> {
    let own_signed = &own.manifest.signed;
    let site = &own_signed.header.site;
    if own_signed.header.context != round.digest {
        return Err(AgreeError::Context);
    }
    if round.roster.identity_key(site) != Some(&key.public()) {
        return Err(AgreeError::Identity { site: site.clone() });
    }

    let headers = round.check_proposal(proposal)?;
    if headers.get(site).is_some_and(|listed| *listed != own_signed) {
        return Err(AgreeError::OwnManifest);
    }
    Ok(headers)
}

impl<S: Signatories> Round<'_, S> {
    /// Checks a proposal by the rules that every site signs by, apart from what only one site knows.
    pub(crate) fn check_proposal<'a>(
        &self,
        proposal: &'a AgreementProposal,
    ) -> Result<BTreeMap<&'a SiteId, &'a SignedManifestHeader>, AgreeError> {
        if proposal.context != self.digest || self.context.roster != self.roster.digest() {
            return Err(AgreeError::Context);
        }
        let mut headers: BTreeMap<&SiteId, &SignedManifestHeader> = BTreeMap::new();
        for signed in &proposal.manifests {
            let from = &signed.header.site;
            if headers.last_key_value().is_some_and(|(last, _)| *last >= from) {
                return Err(AgreeError::Order { site: from.clone() });
            }
            self.check_header(signed).map_err(|fault| AgreeError::Header { site: from.clone(), fault })?;
            headers.insert(from, signed);
        }
        if let Some((site, peer)) = conflicting_pairs(&headers).pop_first() {
            return Err(AgreeError::PairSeeds { site, peer });
        }
        let threshold = self.context.threshold;
        if headers.len() < usize::from(threshold) {
            return Err(AgreeError::TooFewUploads { found: headers.len(), threshold });
        }
        let uploaded: BTreeSet<SiteId> = headers.keys().copied().cloned().collect();
        let agreed = self.context.agreed_set(&uploaded);
        if !agreed.iter().eq(&proposal.agreed) {
            return Err(AgreeError::AgreedSet);
        }
        let min_agreed = self.context.min_agreed;
        if agreed.len() < usize::from(min_agreed) {
            return Err(AgreeError::TooFewAgreed { found: agreed.len(), min_agreed });
        }
        Ok(headers)
    }
}

fn sign(
    own: Uploaded,
    headers: &BTreeMap<&SiteId, &SignedManifestHeader>,
    proposal: &AgreementProposal,
    key: &IdentityKey,
) -> (AwaitUnmasking, AgreementSignature) {
    let Uploaded { round, manifest, mut pair_seeds, mut opening_keys, own_bundle } = own;
    let site = manifest.signed.header.site;
    let agreed: BTreeSet<&SiteId> = proposal.agreed.iter().collect();
    let inside = agreed.contains(&site);
    // What this set can never need is erased now: a later compromise cannot open it either.
    pair_seeds.retain(|peer, _| inside && !agreed.contains(peer));
    opening_keys.retain(|peer, _| agreed.contains(peer));

    let share_roots = headers
        .iter()
        .filter(|(dealer, _)| agreed.contains(*dealer))
        .map(|(dealer, signed)| ((*dealer).clone(), signed.header.share_root))
        .collect();
    let agreement = AgreementSignature::sign(proposal.context, site, proposal.agreed_digest(), key);
    let state = Agreed {
        round,
        agreement: agreement.clone(),
        uploaded: headers.keys().copied().cloned().collect(),
        agreed: proposal.agreed.clone(),
        share_roots,
        open_pair_seeds: pair_seeds,
        opening_keys,
        own_bundle: inside.then_some(own_bundle),
    };
    (AwaitUnmasking(Box::new(state)), agreement)
}
