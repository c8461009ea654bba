//! A whole consortium in memory: keys, roster, contexts, and a round that loses sites where a test says so.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};

use konclave_crypto::aggregator::{Abort, Agreeing, Collecting, Opening, Unmasking};
use konclave_crypto::batches::{scoring_batches, singletons};
use konclave_crypto::messages::{AgreementSignature, Manifest, ManifestHeader};
use konclave_crypto::privacy::NoiseTerms;
use konclave_crypto::setup::{KeyAdvertisement, PairwiseChains, Roster, advertise};
use konclave_crypto::site::{AwaitAgreement, AwaitUnmasking, mask};
use konclave_crypto::{
    ConsortiumRoot, ConsortiumRootKey, Digest, Encoding, IdentityKey, JobId, MaskGraph, MemberRole,
    Membership, MembershipCertificate, Mode, OpenedSum, RingVector, RoundContext, RoundNumber, SignedContext,
    SiteFloor, SiteId, TensorEncoding, UnixSeconds, VerifiedContext, body_root, quantise_within,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

pub const NOW: UnixSeconds = UnixSeconds(1_000);
pub const FLOOR: SiteFloor =
    SiteFloor { min_sites: 2, min_agreed: 2, min_batch: 2, scoring_batch_size: Some(2), batch_size: 1 };

pub fn site(index: usize) -> SiteId {
    format!("site-{index:02}").parse().unwrap()
}

pub fn job() -> JobId {
    "job-1".parse().unwrap()
}

pub struct Member {
    pub key: IdentityKey,
    pub certificate: MembershipCertificate,
}

pub struct Consortium {
    pub rng: ChaCha20Rng,
    pub root_key: ConsortiumRootKey,
    pub gateway: Member,
    pub members: BTreeMap<SiteId, Member>,
    pub roster: Roster,
    pub chains: BTreeMap<SiteId, PairwiseChains>,
}

pub fn member(
    root: &ConsortiumRootKey,
    id: SiteId,
    role: MemberRole,
    serial: u64,
    rng: &mut ChaCha20Rng,
) -> Member {
    let owner = format!("The owner of {id}");
    owned_member(root, id, owner, role, serial, rng)
}

fn owned_member(
    root: &ConsortiumRootKey,
    id: SiteId,
    legal_entity: String,
    role: MemberRole,
    serial: u64,
    rng: &mut ChaCha20Rng,
) -> Member {
    let key = IdentityKey::generate(rng);
    let certificate = root.issue(Membership {
        site: id,
        legal_entity,
        role,
        identity_key: key.public(),
        witness_vkey: String::new(),
        serial,
        not_before: UnixSeconds(0),
        not_after: UnixSeconds(10_000),
    });
    Member { key, certificate }
}

impl Consortium {
    pub fn new(sites: usize, seed: u8) -> Self {
        Self::owned(sites, seed, |index| format!("Company {index}"))
    }

    /// A consortium whose sites belong to the named owners.
    pub fn owned(sites: usize, seed: u8, owner: impl Fn(usize) -> String) -> Self {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        let root_key = ConsortiumRootKey::generate(&mut rng);
        let gateway = member(&root_key, "gateway".parse().unwrap(), MemberRole::Gateway, 0, &mut rng);
        let members: BTreeMap<SiteId, Member> = (0..sites)
            .map(|index| {
                let id = site(index);
                let serial = index as u64 + 1;
                (id.clone(), owned_member(&root_key, id, owner(index), MemberRole::Site, serial, &mut rng))
            })
            .collect();
        let (mut waiting, mut advertisements) = (BTreeMap::new(), Vec::<KeyAdvertisement>::new());
        for (id, member) in &members {
            let (state, message) = advertise(&job(), &member.key, &member.certificate, &mut rng);
            waiting.insert(id.clone(), state);
            advertisements.push(message);
        }
        advertisements.reverse();
        let roster = Roster::new(job(), advertisements, &root_key.root(), NOW).unwrap();
        let (mut encapsulated, mut ciphertexts) = (BTreeMap::new(), Vec::new());
        for (id, state) in waiting {
            let (state, messages) = state.encapsulate(&roster, &members[&id].key, &mut rng).unwrap();
            encapsulated.insert(id, state);
            ciphertexts.extend(messages);
        }
        let chains = encapsulated
            .into_iter()
            .map(|(id, state)| {
                let mine = ciphertexts.iter().filter(|message| message.to == id).cloned().collect();
                let chains = state.finish(&roster, mine).unwrap();
                (id, chains)
            })
            .collect();
        Self { rng, root_key, gateway, members, roster, chains }
    }

    pub fn root(&self) -> ConsortiumRoot {
        self.root_key.root()
    }

    pub fn sites(&self) -> Vec<SiteId> {
        self.roster.sites().cloned().collect()
    }

    pub fn key(&self, site: &SiteId) -> &IdentityKey {
        &self.members[site].key
    }

    /// A sound context: singleton batches in mode full, batches of two or three in mode group.
    pub fn context(&self, mode: Mode) -> RoundContext {
        let sites = self.sites();
        let n = sites.len();
        let batches = match mode {
            Mode::Full => singletons(&self.roster),
            Mode::Group => scoring_batches(&self.roster, 2),
        };
        RoundContext {
            job: job(),
            round: RoundNumber::FIRST,
            model: Digest::of(b"model"),
            roster: self.roster.digest(),
            batches,
            mode,
            encoding: encoding(&[3, 4], 8, 16),
            threshold: (n * 2 / 3 + 1) as u16,
            min_agreed: 2,
            min_batch: 2,
            mask_graph: MaskGraph::Complete,
            policy: Digest::of(b"policy"),
            training: Digest::of(b"training"),
            ledger_size: 7,
            ledger_root: Digest::of(b"ledger"),
            noise: None,
        }
    }

    pub fn signed(&self, context: RoundContext) -> SignedContext {
        SignedContext::sign(context, self.gateway.certificate.clone(), &self.gateway.key)
    }

    pub fn verified(&self, context: &RoundContext) -> VerifiedContext {
        let single = context.batches.iter().all(|batch| batch.len() == 1);
        let batch_size = if single { 1 } else { context.min_batch };
        let floor = SiteFloor { scoring_batch_size: Some(context.min_batch), batch_size, ..FLOOR };
        self.signed(context.clone()).verify(&self.root(), &self.roster, NOW, &floor).unwrap()
    }

    /// A random update in ring form with its plain signed lanes.
    pub fn update(&mut self, encoding: &Encoding) -> (RingVector, Vec<i64>) {
        self.update_within(encoding, None)
    }

    /// The same for a context with terms of noise.
    pub fn update_within(
        &mut self,
        encoding: &Encoding,
        noise: Option<&NoiseTerms>,
    ) -> (RingVector, Vec<i64>) {
        let d = encoding.coordinates();
        let delta: Vec<f32> =
            (0..d).map(|_| self.rng.next_u32() as f32 / u32::MAX as f32 * 3.0 - 1.5).collect();
        let weight = self.rng.next_u32() % encoding.weight_cap + 1;
        let ring = quantise_within(&delta, weight, encoding, noise, &mut self.rng).unwrap().ring;
        let plain = plain_lanes(&ring, encoding.ring_bits);
        (ring, plain)
    }

    pub fn upload(&mut self, site: &SiteId, context: &VerifiedContext, update: RingVector) -> Upload {
        let (state, manifest, body) =
            mask(&self.chains[site], &self.roster, context, &self.members[site].key, update, &mut self.rng)
                .unwrap();
        Upload { state, manifest, body }
    }
}

pub struct Upload {
    pub state: AwaitAgreement,
    pub manifest: Manifest,
    pub body: Vec<u8>,
}

pub fn encoding(tensors: &[u64], quantisation_bits: u8, ring_bits: u8) -> Encoding {
    let tensor = |(index, len): (usize, &u64)| TensorEncoding {
        name: format!("t{index}"),
        len: *len,
        clip_micro: 1_000_000,
    };
    Encoding {
        tensors: tensors.iter().enumerate().map(tensor).collect(),
        quantisation_bits,
        ring_bits,
        weight_cap: 100,
    }
}

pub fn plain_lanes(ring: &RingVector, bits: u8) -> Vec<i64> {
    let modulus = 1_i64 << bits;
    ring.lanes()
        .iter()
        .map(|lane| {
            let value = i64::from(*lane);
            if value >= modulus / 2 { value - modulus } else { value }
        })
        .collect()
}

/// The sum that must be opened for these sites.
pub fn plain_sum(plain: &BTreeMap<SiteId, Vec<i64>>, sites: &[SiteId]) -> OpenedSum {
    let lanes = plain[&sites[0]].len();
    let total: Vec<i64> = (0..lanes).map(|lane| sites.iter().map(|site| plain[site][lane]).sum()).collect();
    let (weight, coordinates) = total.split_last().unwrap();
    OpenedSum {
        sites: sites.to_vec(),
        coordinates: coordinates.iter().map(|value| i32::try_from(*value).unwrap()).collect(),
        weight: u64::try_from(*weight).unwrap(),
    }
}

/// Where sites fall silent.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    pub before_upload: BTreeSet<SiteId>,
    pub after_upload: BTreeSet<SiteId>,
    pub before_unmask: BTreeSet<SiteId>,
}

/// A round stopped after the uploads.
pub struct Uploaded {
    pub context: VerifiedContext,
    pub collecting: Collecting,
    pub waiting: BTreeMap<SiteId, AwaitAgreement>,
    pub bodies: BTreeMap<SiteId, Vec<u8>>,
    pub plain: BTreeMap<SiteId, Vec<i64>>,
}

pub fn upload_all(consortium: &mut Consortium, context: &RoundContext, lost: &BTreeSet<SiteId>) -> Uploaded {
    let verified = consortium.verified(context);
    let mut collecting = Collecting::new(context.clone(), consortium.roster.clone()).unwrap();
    let (mut waiting, mut bodies, mut plain) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for id in consortium.sites().into_iter().filter(|id| !lost.contains(id)) {
        let (ring, lanes) = consortium.update_within(&context.encoding, context.noise.as_ref());
        let Upload { state, manifest, body } = consortium.upload(&id, &verified, ring);
        collecting.accept_manifest(&id, manifest).unwrap();
        collecting.accept_body(&id, body_root(body.as_slice()).unwrap(), body.len() as u64).unwrap();
        waiting.insert(id.clone(), state);
        bodies.insert(id.clone(), body);
        plain.insert(id, lanes);
    }
    Uploaded { context: verified, collecting, waiting, bodies, plain }
}

/// Lets the given sites sign; returns their next states.
pub fn agree_all(
    consortium: &Consortium,
    context: &VerifiedContext,
    agreeing: &mut Agreeing,
    waiting: BTreeMap<SiteId, AwaitAgreement>,
    lost: &BTreeSet<SiteId>,
) -> BTreeMap<SiteId, AwaitUnmasking> {
    let proposal = agreeing.proposal().clone();
    let mut signed = BTreeMap::new();
    for (id, state) in waiting.into_iter().filter(|(id, _)| !lost.contains(id)) {
        let (state, signature): (_, AgreementSignature) =
            state.agree(&consortium.roster, context, &proposal, consortium.key(&id)).unwrap();
        agreeing.accept(signature).unwrap();
        signed.insert(id, state);
    }
    signed
}

/// Lets the given sites open their part.
pub fn unmask_all(
    consortium: &Consortium,
    context: &VerifiedContext,
    unmasking: &mut Unmasking,
    signed: BTreeMap<SiteId, AwaitUnmasking>,
    lost: &BTreeSet<SiteId>,
) {
    for (id, state) in signed.into_iter().filter(|(id, _)| !lost.contains(id)) {
        let request = unmasking.request_for(&id).unwrap();
        let (_, response) = state.unmask(&consortium.roster, context, &request, consortium.key(&id)).unwrap();
        unmasking.accept(response).unwrap();
    }
}

pub fn open(opening: Opening, bodies: &BTreeMap<SiteId, Vec<u8>>) -> Result<Vec<OpenedSum>, Abort> {
    let agreed = opening.agreed().to_vec();
    opening.open(agreed.into_iter().map(|id| (id.clone(), bodies[&id].as_slice())).collect())
}

/// A whole round; returns what was opened and what should have been.
pub fn play(
    consortium: &mut Consortium,
    context: &RoundContext,
    losses: &Losses,
) -> Result<(Vec<OpenedSum>, Vec<OpenedSum>), Abort> {
    let Uploaded { context: verified, collecting, waiting, bodies, plain } =
        upload_all(consortium, context, &losses.before_upload);
    let mut agreeing = collecting.close()?;
    let agreed: BTreeSet<SiteId> = agreeing.proposal().agreed.iter().cloned().collect();
    let signed = agree_all(consortium, &verified, &mut agreeing, waiting, &losses.after_upload);
    let mut unmasking = agreeing.close()?;
    unmask_all(consortium, &verified, &mut unmasking, signed, &losses.before_unmask);
    let sufficient = unmasking.sufficient();
    let closed = unmasking.close();
    assert_eq!(sufficient, closed.is_ok(), "`sufficient` must say exactly whether the round can be closed");
    let opened = open(closed?, &bodies)?;
    let expected = match context.mode {
        Mode::Full => vec![plain_sum(&plain, &agreed.into_iter().collect::<Vec<_>>())],
        Mode::Group => context
            .batches
            .iter()
            .filter(|batch| batch.iter().all(|id| agreed.contains(id)))
            .map(|batch| {
                let mut batch = batch.clone();
                batch.sort();
                plain_sum(&plain, &batch)
            })
            .collect(),
    };
    Ok((opened, expected))
}

/// Replaces a site's body by another and commits to it like a malicious site would.
pub fn forge_body(consortium: &Consortium, manifest: &Manifest, body: &[u8]) -> Manifest {
    forge_header(consortium, manifest, |header| header.body_root = body_root(body).unwrap())
}

/// Changes what a site commits to, under its own signature.
pub fn forge_header(
    consortium: &Consortium,
    manifest: &Manifest,
    change: impl FnOnce(&mut ManifestHeader),
) -> Manifest {
    let mut header = manifest.signed.header.clone();
    change(&mut header);
    Manifest { signed: header.clone().sign(consortium.key(&header.site)), sealed: manifest.sealed.clone() }
}

/// The state of a site that lies about its manifest: the stored bytes with the header's fields replaced.
pub fn with_manifest(state: &AwaitAgreement, forged: &Manifest) -> AwaitAgreement {
    let mut bytes = state.to_secret_bytes().to_vec();
    let mut replace = |old: &[u8], new: &[u8]| {
        let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
        bytes[at..at + new.len()].copy_from_slice(new);
    };
    let (old, new) = (&state.manifest().signed, &forged.signed);
    replace(old.header.self_mask_hash.as_bytes(), new.header.self_mask_hash.as_bytes());
    for (peer, hash) in &old.header.pair_seed_hashes {
        replace(hash.as_bytes(), new.header.pair_seed_hashes[peer].as_bytes());
    }
    replace(old.header.body_root.as_bytes(), new.header.body_root.as_bytes());
    replace(old.signature.as_bytes(), new.signature.as_bytes());
    AwaitAgreement::from_secret_bytes(&bytes).unwrap()
}
