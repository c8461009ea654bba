//! A gateway in this process, its clock in the test's hand, and a consortium that speaks to its real routes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use konclave_crypto::{
    ConsortiumRootKey, Digest, IdentityKey, JobId, MemberRole, Membership, MembershipCertificate, SiteId,
    UnixSeconds,
};
use konclave_gateway::auth::clients::Clients;
use konclave_gateway::auth::replay::UsedAssertions;
use konclave_gateway::auth::token_keys::TokenKeys;
use konclave_gateway::auth::tokens::Tokens;
use konclave_gateway::auth::{MemberPrincipal, Principal};
use konclave_gateway::capacity::{Capacity, Requests};
use konclave_gateway::config::{Config, Settings};
use konclave_gateway::coordinator;
use konclave_gateway::core::{App, Caller, Clock, CoreOptions, Entry, NewMember};
use konclave_gateway::enrolment::EnrolmentRecord;
use konclave_gateway::folder::{Access, Folder, make_folder, write_new, write_seed};
use konclave_gateway::projections::{OpenedState, State};
use konclave_gateway::router::{Edge, router};
use konclave_gateway::tls::authority::new_authority;
use konclave_ledger::records::Record;
use konclave_ledger::witness::WitnessSigner;
use konclave_ledger::{EntryDraft, Envelope, Ledger, LedgerOptions, OpenError, SigningKey, Timestamp};
use konclave_openapi::jobs::{Job, NewJob, Optimizer, TaskKind, TaskSpec, TrainingSpec};
use konclave_openapi::models::{Model, ModelManifest, NewModel, ParameterTensor};
use konclave_openapi::problem::Problem;
use konclave_openapi::rounds::Round;
use konclave_policies::authorization::{Authorizer, Role};
use konclave_policies::rounds::RoundPolicy;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tower::ServiceExt;
use zeroize::Zeroizing;

use crate::observer::{Observer, observe};
use crate::site::TestSite;

pub const START: u64 = 1_800_000_000;
pub const COORDINATES: usize = 70_000;

pub struct World {
    pub folder: tempfile::TempDir,
    pub clock: Clock,
    root: ConsortiumRootKey,
    gateway_seed: [u8; 32],
    ledger_seed: [u8; 32],
    certificate: MembershipCertificate,
    pub sites: BTreeMap<SiteId, TestSite>,
    pub evaluator: IdentityKey,
    rounds_policy: String,
    running: Option<(App, Router)>,
    /// Sees every answer.
    pub observer: Observer,
    /// Restart the gateway after every accepted message.
    pub restarts: bool,
    /// Seconds in which a reader must take the next part of an answer, where a test does not wait a minute.
    pub answer_seconds: Option<u32>,
}

/// Which sites do not do what.
#[derive(Debug, Clone, Default)]
pub struct Silent {
    pub upload: BTreeSet<SiteId>,
    pub agree: BTreeSet<SiteId>,
    pub unmask: BTreeSet<SiteId>,
    pub tag: BTreeSet<SiteId>,
    pub verify: BTreeSet<SiteId>,
}

pub fn site(index: usize) -> SiteId {
    format!("site-{index}").parse().unwrap()
}

pub fn only(index: usize) -> BTreeSet<SiteId> {
    BTreeSet::from([site(index)])
}

fn evaluator_id() -> SiteId {
    "benchmark".parse().unwrap()
}

impl World {
    pub async fn new(sites: usize) -> Self {
        Self::with_ends(sites, |_| START * 2).await
    }

    /// A consortium under a rounds policy of its own.
    pub async fn with_policy(sites: usize, rounds_policy: &str) -> Self {
        Self::with(sites, |_| START * 2, rounds_policy).await
    }

    /// A consortium in which the certificate of each site ends at a time of its own.
    pub async fn with_ends(sites: usize, ends: impl Fn(usize) -> u64) -> Self {
        Self::with(sites, ends, RoundPolicy::EMBEDDED).await
    }

    async fn with(sites: usize, ends: impl Fn(usize) -> u64, rounds_policy: &str) -> Self {
        let mut rng = ChaCha20Rng::from_seed([9; 32]);
        let root = ConsortiumRootKey::generate(&mut rng);
        let gateway = IdentityKey::from_seed(Zeroizing::new([1; 32]));
        let certificate = issue(&root, "gateway", MemberRole::Gateway, &gateway);
        let make = |index: usize| {
            let id = site(index);
            let key = IdentityKey::generate(&mut rng);
            let certificate = issue_until(&root, id.as_str(), MemberRole::Site, &key, ends(index));
            (id, TestSite::new(key, certificate, u8::try_from(index).unwrap()))
        };
        let sites = (1..=sites).map(make).collect();
        let mut world = Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Clock::set_to(UnixSeconds(START)),
            gateway_seed: [1; 32],
            ledger_seed: [2; 32],
            certificate,
            sites,
            evaluator: IdentityKey::from_seed(Zeroizing::new([3; 32])),
            root,
            rounds_policy: rounds_policy.to_owned(),
            running: None,
            observer: Observer::default(),
            restarts: false,
            answer_seconds: None,
        };
        world.make_authority();
        world.start().await;
        world.enrol().await;
        world
    }

    /// The authority of members' TLS certificates.
    fn make_authority(&self) {
        let folder = Folder::new(self.folder.path());
        let now = OffsetDateTime::from_unix_timestamp(i64::try_from(START).unwrap()).unwrap();
        let made = new_authority("test authority", now).unwrap();
        make_folder(folder.tls_ca().parent().unwrap()).unwrap();
        write_new(&folder.tls_ca(), made.certificate.as_bytes(), Access::Public).unwrap();
        write_new(&folder.tls_ca_key(), made.key.as_bytes(), Access::Secret).unwrap();
    }

    pub fn app(&self) -> &App {
        &self.running.as_ref().expect("the gateway runs").0
    }

    /// Opens the gateway from its folder.
    pub async fn start(&mut self) {
        for attempt in 0..200 {
            let path = self.folder.path();
            let folder = Folder::new(path);
            let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
            let mut settings =
                Settings::new(listen, "https://localhost".into(), "konclave.example/test".into());
            settings.timeouts.answer_seconds =
                self.answer_seconds.unwrap_or(settings.timeouts.answer_seconds);
            let opened = App::open(CoreOptions {
                config: Config { folder, settings },
                authorizer: Authorizer::embedded().unwrap(),
                identity: IdentityKey::from_seed(Zeroizing::new(self.gateway_seed)),
                certificate: self.certificate.clone(),
                root: self.root.root(),
                ledger_seed: Some(Zeroizing::new(self.ledger_seed)),
                rounds_policy: self.rounds_policy.clone(),
                clock: self.clock.clone(),
                on_stop: Box::new(|message| panic!("the writer stopped: {message}")),
            });
            match opened.await {
                Ok(app) => {
                    let whole = router(app.clone(), self.edge(&app));
                    let watched = whole.layer(from_fn_with_state(self.observer.clone(), observe));
                    self.running = Some((app, watched));
                    return;
                }
                // The writer's thread of the gateway before ends a moment after its last handle.
                Err(error) if attempt < 199 && error.to_string().contains("in use") => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("the gateway does not open: {error}"),
            }
        }
    }

    /// What the edge adds, as a deployment has it.
    fn edge(&self, app: &App) -> Edge {
        let folder = &app.config().folder;
        make_folder(&folder.keys()).unwrap();
        let key = folder.keys().join("token-1.key");
        if !key.exists() {
            write_seed(&key, &Zeroizing::new([7; 32])).unwrap();
        }
        let used = UsedAssertions::open(&folder.used_assertions(), self.clock.now()).unwrap();
        let keys = TokenKeys::load(&folder.keys()).unwrap();
        let issuer = app.config().settings.public_url.clone();
        let capacity = Capacity { connections: 64, connections_per_address: 64, requests: 4096 };
        Edge {
            tokens: Arc::new(Tokens::new(issuer, keys, Clients::new(folder.clients()), used)),
            recorder: None,
            requests: Requests::new(&capacity, app.config().settings.timeouts.answer()),
        }
    }

    /// Drops everything in memory and opens the folder again; the state must come back as it was.
    pub async fn restart(&mut self) {
        let before = self.app().state().clone();
        self.running = None;
        self.start().await;
        assert_eq!(*self.app().state(), before, "the replayed state is not the live one");
    }

    /// The seed of the consortium root, for what the council signs.
    pub fn root_seed(&self) -> &[u8; 32] {
        self.root.seed()
    }

    /// Starts the gateway again with another rounds policy in its folder.
    pub async fn change_policy(&mut self, rounds_policy: &str) {
        self.running = None;
        self.rounds_policy = rounds_policy.to_owned();
        self.start().await;
    }

    /// Replaces the ledger's key while the gateway is down, as the operator does.
    pub async fn change_ledger_key(&mut self, next: [u8; 32], authorisation: &Envelope) {
        self.running = None;
        let folder = Folder::new(self.folder.path()).ledger();
        let mut ledger = loop {
            let options = LedgerOptions {
                origin: "konclave.example/test".parse().unwrap(),
                signer: Box::new(SigningKey::from_seed(&self.ledger_seed)),
                software: "test".to_owned(),
                index: false,
                reserve_bytes: 0,
                seen: None,
            };
            match Ledger::open(&folder, options) {
                Ok(ledger) => break ledger,
                Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(error) => panic!("the ledger does not open: {error}"),
            }
        };
        let why = EntryDraft {
            actor: "operator".to_owned(),
            role: "operator".to_owned(),
            reason: "its time was over".to_owned(),
            request_id: "rotate-1".to_owned(),
            ..EntryDraft::default()
        };
        let now = Timestamp::from_unix_seconds(self.clock.now().get()).unwrap();
        ledger.rotate_key(Box::new(SigningKey::from_seed(&next)), authorisation, why, now).unwrap();
        drop(ledger);
        self.ledger_seed = next;
        self.start().await;
    }

    /// Stops the gateway and folds its ledger anew.
    pub async fn replayed(&mut self) -> State {
        self.running = None;
        self.start().await;
        self.app().state().clone()
    }

    async fn enrol(&mut self) {
        let caller = Caller::gateway("test");
        let mut members: Vec<(SiteId, MembershipCertificate)> =
            self.sites.iter().map(|(id, site)| (id.clone(), site.certificate.clone())).collect();
        let evaluator = issue(&self.root, "benchmark", MemberRole::Evaluator, &self.evaluator);
        members.push((evaluator_id(), evaluator));
        for (id, certificate) in members {
            let witness_vkey = witness(&id).verifier_key().to_string();
            let tls_spki = Digest::of(format!("tls {id}").as_bytes());
            let member = NewMember { certificate, witness_vkey, tls_spki };
            self.app().enrol(&caller, member).await.unwrap();
        }
    }

    /// A certificate for a member, as the operator makes it.
    pub fn certificate(&self, id: &SiteId, role: MemberRole, key: &IdentityKey, end: u64) -> EnrolmentRecord {
        EnrolmentRecord {
            certificate: issue_until(&self.root, id.as_str(), role, key, end),
            witness_vkey: witness(id).verifier_key().to_string(),
            tls_spki: Digest::of(format!("tls {id}").as_bytes()),
            replaces: Vec::new(),
        }
    }

    /// The raw answer to a request of a principal.
    pub async fn send(
        &self,
        principal: &Principal,
        method: Method,
        path: &str,
        body: Vec<u8>,
        json: bool,
    ) -> (StatusCode, Vec<u8>) {
        let media = if json { "application/json" } else { "application/octet-stream" };
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, media);
        self.request(principal, request.body(Body::from(body)).unwrap()).await
    }

    /// A POST with an idempotency key.
    pub async fn post_once(
        &self,
        principal: &Principal,
        path: &str,
        key: &str,
        body: &impl Serialize,
    ) -> (StatusCode, Vec<u8>) {
        let bytes = serde_json::to_vec(body).unwrap();
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", key);
        self.request(principal, request.body(Body::from(bytes)).unwrap()).await
    }

    /// The answer to a GET, its body unread.
    pub async fn answer(
        &self,
        principal: &Principal,
        path: &str,
        header: Option<(&'static str, &str)>,
    ) -> Response {
        let mut request = Request::get(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        self.respond(principal, request.body(Body::empty()).unwrap()).await
    }

    /// The answer to any request, its body unread.
    pub async fn respond(&self, principal: &Principal, mut request: Request<Body>) -> Response {
        request.extensions_mut().insert(principal.clone());
        self.respond_to_nobody(request).await
    }

    /// The answer to a request without a credential.
    pub async fn respond_to_nobody(&self, request: Request<Body>) -> Response {
        let router = self.running.as_ref().unwrap().1.clone();
        router.oneshot(request).await.unwrap()
    }

    /// The status and the body of the answer to any request.
    pub async fn request(&self, principal: &Principal, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        let response = self.respond(principal, request).await;
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, bytes.to_vec())
    }

    pub async fn get<T: DeserializeOwned>(&self, principal: &Principal, path: &str) -> T {
        let (status, bytes) = self.send(principal, Method::GET, path, Vec::new(), true).await;
        assert!(status.is_success(), "GET {path}: {status} {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).unwrap()
    }

    pub async fn post<T: Serialize, U: DeserializeOwned>(
        &self,
        principal: &Principal,
        path: &str,
        body: &T,
    ) -> U {
        let bytes = serde_json::to_vec(body).unwrap();
        let (status, bytes) = self.send(principal, Method::POST, path, bytes, true).await;
        assert!(status.is_success(), "POST {path}: {status} {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).unwrap()
    }

    /// PUTs a message; with `restarts`, also kills the gateway after it and sends the same message again.
    pub async fn put<T: Serialize>(&mut self, principal: &Principal, path: &str, body: &T) {
        let bytes = serde_json::to_vec(body).unwrap();
        let sent = self.send(principal, Method::PUT, path, bytes.clone(), true).await;
        assert_eq!(sent.0, StatusCode::NO_CONTENT, "PUT {path}: {}", String::from_utf8_lossy(&sent.1));
        if self.restarts {
            self.restart().await;
            let again = self.send(principal, Method::PUT, path, bytes, true).await;
            assert_eq!(again.0, StatusCode::NO_CONTENT, "again: {}", String::from_utf8_lossy(&again.1));
        }
    }

    /// PUTs something that must be refused, with the state left as it was.
    pub async fn refused<T: Serialize>(&self, principal: &Principal, path: &str, body: &T) -> Problem {
        let before = self.app().state().clone();
        let bytes = serde_json::to_vec(body).unwrap();
        let (status, bytes) = self.send(principal, Method::PUT, path, bytes, true).await;
        assert!(status.is_client_error(), "PUT {path}: {status}");
        assert_eq!(*self.app().state(), before);
        serde_json::from_slice(&bytes).unwrap()
    }

    /// A request that must be refused with a status, with the state left as it was; what it says.
    pub async fn refuses(
        &self,
        principal: &Principal,
        method: Method,
        path: &str,
        body: &impl Serialize,
        status: u16,
    ) -> String {
        let before = self.app().state().clone();
        let bytes = serde_json::to_vec(body).unwrap();
        let (got, answer) = self.send(principal, method, path, bytes, true).await;
        let problem: Problem = serde_json::from_slice(&answer).unwrap();
        assert_eq!(got.as_u16(), status, "{path}: {problem:?}");
        assert_eq!(*self.app().state(), before, "{path}");
        problem.detail
    }

    /// Makes the ledger longer by entries that say nothing.
    pub async fn grow(&self, entries: u64) {
        let record =
            |size| Record::LedgerExported { by: "nobody".to_owned(), size, format: None, filter: None };
        let held = self.app().lock("test").await;
        let entries = (0..entries).map(|size| Entry::new("ledger", "to grow", record(size))).collect();
        self.app().append(&held, &Caller::gateway("test"), entries).await.unwrap();
    }

    /// Lets the coordinator do what there is to do.
    pub async fn coordinate(&self, job: &JobId) -> bool {
        coordinator::drive(self.app(), job).await.unwrap()
    }

    pub async fn job(&self, job: &JobId) -> Job {
        self.get(&auditor(), &format!("/v1/jobs/{job}")).await
    }

    pub async fn round(&self, job: &JobId, round: u32) -> Round {
        self.get(&auditor(), &format!("/v1/jobs/{job}/rounds/{round}")).await
    }

    pub fn opened(&self, job: &JobId, round: u32) -> OpenedState {
        let state = self.app().state();
        let round = &state.jobs[job].rounds[&konclave_crypto::RoundNumber::new(round).unwrap()];
        round.opened().expect("the round is opened").clone()
    }

    /// Uploads a model and asks for a job on it.
    pub async fn request_job(&self, rounds: u32, scoring_rounds: Vec<u32>) -> JobId {
        self.request_job_from(1e-5, rounds, scoring_rounds).await
    }

    /// The same with the initial parameters 0, `step`, 2 `step`...
    pub async fn request_job_from(&self, step: f32, rounds: u32, scoring_rounds: Vec<u32>) -> JobId {
        let developer = developer();
        let parameters: Vec<u8> = (0..COORDINATES).flat_map(|i| (i as f32 * step).to_le_bytes()).collect();
        let torchscript = b"not looked at by the gateway".to_vec();
        for blob in [&parameters, &torchscript] {
            let path = format!("/v1/blobs/{}", Digest::of(blob));
            let (status, _) = self.send(&developer, Method::PUT, &path, blob.clone(), false).await;
            assert_eq!(status, StatusCode::OK);
        }
        let tensor = |name: &str, shape: Vec<u64>| ParameterTensor { name: name.to_owned(), shape };
        let manifest = ModelManifest {
            parameters: vec![tensor("bias", vec![]), tensor("weight", vec![COORDINATES as u64 - 1])],
            coordinates: COORDINATES as u64,
            heads: 2,
            torchscript: Digest::of(&torchscript),
            initial_parameters: Digest::of(&parameters),
        };
        let new = NewModel { name: "baseline".to_owned(), manifest };
        let model: Model = self.post(&developer, "/v1/models", &new).await;
        let job: Job = self.post(&developer, "/v1/jobs", &new_job(model.model, rounds, scoring_rounds)).await;
        job.job
    }
}

pub fn new_job(model: Digest, rounds: u32, scoring_rounds: Vec<u32>) -> NewJob {
    NewJob {
        name: "admet".to_owned(),
        purpose: "admet-prediction".to_owned(),
        model,
        tasks: vec![TaskSpec {
            task: "Solubility/Solubility".to_owned(),
            kind: TaskKind::Regression,
            unit: None,
            output: 0,
            center_micro: -2_890_000,
            scale_micro: 2_370_000,
        }],
        training: TrainingSpec {
            local_epochs: 1,
            batch_size: 32,
            learning_rate_micro: 1000,
            weight_decay_micro: 0,
            proximal_mu_micro: 0,
            optimizer: Optimizer::Adamw,
            seed: 7,
        },
        server_rate_micro: 1_000_000,
        rounds,
        scoring_rounds,
        invited: Vec::new(),
        budget_micro: "1000000".to_owned(),
    }
}

/// The witness of a site.
pub fn witness(site: &SiteId) -> WitnessSigner {
    let seed = Digest::of(format!("witness {site}").as_bytes());
    let name = format!("konclave.example/{site}").parse().unwrap();
    WitnessSigner { name, key: SigningKey::from_seed(seed.as_bytes()) }
}

fn issue(root: &ConsortiumRootKey, id: &str, role: MemberRole, key: &IdentityKey) -> MembershipCertificate {
    issue_until(root, id, role, key, START * 2)
}

fn issue_until(
    root: &ConsortiumRootKey,
    id: &str,
    role: MemberRole,
    key: &IdentityKey,
    end: u64,
) -> MembershipCertificate {
    root.issue(Membership {
        site: id.parse().unwrap(),
        legal_entity: format!("{id} Ltd"),
        role,
        identity_key: key.public(),
        witness_vkey: if role == MemberRole::Gateway {
            String::new()
        } else {
            witness(&id.parse().unwrap()).verifier_key().to_string()
        },
        serial: 1,
        not_before: UnixSeconds(0),
        not_after: UnixSeconds(end),
    })
}

pub fn member(site: &SiteId) -> Principal {
    Principal {
        id: site.to_string(),
        roles: vec![Role::Site],
        organisation: format!("{site} Ltd"),
        member: Some(MemberPrincipal { site: site.clone(), role: MemberRole::Site }),
    }
}

pub fn evaluator() -> Principal {
    evaluator_named(evaluator_id())
}

pub fn evaluator_named(site: SiteId) -> Principal {
    Principal {
        id: site.to_string(),
        roles: vec![Role::Evaluator],
        organisation: format!("{site} Ltd"),
        member: Some(MemberPrincipal { site, role: MemberRole::Evaluator }),
    }
}

fn client(id: &str, role: Role) -> Principal {
    Principal { id: id.to_owned(), roles: vec![role], organisation: "Acme".to_owned(), member: None }
}

pub fn developer() -> Principal {
    client("acme", Role::ModelDeveloper)
}

/// A developer of another organisation.
pub fn rival() -> Principal {
    Principal { organisation: "Rival".to_owned(), ..client("rival", Role::ModelDeveloper) }
}

pub fn auditor() -> Principal {
    auditor_named("auditor")
}

pub fn auditor_named(id: &str) -> Principal {
    client(id, Role::Auditor)
}

pub fn operator() -> Principal {
    client("operator", Role::Operator)
}

pub fn council() -> Principal {
    client("council", Role::Council)
}
