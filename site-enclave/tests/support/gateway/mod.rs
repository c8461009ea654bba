//! A gateway in memory that speaks the real protocol for one job, and can be told to misbehave.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use konclave_crypto::aggregator::{Agreeing, Collecting, Tagging, Unmasking};
use konclave_crypto::messages::{
    AgreementEvidence, AgreementSignature, Manifest, OpenedUpload, SumTag, TagEvidence,
};
use konclave_crypto::setup::{KemCiphertext, KeyAdvertisement, Roster};
use konclave_crypto::{
    ConsortiumRootKey, Digest, Encoding, IdentityKey, JobId, MaskGraph, MemberRole, Membership,
    MembershipCertificate, Mode, OpenedSum, RoundContext, RoundNumber, SignedContext, SiteId, TensorEncoding,
    UnixSeconds, apply_sums, batches,
};
use konclave_ledger::checkpoint::log_key;
use konclave_ledger::dsse::Envelope;
use konclave_ledger::records::{Document, OpenedTotal, Record, SumResult};
use konclave_ledger::statements::EvaluationStatement;
use konclave_ledger::{Hash, SigningKey};
use konclave_openapi::jobs::{NewJob, Optimizer, TrainingSpec};
use konclave_openapi::models::{ModelManifest, ParameterTensor};
use konclave_openapi::rounds::{Round, RoundPhase, Verification};
use konclave_openapi::sites::Enrolment;
use konclave_openapi::work::WorkItem;
use konclave_policies::quorum;
use konclave_policies::rounds::RoundPolicy;
use konclave_site::cli::{InitArguments, JoinArguments, Role, init, join};
use zeroize::Zeroizing;

use super::Pki;

mod log;
mod routes;
mod scoring;

use log::Log;

pub use routes::router;
use scoring::{Coalition, OpenedInMemory};

/// The model's parameters, all zero at the start.
pub const COORDINATES: usize = 6;

/// Where a round stands.
enum Stage {
    Uploading(Collecting),
    Agreeing(Agreeing),
    Unmasking(Unmasking),
    Tagging(Box<Tagging>),
    Checking,
    Opened,
    Between,
}

struct OneRound {
    number: RoundNumber,
    signed: SignedContext,
    stage: Stage,
    manifests: BTreeMap<SiteId, Manifest>,
    bodies: BTreeMap<SiteId, Vec<u8>>,
    signed_by: BTreeSet<SiteId>,
    answered: BTreeSet<SiteId>,
    agreement_evidence: Option<Digest>,
    total: Option<(Digest, u64)>,
    announcement: Option<Digest>,
    tags: Option<Digest>,
    verdicts: BTreeMap<SiteId, bool>,
    after: Option<Digest>,
    scoring: bool,
    /// The parameters of each coalition of a scoring round.
    coalitions: Vec<Coalition>,
}

/// Done once.
pub type Beginning = Box<dyn FnOnce(&mut Gateway) + Send>;

/// Changes an answer to a site's GET: the gateway, the site, the path, the answer.
pub type Deceit = Arc<dyn Fn(&Gateway, &SiteId, &str, &mut serde_json::Value) + Send + Sync>;

/// What the gateway has seen and done.
pub struct Gateway {
    root: ConsortiumRootKey,
    identity: IdentityKey,
    certificate: MembershipCertificate,
    /// Another one in each gateway, so that a line of the log belongs to one test.
    pub job: JobId,
    ledger: SigningKey,
    log: Log,
    pub policy: RoundPolicy,
    pub request: NewJob,
    manifest: ModelManifest,
    /// The model that the next round starts from.
    parameters: Digest,
    blobs: BTreeMap<Digest, Vec<u8>>,
    sites: Vec<SiteId>,
    pub consents: BTreeMap<SiteId, Envelope>,
    keys: BTreeMap<SiteId, KeyAdvertisement>,
    ciphertexts: BTreeMap<SiteId, Vec<KemCiphertext>>,
    roster: Option<Roster>,
    rounds: Vec<OneRound>,
    /// Opened sums: coordinates and weight.
    pub opened: Vec<(Vec<i32>, u64)>,
    pub cosignatures: BTreeSet<String>,
    /// Every manifest that ever arrived.
    pub manifests_seen: Vec<(SiteId, Manifest)>,
    /// How many rounds to run.
    pub rounds_wanted: usize,
    /// Changes a context before it is signed.
    pub tamper: Option<fn(&mut RoundContext)>,
    /// The number of the first round.
    pub first_round: u32,
    /// The sites' own floors stay as `join` wrote them, above this gateway's policy.
    pub strict_floors: bool,
    /// Writes contexts to the ledger.
    pub records_contexts: bool,
    /// Writes to the ledger how rounds ended.
    pub records_endings: bool,
    /// Proves the last entry by a path to another root.
    pub wrong_proofs: bool,
    /// Keeps what it opened to itself, and says that the round was aborted.
    pub pretends_aborts: bool,
    /// Who is never asked to sign the agreed set, only to unmask.
    pub unasked: BTreeSet<SiteId>,
    /// Answers to the unmasking that ever arrived: the round and the site.
    pub answers_seen: Vec<(u32, SiteId)>,
    /// Adds one to the first coordinate of every opened sum, and announces that.
    pub wrong_sums: bool,
    /// Moves the model by another step than the sum's.
    pub wrong_models: bool,
    /// Records less than a round costs its sites of their privacy budgets.
    pub hides_costs: bool,
    /// Moves another model than the round's by the sum.
    pub wrong_starts: bool,
    /// Divides the sum by another weight than the announced one.
    pub wrong_weights: bool,
    /// Keeps these sites' tags to itself: everybody has to compute them.
    pub loses_tags_of: BTreeSet<SiteId>,
    /// What sites said of opened sums: the round, the site, and whether it accepts.
    pub verdicts_seen: Vec<(u32, SiteId, bool)>,
    /// Keeps the round open for uploads, and asks for them again, whatever has arrived.
    pub hold_uploads: bool,
    /// The same with signatures on the agreed set.
    pub hold_agreement: bool,
    /// Keeps the shares' requests back.
    pub hold_unmasking: bool,
    /// Done once, when a round begins.
    pub begins: Option<Beginning>,
    /// Lies to single sites.
    pub deceit: Option<Deceit>,
    /// Who is not asked for an upload before the set is fixed, and then is, as if uploads were still open.
    pub late: BTreeSet<SiteId>,
    /// Every signature on a set that ever arrived.
    pub signatures_seen: Vec<AgreementSignature>,
    /// Who scores models.
    pub evaluator: Option<SiteId>,
    /// What the evaluator said.
    pub evaluations_seen: Vec<EvaluationStatement>,
    /// Moves one from the first batch's sum to the second's, and announces that: the total stays right.
    pub shifts_sums: bool,
    /// Writes other sums of the batches into the ledger than it announced.
    pub records_other_sums: bool,
    /// Asks for scores of coalitions with other models than follow from their sums.
    pub wrong_coalitions: bool,
    /// Says in the ledger that the tags it keeps to itself came.
    pub denies_lost_tags: bool,
}

type Shared = Arc<Mutex<Gateway>>;

fn new_job() -> JobId {
    static JOBS: AtomicU32 = AtomicU32::new(1);
    format!("job-{}", JOBS.fetch_add(1, Ordering::Relaxed)).parse().unwrap()
}

impl Gateway {
    pub fn new(sites: &[&str]) -> Shared {
        Self::with_policy(sites, |text| text)
    }

    /// A gateway whose rounds policy says something else than the embedded one.
    pub fn with_policy(sites: &[&str], change: fn(String) -> String) -> Shared {
        let root = ConsortiumRootKey::from_seed(Zeroizing::new([1; 32]));
        let identity = IdentityKey::from_seed(Zeroizing::new([2; 32]));
        let certificate = certify(&root, "gateway", MemberRole::Gateway, &identity.public());
        let policy_text = change(for_three(RoundPolicy::EMBEDDED));
        let policy = RoundPolicy::parse("rounds.toml", &policy_text).unwrap();
        let parameters = vec![0; 4 * COORDINATES];
        let model = b"a model of another kind than TorchScript".to_vec();
        let manifest = ModelManifest {
            parameters: vec![
                ParameterTensor { name: "bias".into(), shape: vec![2] },
                ParameterTensor { name: "weight".into(), shape: vec![2, 2] },
            ],
            coordinates: COORDINATES as u64,
            heads: 1,
            torchscript: Digest::of(&model),
            initial_parameters: Digest::of(&parameters),
        };
        let value = serde_json::to_value(&manifest).unwrap();
        let id = Digest::of(&konclave_ledger::canonical::canonical_json(&value).unwrap());
        let request = NewJob {
            name: "test".into(),
            purpose: policy.approved_purposes.first().unwrap().clone(),
            model: id,
            tasks: vec![konclave_openapi::jobs::TaskSpec {
                task: "Physicochem/logD".into(),
                kind: konclave_openapi::jobs::TaskKind::Regression,
                unit: None,
                output: 0,
                center_micro: 0,
                scale_micro: 1_000_000,
            }],
            training: TrainingSpec {
                local_epochs: 2,
                batch_size: 8,
                learning_rate_micro: 1_000,
                weight_decay_micro: 0,
                proximal_mu_micro: 0,
                optimizer: Optimizer::Sgd,
                seed: 5,
            },
            server_rate_micro: 1_000_000,
            rounds: 2,
            scoring_rounds: Vec::new(),
            invited: sites.iter().map(|site| site.parse().unwrap()).collect(),
            budget_micro: "0".into(),
        };
        let blobs = BTreeMap::from([(Digest::of(&model), model), (Digest::of(&parameters), parameters)]);
        let mut log = Log::default();
        let text = policy_text.clone();
        log.append("policies/rounds", &Record::PolicySet { policy: Hash::of(text.as_bytes()), text });
        Arc::new(Mutex::new(Self {
            root,
            identity,
            certificate,
            job: new_job(),
            ledger: SigningKey::from_seed(&[3; 32]),
            log,
            policy,
            sites: request.invited.clone(),
            request,
            parameters: manifest.initial_parameters,
            manifest,
            blobs,
            consents: BTreeMap::new(),
            keys: BTreeMap::new(),
            ciphertexts: BTreeMap::new(),
            roster: None,
            rounds: Vec::new(),
            opened: Vec::new(),
            cosignatures: BTreeSet::new(),
            manifests_seen: Vec::new(),
            rounds_wanted: 2,
            tamper: None,
            first_round: 1,
            strict_floors: false,
            records_contexts: true,
            records_endings: true,
            wrong_proofs: false,
            pretends_aborts: false,
            unasked: BTreeSet::new(),
            answers_seen: Vec::new(),
            wrong_sums: false,
            wrong_models: false,
            hides_costs: false,
            wrong_starts: false,
            wrong_weights: false,
            loses_tags_of: BTreeSet::new(),
            verdicts_seen: Vec::new(),
            hold_uploads: false,
            hold_agreement: false,
            hold_unmasking: false,
            begins: None,
            deceit: None,
            late: BTreeSet::new(),
            signatures_seen: Vec::new(),
            evaluator: None,
            evaluations_seen: Vec::new(),
            shifts_sums: false,
            records_other_sums: false,
            wrong_coalitions: false,
            denies_lost_tags: false,
        }))
    }

    /// A folder as `init`, the operator and `join` make it.
    pub fn enrol(&self, pki: &Pki, site: &str, address: SocketAddr, dir: &FilePath) {
        self.enrol_as(Role::Site, pki, site, address, dir);
    }

    /// The same for a member of another role.
    pub fn enrol_as(&self, role: Role, pki: &Pki, site: &str, address: SocketAddr, dir: &FilePath) {
        let (dir, legal_entity) = (dir.to_path_buf(), format!("{site} Ltd"));
        let site_id: SiteId = site.parse().unwrap();
        init(&InitArguments { dir: dir.clone(), site: site_id, legal_entity: legal_entity.clone(), role })
            .unwrap();
        let request: konclave_openapi::sites::EnrolmentRequest =
            serde_json::from_slice(&std::fs::read(dir.join("enrolment-request.json")).unwrap()).unwrap();
        let mut certificate = certify(&self.root, site, role.into(), &request.identity_key);
        certificate.membership.legal_entity = legal_entity;
        certificate.membership.witness_vkey = request.witness_vkey;
        let enrolment = Enrolment {
            certificate: self.root.issue(certificate.membership),
            tls_certificate: pki.sign(&request.tls_request),
            tls_ca: pki.ca.clone(),
            consortium_root: self.root.root().0,
            gateway_url: format!("https://localhost:{}", address.port()),
            ledger_key: log_key(Log::origin(), &self.ledger).to_string(),
        };
        let file = dir.join("from-operator.json");
        std::fs::write(&file, serde_json::to_vec(&enrolment).unwrap()).unwrap();
        join(&JoinArguments { dir: dir.clone(), enrolment: file }).unwrap();
        if !self.strict_floors {
            let file = dir.join("floors.toml");
            let floors = std::fs::read_to_string(&file).unwrap();
            let floors = for_three(&floors).replace("scoring_batch_size = 3", "scoring_batch_size = 2");
            std::fs::write(&file, floors).unwrap();
        }
    }

    fn number(&self) -> RoundNumber {
        let number = self.rounds.last().map_or(self.first_round, |round| round.number.get() + 1);
        RoundNumber::new(number).unwrap()
    }

    fn record(&mut self, round: RoundNumber, record: &Record) {
        let object = format!("jobs/{}/rounds/{round}", self.job);
        self.log.append(&object, record);
    }

    fn record_context(&mut self, number: RoundNumber, signed: &SignedContext) {
        let record = Record::RoundContext {
            job: self.job.to_string(),
            round: number.get(),
            context: Hash(*signed.context.digest().as_bytes()),
            signed: Document::of(serde_json::to_value(signed).unwrap()).unwrap().0,
            scoring: signed.context.mode == Mode::Group,
            parameters: Hash(*self.parameters.as_bytes()),
            deadline: 0,
            privacy_cost: signed
                .context
                .privacy_cost()
                .map(|cost| cost.nano_rho() - u64::from(self.hides_costs)),
        };
        self.record(number, &record);
    }

    fn begin_round(&mut self) {
        let roster = self.roster.clone().unwrap();
        let head = self.log.head();
        let number = self.number();
        let tensor = |tensor: &ParameterTensor| TensorEncoding {
            name: tensor.name.clone(),
            len: tensor.shape.iter().product(),
            clip_micro: self.policy.clip_micro,
        };
        let sites = u16::try_from(roster.len()).unwrap();
        let scoring = self.request.scoring_rounds.contains(&number.get());
        let mut honest = RoundContext {
            job: self.job.clone(),
            round: number,
            model: self.parameters,
            roster: roster.digest(),
            batches: match self.policy.batch_size {
                _ if scoring => batches::scoring_batches(&roster, self.policy.scoring_batch_size),
                1 => batches::singletons(&roster),
                size => batches::scoring_batches(&roster, size),
            },
            mode: if scoring { Mode::Group } else { Mode::Full },
            encoding: Encoding {
                tensors: self.manifest.parameters.iter().map(tensor).collect(),
                quantisation_bits: self.policy.quantisation_bits,
                ring_bits: 0,
                weight_cap: self.policy.weight_cap,
            },
            threshold: quorum::threshold(sites),
            min_agreed: self.policy.min_agreed,
            min_batch: self.policy.min_batch,
            mask_graph: MaskGraph::Complete,
            policy: self.policy.digest(),
            training: self.request.training_digest(),
            ledger_size: head.size,
            ledger_root: Digest(head.root.0),
            noise: None,
        };
        honest.noise = self.policy.noise_terms(&honest.encoding, honest.fewest_summed());
        honest.encoding.ring_bits = self.policy.ring_bits(sites, honest.noise.as_ref());
        let mut context = honest.clone();
        if let Some(tamper) = self.tamper {
            tamper(&mut context);
        }
        let signed = SignedContext::sign(context, self.certificate.clone(), &self.identity);
        if self.records_contexts {
            self.record_context(number, &signed);
        }
        self.rounds.push(OneRound {
            number,
            signed,
            // Of a context that its own rules forbid, uploads are collected as if it were sound.
            stage: Stage::Uploading(Collecting::new(honest, roster).unwrap()),
            manifests: BTreeMap::new(),
            bodies: BTreeMap::new(),
            signed_by: BTreeSet::new(),
            answered: BTreeSet::new(),
            agreement_evidence: None,
            total: None,
            announcement: None,
            tags: None,
            verdicts: BTreeMap::new(),
            after: None,
            scoring,
            coalitions: Vec::new(),
        });
        if let Some(begins) = self.begins.take() {
            begins(self);
        }
    }

    /// Keeps a blob for whoever asks for it.
    pub fn keep(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.blobs.insert(digest, bytes);
        digest
    }

    /// Opens the last round's sum, moves the model by it, and writes both to the ledger.
    fn open_round(&mut self, unmasking: Unmasking) -> Stage {
        let last = self.rounds.last().unwrap();
        let (number, context) = (last.number, last.signed.context.clone());
        let (job, round) = (self.job.to_string(), number.get());
        let proposal = unmasking.proposal().clone();
        let signatures = unmasking.request_for(&self.sites[0]).unwrap().signatures;
        let evidence = AgreementEvidence { proposal: proposal.clone(), signatures };
        let opening = unmasking.close().unwrap();
        let agreed = last.bodies.iter().filter(|(site, _)| proposal.agreed.contains(site));
        let bodies = agreed.map(|(site, body)| (site.clone(), body.as_slice())).collect();
        let mut sum = OpenedInMemory::default();
        let mut tagging = opening.open_into(bodies, &mut sum).unwrap();
        let scoring = last.scoring;
        let OpenedInMemory { mut sums, total } = sum;
        let mut coordinates = if scoring { total } else { sums[0].clone() };
        if self.wrong_sums || self.shifts_sums {
            let mut announcement = tagging.announcement().clone();
            if self.shifts_sums {
                sums[0][0] += 1;
                sums[1][0] -= 1;
            } else {
                coordinates[0] += 1;
                sums[0].clone_from(&coordinates);
            }
            announcement.total.coordinates = Digest::of(&little_endian(&coordinates));
            for (announced, sum) in announcement.sums.iter_mut().zip(&sums) {
                announced.coordinates = Digest::of(&little_endian(sum));
            }
            let (roster, opened) = (self.roster.clone().unwrap(), tagging.opened().clone());
            tagging = Tagging::resume(context.clone(), roster, &proposal, announcement, opened).unwrap();
        }
        let announcement = tagging.announcement().clone();
        let weight = announcement.total.weight;
        self.opened.push((coordinates.clone(), weight));
        let evidence = self.keep(serde_json::to_vec(&evidence).unwrap());
        let total = self.keep(little_endian(&coordinates));
        let record = if self.pretends_aborts {
            Record::RoundAborted { job, round, reason: "too few answers".into(), culprits: Vec::new() }
        } else {
            let crafted: Vec<u8> = (0..COORDINATES).flat_map(|_| 0.5_f32.to_le_bytes()).collect();
            let before = if self.wrong_starts { self.keep(crafted) } else { self.parameters };
            let weight = if self.wrong_weights { 1 } else { weight };
            let model: Vec<f32> = self.blobs[&before]
                .chunks_exact(4)
                .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
                .collect();
            let batches = self.recorded_batches(&announcement, &sums);
            let coalitions = if scoring { self.coalitions(&model, &sums, &announcement) } else { Vec::new() };
            let listed = coalitions.iter().map(Coalition::listed).collect::<Vec<_>>();
            let listed = scoring.then(|| Document::of(serde_json::to_value(&listed).unwrap()).unwrap().0);
            self.last().coalitions = coalitions;
            let sum = OpenedSum { sites: proposal.agreed, coordinates, weight };
            let rate = self.request.server_rate_micro + u32::from(self.wrong_models);
            let moved = apply_sums(&model, &[sum], &context.encoding, rate).unwrap();
            let after = self.keep(moved.iter().flat_map(|value| value.to_le_bytes()).collect());
            self.parameters = after;
            Record::RoundOpened {
                job,
                round,
                context: Hash(*context.digest().as_bytes()),
                batches,
                total: OpenedTotal { sum: Hash(*total.as_bytes()), weight },
                announcement: Hash(*announcement.digest().as_bytes()),
                tag_deadline: 0,
                parameters_before: Hash(*before.as_bytes()),
                parameters_after: Hash(*after.as_bytes()),
                coalitions: listed,
                evaluation_deadline: 0,
            }
        };
        if self.records_endings {
            self.record(number, &record);
        }
        let after = self.parameters;
        let last = self.last();
        last.agreement_evidence = Some(evidence);
        last.total = Some((total, weight));
        last.announcement = Some(announcement.digest());
        last.after = Some(after);
        if self.pretends_aborts { Stage::Opened } else { Stage::Tagging(Box::new(tagging)) }
    }

    /// Publishes the tags of the last round's sum.
    fn publish_tags(&mut self, tagging: &Tagging) {
        let hidden = &self.loses_tags_of;
        let last = self.rounds.last().unwrap();
        let tags: Vec<SumTag> = tagging.tags().filter(|tag| !hidden.contains(&tag.site)).cloned().collect();
        let uploads: Vec<OpenedUpload> = hidden
            .iter()
            .filter(|_| !last.scoring)
            .map(|site| OpenedUpload {
                site: site.clone(),
                opened: tagging.opened()[site].clone(),
                body: Digest::of(&last.bodies[site]),
            })
            .collect();
        let bodies: Vec<Vec<u8>> = hidden.iter().map(|site| last.bodies[site].clone()).collect();
        for body in bodies {
            self.keep(body);
        }
        let evidence = TagEvidence { announcement: tagging.announcement().clone(), tags, uploads };
        let record = self.tagged_record(&evidence);
        let digest = self.keep(serde_json::to_vec(&evidence).unwrap());
        let number = self.last().number;
        self.record(number, &record);
        self.last().tags = Some(digest);
    }

    /// Moves the round on when everyone has answered.
    fn advance(&mut self) {
        let all = self.sites.len();
        let in_time = all - self.late.len();
        if self.roster.is_none() && self.keys.len() == all {
            let advertisements = self.keys.values().cloned().collect();
            self.roster =
                Some(Roster::new(self.job.clone(), advertisements, &self.root.root(), now()).unwrap());
        }
        if self.ciphertexts.len() < all {
            return;
        }
        let Some(round) = self.rounds.last_mut() else { return self.begin_round() };
        let stage = match std::mem::replace(&mut round.stage, Stage::Between) {
            Stage::Uploading(collecting) if collecting.uploaded().len() == in_time && !self.hold_uploads => {
                Stage::Agreeing(collecting.close().unwrap())
            }
            Stage::Agreeing(agreeing)
                if round.signed_by.len() + self.unasked.len() == in_time && !self.hold_agreement =>
            {
                Stage::Unmasking(agreeing.close().unwrap())
            }
            Stage::Unmasking(unmasking) if round.answered.len() == in_time => self.open_round(unmasking),
            Stage::Tagging(tagging) if tagging.missing().is_empty() => {
                self.publish_tags(&tagging);
                Stage::Checking
            }
            Stage::Checking if round.verdicts.len() == in_time => Stage::Opened,
            other => other,
        };
        self.last().stage = stage;
        let Some(round) = self.rounds.last() else { return };
        if matches!(round.stage, Stage::Opened) && self.rounds.len() < self.rounds_wanted {
            self.begin_round();
        }
    }

    fn work(&mut self, site: &SiteId) -> Option<WorkItem> {
        self.advance();
        if self.evaluator.as_ref() == Some(site) {
            return self.next_evaluation();
        }
        let job = self.job.clone();
        let all = self.sites.len();
        if !self.consents.contains_key(site) {
            return Some(WorkItem::Consent { job });
        }
        if self.consents.len() < all {
            return None;
        }
        if !self.keys.contains_key(site) {
            return Some(WorkItem::AdvertiseKeys { job });
        }
        self.roster.as_ref()?;
        if !self.ciphertexts.contains_key(site) {
            return Some(WorkItem::Encapsulate { job });
        }
        let round = self.rounds.last()?;
        let number = round.number;
        if self.late.contains(site) {
            let asked = matches!(round.stage, Stage::Unmasking(_)) && !self.has_body(site);
            return asked.then_some(WorkItem::Upload { job, round: number });
        }
        match &round.stage {
            Stage::Uploading(collecting) => (self.hold_uploads || !collecting.uploaded().contains(site))
                .then_some(WorkItem::Upload { job, round: number }),
            Stage::Agreeing(_) => {
                let waited_for = self.hold_agreement || !round.signed_by.contains(site);
                let asked = waited_for && !self.unasked.contains(site);
                asked.then_some(WorkItem::Agree { job, round: number })
            }
            Stage::Unmasking(_) => (!self.hold_unmasking && !round.answered.contains(site))
                .then_some(WorkItem::Unmask { job, round: number }),
            Stage::Tagging(tagging) => {
                tagging.missing().contains(site).then_some(WorkItem::Tag { job, round: number })
            }
            Stage::Checking => {
                (!round.verdicts.contains_key(site)).then_some(WorkItem::Verify { job, round: number })
            }
            Stage::Opened | Stage::Between => None,
        }
    }

    /// Whether a site's body of the last round is complete, in time or late.
    pub fn has_body(&self, site: &SiteId) -> bool {
        let Some(round) = self.rounds.last() else { return false };
        let length = |manifest: &Manifest| manifest.signed.header.body_bytes;
        let held = round.bodies.get(site).map(|body| body.len() as u64);
        held.is_some() && held == round.manifests.get(site).map(length)
    }

    /// Signs another context for the last round and writes that to the ledger too.
    pub fn second_context(&mut self, change: fn(&mut RoundContext)) -> SignedContext {
        let last = self.rounds.last().unwrap();
        let (number, mut context) = (last.number, last.signed.context.clone());
        change(&mut context);
        let signed = SignedContext::sign(context, self.certificate.clone(), &self.identity);
        self.record_context(number, &signed);
        signed
    }

    /// How many sites have sent ciphertexts.
    pub fn ciphertexts_seen(&self) -> usize {
        self.ciphertexts.len()
    }

    /// Whether a round has begun.
    pub fn has_round(&self) -> bool {
        !self.rounds.is_empty()
    }

    fn last(&mut self) -> &mut OneRound {
        self.rounds.last_mut().unwrap()
    }

    /// How many have signed the last round's set.
    pub fn signed(&self) -> usize {
        self.rounds.last().map_or(0, |round| round.signed_by.len())
    }

    /// The sites whose uploads of the last round are complete.
    pub fn uploaded(&self) -> usize {
        self.rounds.last().map_or(0, |round| match &round.stage {
            Stage::Uploading(collecting) => collecting.uploaded().len(),
            Stage::Agreeing(_)
            | Stage::Unmasking(_)
            | Stage::Tagging(_)
            | Stage::Checking
            | Stage::Opened
            | Stage::Between => 0,
        })
    }

    /// A round as sites see it.
    pub fn view(&self, number: u32) -> Option<Round> {
        let round = self.rounds.iter().find(|round| round.number.get() == number)?;
        Some(Round {
            job: self.job.clone(),
            round: RoundNumber::new(number).unwrap(),
            phase: match round.stage {
                Stage::Uploading(_) | Stage::Between => RoundPhase::Uploading,
                Stage::Agreeing(_) => RoundPhase::Agreeing,
                Stage::Unmasking(_) => RoundPhase::Unmasking,
                Stage::Tagging(_) | Stage::Checking | Stage::Opened => RoundPhase::Opened,
            },
            context_digest: round.signed.context.digest(),
            uploaded: round.bodies.keys().cloned().collect(),
            agreed: Vec::new(),
            signed: round.signed_by.iter().cloned().collect(),
            unmasked: round.answered.iter().cloned().collect(),
            parameters_before: round.signed.context.model,
            context: round.signed.clone(),
            parameters_after: round.after,
            openings: Vec::new(),
            agreement_evidence: round.agreement_evidence,
            verification: round.announcement.map(|announcement| Verification {
                result: SumResult::Pending,
                total: round.total.unwrap().0,
                weight: round.total.unwrap().1,
                announcement,
                tags: round.tags,
                tagged: Vec::new(),
                missing: Vec::new(),
                false_tags: Vec::new(),
                accepted: Vec::new(),
                rejected: Vec::new(),
                deadline: None,
            }),
            started_at: "2026-01-01T00:00:00Z".into(),
            deadline: None,
        })
    }
}

fn little_endian(coordinates: &[i32]) -> Vec<u8> {
    coordinates.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A policy's or floors' text for three sites.
fn for_three(text: &str) -> String {
    text.replace("min_cohort = 5", "min_cohort = 3")
        .replace("min_agreed = 5", "min_agreed = 3")
        .replace("min_batch = 3", "min_batch = 2")
}

fn certify(
    root: &ConsortiumRootKey,
    site: &str,
    role: MemberRole,
    key: &konclave_crypto::IdentityPublicKey,
) -> MembershipCertificate {
    root.issue(Membership {
        site: site.parse().unwrap(),
        legal_entity: "Platform".into(),
        role,
        identity_key: *key,
        witness_vkey: String::new(),
        serial: 1,
        not_before: UnixSeconds(0),
        not_after: UnixSeconds(now().get() + 10_000),
    })
}

fn now() -> UnixSeconds {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixSeconds(since.as_secs())
}
