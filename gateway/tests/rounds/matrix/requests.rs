//! The request of each row of the matrix: the path of the document with the ids of somebody's things in it, and a body
//! that whoever may send it would be let in with.
//!
//! Signed messages of a round are the document's examples, under the names of who sends them: whoever may send them is
//! told what is wrong with them, and nothing changes. What a new operation needs is one arm of [`body`], if it names
//! anything in its body, and a value in [`Row::values`] for a new parameter of a path.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Method, Request, header};
use konclave_crypto::{Digest, IdentityKey, SiteId};
use konclave_gateway::auth::jwt;
use konclave_ledger::statements::{self, ConsentDecision, ConsentStatement};
use konclave_ledger::tiles::{TileKind, tiles_of};
use konclave_ledger::witness::WitnessState;
use konclave_ledger::{ConsistencyProof, Hash, Timestamp};
use konclave_openapi::certificates::CertificateRenewal;
use konclave_openapi::corrections::NewCorrection;
use konclave_openapi::evaluations::NewEvaluation;
use konclave_openapi::examples::{self, Example};
use konclave_openapi::ledger::NewCosignature;
use konclave_openapi::openings::NewErasure;
use konclave_openapi::token::CLIENT_ASSERTION_TYPE;
use konclave_openapi::uploads::NewUpload;
use konclave_policies::authorization::Role;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::cast::{Caller, Holdings, Whose};
use super::furnish::{client_seed, job, model};
use super::stage::{Cast, ROUND, Stage};
use crate::conformance::Contract;
use crate::site::evaluation;
use crate::world::{START, witness};

/// Parameters of a path that name what belongs to somebody.
pub(super) const NAMING: [&str; 7] = ["job", "site", "model", "digest", "upload", "commitment", "index"];
/// Operations that name it elsewhere.
pub(super) const NAMING_OTHERWISE: [&str; 11] = [
    "issue_token",
    "list_corrections:entry",
    "register_model",
    "request_job",
    "report_evaluation",
    "register_deposit",
    "cosign",
    "correct_entry",
    "record_review",
    "erase_opening",
    "statement_file",
];

/// What an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nothing of anybody: one answer.
    Plain,
    /// A list of what belongs to somebody: one answer, and whose things it shows.
    List,
    /// One thing of somebody: an answer for one's own, another's, nobody's.
    Named,
}

/// One row: an operation, or a variant of it after a colon.
pub struct Row {
    pub name: String,
    pub method: Method,
    template: &'static str,
    operation: &'static Value,
    example: Example,
}

impl Row {
    /// The row of this name. The operation must be one of the document.
    pub fn named(name: &str) -> Option<Self> {
        let id = name.split(':').next()?;
        let paths = Contract::read().document()["paths"].as_object().unwrap();
        let (template, method, operation) = paths.iter().find_map(|(template, item)| {
            let known = item.as_object().unwrap().iter().find(|(_, known)| known["operationId"] == id);
            known.map(|(method, operation)| (template, method, operation))
        })?;
        let example = examples::of(id).map(Result::unwrap).unwrap_or_default();
        let method = method.to_uppercase().parse().unwrap();
        Some(Self { name: name.to_owned(), method, template, operation, example })
    }

    pub fn id(&self) -> &str {
        self.name.split(':').next().unwrap()
    }

    pub fn shape(&self) -> Shape {
        let naming = NAMING.iter().any(|name| self.names(name)) && self.id() != "tile_file";
        if naming || NAMING_OTHERWISE.contains(&self.name.as_str()) {
            Shape::Named
        } else if self.id().starts_with("list_") && self.id() != "list_schemas" || self.id() == "read_work" {
            Shape::List
        } else {
            Shape::Plain
        }
    }

    /// Whether the path names such a thing.
    pub fn names(&self, parameter: &str) -> bool {
        self.template.contains(&format!("{{{parameter}}}"))
    }

    /// When it is sent: a message while it is waited for, everything else when there is most to see.
    pub fn stage(&self) -> Stage {
        match self.id() {
            "advertise_keys" | "read_ciphertexts" | "send_ciphertexts" | "send_manifest" | "read_upload"
            | "upload" => Stage::Uploading,
            "read_agreement" | "sign_agreement" => Stage::Agreeing,
            "read_unmasking" | "answer_unmasking" => Stage::Unmasking,
            "read_tagging" | "send_tag" => Stage::Tagging,
            "send_verdict" => Stage::Checking,
            "read_work" => Stage::Played,
            _ => Stage::Scored,
        }
    }

    /// In which order the rows of a stage are sent: what reads, what adds, what takes away.
    pub fn turn(&self) -> u8 {
        match self.id() {
            "delete_upload" | "erase_opening" => 2,
            _ if [Method::GET, Method::HEAD].contains(&self.method) => 0,
            _ => 1,
        }
    }

    /// The request of a caller about somebody's things.
    pub fn request(&self, cast: &Cast, caller: Caller, whose: Whose) -> Request<Body> {
        let bytes = self.body(cast, caller, whose);
        let mut path = self.template.to_owned();
        for (name, value) in self.values(cast, caller, whose, &bytes) {
            path = path.replace(&format!("{{{name}}}"), &value);
        }
        assert!(!path.contains('{'), "{path}: give the parameter a value in Row::values");
        let query = match self.name.as_str() {
            "list_corrections:entry" => format!("?entry={}", cast.holdings(caller, whose).entry(caller.role)),
            _ => self.query(),
        };
        let mut request = Request::builder().method(&self.method).uri(path + &query);
        if let Some(media) = self.media() {
            request = request.header(header::CONTENT_TYPE, media);
        }
        if self.id() == "append_to_upload" {
            request = request.header("upload-offset", 0).header("upload-complete", "?0");
        }
        request.body(Body::from(bytes)).unwrap()
    }

    pub(super) fn media(&self) -> Option<&'static str> {
        Some(self.operation["requestBody"]["content"].as_object()?.keys().next()?.as_str())
    }

    /// The parameters of the query that must be there, as in the example.
    pub(super) fn query(&self) -> String {
        let parameters = self.operation.get("parameters").and_then(Value::as_array);
        let asked = parameters.into_iter().flatten().filter(|one| one["in"] == "query");
        let needed = asked.filter(|one| one["required"] == true);
        let values = needed.map(|one| {
            let name = one["name"].as_str().unwrap();
            format!("{name}={}", self.example.parameters[name])
        });
        let values: Vec<String> = values.collect();
        if values.is_empty() { String::new() } else { format!("?{}", values.join("&")) }
    }

    /// What stands in the path.
    pub(super) fn values(
        &self,
        cast: &Cast,
        caller: Caller,
        whose: Whose,
        body: &[u8],
    ) -> BTreeMap<&'static str, String> {
        let (things, role) = (cast.holdings(caller, whose), caller.role);
        let digest = match (self.name.as_str(), whose) {
            ("put_blob", Whose::Own) => Digest::of(body),
            ("read_blob:batch-sum", _) => things.batch_sum,
            _ => things.parameters,
        };
        let mut values = BTreeMap::from([
            ("job", if self.id() == "consent" { &things.invitation } else { &things.job }.to_string()),
            ("site", things.member(role).to_string()),
            ("round", ROUND.to_string()),
            ("model", things.model.to_string()),
            ("digest", digest.to_string()),
            ("upload", if self.id() == "delete_upload" { &things.given_up } else { &things.upload }.clone()),
            ("index", things.entry(role).to_string()),
            ("commitment", things.commitment.to_string()),
        ]);
        for name in ["action", "slug", "file"] {
            let example = self.example.parameters.get(name).and_then(Value::as_str);
            values.extend(example.map(|value| (name, value.to_owned())));
        }
        match self.name.as_str() {
            "statement_file" => drop(values.insert("file", format!("{}.json", things.deposit(role)))),
            "tile_file" => values.extend(tile(cast, TileKind::Hashes { level: 0 })),
            "tile_file:entries" => values.extend(tile(cast, TileKind::Entries)),
            _ => {}
        }
        values
    }

    pub(super) fn body(&self, cast: &Cast, caller: Caller, whose: Whose) -> Vec<u8> {
        let things = cast.holdings(caller, whose);
        let id = self.id();
        let json = match id {
            "put_blob" => return put(cast, whose),
            "issue_token" => return token(cast, caller, things).into_bytes(),
            "append_to_upload" => return b"four".to_vec(),
            // No byte of it: what has come of the upload stays as it is.
            "upload" => return Vec::new(),
            "announce_upload" => {
                let digest = Digest::of(&cast.fresh().to_be_bytes());
                serde_json::to_value(NewUpload { digest, bytes: 8 })
            }
            "register_model" => {
                serde_json::to_value(model("another", 3, things.torchscript, things.parameters))
            }
            "request_job" => serde_json::to_value(job(
                &Holdings { model: things.model, ..cast.holdings(caller, Whose::Own).clone() },
                vec![],
            )),
            "consent" => serde_json::to_value(consent(cast, caller, things)),
            "renew_certificate" => serde_json::to_value(renewal(cast, caller)),
            "report_evaluation" => serde_json::to_value(score(cast, caller, things)),
            "register_deposit" => serde_json::to_value(cast.deposit(things.member(caller.role))),
            "cosign" => serde_json::to_value(cosignature(cast, things.member(caller.role))),
            "correct_entry" => serde_json::to_value(NewCorrection {
                entry: things.entry(caller.role),
                field: "/reason".to_owned(),
                is: format!("said better {}", cast.fresh()).into(),
                reason: "it was not clear".to_owned(),
            }),
            "record_review" => serde_json::to_value(cast.review(&things.auditor, caller.side)),
            "erase_opening" => serde_json::to_value(NewErasure {
                commitment: things.commitment,
                ground: "request of the data subject".to_owned(),
            }),
            _ => match &self.example.request {
                Some(example) => Ok(self.renamed(example, caller.role, things)),
                None => return Vec::new(),
            },
        };
        serde_json::to_vec(&json.unwrap()).unwrap()
    }

    /// The example under other names.
    pub(super) fn renamed(&self, example: &Value, role: Option<Role>, things: &Holdings) -> Value {
        let new = |name: &str| match name {
            "job" => Some(things.job.to_string()),
            "site" => Some(things.member(role).to_string()),
            _ => None,
        };
        let names = self.example.parameters.iter();
        let changes: Vec<(&Value, String)> =
            names.filter_map(|(name, value)| Some((value, new(name)?))).collect();
        changed(example, &changes)
    }
}

pub(super) fn changed(value: &Value, changes: &[(&Value, String)]) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| changed(item, changes)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (name.clone(), changed(field, changes))).collect()
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            changes.iter().find(|(old, _)| *old == other).map_or(other.clone(), |(_, new)| json!(new))
        }
    }
}

/// A blob of one's own, or bytes that are none of what the path names.
pub(super) fn put(cast: &Cast, whose: Whose) -> Vec<u8> {
    match whose {
        Whose::Own => format!("a blob, {}", cast.fresh()).into_bytes(),
        Whose::Others | Whose::Nobodys => b"not what the path names".to_vec(),
    }
}

/// The path of the first tile of a kind.
pub(super) fn tile(cast: &Cast, kind: TileKind) -> [(&'static str, String); 2] {
    let size = cast.world.app().ledger().ledger().head().size;
    let path = tiles_of(size).find(|path| path.kind() == kind).unwrap().to_string();
    let (level, index) = path.strip_prefix("tile/").unwrap().split_once('/').unwrap();
    [("level", level.to_owned()), ("index", index.to_owned())]
}

/// A form in a client's name, signed with the key of the caller's own client.
pub(super) fn token(cast: &Cast, caller: Caller, things: &Holdings) -> String {
    let claims = json!({
        "iss": things.developer, "sub": things.developer,
        "aud": cast.world.app().config().settings.public_url,
        "exp": cast.world.clock.now().get() + 60, "jti": format!("jti-{}", cast.fresh())
    });
    let seed = client_seed(&caller.side.client(Role::ModelDeveloper));
    form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_assertion_type", CLIENT_ASSERTION_TYPE)
        .append_pair("client_assertion", &jwt::signed(&seed, "JWT", None, &claims).unwrap())
        .finish()
}

/// The caller's own answer to an invitation.
pub(super) fn consent(cast: &Cast, caller: Caller, things: &Holdings) -> konclave_ledger::dsse::Envelope {
    let site = cast.holdings(caller, Whose::Own).member(caller.role);
    let statement = ConsentStatement {
        job: things.invitation.to_string(),
        site: site.to_string(),
        decision: ConsentDecision::Accept,
        rule: "auto".to_owned(),
        detail: String::new(),
        policy: Hash::of(b"site policy"),
        made_at: START,
    };
    statements::sign(&cast.signing_seed(site), &statement).unwrap()
}

/// The caller's own wish for another TLS key.
fn renewal(cast: &Cast, caller: Caller) -> CertificateRenewal {
    let site = cast.holdings(caller, Whose::Own).member(caller.role);
    let identity = IdentityKey::from_seed(cast.signing_seed(site));
    let key = KeyPair::generate().unwrap();
    let mut request = CertificateRenewal {
        site: site.clone(),
        replaces: cast.world.app().state().sites[site].tls_spki,
        tls_request: CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap(),
        signature: identity.sign(b""),
    };
    request.signature = identity.sign(&request.signed_bytes());
    request
}

/// The caller's own score of what a job came to.
pub(super) fn score(cast: &Cast, caller: Caller, things: &Holdings) -> NewEvaluation {
    let evaluator = &cast.holdings(caller, Whose::Own).evaluator;
    let statement = evaluation(&things.job, ROUND, things.scored, &[], START);
    NewEvaluation { statement: statements::sign(&cast.signing_seed(evaluator), &statement).unwrap() }
}

/// A member's line under the newest head.
pub(super) fn cosignature(cast: &Cast, member: &SiteId) -> NewCosignature {
    let ledger = cast.world.app().ledger().ledger();
    let (log, size) = (ledger.verifier_key(), ledger.head().size);
    let proof = ConsistencyProof { old_size: 0, new_size: size, hashes: Vec::new() };
    let state = WitnessState::new(log.name().clone());
    let state = state.advance(ledger.checkpoint_note().as_bytes(), &log, &proof).unwrap();
    let cosigned = state.cosign(&witness(member), Timestamp::from_unix_seconds(START).unwrap());
    NewCosignature { size, line: cosigned.line().to_string() }
}
