//! Gives each side of the matrix everything that a request can name.

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use konclave_crypto::{Digest, MemberRole, SiteId};
use konclave_gateway::auth::clients::{Client, ClientKey, Clients};
use konclave_gateway::core::{Caller as Sender, NewClient, NewMember};
use konclave_gateway::folder::make_folder;
use konclave_ledger::dsse::Envelope;
use konclave_ledger::openings::{Opening, Openings};
use konclave_ledger::records::ReviewResult;
use konclave_ledger::statements::{self, DataClass, DepositStatement, ReviewStatement, TaskCount};
use konclave_ledger::{Hash, SigningKey};
use konclave_openapi::corrections::{Correction, NewCorrection};
use konclave_openapi::deposits::{Deposit, NewDeposit};
use konclave_openapi::jobs::{Job, NewJob};
use konclave_openapi::models::{Model, ModelManifest, NewModel, ParameterTensor};
use konclave_openapi::reviews::Review;
use konclave_openapi::uploads::{NewUpload, Upload};
use konclave_policies::authorization::Role;
use zeroize::Zeroizing;

use super::cast::{Holdings, Side};
use super::stage::Cast;
use crate::world::{START, new_job, site};

/// Coordinates of the models: few, as nobody looks at what is learned.
pub(super) const COORDINATES: u64 = 2000;

impl Cast {
    pub(super) async fn enrol_second_evaluator(&self) {
        let (id, key) = (Side::Rival.evaluator(), self.second_evaluator());
        let record = self.world.certificate(&id, MemberRole::Evaluator, key, START * 2);
        let new = NewMember {
            certificate: record.certificate,
            witness_vkey: record.witness_vkey,
            tls_spki: record.tls_spki,
        };
        self.world.app().enrol(&Sender::gateway("test"), new).await.unwrap();
    }

    /// Lets one side have everything that a request can name.
    pub(super) async fn furnished(&self, side: Side) -> Holdings {
        let developer = side.principal(Role::ModelDeveloper);
        let mut own = Holdings {
            site: side.site(),
            evaluator: side.evaluator(),
            auditor: side.client(Role::Auditor),
            developer: side.client(Role::ModelDeveloper),
            invited: side.sites().map(site).collect(),
            ..Holdings::nobodys()
        };
        own.commitment = self.contact(side);
        for role in Role::ALL.iter().filter(|role| side.member(**role).is_none()) {
            own.entries.insert(*role, self.register(side, *role, own.commitment).await);
        }
        for (place, role) in [Role::Site, Role::Evaluator].into_iter().enumerate() {
            let new = self.deposit(own.member(Some(role)));
            let made: Deposit = self.world.post(&side.principal(role), "/v1/deposits", &new).await;
            own.deposits[place] = made.deposit;
            own.entries.insert(role, made.entry);
        }
        let review = self.review(&own.auditor, side);
        let _: Review = self.world.post(&side.principal(Role::Auditor), "/v1/ledger/reviews", &review).await;
        own.parameters = self.put(side, parameters(side)).await;
        own.torchscript = self.put(side, format!("the file of {}", side.name()).into_bytes()).await;
        let new = model("baseline", 2, own.torchscript, own.parameters);
        let made: Model = self.world.post(&developer, "/v1/models", &new).await;
        own.model = made.model;
        let asked: Job = self.world.post(&developer, "/v1/jobs", &job(&own, vec![1])).await;
        own.job = asked.job;
        for upload in [&mut own.upload, &mut own.given_up] {
            let text = format!("bytes of {} {}", side.name(), self.fresh());
            let new = NewUpload { digest: Digest::of(text.as_bytes()), bytes: text.len() as u64 };
            let made: Upload = self.world.post(&developer, "/v1/uploads", &new).await;
            *upload = made.upload.to_string();
        }
        own
    }

    pub(super) async fn put(&self, side: Side, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        let developer = side.principal(Role::ModelDeveloper);
        let path = format!("/v1/blobs/{digest}");
        let (status, answer) = self.world.send(&developer, Method::PUT, &path, bytes, false).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        digest
    }

    /// Registers a client, for tokens and in the ledger; its entry.
    pub(super) async fn register(&self, side: Side, role: Role, contact: Hash) -> u64 {
        let public_key = ClientKey::from_pem(&pem(&client_seed(&side.client(role)))).unwrap();
        let contact = (role == Role::ModelDeveloper).then_some(contact);
        let client = Client {
            client_id: side.client(role).parse().unwrap(),
            organisation: side.organisation(role),
            roles: vec![role],
            contact,
            certificate_bound: false,
            public_key: public_key.clone(),
        };
        let folder = self.world.app().config().folder.clients();
        make_folder(&folder).unwrap();
        Clients::new(folder).put(&client).unwrap();
        let new = NewClient {
            client: side.client(role),
            organisation: client.organisation,
            roles: client.roles,
            public_key: public_key.pem().to_owned(),
            contact,
            certificate_bound: false,
        };
        let entry = self.world.app().state().size;
        self.world.app().register_client(&Sender::gateway("test"), new).await.unwrap();
        entry
    }

    pub(super) fn contact(&self, side: Side) -> Hash {
        let text = format!("who answers for {}", side.name());
        let opening = Opening::new(Zeroizing::new([5; 32]), &text).unwrap();
        let folder = self.world.app().config().folder.openings();
        make_folder(&folder).unwrap();
        Openings::at(&folder).put(&opening).unwrap()
    }

    /// What a member declares, never the same twice.
    pub fn deposit(&self, member: &SiteId) -> NewDeposit {
        let scores = member.as_str().contains("benchmark");
        let statement = DepositStatement {
            site: member.to_string(),
            legal_entity: Some(format!("{member} Ltd")),
            data_class: if scores { DataClass::Benchmark } else { DataClass::Training },
            catalogue_tasks: vec![TaskCount {
                task: "Solubility/Solubility".to_owned(),
                records: 50 + self.fresh(),
                unique_structures: 40,
                scaffolds: 12,
                censored: 0,
            }],
            files: Vec::new(),
            row_commitment: Hash::of(b"benchmark"),
            made_at: START,
        };
        let seed = self.signing_seed(member);
        NewDeposit { statement: statements::sign(&seed, &statement).unwrap() }
    }

    /// A review of the whole ledger in a reviewer's name, under the key of a side's auditor.
    pub fn review(&self, reviewer: &str, signer: Side) -> Envelope {
        let size = self.world.app().state().size;
        let review = ReviewStatement {
            reviewer: reviewer.to_owned(),
            origin: "konclave.example/test".to_owned(),
            from: 0,
            size,
            root: self.world.app().ledger().ledger().root_at(size).unwrap(),
            result: ReviewResult::Sound,
            entries_checked: size,
            statements_checked: 0,
            witnesses: Vec::new(),
            findings: Vec::new(),
            remarks: String::new(),
            made_at: START,
        };
        statements::sign(&client_seed(&signer.client(Role::Auditor)), &review).unwrap()
    }

    pub(super) async fn correct_entries(&self, side: Side) {
        for entry in self.of(side).entries.values() {
            let new = NewCorrection {
                entry: *entry,
                field: "/reason".to_owned(),
                is: format!("said better {}", self.fresh()).into(),
                reason: "it was not clear".to_owned(),
            };
            let operator = side.principal(Role::Operator);
            let _: Correction = self.world.post(&operator, "/v1/ledger/corrections", &new).await;
        }
    }
}

pub(super) fn parameters(side: Side) -> Vec<u8> {
    let step = 1e-5 * (1.0 + side as usize as f32);
    (0..COORDINATES).flat_map(|index| (index as f32 * step).to_le_bytes()).collect()
}

pub fn model(name: &str, heads: u16, torchscript: Digest, initial_parameters: Digest) -> NewModel {
    let tensor = |name: &str, shape: Vec<u64>| ParameterTensor { name: name.to_owned(), shape };
    let manifest = ModelManifest {
        parameters: vec![tensor("bias", vec![]), tensor("weight", vec![COORDINATES - 1])],
        coordinates: COORDINATES,
        heads,
        torchscript,
        initial_parameters,
    };
    NewModel { name: name.to_owned(), manifest }
}

/// A job on a side's model with its sites.
pub fn job(own: &Holdings, scoring_rounds: Vec<u32>) -> NewJob {
    NewJob { invited: own.invited.clone(), ..new_job(own.model, 1, scoring_rounds) }
}

/// What a client signs with.
pub fn client_seed(client: &str) -> [u8; 32] {
    Digest::of(client.as_bytes()).0
}

pub(super) fn pem(seed: &[u8; 32]) -> String {
    let mut der = hex::decode("302a300506032b6570032100").unwrap();
    der.extend(SigningKey::from_seed(seed).public().0);
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}
