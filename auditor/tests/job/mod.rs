//! A job as a gateway writes it down, played with the real protocol: its entries, and the blobs that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use konclave_crypto::aggregator::{Collecting, SumSink, Tagging};
use konclave_crypto::batches::{scoring_batches, singletons};
use konclave_crypto::messages::{AgreementEvidence, OpenedUpload, SumTag, SumVerdict, TagEvidence};
use konclave_crypto::privacy::PrivacyCost;
use konclave_crypto::setup::{PairwiseChains, Roster, advertise};
use konclave_crypto::site::{AwaitAgreement, mask};
use konclave_crypto::verification::{AgreedSet, OwnUpload, tag};
use konclave_crypto::{
    Digest, Encoding, IdentityKey, MaskGraph, MemberRole, Mode, OpenedSum, RoundContext, RoundNumber,
    SignedContext, SiteFloor, SiteId, TensorEncoding, UnixSeconds, VerifiedContext, apply_sums, body_root,
    quantise,
};
use konclave_ledger::records::{
    CoalitionParameters, Document, OpenedBatch, OpenedTotal, OpenedUpload as UploadRecord, Record, SumResult,
};
use konclave_ledger::{EntryDraft, Hash};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use zeroize::Zeroizing;

use crate::consortium::{at, certificate, created, enrolled, entry, identity_seed, root};

pub const JOB: &str = "job-1";
pub const SITES: [&str; 4] = ["site-a", "site-b", "site-c", "site-d"];
const COORDINATES: usize = 6;
const RATE: u32 = 1_000_000;
const FLOOR: SiteFloor =
    SiteFloor { min_sites: 4, min_agreed: 3, min_batch: 2, scoring_batch_size: Some(2), batch_size: 1 };

/// What becomes of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Every site sends its tag.
    Whole,
    /// The last site sends no tag: it is computed from its upload, or missing for good in a scoring round.
    Untagged,
    /// It is aborted after its set was agreed on.
    Aborted,
}

/// The entries of a ledger with one job, and its blobs.
#[derive(Clone)]
pub struct Played {
    pub drafts: Vec<EntryDraft>,
    pub blobs: BTreeMap<Hash, Vec<u8>>,
}

impl Played {
    /// A job whose rounds end so; those with these numbers are scored.
    pub fn new(kinds: &[Kind], scored: &[u32]) -> Self {
        let mut player = Player::new(kinds, scored);
        for (number, kind) in (1..).zip(kinds) {
            player.play(number, *kind, scored.contains(&number));
        }
        let parameters = hash(&player.model);
        player.write(&Record::JobFinished { job: JOB.into(), parameters }, None);
        player.played
    }

    /// The place of a round's entry with an action; of a job's for round 0.
    pub fn entry(&self, action: &str, round: u32) -> usize {
        let found = self
            .drafts
            .iter()
            .position(|draft| draft.action == action && (round == 0 || draft.record["round"] == round));
        found.unwrap_or_else(|| panic!("no {action} of round {round}"))
    }

    /// Writes the blobs below a folder, each under its digest.
    pub fn store(&self, folder: &std::path::Path) {
        for (digest, bytes) in &self.blobs {
            std::fs::write(folder.join(digest.to_string()), bytes).unwrap();
        }
    }
}

struct Player {
    played: Played,
    rng: ChaCha20Rng,
    roster: Roster,
    chains: BTreeMap<SiteId, PairwiseChains>,
    policy: Digest,
    model: Digest,
}

#[derive(Default)]
struct Sums {
    batches: Vec<Vec<i32>>,
    total: Vec<i32>,
}

impl SumSink for Sums {
    fn take(&mut self, sum: usize, coordinates: &[i32]) -> io::Result<()> {
        self.batches.resize(self.batches.len().max(sum + 1), Vec::new());
        self.batches[sum].extend_from_slice(coordinates);
        Ok(())
    }

    fn take_total(&mut self, coordinates: &[i32]) -> io::Result<()> {
        self.total.extend_from_slice(coordinates);
        Ok(())
    }
}

fn key(name: &str) -> IdentityKey {
    IdentityKey::from_seed(Zeroizing::new(identity_seed(name)))
}

fn now() -> UnixSeconds {
    UnixSeconds(at(0).unix_seconds())
}

fn hash(digest: &Digest) -> Hash {
    Hash(*digest.as_bytes())
}

fn names<'a>(sites: impl IntoIterator<Item = &'a SiteId>) -> Vec<String> {
    sites.into_iter().map(ToString::to_string).collect()
}

fn sum_bytes(coordinates: &[i32]) -> Vec<u8> {
    coordinates.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn policy_text() -> String {
    include_str!("../../../policies/rounds/default.toml")
        .replace("min_cohort = 5", "min_cohort = 4")
        .replace("min_agreed = 5", "min_agreed = 3")
        .replace("min_batch = 3", "min_batch = 2")
        .replace("scoring_batch_size = 3", "scoring_batch_size = 2")
}

impl Player {
    fn new(kinds: &[Kind], scored: &[u32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        let job: konclave_crypto::JobId = JOB.parse().unwrap();
        let (mut waiting, mut advertisements) = (Vec::new(), Vec::new());
        for site in SITES {
            let certificate = certificate(site, MemberRole::Site);
            let (state, advertisement) = advertise(&job, &key(site), &certificate, &mut rng);
            waiting.push((site, state));
            advertisements.push(advertisement);
        }
        let roster = Roster::new(job, advertisements, &root(), now()).unwrap();
        let (mut states, mut ciphertexts) = (Vec::new(), Vec::new());
        for (site, state) in waiting {
            let (state, sent) = state.encapsulate(&roster, &key(site), &mut rng).unwrap();
            states.push((site, state));
            ciphertexts.extend(sent);
        }
        let chains = states.into_iter().map(|(site, state)| {
            let own = ciphertexts.iter().filter(|sent| sent.to.as_str() == site).cloned().collect();
            (site.parse().unwrap(), state.finish(&roster, own).unwrap())
        });
        let chains = chains.collect();
        let text = policy_text();
        let policy = Digest::of(text.as_bytes());
        let played = Played { drafts: vec![created()], blobs: BTreeMap::new() };
        let mut player = Self { played, rng, roster, chains, policy, model: Digest::of(b"") };
        player.model = player.keep((0..COORDINATES).flat_map(|_| 0.5_f32.to_le_bytes()).collect());
        player.played.drafts.extend(SITES.map(enrolled));
        player.write(&Record::PolicySet { policy: hash(&policy), text }, None);
        let opened = kinds.iter().filter(|kind| **kind != Kind::Aborted).count();
        let sites: Vec<String> = SITES.map(str::to_owned).into();
        player.write(
            &Record::JobRequested {
                job: JOB.into(),
                organisation: "developer".into(),
                request: serde_json::json!({ "server_rate_micro": RATE }),
                model: Hash::of(b"manifest"),
                initial_parameters: hash(&player.model),
                invited: sites.clone(),
                rounds: u32::try_from(opened).unwrap(),
                scoring_rounds: scored.to_vec(),
                budget_micro: "0".into(),
                policy: hash(&policy),
                consent_deadline: 0,
            },
            None,
        );
        let roster = hash(&player.roster.digest());
        player.write(&Record::RosterFixed { job: JOB.into(), roster, sites, deadline: 0 }, None);
        player.write(&Record::JobStarted { job: JOB.into() }, None);
        player
    }

    fn write(&mut self, record: &Record, new: Option<Hash>) {
        self.played.drafts.push(EntryDraft { new, ..entry(None, None, record) });
    }

    fn keep(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.played.blobs.insert(hash(&digest), bytes);
        digest
    }

    fn keep_json(&mut self, value: &impl serde::Serialize) -> Hash {
        let digest = self.keep(serde_json::to_vec(value).unwrap());
        hash(&digest)
    }

    fn begin(&mut self, number: u32, scored: bool) -> VerifiedContext {
        let context = RoundContext {
            job: JOB.parse().unwrap(),
            round: RoundNumber::new(number).unwrap(),
            model: self.model,
            roster: self.roster.digest(),
            batches: if scored { scoring_batches(&self.roster, 2) } else { singletons(&self.roster) },
            mode: if scored { Mode::Group } else { Mode::Full },
            encoding: Encoding {
                tensors: vec![TensorEncoding {
                    name: "w".into(),
                    len: COORDINATES as u64,
                    clip_micro: 200_000,
                }],
                quantisation_bits: 15,
                ring_bits: 20,
                weight_cap: 8192,
            },
            threshold: 3,
            min_agreed: 3,
            min_batch: 2,
            mask_graph: MaskGraph::Complete,
            policy: self.policy,
            training: Digest::of(b"training"),
            ledger_size: self.played.drafts.len() as u64,
            ledger_root: Digest::of(b"head"),
            noise: None,
        };
        let gateway = certificate("gateway", MemberRole::Gateway);
        let signed = SignedContext::sign(context.clone(), gateway, &key("gateway"));
        let (document, bytes) = Document::of(serde_json::to_value(&signed).unwrap()).unwrap();
        self.keep(bytes);
        self.write(
            &Record::RoundContext {
                job: JOB.into(),
                round: number,
                context: hash(&context.digest()),
                signed: document,
                scoring: scored,
                parameters: hash(&self.model),
                deadline: 0,
                privacy_cost: context.privacy_cost().map(PrivacyCost::nano_rho),
            },
            None,
        );
        signed.verify(&root(), &self.roster, now(), &FLOOR).unwrap()
    }

    fn play(&mut self, number: u32, kind: Kind, scored: bool) {
        let context = self.begin(number, scored);
        let mut collecting = Collecting::new(context.context().clone(), self.roster.clone()).unwrap();
        let (mut waiting, mut bodies) = (BTreeMap::new(), BTreeMap::new());
        for (index, site) in self.roster.sites().cloned().collect::<Vec<_>>().into_iter().enumerate() {
            let (state, body) = self.upload(&site, index, &context, &mut collecting);
            waiting.insert(site.clone(), state);
            bodies.insert(site, body);
        }
        let mut agreeing = collecting.close().unwrap();
        let proposal = agreeing.proposal().clone();
        let (mut states, mut signatures) = (BTreeMap::new(), Vec::new());
        for (site, state) in waiting {
            let (state, signature) =
                state.agree(&self.roster, &context, &proposal, &key(site.as_str())).unwrap();
            agreeing.accept(signature.clone()).unwrap();
            signatures.push(signature);
            states.insert(site, state);
        }
        let evidence = AgreementEvidence { proposal: proposal.clone(), signatures };
        let set = evidence.verify(&self.roster, &context).unwrap();
        let everyone: Vec<String> = SITES.map(str::to_owned).into();
        let agreed = Record::RoundAgreed {
            job: JOB.into(),
            round: number,
            agreed: everyone.clone(),
            signed: everyone,
            evidence: self.keep_json(&evidence),
            deadline: 0,
        };
        self.write(&agreed, Some(hash(&set.digest())));
        if kind == Kind::Aborted {
            let reason = "too few answered".into();
            let culprits = Vec::new();
            self.write(&Record::RoundAborted { job: JOB.into(), round: number, reason, culprits }, None);
            return;
        }
        let mut unmasking = agreeing.close().unwrap();
        for (site, state) in states {
            let request = unmasking.request_for(&site).unwrap();
            let (_, response) = state.unmask(&self.roster, &context, &request, &key(site.as_str())).unwrap();
            unmasking.accept(response).unwrap();
        }
        let mut sums = Sums::default();
        let read = bodies.iter().map(|(site, body)| (site.clone(), body.as_slice())).collect();
        let tagging = unmasking.close().unwrap().open_into(read, &mut sums).unwrap();
        if !scored {
            sums.total.clone_from(&sums.batches[0]);
        }
        self.open(number, &context, &tagging, &sums, scored);
        self.verify(number, kind, &context, &set, &tagging, &bodies);
    }

    fn upload(
        &mut self,
        site: &SiteId,
        index: usize,
        context: &VerifiedContext,
        collecting: &mut Collecting,
    ) -> (AwaitAgreement, Vec<u8>) {
        let delta: Vec<f32> = (0..COORDINATES).map(|place| 0.01 * (place + index) as f32).collect();
        let update =
            quantise(&delta, 100 + index as u32, &context.context().encoding, &mut self.rng).unwrap();
        let chains = self.chains.get_mut(site).unwrap();
        chains.advance_to(context.context().round).unwrap();
        let (state, manifest, body) =
            mask(chains, &self.roster, context, &key(site.as_str()), update.ring, &mut self.rng).unwrap();
        collecting.accept_manifest(site, manifest).unwrap();
        collecting.accept_body(site, body_root(body.as_slice()).unwrap(), body.len() as u64).unwrap();
        (state, body)
    }

    fn moved(&mut self, context: &VerifiedContext, sums: &[OpenedSum]) -> Digest {
        let model: Vec<f32> = self.played.blobs[&hash(&self.model)]
            .chunks_exact(4)
            .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        let moved = apply_sums(&model, sums, &context.context().encoding, RATE).unwrap();
        self.keep(moved.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn open(&mut self, number: u32, context: &VerifiedContext, tagging: &Tagging, sums: &Sums, scored: bool) {
        let announcement = tagging.announcement().clone();
        let opened: Vec<OpenedSum> = announcement
            .sums
            .iter()
            .zip(&sums.batches)
            .map(|(announced, coordinates)| OpenedSum {
                sites: announced.sites.clone(),
                coordinates: coordinates.clone(),
                weight: announced.weight,
            })
            .collect();
        let mut batches = Vec::new();
        for sum in &opened {
            let kept = self.keep(sum_bytes(&sum.coordinates));
            batches.push(OpenedBatch { sites: names(&sum.sites), sum: hash(&kept), weight: sum.weight });
        }
        let total = self.keep(sum_bytes(&sums.total));
        let after = self.moved(context, &opened);
        let coalitions = scored.then(|| {
            let listed: Vec<CoalitionParameters> = (0..1_u16 << opened.len())
                .map(|coalition| {
                    let members = opened.iter().enumerate().filter(|(place, _)| coalition >> place & 1 == 1);
                    let members: Vec<OpenedSum> = members.map(|(_, sum)| sum.clone()).collect();
                    let parameters =
                        if members.is_empty() { self.model } else { self.moved(context, &members) };
                    CoalitionParameters { coalition, parameters: hash(&parameters) }
                })
                .collect();
            Document::of(serde_json::to_value(listed).unwrap()).unwrap().0
        });
        let before = std::mem::replace(&mut self.model, after);
        let record = Record::RoundOpened {
            job: JOB.into(),
            round: number,
            context: hash(&context.digest()),
            batches,
            total: OpenedTotal { sum: hash(&total), weight: announcement.total.weight },
            announcement: hash(&announcement.digest()),
            tag_deadline: 0,
            parameters_before: hash(&before),
            parameters_after: hash(&after),
            coalitions,
            evaluation_deadline: 0,
        };
        self.write(&record, None);
        for site in SITES {
            let (site, manifest) = (site.to_owned(), Some(Hash::of(b"manifest")));
            let (uploaded, agreed, signed, unmasked) = (true, true, true, true);
            let job = JOB.into();
            self.write(
                &Record::ParticipationRecorded {
                    job,
                    round: number,
                    site,
                    uploaded,
                    agreed,
                    signed,
                    unmasked,
                    manifest,
                },
                None,
            );
        }
    }

    fn verify(
        &mut self,
        number: u32,
        kind: Kind,
        context: &VerifiedContext,
        set: &AgreedSet,
        tagging: &Tagging,
        bodies: &BTreeMap<SiteId, Vec<u8>>,
    ) {
        let announcement = tagging.announcement().clone();
        let silent: BTreeSet<SiteId> =
            if kind == Kind::Untagged { [SITES[3].parse().unwrap()].into() } else { BTreeSet::new() };
        let mut tags: Vec<SumTag> = Vec::new();
        for (site, body) in bodies.iter().filter(|(site, _)| !silent.contains(*site)) {
            let request = tagging.request_for(site).unwrap();
            let own = key(site.as_str());
            let upload = OwnUpload { site, key: &own, signed: Some(set.digest()), body: body.as_slice() };
            tags.push(tag(&self.roster, context, set, &request, upload).unwrap());
        }
        let scored = context.context().mode == Mode::Group;
        let mut uploads = Vec::new();
        for site in silent.iter().filter(|_| !scored) {
            let body = self.keep(bodies[site].clone());
            let opened = tagging.opened()[site].clone();
            uploads.push(OpenedUpload { site: site.clone(), opened, body });
        }
        let record =
            |upload: &OpenedUpload| UploadRecord { site: upload.site.to_string(), body: hash(&upload.body) };
        let tagged = names(tags.iter().map(|tag| &tag.site));
        let named = uploads.iter().map(record).collect();
        let evidence = TagEvidence { announcement: announcement.clone(), tags, uploads };
        let record = Record::RoundTagged {
            job: JOB.into(),
            round: number,
            announcement: hash(&announcement.digest()),
            evidence: self.keep_json(&evidence),
            tagged,
            uploads: named,
            missing: names(silent.iter().filter(|_| scored)),
            false_tags: Vec::new(),
            deadline: 0,
        };
        self.write(&record, None);
        let pending = scored && kind == Kind::Untagged;
        let verdicts: Vec<SumVerdict> = SITES
            .iter()
            .filter(|_| !pending)
            .map(|site| {
                let (context, said) = (context.digest(), announcement.digest());
                SumVerdict::sign(context, site.parse().unwrap(), said, true, &key(site))
            })
            .collect();
        let accepted = names(verdicts.iter().map(|verdict| &verdict.site));
        let record = Record::RoundVerified {
            job: JOB.into(),
            round: number,
            announcement: hash(&announcement.digest()),
            result: if pending { SumResult::Pending } else { SumResult::Verified },
            accepted,
            rejected: Vec::new(),
            evidence: self.keep_json(&verdicts),
        };
        self.write(&record, None);
    }
}
