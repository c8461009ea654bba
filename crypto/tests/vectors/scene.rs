//! One job of five sites: a round in which a site is missing, and a scoring round in two batches.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;

use konclave_crypto::aggregator::{Collecting, SumSink, Tagging};
use konclave_crypto::messages::{
    AgreementEvidence, AgreementProposal, AgreementSignature, Manifest, SumTag, UnmaskingRequest,
    UnmaskingResponse,
};
use konclave_crypto::setup::{KemCiphertext, KeyAdvertisement, Roster, advertise};
use konclave_crypto::site::{AwaitAgreement, AwaitUnmasking, mask};
use konclave_crypto::verification::{AgreedSet, OwnUpload, tag};
use konclave_crypto::{
    ConsortiumRootKey, MemberRole, Mode, RingVector, RoundContext, RoundNumber, SignedContext, SiteId,
    VerifiedContext, body_root,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};

use crate::support::{Consortium, NOW, encoding, job, member, site};

pub(crate) const SITES: usize = 5;

/// Hands out a seeded stream and keeps what it handed out.
pub(crate) struct Recorder {
    stream: ChaCha20Rng,
    pub(crate) drawn: Vec<u8>,
}

impl Recorder {
    pub(crate) fn new(seed: u8) -> Self {
        Self { stream: ChaCha20Rng::from_seed([seed; 32]), drawn: Vec::new() }
    }
}

impl TryRng for Recorder {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.stream.fill_bytes(bytes);
        self.drawn.extend_from_slice(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Recorder {}

/// What a site did in the set-up.
pub(crate) struct SiteSetup {
    /// The KEM secret: the bytes drawn for the advertisement.
    pub(crate) kem_secret: Vec<u8>,
    pub(crate) advertisement: KeyAdvertisement,
    /// What it drew to encapsulate.
    pub(crate) draws: Vec<u8>,
    pub(crate) sent: Vec<KemCiphertext>,
    /// Its state while it waits for ciphertexts.
    pub(crate) waiting: Vec<u8>,
    /// Chain, outgoing and incoming key of each other site in round 1.
    pub(crate) chains: BTreeMap<SiteId, [Vec<u8>; 3]>,
}

/// A masked update and what it was made of.
pub(crate) struct Masked {
    pub(crate) lanes: Vec<u32>,
    pub(crate) draws: Vec<u8>,
    pub(crate) state: AwaitAgreement,
    pub(crate) manifest: Manifest,
    pub(crate) body: Vec<u8>,
}

/// A round with all its messages.
pub(crate) struct Round {
    pub(crate) signed_context: SignedContext,
    pub(crate) context: VerifiedContext,
    pub(crate) masked: BTreeMap<SiteId, Masked>,
    pub(crate) proposal: AgreementProposal,
    /// The sites' states after they signed.
    pub(crate) agreed_states: BTreeMap<SiteId, Vec<u8>>,
    pub(crate) signatures: BTreeMap<SiteId, AgreementSignature>,
    pub(crate) requests: BTreeMap<SiteId, UnmaskingRequest>,
    pub(crate) responses: BTreeMap<SiteId, UnmaskingResponse>,
    pub(crate) evidence: AgreementEvidence,
    pub(crate) agreed: AgreedSet,
    pub(crate) tagging: Tagging,
    pub(crate) tags: BTreeMap<SiteId, SumTag>,
    pub(crate) opened: Opened,
}

/// The opened sums.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) sums: BTreeMap<usize, Vec<i32>>,
    total: Vec<i32>,
}

impl SumSink for Opened {
    fn take(&mut self, sum: usize, coordinates: &[i32]) -> io::Result<()> {
        self.sums.entry(sum).or_default().extend_from_slice(coordinates);
        Ok(())
    }

    fn take_total(&mut self, coordinates: &[i32]) -> io::Result<()> {
        self.total.extend_from_slice(coordinates);
        Ok(())
    }
}

impl Opened {
    pub(crate) fn total(&self) -> &[i32] {
        if self.sums.len() == 1 { &self.sums[&0] } else { &self.total }
    }
}

pub(crate) struct Scene {
    pub(crate) consortium: Consortium,
    pub(crate) setups: BTreeMap<SiteId, SiteSetup>,
    /// Round 1, mode full, without the upload of `site-01`.
    pub(crate) full: Round,
    /// Round 2, mode group, with all.
    pub(crate) group: Round,
}

impl Scene {
    pub(crate) fn play() -> Self {
        let (mut consortium, setups) = set_up();
        let full = consortium.context(Mode::Full);
        let full = play_round(&mut consortium, full, &BTreeSet::from([site(1)]), 10);
        for chains in consortium.chains.values_mut() {
            chains.advance_to(RoundNumber::new(2).unwrap()).unwrap();
        }
        let mut group = consortium.context(Mode::Group);
        group.round = RoundNumber::new(2).unwrap();
        let group = play_round(&mut consortium, group, &BTreeSet::new(), 20);
        Self { consortium, setups, full, group }
    }

    pub(crate) fn rounds(&self) -> [(&'static str, &Round); 2] {
        [("full", &self.full), ("group", &self.group)]
    }
}

fn set_up() -> (Consortium, BTreeMap<SiteId, SiteSetup>) {
    let mut rng = ChaCha20Rng::from_seed([77; 32]);
    let root_key = ConsortiumRootKey::generate(&mut rng);
    let gateway = member(&root_key, "gateway".parse().unwrap(), MemberRole::Gateway, 0, &mut rng);
    let members: BTreeMap<_, _> = (0..SITES)
        .map(|index| {
            (site(index), member(&root_key, site(index), MemberRole::Site, index as u64 + 1, &mut rng))
        })
        .collect();
    let (mut states, mut keys) = (BTreeMap::new(), BTreeMap::new());
    for (index, (id, member)) in members.iter().enumerate() {
        let mut draws = Recorder::new(index as u8 + 1);
        let (state, advertisement) = advertise(&job(), &member.key, &member.certificate, &mut draws);
        states.insert(id.clone(), state);
        keys.insert(id.clone(), (draws.drawn, advertisement));
    }
    let advertisements = keys.values().map(|(_, advertisement)| advertisement.clone()).collect();
    let roster = Roster::new(job(), advertisements, &root_key.root(), NOW).unwrap();
    let mut setups = BTreeMap::new();
    let mut waiting = BTreeMap::new();
    for (index, (id, state)) in states.into_iter().enumerate() {
        let mut draws = Recorder::new(index as u8 + 101);
        let (state, sent) = state.encapsulate(&roster, &members[&id].key, &mut draws).unwrap();
        let (kem_secret, advertisement) = keys.remove(&id).unwrap();
        let bytes = state.to_secret_bytes().to_vec();
        let setup = SiteSetup {
            kem_secret,
            advertisement,
            draws: draws.drawn,
            sent,
            waiting: bytes,
            chains: BTreeMap::new(),
        };
        waiting.insert(id.clone(), state);
        setups.insert(id, setup);
    }
    let all: Vec<KemCiphertext> = setups.values().flat_map(|setup| setup.sent.clone()).collect();
    let mut chains = BTreeMap::new();
    for (id, state) in waiting {
        let mine = all.iter().filter(|message| message.to == id).cloned().collect();
        let done = state.finish(&roster, mine).unwrap();
        let peers = roster.sites().filter(|peer| **peer != id);
        let secrets = peers.map(|peer| (peer.clone(), secrets_with(&done.to_secret_bytes(), peer))).collect();
        setups.get_mut(&id).unwrap().chains = secrets;
        chains.insert(id, done);
    }
    (Consortium { rng, root_key, gateway, members, roster, chains }, setups)
}

/// The three keys of a pair out of the stored state: they follow the peer's name.
fn secrets_with(state: &[u8], peer: &SiteId) -> [Vec<u8>; 3] {
    let name = peer.as_str().as_bytes();
    let at = state.windows(name.len()).rposition(|window| window == name).unwrap() + name.len();
    [0, 32, 64].map(|offset| state[at + offset..at + offset + 32].to_vec())
}

fn play_round(
    consortium: &mut Consortium,
    mut context: RoundContext,
    lost: &BTreeSet<SiteId>,
    seed: u8,
) -> Round {
    context.encoding = encoding(&[5, 40], 8, 17);
    let signed_context = consortium.signed(context.clone());
    let verified = consortium.verified(&context);
    let mut collecting = Collecting::new(context.clone(), consortium.roster.clone()).unwrap();
    let mut masked = BTreeMap::new();
    for (index, id) in consortium.sites().into_iter().enumerate().filter(|(_, id)| !lost.contains(id)) {
        let (update, _) = consortium.update(&context.encoding);
        let lanes = update.lanes().to_vec();
        let mut draws = Recorder::new(seed + index as u8);
        let ring = RingVector::from_lanes(lanes.clone(), context.encoding.ring_bits).unwrap();
        let key = consortium.key(&id);
        let (state, manifest, body) =
            mask(&consortium.chains[&id], &consortium.roster, &verified, key, ring, &mut draws).unwrap();
        collecting.accept_manifest(&id, manifest.clone()).unwrap();
        collecting.accept_body(&id, body_root(body.as_slice()).unwrap(), body.len() as u64).unwrap();
        masked.insert(id, Masked { lanes, draws: draws.drawn, state, manifest, body });
    }
    let mut agreeing = collecting.close().unwrap();
    let proposal = agreeing.proposal().clone();
    let (mut signatures, mut states) = (BTreeMap::new(), BTreeMap::new());
    for (id, made) in &masked {
        let state = AwaitAgreement::from_secret_bytes(&made.state.to_secret_bytes()).unwrap();
        let (state, signature) =
            state.agree(&consortium.roster, &verified, &proposal, consortium.key(id)).unwrap();
        agreeing.accept(signature.clone()).unwrap();
        signatures.insert(id.clone(), signature);
        states.insert(id.clone(), state.to_secret_bytes().to_vec());
    }
    let evidence =
        AgreementEvidence { proposal: proposal.clone(), signatures: signatures.values().cloned().collect() };
    let agreed = evidence.verify(&consortium.roster, &verified).unwrap();
    let mut unmasking = agreeing.close().unwrap();
    let (mut requests, mut responses) = (BTreeMap::new(), BTreeMap::new());
    for (id, state) in &states {
        let request = unmasking.request_for(id).unwrap();
        let (_, response) = AwaitUnmasking::from_secret_bytes(state)
            .unwrap()
            .unmask(&consortium.roster, &verified, &request, consortium.key(id))
            .unwrap();
        unmasking.accept(response.clone()).unwrap();
        requests.insert(id.clone(), request);
        responses.insert(id.clone(), response);
    }
    let opening = unmasking.close().unwrap();
    let mut opened = Opened::default();
    let bodies = opening.agreed().into_iter().map(|id| (id.clone(), masked[&id].body.as_slice())).collect();
    let tagging = opening.open_into(bodies, &mut opened).unwrap();
    let tags = agreed.headers().keys().map(|id| {
        let request = tagging.request_for(id).unwrap();
        let signed = Some(agreed.digest());
        let upload =
            OwnUpload { site: id, key: consortium.key(id), signed, body: masked[id].body.as_slice() };
        (id.clone(), tag(&consortium.roster, &verified, &agreed, &request, upload).unwrap())
    });
    let tags = tags.collect();
    Round {
        signed_context,
        context: verified,
        masked,
        proposal,
        agreed_states: states,
        signatures,
        requests,
        responses,
        evidence,
        agreed,
        tagging,
        tags,
        opened,
    }
}
