//! The site's promises under power cuts, with the real protocol between this site and two others.

use std::collections::BTreeMap;
use std::path::Path;

use konclave_crypto::aggregator::{Agreeing, Collecting};
use konclave_crypto::messages::{AgreementProposal, AgreementSignature, Manifest, UnmaskingRequest};
use konclave_crypto::setup::{
    AwaitCiphertexts, KemCiphertext, KeyAdvertisement, PairwiseChains, Roster, advertise,
};
use konclave_crypto::site::{AwaitAgreement, mask};
use konclave_crypto::{
    ConsortiumRootKey, Digest, Encoding, IdentityKey, JobId, MaskGraph, MemberRole, Membership,
    MembershipCertificate, Mode, RingVector, RoundContext, RoundNumber, SignedContext, SiteFloor, SiteId,
    TensorEncoding, UnixSeconds, VerifiedContext, body_root, quantise,
};
use konclave_openapi::jobs::Ciphertexts;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;

const NOW: UnixSeconds = UnixSeconds(1_000);
const FIRST: RoundNumber = RoundNumber::FIRST;

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn id(name: &str) -> SiteId {
    name.parse().unwrap()
}

fn job() -> JobId {
    "job-1".parse().unwrap()
}

struct Party {
    key: IdentityKey,
    certificate: MembershipCertificate,
}

/// The consortium around site `a`: its own keys, and sites `b` and `c`, which never fail.
struct World {
    root: ConsortiumRootKey,
    gateway: Party,
    parties: BTreeMap<SiteId, Party>,
}

/// What `b`, `c` and the gateway have once `a` has advertised.
struct Others {
    roster: Roster,
    waiting: Vec<(SiteId, AwaitCiphertexts)>,
    ciphertexts: Vec<KemCiphertext>,
}

impl World {
    fn new() -> Self {
        let mut rng = rng(1);
        let root = ConsortiumRootKey::generate(&mut rng);
        let mut party = |name: &str, role, serial| {
            let key = IdentityKey::generate(&mut rng);
            let certificate = root.issue(Membership {
                site: id(name),
                legal_entity: format!("{name} Ltd"),
                role,
                identity_key: key.public(),
                witness_vkey: String::new(),
                serial,
                not_before: UnixSeconds(0),
                not_after: UnixSeconds(10_000),
            });
            (id(name), Party { key, certificate })
        };
        let (_, gateway) = party("gateway", MemberRole::Gateway, 0);
        let parties =
            [("a", 1), ("b", 2), ("c", 3)].map(|(name, serial)| party(name, MemberRole::Site, serial));
        let parties = BTreeMap::from(parties);
        Self { root, gateway, parties }
    }

    fn a(&self) -> &Party {
        &self.parties[&id("a")]
    }

    fn others(&self, own: &KeyAdvertisement) -> Others {
        let mut rng = rng(2);
        let mut advertisements = vec![own.clone()];
        let mut states = Vec::new();
        for name in ["b", "c"] {
            let party = &self.parties[&id(name)];
            let (state, message) = advertise(&job(), &party.key, &party.certificate, &mut rng);
            states.push((id(name), state));
            advertisements.push(message);
        }
        let roster = Roster::new(job(), advertisements, &self.root.root(), NOW).unwrap();
        let (mut waiting, mut ciphertexts) = (Vec::new(), Vec::new());
        for (name, state) in states {
            let (state, messages) = state.encapsulate(&roster, &self.parties[&name].key, &mut rng).unwrap();
            waiting.push((name, state));
            ciphertexts.extend(messages);
        }
        Others { roster, waiting, ciphertexts }
    }

    fn context(&self, roster: &Roster) -> SignedContext {
        let context = RoundContext {
            job: job(),
            round: FIRST,
            model: Digest::of(b"model"),
            roster: roster.digest(),
            batches: roster.sites().map(|site| vec![site.clone()]).collect(),
            mode: Mode::Full,
            encoding: Encoding {
                tensors: vec![TensorEncoding { name: "w".into(), len: 5, clip_micro: 1_000_000 }],
                quantisation_bits: 8,
                ring_bits: 16,
                weight_cap: 10,
            },
            threshold: 3,
            min_agreed: 2,
            min_batch: 2,
            mask_graph: MaskGraph::Complete,
            policy: Digest::of(b"policy"),
            training: Digest::of(b"training"),
            ledger_size: 7,
            ledger_root: Digest::of(b"ledger"),
            noise: None,
        };
        SignedContext::sign(context, self.gateway.certificate.clone(), &self.gateway.key)
    }

    fn verified(&self, signed: &SignedContext, roster: &Roster) -> VerifiedContext {
        let floor =
            SiteFloor { min_sites: 2, min_agreed: 2, min_batch: 2, scoring_batch_size: None, batch_size: 1 };
        signed.verify(&self.root.root(), roster, NOW, &floor).unwrap()
    }
}

fn update(context: &VerifiedContext, rng: &mut ChaCha20Rng) -> RingVector {
    quantise(&[0.5, -0.25, 1.0, 0.0, -1.0], 3, &context.context().encoding, rng).unwrap().ring
}

/// Every message that left site `a`, by kind: a second one of a kind must be the same bytes.
#[derive(Default)]
struct Sent(BTreeMap<&'static str, Vec<u8>>);

impl Sent {
    fn send(&mut self, kind: &'static str, message: Vec<u8>) {
        if let Some(before) = self.0.insert(kind, message.clone()) {
            assert_eq!(before, message, "a second, different {kind} was sent");
        }
    }
}

fn json<T: serde::Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).unwrap()
}

/// What the rest of the world did, kept over restarts of site `a`.
#[derive(Default)]
struct Elsewhere {
    others: Option<Others>,
    agreeing: Option<(Agreeing, Vec<(SiteId, AwaitAgreement)>)>,
    proposal: Option<AgreementProposal>,
    request: Option<UnmaskingRequest>,
}

impl Elsewhere {
    /// `b` and `c` finish their set-up, mask and upload; the gateway closes the uploads.
    fn propose(
        &mut self,
        world: &World,
        from_a: &Ciphertexts,
        masked: &MaskedRound,
        context: &VerifiedContext,
    ) -> AgreementProposal {
        if let Some(proposal) = &self.proposal {
            return proposal.clone();
        }
        let mut rng = rng(3);
        let others = self.others.as_mut().unwrap();
        let everything: Vec<_> = others.ciphertexts.iter().chain(&from_a.ciphertexts).cloned().collect();
        let mut collecting = Collecting::new(context.context().clone(), others.roster.clone()).unwrap();
        let mut upload = |site: &SiteId, manifest: Manifest, body: &[u8]| {
            collecting.accept_manifest(site, manifest).unwrap();
            collecting.accept_body(site, body_root(body).unwrap(), body.len() as u64).unwrap();
        };
        let mut states = Vec::new();
        for (name, waiting) in std::mem::take(&mut others.waiting) {
            let mine = everything.iter().filter(|message| message.to == name).cloned().collect();
            let chains: PairwiseChains = waiting.finish(&others.roster, mine).unwrap();
            let ring = update(context, &mut rng);
            let key = &world.parties[&name].key;
            let (state, manifest, body) =
                mask(&chains, &others.roster, context, key, ring, &mut rng).unwrap();
            upload(&name, manifest, &body);
            states.push((name, state));
        }
        upload(&id("a"), masked.manifest.clone(), &std::fs::read(&masked.body).unwrap());
        let agreeing = collecting.close().unwrap();
        let proposal = agreeing.proposal().clone();
        self.agreeing = Some((agreeing, states));
        self.proposal = Some(proposal.clone());
        proposal
    }

    /// `b` and `c` sign too; the gateway asks `a` to open.
    fn ask(
        &mut self,
        world: &World,
        context: &VerifiedContext,
        from_a: &AgreementSignature,
    ) -> UnmaskingRequest {
        if let Some(request) = &self.request {
            return request.clone();
        }
        let (mut agreeing, states) = self.agreeing.take().unwrap();
        let roster = &self.others.as_ref().unwrap().roster;
        agreeing.accept(from_a.clone()).unwrap();
        for (name, state) in states {
            let proposal = self.proposal.as_ref().unwrap();
            let (_, signature) = state.agree(roster, context, proposal, &world.parties[&name].key).unwrap();
            agreeing.accept(signature).unwrap();
        }
        let request = agreeing.close().unwrap().request_for(&id("a")).unwrap();
        self.request = Some(request.clone());
        request
    }
}

/// Site `a` from the start to the answered unmasking, continuing from whatever is stored. Fresh randomness in every
/// attempt, so that anything made twice would differ.
fn attempt(
    world: &World,
    folder: &Path,
    disk: &Disk,
    attempt: u64,
    elsewhere: &mut Elsewhere,
    sent: &mut Sent,
) -> Result<(), StateError> {
    let mut rng = rng(1_000 + attempt);
    let own = world.a();
    let mut store = JobStore::open(disk.clone(), folder, &job())?;
    let advertisement = match store.advertised()? {
        Some(message) => message,
        None => {
            let (secret, message) = advertise(&job(), &own.key, &own.certificate, &mut rng);
            store.store_advertised(&secret, &message)?;
            message
        }
    };
    sent.send("advertisement", json(&advertisement));
    let others = elsewhere.others.get_or_insert_with(|| world.others(&advertisement));
    let ciphertexts = match store.encapsulated()? {
        Some(message) => message,
        None => {
            let (secret, ciphertexts) =
                store.await_roster()?.encapsulate(&others.roster, &own.key, &mut rng).unwrap();
            let message = Ciphertexts { ciphertexts };
            store.store_encapsulated(&secret, &message)?;
            message
        }
    };
    sent.send("ciphertexts", json(&ciphertexts));
    let mut chains = match store.chains()? {
        Some(chains) => chains,
        None => {
            let mine = others.ciphertexts.iter().filter(|message| message.to == id("a")).cloned().collect();
            let chains = store.await_ciphertexts()?.finish(&others.roster, mine).unwrap();
            store.store_chains(&chains)?;
            chains
        }
    };
    let signed = world.context(&others.roster);
    let context = world.verified(&signed, &others.roster);
    let masked = match store.masked(FIRST)? {
        Some(masked) => masked,
        None => {
            chains.advance_to(FIRST).unwrap();
            let ring = update(&context, &mut rng);
            let (secret, manifest, body) =
                mask(&chains, &others.roster, &context, &own.key, ring, &mut rng).unwrap();
            store.store_masked(FIRST, &secret, &signed, &manifest, &body)?;
            store.masked(FIRST)?.unwrap()
        }
    };
    let body = std::fs::read(&masked.body).unwrap();
    assert_eq!(body_root(body.as_slice()).unwrap(), masked.manifest.signed.header.body_root);
    sent.send("manifest", json(&masked.manifest));
    sent.send("body", body);
    let roster = others.roster.clone();
    let proposal = elsewhere.propose(world, &ciphertexts, &masked, &context);
    let signature = match store.agreed(FIRST)? {
        Some(agreed) => agreed.signature,
        None => {
            let (secret, signature) =
                store.await_agreement(FIRST)?.agree(&roster, &context, &proposal, &own.key).unwrap();
            store.store_agreed(FIRST, &secret, &signature)?;
            signature
        }
    };
    sent.send("agreement", json(&signature));
    let request = elsewhere.ask(world, &context, &signature);
    let response = match store.unmasked(FIRST)? {
        Some(response) => response,
        None => {
            let (_, response) =
                store.await_unmasking(FIRST)?.unmask(&roster, &context, &request, &own.key).unwrap();
            store.store_unmasked(FIRST, signed.context.model, &response)?;
            response
        }
    };
    sent.send("response", json(&response));
    store.close_round(FIRST)
}

#[test]
fn whatever_moment_the_power_fails_nothing_is_sent_twice_differently() {
    let world = World::new();
    let mut cuts = 0;
    for steps in 0.. {
        let keep = tempfile::tempdir().unwrap();
        let (mut elsewhere, mut sent) = (Elsewhere::default(), Sent::default());
        let dying = Disk::losing_power_after(steps);
        let first = attempt(&world, keep.path(), &dying, 0, &mut elsewhere, &mut sent);
        let to_the_end = first.is_ok();
        if let Err(error) = first {
            assert!(dying.is_dead(), "after {steps} steps: {error}");
            cuts += 1;
            // A second cut right after the restart, then a run to the end.
            let again = Disk::losing_power_after(steps % 7);
            let _ = attempt(&world, keep.path(), &again, 1, &mut elsewhere, &mut sent);
            match attempt(&world, keep.path(), &Disk::default(), 2, &mut elsewhere, &mut sent) {
                // The cut came while the round was being closed.
                Ok(()) | Err(StateError::Closed { .. }) => {}
                Err(error) => panic!("after {steps} steps: {error}"),
            }
        }
        assert_eq!(sent.0.len(), 6, "after {steps} steps");
        if to_the_end {
            break;
        }
    }
    assert!(cuts > 60, "only {cuts} places to fail");
}

fn run_to_the_agreement(folder: &Path) -> (World, Elsewhere) {
    let (world, mut elsewhere) = (World::new(), Elsewhere::default());
    // Enough steps for the agreement's journal line, too few for the unmasking's.
    let journal = folder.join("journal/job-1");
    for steps in 40.. {
        let mut sent = Sent::default();
        let _ = attempt(&world, folder, &Disk::losing_power_after(steps), 0, &mut elsewhere, &mut sent);
        let text = std::fs::read_to_string(&journal).unwrap_or_default();
        assert!(!text.contains("unmasked"), "went too far");
        if sent.0.contains_key("agreement") {
            return (world, elsewhere);
        }
        std::fs::remove_dir_all(folder).unwrap();
        std::fs::create_dir_all(folder).unwrap();
        elsewhere = Elsewhere::default();
    }
    unreachable!()
}

#[test]
fn a_second_agreement_with_another_set_is_refused_also_after_the_state_was_restored() {
    let keep = tempfile::tempdir().unwrap();
    let folder = keep.path().join("site");
    std::fs::create_dir_all(&folder).unwrap();
    let (world, elsewhere) = run_to_the_agreement(&folder);
    let round = folder.join("state/jobs/job-1/rounds/1");
    let mut store = JobStore::open(Disk::default(), &folder, &job()).unwrap();
    let agreed = store.agreed(FIRST).unwrap().unwrap();
    let secret = store.await_unmasking(FIRST).unwrap();
    // The same decision again is harmless, another one is not.
    store.store_agreed(FIRST, &secret, &agreed.signature).unwrap();
    let mut other = agreed.signature.clone();
    other.agreed_digest = Digest::of(b"another set");
    let refused = store.store_agreed(FIRST, &secret, &other).unwrap_err();
    assert!(matches!(refused, StateError::Journal(JournalError::AlreadyDecided { .. })), "{refused}");
    assert_eq!(store.agreed(FIRST).unwrap().unwrap().signature, agreed.signature);

    // Restore the state folder from before the agreement: the journal remembers it.
    std::fs::remove_file(round.join("agreed")).unwrap();
    let mut store = JobStore::open(Disk::default(), &folder, &job()).unwrap();
    let refused = store.agreed(FIRST).unwrap_err();
    assert!(
        matches!(refused, StateError::RolledBack { decision: Decision::Agreed, round: 1, .. }),
        "{refused}"
    );
    drop((world, elsewhere));
}

#[test]
fn a_masked_update_is_not_made_again_after_the_state_was_restored() {
    let keep = tempfile::tempdir().unwrap();
    let folder = keep.path().join("site");
    std::fs::create_dir_all(&folder).unwrap();
    run_to_the_agreement(&folder);
    std::fs::remove_dir_all(folder.join("state/jobs/job-1/rounds")).unwrap();
    let mut store = JobStore::open(Disk::default(), &folder, &job()).unwrap();
    let refused = store.masked(FIRST).unwrap_err();
    assert!(matches!(refused, StateError::RolledBack { decision: Decision::Masked, .. }), "{refused}");
    std::fs::remove_dir_all(folder.join("state")).unwrap();
    let mut store = JobStore::open(Disk::default(), &folder, &job()).unwrap();
    let refused = store.advertised().unwrap_err();
    assert!(matches!(refused, StateError::RolledBack { decision: Decision::Advertised, .. }), "{refused}");
}

#[test]
fn a_closed_round_leaves_no_secret_and_cannot_be_reopened() {
    let keep = tempfile::tempdir().unwrap();
    let (world, mut elsewhere, mut sent) = (World::new(), Elsewhere::default(), Sent::default());
    attempt(&world, keep.path(), &Disk::default(), 0, &mut elsewhere, &mut sent).unwrap();
    assert!(!keep.path().join("state/jobs/job-1/rounds/1").exists());
    let left: Vec<String> = std::fs::read_dir(keep.path().join("state/jobs/job-1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!left.iter().any(|name| name.starts_with("await")), "{left:?}");
    let mut store = JobStore::open(Disk::default(), keep.path(), &job()).unwrap();
    assert!(store.is_closed(FIRST));
    assert!(matches!(store.masked(FIRST), Err(StateError::Closed { round: 1, .. })));
    assert_eq!(store.chains().unwrap().unwrap().round().get(), 2);
    store.close().unwrap();
    assert!(store.chains().unwrap().is_none());
    assert!(matches!(store.advertised(), Err(StateError::Closed { round: 0, .. })));
}

#[test]
fn damaged_state_is_refused_with_the_file_s_name() {
    let keep = tempfile::tempdir().unwrap();
    let folder = keep.path().join("site");
    std::fs::create_dir_all(&folder).unwrap();
    run_to_the_agreement(&folder);
    for name in ["chains", "encapsulated", "advertised", "rounds/1/masked", "rounds/1/await-unmasking"] {
        let path = folder.join("state/jobs/job-1").join(name);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let mut store = JobStore::open(Disk::default(), &folder, &job()).unwrap();
        let error = match name {
            "chains" => store.chains().map(drop).unwrap_err(),
            "encapsulated" => store.encapsulated().map(drop).unwrap_err(),
            "advertised" => store.advertised().map(drop).unwrap_err(),
            "rounds/1/masked" => store.masked(FIRST).map(drop).unwrap_err(),
            _ => store.await_unmasking(FIRST).map(drop).unwrap_err(),
        };
        assert!(error.to_string().contains(name.rsplit('/').next().unwrap()), "{error}");
        std::fs::write(&path, &good).unwrap();
    }
}

#[test]
fn secrets_that_a_power_cut_left_are_erased_when_their_record_is_read() {
    let world = World::new();
    let (mut leftovers, mut old_chains) = (0, 0);
    for steps in 0.. {
        let keep = tempfile::tempdir().unwrap();
        let (mut elsewhere, mut sent) = (Elsewhere::default(), Sent::default());
        let dying = Disk::losing_power_after(steps);
        if attempt(&world, keep.path(), &dying, 0, &mut elsewhere, &mut sent).is_ok() {
            break;
        }
        let round = keep.path().join("state/jobs/job-1/rounds/1");
        let secret =
            |name: &str| std::fs::read(round.join(name)).ok().filter(|bytes| bytes.iter().any(|b| *b != 0));
        let mut store = JobStore::open(Disk::default(), keep.path(), &job()).unwrap();
        if store.is_closed(FIRST) {
            continue;
        }
        let before = store.chains().unwrap().map(|chains| chains.round());
        if store.masked(FIRST).unwrap().is_some() {
            old_chains += usize::from(before == Some(FIRST));
            assert_eq!(store.chains().unwrap().unwrap().round().get(), 2, "after {steps} steps");
        }
        for name in ["await-agreement", "await-unmasking"] {
            let was_there = secret(name).is_some();
            let is_read = if name == "await-agreement" {
                store.agreed(FIRST).unwrap().is_some()
            } else {
                store.unmasked(FIRST).unwrap().is_some()
            };
            leftovers += usize::from(is_read && was_there);
            assert!(!is_read || secret(name).is_none(), "{name} after {steps} steps");
        }
    }
    // The cuts did come between a record and the erasure that follows it.
    assert!(leftovers > 4 && old_chains > 2, "{leftovers} leftovers, {old_chains} chains");
}

#[test]
fn shares_are_given_once_for_a_model_also_after_the_state_was_restored() {
    let keep = tempfile::tempdir().unwrap();
    let (world, mut elsewhere, mut sent) = (World::new(), Elsewhere::default(), Sent::default());
    attempt(&world, keep.path(), &Disk::default(), 0, &mut elsewhere, &mut sent).unwrap();
    let response = serde_json::from_slice(&sent.0["response"]).unwrap();
    std::fs::remove_dir_all(keep.path().join("state")).unwrap();
    let mut store = JobStore::open(Disk::default(), keep.path(), &job()).unwrap();
    let model = Digest::of(b"model");
    assert_eq!((store.answered_for(model), store.rounds_answered()), (Some(1), 1));
    let second = RoundNumber::new(2).unwrap();
    let refused = store.store_unmasked(second, model, &response).unwrap_err();
    assert!(matches!(refused, StateError::SpentModel { round: 2, earlier: 1, .. }), "{refused}");
    assert_eq!(store.answered_for(Digest::of(b"another model")), None);
}
