//! Phase 3: take the opened shares and seeds, each checked against its commitment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::agreeing::uploaders;
use super::{Abort, Facts, Opened, Opening, Rejection};
use crate::dealing::DealingPlan;
use crate::ids::SiteId;
use crate::messages::{
    AgreementProposal, AgreementSignature, ManifestHeader, SealedShares, SeedBytes, UnmaskingRequest,
    UnmaskingResponse,
};
use crate::seed::Seed;
use crate::shamir;
use crate::verification::AgreedSet;

/// An agreed site and its neighbour outside the set, whose shared mask stays in the sum.
type Pair = (SiteId, SiteId);

/// Shares by roster index.
type Shares = BTreeMap<usize, Seed>;

/// Collects openings for one agreed set.
pub struct Unmasking {
    facts: Facts,
    proposal: AgreementProposal,
    uploaders: BTreeSet<SiteId>,
    headers: BTreeMap<SiteId, ManifestHeader>,
    /// What each agreed site dealt.
    plans: BTreeMap<SiteId, DealingPlan>,
    sealed: BTreeMap<SiteId, Vec<SealedShares>>,
    signatures: Vec<AgreementSignature>,
    /// For each agreed site, its neighbours outside the set.
    open_pairs: BTreeMap<SiteId, BTreeSet<SiteId>>,
    responses: BTreeMap<SiteId, UnmaskingResponse>,
    opened: OpenedValues,
}

/// Checked values, from one response or from all together.
#[derive(Default)]
struct OpenedValues {
    self_mask_shares: BTreeMap<SiteId, Shares>,
    pair_seed_shares: BTreeMap<Pair, Shares>,
    pair_seeds: BTreeMap<Pair, Seed>,
}

impl Unmasking {
    pub(super) fn new(
        facts: Facts,
        proposal: AgreementProposal,
        sealed: BTreeMap<SiteId, Vec<SealedShares>>,
        signatures: Vec<AgreementSignature>,
    ) -> Self {
        let agreed: BTreeSet<SiteId> = proposal.agreed.iter().cloned().collect();
        let headers: BTreeMap<SiteId, ManifestHeader> = proposal
            .manifests
            .iter()
            .map(|signed| (signed.header.site.clone(), signed.header.clone()))
            .filter(|(site, _)| agreed.contains(site))
            .collect();
        let round = facts.round();
        let plans = headers.keys().map(|site| (site.clone(), DealingPlan::new(&round, site))).collect();
        Self {
            plans,
            open_pairs: facts.context.open_pairs(&agreed),
            uploaders: uploaders(&proposal),
            facts,
            proposal,
            headers,
            sealed,
            signatures,
            responses: BTreeMap::new(),
            opened: OpenedValues::default(),
        }
    }

    /// The proposal that was signed; an uploader that has not signed yet still needs it.
    #[must_use]
    pub fn proposal(&self) -> &AgreementProposal {
        &self.proposal
    }

    /// The request for one site; `None` if the site did not upload and so holds nothing.
    #[must_use]
    pub fn request_for(&self, site: &SiteId) -> Option<UnmaskingRequest> {
        if !self.uploaders.contains(site) {
            return None;
        }
        let agreed = &self.proposal.agreed;
        Some(UnmaskingRequest {
            context: self.facts.digest,
            agreed: agreed.clone(),
            signatures: self.signatures.clone(),
            self_masks_of: agreed.clone(),
            pair_seeds_of: self
                .facts
                .roster
                .sites()
                .filter(|other| !self.headers.contains_key(*other))
                .cloned()
                .collect(),
            sealed: self.sealed.values().flatten().filter(|entry| entry.to == *site).cloned().collect(),
        })
    }

    /// Takes a site's opening after checking every value in it against the commitments.
    ///
    /// # Errors
    /// [`Rejection`] names the sender and the value that does not match; nothing of the response is used then.
    pub fn accept(&mut self, response: UnmaskingResponse) -> Result<(), Rejection> {
        let site = response.site.clone();
        self.facts.check_sender(&site, response.context, &self.uploaders)?;
        match self.responses.get(&site) {
            Some(known) if *known == response => return Ok(()),
            Some(_) => return Err(Rejection::Changed { site }),
            None => {}
        }
        if !response.verify(&self.facts.roster) {
            return Err(Rejection::Signature { site });
        }
        let checked =
            self.check(&response).map_err(|opened| Rejection::Opened { site: site.clone(), opened })?;
        let OpenedValues { self_mask_shares, pair_seed_shares, pair_seeds } = checked;
        for (dealer, shares) in self_mask_shares {
            self.opened.self_mask_shares.entry(dealer).or_default().extend(shares);
        }
        for (pair, shares) in pair_seed_shares {
            self.opened.pair_seed_shares.entry(pair).or_default().extend(shares);
        }
        self.opened.pair_seeds.extend(pair_seeds);
        self.responses.insert(site, response);
        Ok(())
    }

    fn check(&self, response: &UnmaskingResponse) -> Result<OpenedValues, Opened> {
        let site = &response.site;
        let at = self.facts.roster.index_of(site).ok_or(Opened::List)?;
        self.check_lists(response)?;
        let mut values = OpenedValues::default();
        for (dealer, share) in &response.self_mask_shares {
            let bad = || Opened::SelfMaskShare { dealer: dealer.clone() };
            let (plan, header) = self.dealing(dealer).ok_or(Opened::List)?;
            let value =
                plan.check_share(site, DealingPlan::SELF_SLOT, share, &header.share_root).ok_or_else(bad)?;
            values.self_mask_shares.insert(dealer.clone(), Shares::from([(at, value)]));
        }
        for entry in &response.pair_seed_shares {
            let (owner, peer) = (&entry.owner, &entry.peer);
            let bad = || Opened::PairSeedShare { owner: owner.clone(), peer: peer.clone() };
            let (plan, header) = self.dealing(owner).ok_or(Opened::List)?;
            let slot = plan.pair_slot(peer).ok_or(Opened::List)?;
            let value = plan.check_share(site, slot, &entry.share, &header.share_root).ok_or_else(bad)?;
            values.pair_seed_shares.insert((owner.clone(), peer.clone()), Shares::from([(at, value)]));
        }
        for (peer, SeedBytes(bytes)) in &response.own_pair_seeds {
            let committed = self.headers.get(site).and_then(|header| header.pair_seed_hashes.get(peer));
            let seed = Seed::from_bytes(bytes)
                .filter(|seed| Some(&seed.pair_commitment(&self.facts.digest, site, peer)) == committed)
                .ok_or_else(|| Opened::OwnPairSeed { peer: peer.clone() })?;
            values.pair_seeds.insert((site.clone(), peer.clone()), seed);
        }
        Ok(values)
    }

    /// The response must open exactly what the set needs, apart from dealers it complains about.
    fn check_lists(&self, response: &UnmaskingResponse) -> Result<(), Opened> {
        let UnmaskingResponse { site, complaints, .. } = response;
        let usable = || self.headers.keys().filter(|dealer| !complaints.contains(*dealer));
        let own_peers = self.open_pairs.get(site).into_iter().flatten();
        let pairs = usable().filter(|owner| *owner != site).flat_map(|owner| {
            self.open_pairs.get(owner).into_iter().flatten().map(move |peer| (owner, peer))
        });
        let complete = complaints.iter().all(|dealer| dealer != site && self.headers.contains_key(dealer))
            && response.self_mask_shares.keys().eq(usable())
            && response.own_pair_seeds.keys().eq(own_peers)
            && response.pair_seed_shares.iter().map(|entry| (&entry.owner, &entry.peer)).eq(pairs);
        if complete { Ok(()) } else { Err(Opened::List) }
    }

    fn dealing(&self, dealer: &SiteId) -> Option<(&DealingPlan, &ManifestHeader)> {
        self.plans.get(dealer).zip(self.headers.get(dealer))
    }

    /// The sites whose openings were accepted.
    #[must_use]
    pub fn answered_by(&self) -> BTreeSet<SiteId> {
        self.responses.keys().cloned().collect()
    }

    /// For each dealer, the sites that could not open its shares.
    #[must_use]
    pub fn complaints(&self) -> BTreeMap<SiteId, BTreeSet<SiteId>> {
        let mut by_dealer: BTreeMap<SiteId, BTreeSet<SiteId>> = BTreeMap::new();
        for (site, response) in &self.responses {
            for dealer in &response.complaints {
                by_dealer.entry(dealer.clone()).or_default().insert(site.clone());
            }
        }
        by_dealer
    }

    /// The dealers that more sites complain about than can collude: at least one of them is honest.
    fn blamed(&self) -> BTreeSet<SiteId> {
        let colluding = self.facts.colluding();
        let blamed = self.complaints().into_iter().filter(|(_, complainers)| complainers.len() >= colluding);
        blamed.map(|(dealer, _)| dealer).collect()
    }

    /// Whether at least t sites answered and every seed that the sum needs can be recovered.
    #[must_use]
    pub fn sufficient(&self) -> bool {
        let threshold = self.facts.threshold();
        let enough = |shares: Option<&Shares>| shares.is_some_and(|shares| shares.len() >= threshold);
        self.responses.len() >= threshold
            && self.headers.keys().all(|site| enough(self.opened.self_mask_shares.get(site)))
            && self.needed_pairs().all(|pair| {
                self.opened.pair_seeds.contains_key(&pair) || enough(self.opened.pair_seed_shares.get(&pair))
            })
    }

    fn needed_pairs(&self) -> impl Iterator<Item = Pair> {
        self.open_pairs
            .iter()
            .flat_map(|(owner, peers)| peers.iter().map(move |peer| (owner.clone(), peer.clone())))
    }

    /// Recovers every seed that the sum needs.
    ///
    /// # Errors
    /// [`Abort::Unrecoverable`] before [`Self::sufficient`], [`Abort::BadDealing`] if a dealer's shares do not give
    /// the seed it committed to.
    pub fn close(mut self) -> Result<Opening, Abort> {
        let threshold = self.facts.threshold();
        if !self.sufficient() {
            return Err(Abort::Unrecoverable {
                found: self.responses.len(),
                needed: threshold,
                complained_of: self.complaints().into_keys().collect(),
                blamed: self.blamed(),
            });
        }
        let context = self.facts.digest;
        let mut self_seeds = BTreeMap::new();
        let mut pair_seeds = std::mem::take(&mut self.opened.pair_seeds);
        for (dealer, header) in &self.headers {
            let bad = || Abort::BadDealing { dealer: dealer.clone() };
            let shares = self.opened.self_mask_shares.remove(dealer).ok_or_else(bad)?;
            let seed = recover(shares, threshold);
            if seed.self_commitment(&context, dealer) != header.self_mask_hash {
                return Err(bad());
            }
            self_seeds.insert(dealer.clone(), seed);
            for peer in self.open_pairs.get(dealer).into_iter().flatten() {
                let pair = (dealer.clone(), peer.clone());
                if pair_seeds.contains_key(&pair) {
                    continue;
                }
                let shares = self.opened.pair_seed_shares.remove(&pair).ok_or_else(bad)?;
                let seed = recover(shares, threshold);
                if Some(&seed.pair_commitment(&context, dealer, peer)) != header.pair_seed_hashes.get(peer) {
                    return Err(bad());
                }
                pair_seeds.insert(pair, seed);
            }
        }
        let agreed = AgreedSet::of(&self.facts.context, &self.proposal);
        Ok(Opening::new(self.facts, agreed, &self_seeds, &pair_seeds))
    }
}

fn recover(mut shares: Shares, threshold: usize) -> Seed {
    while shares.len() > threshold {
        shares.pop_last();
    }
    shamir::recover(&shares)
}

impl fmt::Debug for Unmasking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unmasking").field("answered_by", &self.answered_by()).finish_non_exhaustive()
    }
}
