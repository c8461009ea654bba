//! The omniscient observer: it sees every message that leaves an honest site and says when a promise is broken.
//!
//! It counts as known to the gateway whatever left any honest site, delivered or not, and whatever the colluders hold:
//! their own pairwise seeds, and one share of every seed for each of them. From that it works out which seeds can be
//! recovered, and from those which sums of updates can be computed: by linear algebra, not by trying.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use konclave_crypto::messages::{AgreementProposal, ManifestHeader, UnmaskingResponse};
use konclave_crypto::{Digest, Mode, OpenedSum, RoundContext, SiteId};

use crate::keys::Keys;
use crate::letter::Letter;

/// A broken promise.
pub type Violation = String;

pub struct Observer {
    keys: Rc<Keys>,
    honest: BTreeSet<SiteId>,
    colluders: usize,
    contexts: BTreeMap<Digest, RoundContext>,
    /// Sets that were proposed to anybody, by the digest that is signed.
    views: BTreeMap<Digest, AgreementProposal>,
    /// First message of each kind that an honest site sent in a round.
    first: BTreeMap<(SiteId, u32, &'static str), Letter>,
    uploads: BTreeMap<Digest, BTreeMap<SiteId, ManifestHeader>>,
    signed: BTreeMap<Digest, BTreeSet<SiteId>>,
    agreed_to: BTreeMap<(SiteId, Digest), Digest>,
    known: BTreeMap<Digest, Known>,
    /// Sums of updates that can be computed, by context.
    computable: BTreeMap<Digest, BTreeSet<BTreeSet<SiteId>>>,
}

/// Honest sites that gave away a share, by what it is a share of; and whole seeds.
#[derive(Default)]
struct Known {
    self_masks: BTreeMap<SiteId, BTreeSet<SiteId>>,
    pair_shares: BTreeMap<(SiteId, SiteId), BTreeSet<SiteId>>,
    pair_seeds: BTreeSet<(SiteId, SiteId)>,
}

impl Observer {
    pub fn new(keys: &Rc<Keys>, colluders: &BTreeSet<usize>) -> Self {
        let honest = (0..keys.sites.len())
            .filter(|site| !colluders.contains(site))
            .map(|site| keys.sites[site].clone())
            .collect();
        Self {
            keys: Rc::clone(keys),
            honest,
            colluders: colluders.len(),
            contexts: BTreeMap::new(),
            views: BTreeMap::new(),
            first: BTreeMap::new(),
            uploads: BTreeMap::new(),
            signed: BTreeMap::new(),
            agreed_to: BTreeMap::new(),
            known: BTreeMap::new(),
            computable: BTreeMap::new(),
        }
    }

    pub fn is_honest(&self, site: &SiteId) -> bool {
        self.honest.contains(site)
    }

    /// Takes note of what the gateway sent.
    pub fn gateway_sent(&mut self, letter: &Letter) {
        match letter {
            Letter::Context(signed) => {
                self.contexts.insert(signed.context.digest(), signed.context.clone());
            }
            Letter::Proposal(proposal) => {
                self.views.insert(proposal.agreed_digest(), proposal.clone());
            }
            _ => {}
        }
    }

    /// Judges a message that left an honest site.
    pub fn site_sent(&mut self, site: &SiteId, letter: &Letter) -> Result<(), Violation> {
        if !self.honest.contains(site) {
            return Ok(());
        }
        let context = letter.context();
        let Some(parameters) = self.contexts.get(&context) else {
            return Err(format!("{site} sent a {} for a context that nobody made", letter.kind()));
        };
        let round = parameters.round.get();
        let before = self.first.entry((site.clone(), round, letter.kind())).or_insert_with(|| letter.clone());
        if before != letter {
            return Err(format!("{site} sent two different messages ({}) in round {round}", letter.kind()));
        }
        match letter {
            Letter::Manifest { manifest, .. } => {
                if parameters.threshold as usize != self.keys.threshold() || parameters.min_agreed < 2 {
                    return Err(format!("{site} masked under a weakened context"));
                }
                let uploads = self.uploads.entry(context).or_default();
                uploads.insert(site.clone(), manifest.signed.header.clone());
                Ok(())
            }
            Letter::Agreement(signature) => {
                self.signed.entry(signature.agreed_digest).or_default().insert(site.clone());
                self.agreed_to.insert((site.clone(), context), signature.agreed_digest);
                self.check_view(site, &signature.agreed_digest)?;
                self.check_one_set(round)
            }
            Letter::Response(response) => {
                self.check_response(site, response)?;
                self.learn(response);
                self.check_sums(context)
            }
            Letter::Body { .. } | Letter::Context(_) | Letter::Proposal(_) | Letter::Request(_) => Ok(()),
        }
    }

    /// A quorum of signatures, if the colluders sign everything.
    fn quorum(&self, agreed_digest: &Digest) -> bool {
        let honest = self.signed.get(agreed_digest).map_or(0, BTreeSet::len);
        honest > 0 && honest + self.colluders >= self.keys.threshold()
    }

    fn check_one_set(&self, round: u32) -> Result<(), Violation> {
        let of_round = |view: &AgreementProposal| {
            self.contexts.get(&view.context).is_some_and(|context| context.round.get() == round)
        };
        let sets: BTreeSet<(Digest, Vec<SiteId>)> = self
            .views
            .iter()
            .filter(|(digest, view)| of_round(view) && self.quorum(digest))
            .map(|(digest, view)| (*digest, view.agreed.clone()))
            .collect();
        if sets.len() > 1 {
            return Err(format!("{} sets of round {round} can reach a quorum", sets.len()));
        }
        Ok(())
    }

    /// What an honest site signs is true: the headers are what the honest sites sent, there are enough of them, and the set
    /// is the whole batches among them.
    fn check_view(&self, site: &SiteId, agreed_digest: &Digest) -> Result<(), Violation> {
        let view = self.views.get(agreed_digest).filter(|view| view.agreed_digest() == *agreed_digest);
        let Some(view) = view else { return Err(format!("{site} signed a set that nobody proposed")) };
        let parameters = &self.contexts[&view.context];
        let sent = self.uploads.get(&view.context);
        for signed in &view.manifests {
            let header = &signed.header;
            let true_one = sent.and_then(|sent| sent.get(&header.site));
            if self.honest.contains(&header.site) && true_one != Some(header) {
                return Err(format!("{site} signed a header that {} never sent", header.site));
            }
        }
        let shown: BTreeSet<&SiteId> = view.manifests.iter().map(|signed| &signed.header.site).collect();
        let whole = parameters.batches.iter().filter(|batch| batch.iter().all(|site| shown.contains(site)));
        let expected: BTreeSet<&SiteId> = whole.flatten().collect();
        let small = expected.len() < parameters.min_agreed.into() || shown.len() < self.keys.threshold();
        if small || !expected.into_iter().eq(&view.agreed) {
            return Err(format!("{site} signed a set that is too small or not the whole batches shown"));
        }
        Ok(())
    }

    /// What an honest site reveals is what the one set that it signed needs, and a quorum signed that set.
    fn check_response(&self, site: &SiteId, response: &UnmaskingResponse) -> Result<(), Violation> {
        let Some(agreed_digest) = self.agreed_to.get(&(site.clone(), response.context)) else {
            return Err(format!("{site} revealed shares without having signed a set"));
        };
        let Some(view) = self.views.get(agreed_digest) else {
            return Err(format!("{site} signed a set that nobody proposed"));
        };
        if !self.quorum(agreed_digest) {
            return Err(format!("{site} revealed shares for a set without a quorum"));
        }
        let inside: BTreeSet<&SiteId> = view.agreed.iter().collect();
        if let Some(outside) = response.self_mask_shares.keys().find(|dealer| !inside.contains(dealer)) {
            return Err(format!("{site} revealed a self-mask share of {outside}, outside the agreed set"));
        }
        let pairs = response.pair_seed_shares.iter().map(|entry| (&entry.owner, &entry.peer));
        let own = response.own_pair_seeds.keys().map(|peer| (site, peer));
        for (owner, peer) in pairs.chain(own) {
            if inside.contains(peer) || !inside.contains(owner) {
                return Err(format!("{site} revealed the pairwise seed of {owner} with {peer}"));
            }
        }
        Ok(())
    }

    fn learn(&mut self, response: &UnmaskingResponse) {
        let site = &response.site;
        let known = self.known.entry(response.context).or_default();
        for dealer in response.self_mask_shares.keys() {
            known.self_masks.entry(dealer.clone()).or_default().insert(site.clone());
        }
        for entry in &response.pair_seed_shares {
            let pair = (entry.owner.clone(), entry.peer.clone());
            known.pair_shares.entry(pair).or_default().insert(site.clone());
        }
        for peer in response.own_pair_seeds.keys() {
            known.pair_seeds.insert((site.min(peer).clone(), site.max(peer).clone()));
        }
    }

    fn check_sums(&mut self, context: Digest) -> Result<(), Violation> {
        let sums = self.sums(context);
        let parameters = &self.contexts[&context];
        let allowed = self.allowed_sums(context);
        for sum in &sums {
            if !allowed.contains(sum) {
                let names: Vec<&str> = sum.iter().map(SiteId::as_str).collect();
                return Err(format!(
                    "the sum over exactly {names:?} can be computed and was agreed by nobody"
                ));
            }
        }
        // Two sums over updates of one model differ by single updates.
        for (other, earlier) in &self.computable {
            let same_model = self.contexts[other].model == parameters.model;
            if *other != context && same_model && !earlier.is_empty() && !sums.is_empty() {
                return Err("two sums over updates of one model can be computed".into());
            }
        }
        self.computable.insert(context, sums);
        Ok(())
    }

    /// The honest part of each sum that a quorum agreed to open.
    fn allowed_sums(&self, context: Digest) -> BTreeSet<BTreeSet<SiteId>> {
        let parameters = &self.contexts[&context];
        let mut allowed = BTreeSet::new();
        let views = self.views.iter().filter(|(digest, view)| view.context == context && self.quorum(digest));
        for (_, view) in views {
            let agreed: BTreeSet<SiteId> = view.agreed.iter().cloned().collect();
            let honest = |sites: &BTreeSet<SiteId>| sites.intersection(&self.honest).cloned().collect();
            match parameters.mode {
                Mode::Full => drop(allowed.insert(honest(&agreed))),
                Mode::Group => {
                    for batch in &parameters.batches {
                        let batch: BTreeSet<SiteId> = batch.iter().cloned().collect();
                        if batch.is_subset(&agreed) {
                            allowed.insert(honest(&batch));
                        }
                    }
                }
            }
        }
        allowed
    }

    /// The smallest sums of honest updates that can be computed from the uploads and the known seeds.
    ///
    /// An upload is its update plus one unknown for each seed that cannot be recovered. A combination of uploads is free
    /// of unknowns only if it is constant along every unknown pairwise seed, and zero where the self mask is unknown or
    /// the other end of an unknown pair uploaded nothing: so the components of the graph of unknown pairs.
    fn sums(&self, context: Digest) -> BTreeSet<BTreeSet<SiteId>> {
        let (Some(uploads), Some(known)) = (self.uploads.get(&context), self.known.get(&context)) else {
            return BTreeSet::new();
        };
        let threshold = self.keys.threshold();
        // Every dealing gave one share to each colluder as well.
        let enough = |holders: Option<&BTreeSet<SiteId>>| {
            holders.map_or(0, BTreeSet::len) + self.colluders >= threshold
        };
        let pair_known = |a: &SiteId, b: &SiteId| {
            known.pair_seeds.contains(&(a.min(b).clone(), a.max(b).clone()))
                || enough(known.pair_shares.get(&(a.clone(), b.clone())))
                || enough(known.pair_shares.get(&(b.clone(), a.clone())))
        };
        let mut left: BTreeSet<&SiteId> = uploads.keys().collect();
        let mut sums = BTreeSet::new();
        while let Some(start) = left.pop_first() {
            let (mut component, mut frontier, mut open) = (BTreeSet::new(), vec![start], true);
            while let Some(site) = frontier.pop() {
                component.insert(site.clone());
                open &= enough(known.self_masks.get(site));
                for peer in uploads[site].pair_seed_hashes.keys().filter(|peer| self.honest.contains(*peer)) {
                    if pair_known(site, peer) {
                        continue;
                    }
                    if !uploads.contains_key(peer) {
                        open = false;
                    } else if left.remove(peer) {
                        frontier.push(peer);
                    }
                }
            }
            if open {
                sums.insert(component);
            }
        }
        sums
    }

    /// An opened sum is exactly the plain sum of its sites' inputs.
    pub fn check_opened(
        &self,
        context: Digest,
        opened: &[OpenedSum],
        agreed: &[SiteId],
        plain: &BTreeMap<SiteId, Vec<i64>>,
        bits: u8,
    ) -> Result<(), Violation> {
        let parameters = &self.contexts[&context];
        let mut groups: Vec<Vec<SiteId>> = match parameters.mode {
            Mode::Full => vec![agreed.to_vec()],
            Mode::Group => parameters
                .batches
                .iter()
                .filter(|batch| batch.iter().all(|site| agreed.contains(site)))
                .cloned()
                .collect(),
        };
        groups.iter_mut().for_each(|group| group.sort());
        let found: Vec<&Vec<SiteId>> = opened.iter().map(|sum| &sum.sites).collect();
        if !found.iter().copied().eq(&groups) {
            return Err(format!("sums over {found:?} were opened instead of {groups:?}"));
        }
        let modulus = 1_i64 << bits;
        let centred = |value: i64| (value + modulus / 2).rem_euclid(modulus) - modulus / 2;
        for sum in opened {
            let lanes = parameters.encoding.lanes() as usize;
            for lane in 0..lanes {
                let expected = centred(sum.sites.iter().map(|site| plain[site][lane]).sum());
                let weight = i64::try_from(sum.weight).unwrap();
                let found = sum.coordinates.get(lane).map_or(weight, |value| i64::from(*value));
                if expected != found {
                    return Err(format!("lane {lane} of an opened sum is {found} instead of {expected}"));
                }
            }
        }
        Ok(())
    }
}
