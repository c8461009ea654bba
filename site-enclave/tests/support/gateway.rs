//! A gateway in memory that speaks the real protocol for one job, and can be told to misbehave.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use konclave_crypto::aggregator::{Agreeing, Collecting, Unmasking};
use konclave_crypto::messages::{AgreementSignature, Manifest, UnmaskingResponse};
use konclave_crypto::setup::{KemCiphertext, KeyAdvertisement, Roster};
use konclave_crypto::{
    ConsortiumRootKey, Digest, Encoding, IdentityKey, JobId, MemberRole, Membership, MembershipCertificate,
    Mode, RoundContext, RoundNumber, SignedContext, SiteId, TensorEncoding, UnixSeconds, body_root,
};
use konclave_ledger::SigningKey;
use konclave_ledger::checkpoint::{Checkpoint, log_key};
use konclave_ledger::dsse::Envelope;
use konclave_ledger::tree::leaf_hash;
use konclave_openapi::jobs::{Ciphertexts, Job, JobPhase, NewJob, Optimizer, RosterView, TrainingSpec};
use konclave_openapi::ledger::{CheckpointView, NewCosignature};
use konclave_openapi::models::{Model, ModelManifest, ParameterTensor};
use konclave_openapi::problem::{MEDIA_TYPE, Problem, ProblemType};
use konclave_openapi::rounds::{Round, RoundPhase, UploadOffset, UploadReceipt};
use konclave_openapi::sites::Enrolment;
use konclave_openapi::work::{WorkItem, WorkList};
use konclave_policies::quorum;
use konclave_policies::rounds::RoundPolicy;
use konclave_site::cli::{InitArguments, JoinArguments, Role, init, join};
use zeroize::Zeroizing;

use super::Pki;

/// The model's parameters, all zero at the start.
pub const COORDINATES: usize = 6;

/// Where a round stands.
enum Stage {
    Uploading(Collecting),
    Agreeing(Agreeing),
    Unmasking(Unmasking),
    Opened,
    Between,
}

struct OneRound {
    signed: SignedContext,
    stage: Stage,
    manifests: BTreeMap<SiteId, Manifest>,
    bodies: BTreeMap<SiteId, Vec<u8>>,
    signed_by: BTreeSet<SiteId>,
    answered: BTreeSet<SiteId>,
}

/// What the gateway has seen and done.
pub struct Gateway {
    root: ConsortiumRootKey,
    identity: IdentityKey,
    certificate: MembershipCertificate,
    ledger: SigningKey,
    pub policy: RoundPolicy,
    policy_text: String,
    pub request: NewJob,
    manifest: ModelManifest,
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
    /// Keeps the round open for uploads, and asks for them again, whatever has arrived.
    pub hold_uploads: bool,
}

type Shared = Arc<Mutex<Gateway>>;

/// The gateway as one site's connection sees it.
#[derive(Clone)]
struct Door {
    gateway: Shared,
    site: SiteId,
}

impl Door {
    fn open(&self) -> MutexGuard<'_, Gateway> {
        self.gateway.lock().unwrap()
    }
}

pub fn job() -> JobId {
    "job-1".parse().unwrap()
}

impl Gateway {
    pub fn new(sites: &[&str]) -> Shared {
        let root = ConsortiumRootKey::from_seed(Zeroizing::new([1; 32]));
        let identity = IdentityKey::from_seed(Zeroizing::new([2; 32]));
        let certificate = certify(&root, "gateway", MemberRole::Gateway, &identity.public());
        let policy_text = RoundPolicy::EMBEDDED
            .replace("min_cohort = 5", "min_cohort = 3")
            .replace("min_agreed = 5", "min_agreed = 3")
            .replace("min_batch = 3", "min_batch = 2");
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
        Arc::new(Mutex::new(Self {
            root,
            identity,
            certificate,
            ledger: SigningKey::from_seed(&[3; 32]),
            policy,
            policy_text,
            sites: request.invited.clone(),
            request,
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
            hold_uploads: false,
        }))
    }

    fn head(&self) -> Checkpoint {
        let origin = "ledger.example".parse().unwrap();
        Checkpoint { origin, size: 1, root: leaf_hash(b"the first entry") }
    }

    /// A folder as `init`, the operator and `join` make it.
    pub fn enrol(&self, pki: &Pki, site: &str, address: SocketAddr, dir: &FilePath) {
        let (dir, legal_entity) = (dir.to_path_buf(), format!("{site} Ltd"));
        let site_id: SiteId = site.parse().unwrap();
        init(&InitArguments {
            dir: dir.clone(),
            site: site_id,
            legal_entity: legal_entity.clone(),
            role: Role::Site,
        })
        .unwrap();
        let request: konclave_openapi::sites::EnrolmentRequest =
            serde_json::from_slice(&std::fs::read(dir.join("enrolment-request.json")).unwrap()).unwrap();
        let mut certificate = certify(&self.root, site, MemberRole::Site, &request.identity_key);
        certificate.membership.legal_entity = legal_entity;
        let enrolment = Enrolment {
            certificate: self.root.issue(certificate.membership),
            witness_vkey: request.witness_vkey,
            tls_certificate: pki.sign(&request.tls_request),
            tls_ca: pki.ca.clone(),
            consortium_root: self.root.root().0,
            gateway_url: format!("https://localhost:{}", address.port()),
            ledger_key: log_key(self.head().origin, &self.ledger).to_string(),
        };
        let file = dir.join("from-operator.json");
        std::fs::write(&file, serde_json::to_vec(&enrolment).unwrap()).unwrap();
        join(&JoinArguments { dir, enrolment: file }).unwrap();
    }

    fn begin_round(&mut self) {
        let roster = self.roster.clone().unwrap();
        let head = self.head();
        let tensor = |tensor: &ParameterTensor| TensorEncoding {
            name: tensor.name.clone(),
            len: tensor.shape.iter().product(),
            clip_micro: self.policy.clip_micro,
        };
        let sites = u16::try_from(roster.len()).unwrap();
        let honest = RoundContext {
            job: job(),
            round: RoundNumber::new(u32::try_from(self.rounds.len()).unwrap() + 1).unwrap(),
            model: self.manifest.initial_parameters,
            roster: roster.digest(),
            batches: roster.sites().map(|site| vec![site.clone()]).collect(),
            mode: Mode::Full,
            encoding: Encoding {
                tensors: self.manifest.parameters.iter().map(tensor).collect(),
                quantisation_bits: self.policy.quantisation_bits,
                ring_bits: quorum::ring_bits(self.policy.quantisation_bits, sites, self.policy.guard_bits)
                    .max(16),
                weight_cap: self.policy.weight_cap,
            },
            threshold: quorum::threshold(sites),
            min_agreed: self.policy.min_agreed,
            min_batch: self.policy.min_batch,
            policy: self.policy.digest(),
            training: self.request.training_digest(),
            ledger_size: head.size,
            ledger_root: Digest(head.root.0),
        };
        let mut context = honest.clone();
        if let Some(tamper) = self.tamper {
            tamper(&mut context);
        }
        self.rounds.push(OneRound {
            signed: SignedContext::sign(context, self.certificate.clone(), &self.identity),
            // Of a context that its own rules forbid, uploads are collected as if it were sound.
            stage: Stage::Uploading(Collecting::new(honest, roster).unwrap()),
            manifests: BTreeMap::new(),
            bodies: BTreeMap::new(),
            signed_by: BTreeSet::new(),
            answered: BTreeSet::new(),
        });
    }

    /// Moves the round on when everyone has answered.
    fn advance(&mut self) {
        let all = self.sites.len();
        if self.roster.is_none() && self.keys.len() == all {
            let advertisements = self.keys.values().cloned().collect();
            self.roster = Some(Roster::new(job(), advertisements, &self.root.root(), now()).unwrap());
        }
        if self.ciphertexts.len() < all {
            return;
        }
        let Some(round) = self.rounds.last_mut() else { return self.begin_round() };
        round.stage = match std::mem::replace(&mut round.stage, Stage::Between) {
            Stage::Uploading(collecting) if collecting.uploaded().len() == all && !self.hold_uploads => {
                Stage::Agreeing(collecting.close().unwrap())
            }
            Stage::Agreeing(agreeing) if round.signed_by.len() == all => {
                Stage::Unmasking(agreeing.close().unwrap())
            }
            Stage::Unmasking(unmasking) if round.answered.len() == all => {
                let opening = unmasking.close().unwrap();
                let bodies =
                    round.bodies.iter().map(|(site, body)| (site.clone(), body.as_slice())).collect();
                for sum in opening.open(bodies).unwrap() {
                    self.opened.push((sum.coordinates.clone(), sum.weight));
                }
                Stage::Opened
            }
            other => other,
        };
        if matches!(round.stage, Stage::Opened) && self.rounds.len() < self.rounds_wanted {
            self.begin_round();
        }
    }

    fn work(&mut self, site: &SiteId) -> Option<WorkItem> {
        self.advance();
        let job = job();
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
        let number = RoundNumber::new(u32::try_from(self.rounds.len()).unwrap()).unwrap();
        match &round.stage {
            Stage::Uploading(collecting) => (self.hold_uploads || !collecting.uploaded().contains(site))
                .then_some(WorkItem::Upload { job, round: number }),
            Stage::Agreeing(_) => {
                (!round.signed_by.contains(site)).then_some(WorkItem::Agree { job, round: number })
            }
            Stage::Unmasking(_) => {
                (!round.answered.contains(site)).then_some(WorkItem::Unmask { job, round: number })
            }
            Stage::Opened | Stage::Between => None,
        }
    }

    /// Whether a round has begun.
    pub fn has_round(&self) -> bool {
        !self.rounds.is_empty()
    }

    fn last(&mut self) -> &mut OneRound {
        self.rounds.last_mut().unwrap()
    }

    /// The sites whose uploads of the last round are complete.
    pub fn uploaded(&self) -> usize {
        self.rounds.last().map_or(0, |round| match &round.stage {
            Stage::Uploading(collecting) => collecting.uploaded().len(),
            Stage::Agreeing(_) | Stage::Unmasking(_) | Stage::Opened | Stage::Between => 0,
        })
    }

    fn view(&self, number: u32) -> Option<Round> {
        let round = self.rounds.get(usize::try_from(number).ok()?.checked_sub(1)?)?;
        Some(Round {
            job: job(),
            round: RoundNumber::new(number).unwrap(),
            phase: match round.stage {
                Stage::Uploading(_) | Stage::Between => RoundPhase::Uploading,
                Stage::Agreeing(_) => RoundPhase::Agreeing,
                Stage::Unmasking(_) => RoundPhase::Unmasking,
                Stage::Opened => RoundPhase::Opened,
            },
            context_digest: round.signed.context.digest(),
            uploaded: round.bodies.keys().cloned().collect(),
            agreed: Vec::new(),
            signed: round.signed_by.iter().cloned().collect(),
            unmasked: round.answered.iter().cloned().collect(),
            parameters_before: round.signed.context.model,
            context: round.signed.clone(),
            parameters_after: None,
            openings: Vec::new(),
            started_at: "2026-01-01T00:00:00Z".into(),
            deadline: None,
        })
    }
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
        serial: 1,
        not_before: UnixSeconds(0),
        not_after: UnixSeconds(now().get() + 10_000),
    })
}

fn now() -> UnixSeconds {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixSeconds(since.as_secs())
}

fn refuse(kind: ProblemType, detail: &str) -> Response {
    let problem = Problem::new(kind, detail, "request-1");
    let status = StatusCode::from_u16(problem.status).unwrap();
    (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], serde_json::to_vec(&problem).unwrap()).into_response()
}

fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// The routes for one site's connection.
pub fn router(gateway: &Shared, site: &str) -> Router {
    let door = Door { gateway: Arc::clone(gateway), site: site.parse().unwrap() };
    Router::new()
        .route("/v1/work", get(work))
        .route("/v1/jobs/{job}", get(the_job))
        .route("/v1/jobs/{job}/consents", post(consent))
        .route("/v1/models/{model}", get(model))
        .route("/v1/blobs/{digest}", get(blob))
        .route("/v1/ledger/entries", get(entries))
        .route("/v1/ledger/checkpoint", get(checkpoint))
        .route("/v1/ledger/cosignatures", post(cosignature))
        .route("/v1/jobs/{job}/keys/{site}", put(key))
        .route("/v1/jobs/{job}/roster", get(roster))
        .route("/v1/jobs/{job}/ciphertexts/{site}", put(send_ciphertexts).get(ciphertexts))
        .route("/v1/jobs/{job}/rounds/{round}", get(round))
        .route("/v1/jobs/{job}/rounds/{round}/manifests/{site}", put(manifest))
        .route("/v1/jobs/{job}/rounds/{round}/uploads/{site}", put(upload).get(offset))
        .route("/v1/jobs/{job}/rounds/{round}/agreement", get(proposal))
        .route("/v1/jobs/{job}/rounds/{round}/agreement/{site}", put(agreement))
        .route("/v1/jobs/{job}/rounds/{round}/unmasking/{site}", put(unmasked).get(unmasking))
        .with_state(door)
}

async fn work(State(door): State<Door>) -> Json<WorkList> {
    // A short poll: the loop is the same as with a long one.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let items = door.open().work(&door.site).into_iter().collect();
    Json(WorkList { items, ledger_size: 1 })
}

async fn the_job(State(door): State<Door>) -> Json<Job> {
    let gateway = door.open();
    Json(Job {
        job: job(),
        request: gateway.request.clone(),
        organisation: "developer".into(),
        phase: JobPhase::Running,
        consents: Vec::new(),
        roster: None,
        sites: gateway.sites.clone(),
        global_parameters: gateway.manifest.initial_parameters,
        rounds_opened: 0,
        current_round: None,
        policy: gateway.policy.digest(),
        created_at: "2026-01-01T00:00:00Z".into(),
        entry: 1,
    })
}

async fn consent(State(door): State<Door>, Json(envelope): Json<Envelope>) -> Response {
    door.open().consents.insert(door.site.clone(), envelope);
    done()
}

async fn model(State(door): State<Door>) -> Json<Model> {
    let gateway = door.open();
    let model = gateway.request.model;
    Json(Model {
        model,
        name: "m".into(),
        organisation: "developer".into(),
        manifest: gateway.manifest.clone(),
        entry: 1,
    })
}

async fn blob(State(door): State<Door>, Path(digest): Path<String>) -> Response {
    match door.open().blobs.get(&digest.parse().unwrap()) {
        Some(bytes) => bytes.clone().into_response(),
        None => refuse(ProblemType::NotFound, "no such blob"),
    }
}

async fn entries(State(door): State<Door>) -> Response {
    let leaf = serde_json::json!({"record": {"text": door.open().policy_text}}).to_string();
    let hash = leaf_hash(leaf.as_bytes());
    Json(serde_json::json!({"items": [{"index": 0, "leaf_hash": hash, "leaf": leaf}]})).into_response()
}

async fn checkpoint(State(door): State<Door>) -> Json<CheckpointView> {
    let gateway = door.open();
    let head = gateway.head();
    let note = head.sign(&gateway.ledger).to_string();
    Json(CheckpointView {
        origin: head.origin.to_string(),
        size: head.size,
        root: head.root,
        note,
        witnesses: Vec::new(),
    })
}

async fn cosignature(State(door): State<Door>, Json(new): Json<NewCosignature>) -> Json<CheckpointView> {
    door.open().cosignatures.insert(new.line.split(' ').nth(1).unwrap().to_owned());
    checkpoint(State(door)).await
}

async fn key(State(door): State<Door>, Json(key): Json<KeyAdvertisement>) -> Response {
    let mut gateway = door.open();
    match gateway.keys.get(&door.site) {
        Some(known) if *known != key => refuse(ProblemType::AlreadySent, "another key"),
        _ => {
            gateway.keys.insert(door.site.clone(), key);
            done()
        }
    }
}

async fn roster(State(door): State<Door>) -> Response {
    let gateway = door.open();
    match &gateway.roster {
        Some(roster) => Json(RosterView {
            job: job(),
            roster: roster.digest(),
            advertisements: roster.advertisements().to_vec(),
        })
        .into_response(),
        None => refuse(ProblemType::WrongRound, "no roster yet"),
    }
}

async fn send_ciphertexts(State(door): State<Door>, Json(sent): Json<Ciphertexts>) -> Response {
    door.open().ciphertexts.insert(door.site.clone(), sent.ciphertexts);
    done()
}

async fn ciphertexts(State(door): State<Door>) -> Json<Ciphertexts> {
    let gateway = door.open();
    let all = gateway.ciphertexts.values().flatten();
    Json(Ciphertexts { ciphertexts: all.filter(|message| message.to == door.site).cloned().collect() })
}

async fn round(State(door): State<Door>, Path((_, round)): Path<(String, u32)>) -> Response {
    match door.open().view(round) {
        Some(view) => Json(view).into_response(),
        None => refuse(ProblemType::NotFound, "no such round"),
    }
}

async fn manifest(State(door): State<Door>, Json(manifest): Json<Manifest>) -> Response {
    let mut gateway = door.open();
    gateway.manifests_seen.push((door.site.clone(), manifest.clone()));
    let Stage::Uploading(collecting) = &mut gateway.last().stage else {
        return refuse(ProblemType::WrongRound, "uploads are closed");
    };
    match collecting.accept_manifest(&door.site, manifest.clone()) {
        Ok(()) => {
            gateway.last().manifests.insert(door.site.clone(), manifest);
            done()
        }
        Err(rejection) => refuse(ProblemType::Rejected, &rejection.to_string()),
    }
}

async fn offset(State(door): State<Door>) -> Json<UploadOffset> {
    let mut gateway = door.open();
    let round = gateway.last();
    let bytes = round.manifests.get(&door.site).map_or(0, |manifest| manifest.signed.header.body_bytes);
    Json(UploadOffset { offset: round.bodies.get(&door.site).map_or(0, |body| body.len() as u64), bytes })
}

async fn upload(
    State(door): State<Door>,
    Query(query): Query<BTreeMap<String, usize>>,
    body: Bytes,
) -> Response {
    let mut gateway = door.open();
    let round = gateway.last();
    let held = round.bodies.entry(door.site.clone()).or_default();
    if query["offset"] != held.len() {
        return refuse(ProblemType::Conflict, "another offset");
    }
    held.extend_from_slice(&body);
    let (root, bytes) = (body_root(held.as_slice()).unwrap(), held.len() as u64);
    if let Stage::Uploading(collecting) = &mut round.stage
        && let Err(rejection) = collecting.accept_body(&door.site, root, bytes)
    {
        return refuse(ProblemType::Rejected, &rejection.to_string());
    }
    Json(UploadReceipt { bytes, body_root: root }).into_response()
}

async fn proposal(State(door): State<Door>) -> Response {
    match &door.open().last().stage {
        Stage::Agreeing(agreeing) => Json(agreeing.proposal().clone()).into_response(),
        _ => refuse(ProblemType::WrongRound, "not agreeing"),
    }
}

async fn agreement(State(door): State<Door>, Json(signature): Json<AgreementSignature>) -> Response {
    let mut gateway = door.open();
    let round = gateway.last();
    let Stage::Agreeing(agreeing) = &mut round.stage else {
        return refuse(ProblemType::WrongRound, "not agreeing");
    };
    match agreeing.accept(signature) {
        Ok(()) => {
            round.signed_by.insert(door.site.clone());
            done()
        }
        Err(rejection) => refuse(ProblemType::Rejected, &rejection.to_string()),
    }
}

async fn unmasking(State(door): State<Door>) -> Response {
    match &door.open().last().stage {
        Stage::Unmasking(unmasking) => Json(unmasking.request_for(&door.site).unwrap()).into_response(),
        _ => refuse(ProblemType::WrongRound, "not unmasking"),
    }
}

async fn unmasked(State(door): State<Door>, Json(response): Json<UnmaskingResponse>) -> Response {
    let mut gateway = door.open();
    let round = gateway.last();
    let Stage::Unmasking(unmasking) = &mut round.stage else {
        return refuse(ProblemType::WrongRound, "not unmasking");
    };
    match unmasking.accept(response) {
        Ok(()) => {
            round.answered.insert(door.site.clone());
            done()
        }
        Err(rejection) => refuse(ProblemType::Rejected, &rejection.to_string()),
    }
}
