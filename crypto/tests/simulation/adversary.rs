//! The hostile gateway: it keeps everything it ever saw, has the colluders' keys, and crafts messages from both.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use konclave_crypto::batches::singletons;
use konclave_crypto::messages::{
    AgreementProposal, AgreementSignature, Manifest, SignedManifestHeader, UnmaskingRequest,
};
use konclave_crypto::setup::PairwiseChains;
use konclave_crypto::site::mask;
use konclave_crypto::{
    Digest, IdentityKey, MaskGraph, Mode, RingVector, RoundContext, SignedContext, SiteFloor, SiteId,
    Transcript,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::keys::Keys;
use crate::letter::Letter;
use crate::random::draw;
use crate::scenario::{Attack, ContextChange, ProposalChange, RequestChange, Scenario};
use crate::support::{NOW, forge_header};

pub struct Adversary {
    keys: Rc<Keys>,
    colluders: BTreeSet<usize>,
    batch: u16,
    floor: SiteFloor,
    contexts: Vec<SignedContext>,
    manifests: BTreeMap<Digest, BTreeMap<SiteId, Manifest>>,
    views: Vec<AgreementProposal>,
    agreements: BTreeMap<Digest, BTreeMap<SiteId, AgreementSignature>>,
    history: Vec<(usize, Rc<Letter>)>,
    rng: ChaCha20Rng,
}

/// A signature on an agreed set by anybody whose key is at hand.
pub fn sign_agreement(
    context: Digest,
    site: &SiteId,
    agreed_digest: Digest,
    key: &IdentityKey,
) -> AgreementSignature {
    let transcript = Transcript::new("agreement").digest(&context).text(site.as_str()).digest(&agreed_digest);
    AgreementSignature {
        context,
        site: site.clone(),
        agreed_digest,
        signature: key.sign(transcript.as_bytes()),
    }
}

fn nth<T>(items: &[T], index: usize) -> Option<&T> {
    items.get(index % items.len().max(1))
}

impl Adversary {
    pub fn new(keys: &Rc<Keys>, scenario: &Scenario, colluders: BTreeSet<usize>) -> Self {
        Self {
            keys: Rc::clone(keys),
            colluders,
            batch: scenario.batch,
            floor: scenario.floor(),
            contexts: Vec::new(),
            manifests: BTreeMap::new(),
            views: Vec::new(),
            agreements: BTreeMap::new(),
            history: Vec::new(),
            rng: ChaCha20Rng::seed_from_u64(scenario.seed ^ 0xadba),
        }
    }

    /// Keeps a message that a site sent, whether the network delivered it or not.
    pub fn saw(&mut self, letter: &Letter) {
        match letter {
            Letter::Manifest { from, manifest } => {
                let known = self.manifests.entry(letter.context()).or_default();
                known.entry(from.clone()).or_insert_with(|| manifest.clone());
            }
            Letter::Agreement(signature) => {
                let known = self.agreements.entry(signature.agreed_digest).or_default();
                known.insert(signature.site.clone(), signature.clone());
            }
            Letter::Body { .. }
            | Letter::Response(_)
            | Letter::Context(_)
            | Letter::Proposal(_)
            | Letter::Request(_) => {}
        }
    }

    /// Keeps a message to a site, made by the gateway's honest half or by itself.
    pub fn sent(&mut self, to: usize, letter: &Rc<Letter>) {
        match letter.as_ref() {
            Letter::Context(signed) if !self.contexts.contains(signed) => self.contexts.push(signed.clone()),
            Letter::Proposal(proposal) if !self.views.contains(proposal) => {
                self.views.push(proposal.clone());
            }
            _ => {}
        }
        if self.history.len() < 4096 {
            self.history.push((to, Rc::clone(letter)));
        }
    }

    /// The messages of one strike.
    pub fn strike(&mut self, attack: &Attack, current: Option<&RoundContext>) -> Vec<(usize, Letter)> {
        match attack {
            Attack::Context { change, to } => {
                let Some(signed) = current.and_then(|current| self.context(*change, current)) else {
                    return Vec::new();
                };
                self.collude_in(&signed);
                to.iter().map(|site| (*site, Letter::Context(signed.clone()))).collect()
            }
            Attack::Propose { context, without, change, to } => {
                let Some(proposal) = self.proposal(*context, without, *change) else { return Vec::new() };
                to.iter().map(|site| (*site, Letter::Proposal(proposal.clone()))).collect()
            }
            Attack::Demand { view, change, to } => to
                .iter()
                .filter_map(|site| Some((*site, Letter::Request(self.request(*view, *change, *site)?))))
                .collect(),
            Attack::Replay { choice, count } => {
                let mut rng = ChaCha20Rng::seed_from_u64(*choice);
                let sites = self.keys.sites.len();
                (0..*count)
                    .filter_map(|_| {
                        let (to, letter) = nth(&self.history, draw(&mut rng, usize::MAX))?;
                        // To its addressee, or to another site.
                        let to = if draw(&mut rng, 2) == 0 { *to } else { draw(&mut rng, sites) };
                        Some((to, letter.as_ref().clone()))
                    })
                    .collect()
            }
        }
    }

    fn context(&self, change: ContextChange, current: &RoundContext) -> Option<SignedContext> {
        let mut context = current.clone();
        let sites: Vec<SiteId> = self.keys.sites.clone();
        match change {
            ContextChange::OtherModel => context.model = Digest::of(b"a model made to single out one site"),
            ContextChange::LowThreshold => {
                context.threshold = u16::try_from(self.colluders.len() + 1).unwrap();
            }
            ContextChange::LowMinAgreed => context.min_agreed = 1,
            ContextChange::OtherBatches => {
                context.mode = Mode::Group;
                context.batches = sites.chunks(self.batch.into()).map(<[SiteId]>::to_vec).collect();
            }
            ContextChange::SingleBatches => {
                context.mode = Mode::Group;
                context.min_batch = 1;
                context.batches = sites.into_iter().map(|site| vec![site]).collect();
            }
            ContextChange::OtherWholeBatches => {
                context.mode = Mode::Full;
                context.mask_graph = MaskGraph::Complete;
                context.batches = sites.chunks(2).map(<[SiteId]>::to_vec).collect();
            }
            ContextChange::SparseGraph => {
                context.mode = Mode::Full;
                context.batches = singletons(self.keys.roster());
                context.mask_graph = MaskGraph::Regular { degree: 2 };
            }
            ContextChange::NextRoundSameModel => context.round = context.round.next()?,
            ContextChange::OtherRoster => context.roster = Digest::of(b"another roster"),
            ContextChange::Unsigned => context.policy = Digest::of(b"another policy"),
        }
        let mut signed = self.keys.consortium.signed(context);
        if change == ContextChange::Unsigned {
            signed.signature = self.keys.consortium.signed(current.clone()).signature;
        }
        Some(signed)
    }

    /// The colluders upload in every context that can be masked for at all. They erased nothing.
    fn collude_in(&mut self, signed: &SignedContext) {
        let keys = Rc::clone(&self.keys);
        let Ok(verified) = signed.verify(&keys.consortium.root(), keys.roster(), NOW, &self.floor) else {
            return;
        };
        let encoding = &signed.context.encoding;
        for colluder in &self.colluders {
            let mut chains = PairwiseChains::from_secret_bytes(&keys.chains[*colluder]).unwrap();
            chains.advance_to(signed.context.round).unwrap();
            let lanes = vec![1; usize::try_from(encoding.lanes()).unwrap()];
            let update = RingVector::from_lanes(lanes, encoding.ring_bits).unwrap();
            let key = keys.key(*colluder);
            let (_, manifest, _) =
                mask(&chains, keys.roster(), &verified, key, update, &mut self.rng).unwrap();
            let known = self.manifests.entry(verified.digest()).or_default();
            known.insert(keys.sites[*colluder].clone(), manifest);
        }
    }

    fn proposal(
        &self,
        context: usize,
        without: &BTreeSet<usize>,
        change: ProposalChange,
    ) -> Option<AgreementProposal> {
        let context = &nth(&self.contexts, context)?.context;
        let digest = context.digest();
        let hidden = |site: &SiteId| self.keys.position(site).is_some_and(|at| without.contains(&at));
        let mut headers: Vec<SignedManifestHeader> = self
            .manifests
            .get(&digest)?
            .iter()
            .filter(|(site, _)| !hidden(site))
            .map(|(_, manifest)| manifest.signed.clone())
            .collect();
        let uploaded: BTreeSet<SiteId> = headers.iter().map(|signed| signed.header.site.clone()).collect();
        let mut agreed: Vec<SiteId> = context.agreed_set(&uploaded).into_iter().collect();
        match change {
            ProposalChange::Consistent => {}
            ProposalChange::SmallerSet => drop(agreed.pop()),
            ProposalChange::AlteredHeader => {
                headers.first_mut()?.header.body_root = Digest::of(b"another body");
            }
            ProposalChange::ColludersSecondHeader => {
                let colluder = &self.keys.sites[*self.colluders.first()?];
                let at = headers.iter().position(|signed| signed.header.site == *colluder)?;
                let manifest = Manifest { signed: headers.get(at)?.clone(), sealed: Vec::new() };
                let forged = forge_header(&self.keys.consortium, &manifest, |header| {
                    header.share_root = Digest::of(b"another dealing");
                    if let Some(hash) = header.pair_seed_hashes.values_mut().last() {
                        *hash = Digest::of(b"another seed");
                    }
                });
                headers[at] = forged.signed;
            }
            ProposalChange::OldHeader => {
                let old = self.manifests.iter().find(|(other, _)| **other != digest)?.1;
                let (site, manifest) = old.first_key_value()?;
                headers.retain(|signed| signed.header.site != *site);
                headers.push(manifest.signed.clone());
                headers.sort_by(|a, b| a.header.site.cmp(&b.header.site));
            }
            ProposalChange::RepeatedHeader => headers.insert(0, headers.first()?.clone()),
        }
        Some(AgreementProposal { context: digest, manifests: headers, agreed })
    }

    fn request(&self, view: usize, change: RequestChange, to: usize) -> Option<UnmaskingRequest> {
        let proposal = nth(&self.views, view)?;
        let agreed_digest = proposal.agreed_digest();
        let site = self.keys.sites.get(to)?;
        let mut signatures = self.agreements.get(&agreed_digest).cloned().unwrap_or_default();
        for colluder in &self.colluders {
            let id = &self.keys.sites[*colluder];
            let signature = sign_agreement(proposal.context, id, agreed_digest, self.keys.key(*colluder));
            signatures.insert(id.clone(), signature);
        }
        let mut signatures: Vec<AgreementSignature> = signatures.into_values().collect();
        let outside = |agreed: &[SiteId]| -> Vec<SiteId> {
            self.keys.sites.iter().filter(|other| !agreed.contains(other)).cloned().collect()
        };
        let agreed = proposal.agreed.clone();
        let (mut self_masks_of, mut pair_seeds_of) = (agreed.clone(), outside(&agreed));
        let mut sealed = Vec::new();
        let manifests = self.manifests.get(&proposal.context)?;
        for dealer in agreed.iter().filter(|dealer| *dealer != site) {
            sealed.extend(manifests.get(dealer)?.sealed.iter().find(|entry| entry.to == *site).cloned());
        }
        let mut agreed = agreed;
        match change {
            RequestChange::Consistent => {}
            RequestChange::BothKindsInside => {
                pair_seeds_of.push(agreed.first()?.clone());
                pair_seeds_of.sort();
            }
            RequestChange::BothKindsOutside => {
                self_masks_of.push(pair_seeds_of.first()?.clone());
                self_masks_of.sort();
            }
            RequestChange::MovedSite => {
                pair_seeds_of.push(self_masks_of.pop()?);
                pair_seeds_of.sort();
            }
            RequestChange::DroppedSigners => signatures.truncate(self.keys.threshold() - 1),
            RequestChange::RepeatedSigner => {
                signatures = vec![signatures.first()?.clone(); self.keys.threshold()];
            }
            RequestChange::ForeignSignatures => {
                let (_, others) = self.agreements.iter().find(|(other, _)| **other != agreed_digest)?;
                signatures = others.values().cloned().collect();
            }
            RequestChange::OtherSet => {
                let other = self.views.iter().find(|other| other.agreed != proposal.agreed)?;
                agreed.clone_from(&other.agreed);
                self_masks_of.clone_from(&other.agreed);
                pair_seeds_of = outside(&other.agreed);
            }
            RequestChange::AlteredSealed => {
                let entry = sealed.first_mut()?;
                entry.sealed.first_mut().map(|byte| *byte ^= 1)?;
            }
            RequestChange::MisdirectedSealed => {
                let dealer = agreed.iter().find(|dealer| *dealer != site)?;
                let other = manifests.get(dealer)?.sealed.iter().find(|entry| entry.to != *site)?;
                *sealed.first_mut()? = other.clone();
            }
        }
        let context = proposal.context;
        Some(UnmaskingRequest { context, agreed, signatures, self_masks_of, pair_seeds_of, sealed })
    }
}
