//! Step 3: open what the signed set needs, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::state::Agreed;
use super::{AwaitUnmasking, Refused, RoundClosed};
use crate::context::VerifiedContext;
use crate::dealing::{DealingPlan, ShareBundle};
use crate::digest::Digest;
use crate::identity::{IdentityKey, Signature};
use crate::ids::SiteId;
use crate::messages::{AgreementSignature, PairSeedShare, SealedShares, UnmaskingRequest, UnmaskingResponse};
use crate::round::Round;
use crate::sealing::{SealBinding, open};
use crate::setup::{Roster, Signatories};

/// Why a request was not answered. The gateway that made it is at fault; nothing was revealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnmaskError {
    /// The request, the context or the roster belongs to another round.
    #[error("the request belongs to another round context than this site agreed for")]
    Context,
    /// The identity key is not the one in the roster.
    #[error("the identity key is not the one that the roster lists for `{site}`")]
    Identity {
        /// This site.
        site: SiteId,
    },
    /// Both kinds of secret of one site are asked for: together they would open its update.
    #[error("both the self mask and the pairwise masks of `{site}` are asked for: an attack on its update")]
    BothKinds {
        /// The site under attack.
        site: SiteId,
    },
    /// The set is not the one this site signed.
    #[error("the request is for another set than the one this site signed")]
    AgreedSet,
    /// The lists do not follow from the set.
    #[error("the request asks for other secrets than the agreed set needs")]
    Lists,
    /// A signature on the set is missing its right to count.
    #[error("the agreement signature of `{site}` does not hold, is repeated, or is for another set")]
    Signature {
        /// The named signer.
        site: SiteId,
    },
    /// Too few sites signed the set.
    #[error("only {found} sites signed the set; {threshold} are needed")]
    TooFewSignatures {
        /// Signatures in the request.
        found: usize,
        /// The threshold.
        threshold: u16,
    },
    /// The sealed shares are not exactly one from each other agreed site, ascending.
    #[error("the sealed shares in the request are not one from each other agreed site, ascending")]
    Sealed,
}

impl AwaitUnmasking {
    /// Opens this site's part for the set it signed, if at least t sites signed the same.
    ///
    /// Shares that do not open or do not match their dealer's manifest are left out and named in `complaints`.
    ///
    /// # Errors
    /// [`UnmaskError`], with this state unchanged.
    pub fn unmask(
        self,
        roster: &Roster,
        context: &VerifiedContext,
        request: &UnmaskingRequest,
        key: &IdentityKey,
    ) -> Result<(RoundClosed, UnmaskingResponse), Refused<Self, UnmaskError>> {
        let round = Round { context: context.context(), digest: context.digest(), roster };
        if let Err(error) = check(&self.0, &round, request, key) {
            return Err(Refused::new(self, error));
        }
        let closed = RoundClosed { context: round.digest, round: self.0.round };
        Ok((closed, answer(*self.0, &round, request, key)))
    }
}

fn check(
    own: &Agreed,
    round: &Round<'_>,
    request: &UnmaskingRequest,
    key: &IdentityKey,
) -> Result<(), UnmaskError> {
    let Agreed { agreement, agreed, uploaded, .. } = own;
    let same_round = request.context == round.digest && agreement.context == round.digest;
    if !same_round || round.context.roster != round.roster.digest() {
        return Err(UnmaskError::Context);
    }
    if round.roster.identity_key(&agreement.site) != Some(&key.public()) {
        return Err(UnmaskError::Identity { site: agreement.site.clone() });
    }
    let pair_seeds_of: BTreeSet<&SiteId> = request.pair_seeds_of.iter().collect();
    if let Some(site) = request.self_masks_of.iter().find(|site| pair_seeds_of.contains(site)) {
        return Err(UnmaskError::BothKinds { site: site.clone() });
    }
    if request.agreed != *agreed {
        return Err(UnmaskError::AgreedSet);
    }
    let outside = round.roster.sites().filter(|site| !agreed.contains(site));
    if request.self_masks_of != *agreed || !outside.eq(&request.pair_seeds_of) {
        return Err(UnmaskError::Lists);
    }

    round.check_signatures(&request.signatures, &agreement.agreed_digest, uploaded)?;

    let dealers = agreed.iter().filter(|dealer| **dealer != agreement.site);
    let named = request.sealed.iter().map(|entry| &entry.from);
    let mine = request.sealed.iter().all(|entry| entry.to == agreement.site);
    if mine && dealers.eq(named) { Ok(()) } else { Err(UnmaskError::Sealed) }
}

impl<S: Signatories> Round<'_, S> {
    /// Checks that at least t of the uploaders signed one set: every signature given must count.
    pub(crate) fn check_signatures(
        &self,
        signatures: &[AgreementSignature],
        agreed_digest: &Digest,
        uploaded: &BTreeSet<SiteId>,
    ) -> Result<(), UnmaskError> {
        let mut signers = BTreeSet::new();
        for signature in signatures {
            let counts = signature.context == self.digest
                && signature.agreed_digest == *agreed_digest
                && uploaded.contains(&signature.site)
                && signers.insert(&signature.site)
                && signature.verify(self.roster);
            if !counts {
                return Err(UnmaskError::Signature { site: signature.site.clone() });
            }
        }
        let threshold = self.context.threshold;
        if signers.len() < usize::from(threshold) {
            return Err(UnmaskError::TooFewSignatures { found: signers.len(), threshold });
        }
        Ok(())
    }
}

fn answer(
    own: Agreed,
    round: &Round<'_>,
    request: &UnmaskingRequest,
    key: &IdentityKey,
) -> UnmaskingResponse {
    let site = own.agreement.site.clone();
    let agreed: BTreeSet<SiteId> = own.agreed.iter().cloned().collect();
    let open_pairs = round.context.open_pairs(&agreed);
    let sealed: BTreeMap<&SiteId, &SealedShares> =
        request.sealed.iter().map(|entry| (&entry.from, entry)).collect();

    let (mut self_mask_shares, mut pair_seed_shares) = (BTreeMap::new(), Vec::new());
    let mut complaints = BTreeSet::new();
    for dealer in &agreed {
        let plan = DealingPlan::new(round, dealer);
        let own_dealing = *dealer == site;
        let received;
        let bundle = if own_dealing {
            own.own_bundle.as_ref()
        } else {
            received = open_bundle(&own, round, &plan, &site, sealed.get(dealer).copied());
            received.as_ref()
        };
        let opened = bundle.and_then(|bundle| {
            let self_share = plan.open_share(&site, bundle, DealingPlan::SELF_SLOT)?;
            // This site's own pairwise seeds go whole, not in shares.
            let peers = open_pairs.get(dealer).filter(|_| !own_dealing).into_iter().flatten();
            let pair_shares = peers.map(|peer| {
                let share = plan.open_share(&site, bundle, plan.pair_slot(peer)?)?;
                Some(PairSeedShare { owner: dealer.clone(), peer: peer.clone(), share })
            });
            Some((self_share, pair_shares.collect::<Option<Vec<_>>>()?))
        });
        match opened {
            Some((self_share, pair_shares)) => {
                self_mask_shares.insert(dealer.clone(), self_share);
                pair_seed_shares.extend(pair_shares);
            }
            None => {
                complaints.insert(dealer.clone());
            }
        }
    }
    let own_pair_seeds = own.open_pair_seeds.iter().map(|(peer, seed)| (peer.clone(), seed.open())).collect();
    UnmaskingResponse {
        context: round.digest,
        site,
        self_mask_shares,
        own_pair_seeds,
        pair_seed_shares,
        complaints,
        signature: Signature::UNSIGNED,
    }
    .sign(key)
}

/// Opens and checks what a dealer sealed to this site; `None` is a reason to complain.
fn open_bundle(
    own: &Agreed,
    round: &Round<'_>,
    plan: &DealingPlan,
    site: &SiteId,
    sealed: Option<&SealedShares>,
) -> Option<ShareBundle> {
    let SealedShares { from, sealed, .. } = sealed?;
    let share_root = own.share_roots.get(from)?;
    let binding = SealBinding { context: &round.digest, from, to: site, share_root };
    let bytes = open(own.opening_keys.get(from)?, &binding, sealed)?;
    plan.parse_bundle(site, share_root, &bytes)
}
