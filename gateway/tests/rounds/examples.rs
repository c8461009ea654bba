//! Writes the examples of the OpenAPI document: plays a job through the routes and keeps what was sent and answered.
//!
//! A new operation gets its example by one more request in [`played`].

use std::collections::BTreeMap;
use std::path::Path;

use axum::body::Body;
use axum::http::{Method, Request, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use konclave_crypto::{Digest, JobId};
use konclave_gateway::auth::clients::{Client, ClientKey, Clients};
use konclave_gateway::auth::{Principal, jwt};
use konclave_gateway::folder::make_folder;
use konclave_ledger::openings::{Opening, Openings};
use konclave_ledger::{Hash, SigningKey};
use konclave_openapi::certificates::{CertificateRenewal, RenewedCertificate};
use konclave_openapi::corrections::{Correction, NewCorrection};
use konclave_openapi::deposits::Deposit;
use konclave_openapi::examples::Example;
use konclave_openapi::ledger::LedgerExport;
use konclave_openapi::openings::{NewErasure, OpeningView};
use konclave_openapi::reviews::Review;
use konclave_openapi::token::CLIENT_ASSERTION_TYPE;
use konclave_openapi::uploads::{NewUpload, PARTIAL_UPLOAD, Upload};
use konclave_policies::authorization::Role;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::conformance::Contract;
use crate::ledger::deposit;
use crate::observer::Exchange;
use crate::reviews;
use crate::witnesses::{Watcher, three_wanted};
use crate::world::{Silent, World, auditor, council, developer, evaluator, member, operator, site};

/// Of the rest the last one is taken: lists that have come to something.
const FIRST: [&str; 2] = ["send_ciphertexts", "read_work"];

/// The most of a text that is worth showing.
const TEXT: usize = 1500;

#[tokio::test]
#[ignore = "writes openapi/src/examples/ anew: make examples"]
async fn write_the_examples() {
    let exchanges = played().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi/src/examples");
    let mut missing = Vec::new();
    for (id, operation) in operations() {
        let of: Vec<&Exchange> =
            exchanges.iter().filter(|one| one.operation == id && (200..300).contains(&one.status)).collect();
        if of.is_empty() {
            missing.push(id);
            continue;
        }
        let example = example(&id, operation, &of);
        let text = serde_json::to_string_pretty(&example).unwrap() + "\n";
        std::fs::write(folder.join(format!("{id}.json")), text).unwrap();
    }
    assert!(missing.is_empty(), "nothing was sent to: {missing:?}");
}

/// The operations that can have an example, by id.
fn operations() -> BTreeMap<String, &'static Value> {
    let items = Contract::read().document()["paths"].as_object().unwrap().values();
    let methods = items.flat_map(|item| item.as_object().unwrap());
    let operations = methods.filter(|(method, _)| *method != "head").map(|(_, operation)| operation);
    operations
        .filter_map(|operation| Some((operation.get("operationId")?.as_str()?.to_owned(), operation)))
        .collect()
}

fn example(id: &str, operation: &Value, exchanges: &[&Exchange]) -> Example {
    let chosen = if FIRST.contains(&id) { exchanges.first() } else { exchanges.last() }.unwrap();
    let mut example = Example {
        parameters: chosen
            .parameters
            .iter()
            .map(|(name, text)| (name.clone(), parameter(operation, name, text)))
            .collect(),
        request: chosen.request.as_ref().map(|(media, body)| value(media, body)),
        responses: BTreeMap::new(),
    };
    // The same operation can answer in several media.
    for one in exchanges.iter().chain([chosen]) {
        let Some((media, body)) = one.answer.as_ref().filter(|(_, body)| !body.is_empty()) else { continue };
        let shown = if id == "read_openapi" { beginning(body) } else { value(media, body) };
        example.responses.entry(one.status.to_string()).or_default().insert(media.clone(), shown);
    }
    example
}

/// A parameter's value in the type of its schema.
fn parameter(operation: &Value, name: &str, text: &str) -> Value {
    let parameters = operation["parameters"].as_array().unwrap();
    let described = parameters.iter().find(|one| one["name"] == name).unwrap();
    let schema = Contract::read().resolved(&described["schema"]);
    let kinds = &schema["type"];
    let is = |kind: &str| {
        kinds == kind || kinds.as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind))
    };
    if is("integer") || is("boolean") { serde_json::from_str(text).unwrap() } else { json!(text) }
}

/// A body as the document shows it: JSON as it is, a form by its fields, text, and a word for what is neither.
fn value(media: &str, body: &[u8]) -> Value {
    if media == "application/x-www-form-urlencoded" {
        let fields = form_urlencoded::parse(body).into_owned().map(|(name, value)| (name, json!(value)));
        return Value::Object(fields.collect());
    }
    if media.ends_with("/json") || media.ends_with("+json") {
        return serde_json::from_slice(body).unwrap();
    }
    match std::str::from_utf8(body) {
        // Cut short, lines of JSON would be none.
        Ok(text) if media == "application/x-ndjson" => json!(text),
        Ok(text) if !text.contains('\0') => json!(text.chars().take(TEXT).collect::<String>()),
        Ok(_) | Err(_) => json!("(bytes)"),
    }
}

/// The document does not hold itself.
fn beginning(body: &[u8]) -> Value {
    let document: Value = serde_json::from_slice(body).unwrap();
    json!({"openapi": document["openapi"], "info": document["info"], "paths": {}})
}

async fn read(world: &World, principal: &Principal, path: &str) {
    seen(path, world.answer(principal, path, None).await);
}

fn seen(path: &str, answer: Response) {
    let status = answer.status();
    assert!(status.is_success(), "GET {path}: {status}");
}

/// A job from the first blob to the reward statement, and everything else that can be asked for.
async fn played() -> Vec<Exchange> {
    let mut world = World::with_policy(6, &three_wanted()).await;
    let contact = contact(&world);
    reviews::register(&world, Some(contact)).await;
    world.observer.keep();
    let deposited: Deposit = world.post(&member(&site(1)), "/v1/deposits", &deposit(&world, 50)).await;
    let job = world.request_job(2, vec![2]).await;
    world.play(&job, &Silent::default()).await;
    world.evaluate().await;
    world.coordinate(&job).await;
    for index in 1..=3 {
        Watcher::new(&world, index).come(&world).await;
    }
    token(&world).await;
    renewal(&world).await;
    upload(&world).await;
    let correction = NewCorrection {
        entry: deposited.entry,
        field: "/record/lines/0/records".to_owned(),
        is: json!(60),
        reason: "the file named another amount".to_owned(),
    };
    let _: Correction = world.post(&operator(), "/v1/ledger/corrections", &correction).await;
    let review = reviews::review(&world, world.app().state().size);
    let _: Review = world.post(&auditor(), "/v1/ledger/reviews", &reviews::signed(&review)).await;
    let export: LedgerExport = world.post(&auditor(), "/v1/ledger/exports", &json!({})).await;
    everybody_reads(&world).await;
    jobs_are_read(&world, &job).await;
    the_ledger_is_read(&world, &export, contact).await;
    let erasure =
        NewErasure { commitment: contact, ground: "request of the data subject, case 2026-17".to_owned() };
    let _: OpeningView = world.post(&council(), "/v1/ledger/erasures", &erasure).await;
    world.observer.kept()
}

/// Who answers for the auditor, to be erased later.
fn contact(world: &World) -> Hash {
    let opening = Opening::new(Zeroizing::new([5; 32]), "Min-ji Kim, m.kim@pharma.example").unwrap();
    let folder = world.app().config().folder.openings();
    make_folder(&folder).unwrap();
    Openings::at(&folder).put(&opening).unwrap()
}

/// A client that asks for a token.
async fn token(world: &World) {
    let seed = [61; 32];
    let mut der = hex::decode("302a300506032b6570032100").unwrap();
    der.extend(SigningKey::from_seed(&seed).public().0);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
    let client = Client {
        client_id: "acme".parse().unwrap(),
        organisation: "Acme".to_owned(),
        roles: vec![Role::ModelDeveloper],
        contact: None,
        certificate_bound: false,
        public_key: ClientKey::from_pem(&pem).unwrap(),
    };
    let folder = world.app().config().folder.clients();
    make_folder(&folder).unwrap();
    Clients::new(folder).put(&client).unwrap();
    let claims = json!({
        "iss": "acme", "sub": "acme", "aud": world.app().config().settings.public_url,
        "exp": world.clock.now().get() + 60, "jti": "3b1f6a0c"
    });
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_assertion_type", CLIENT_ASSERTION_TYPE)
        .append_pair("client_assertion", &jwt::signed(&seed, "JWT", None, &claims).unwrap())
        .append_pair("scope", "model-developer")
        .finish();
    let request = Request::post("/oauth/token")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap();
    let (status, answer) = world.request(&developer(), request).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
}

/// A site that renews its TLS certificate.
async fn renewal(world: &World) {
    let key = KeyPair::generate().unwrap();
    let identity = &world.sites[&site(1)].key;
    let mut request = CertificateRenewal {
        site: site(1),
        replaces: world.app().state().sites[&site(1)].tls_spki,
        tls_request: CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap(),
        signature: identity.sign(b""),
    };
    request.signature = identity.sign(&request.signed_bytes());
    let path = "/v1/sites/site-1/certificates";
    let _: RenewedCertificate = world.post(&member(&site(1)), path, &request).await;
}

/// A blob in two parts, and another that is given up.
async fn upload(world: &World) {
    let bytes = b"parameters of a model";
    let announced = NewUpload { digest: Digest::of(bytes), bytes: bytes.len() as u64 };
    let upload: Upload = world.post(&developer(), "/v1/uploads", &announced).await;
    let path = format!("/v1/uploads/{}", upload.upload);
    for (offset, complete, part) in [(0, "?0", &bytes[..11]), (11, "?1", &bytes[11..])] {
        let request = Request::patch(&path)
            .header(header::CONTENT_TYPE, PARTIAL_UPLOAD)
            .header("upload-offset", offset)
            .header("upload-complete", complete)
            .body(Body::from(part))
            .unwrap();
        let (status, answer) = world.request(&developer(), request).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        read(world, &developer(), &path).await;
    }
    read(world, &developer(), "/v1/uploads?limit=2").await;
    let (status, _) = world.send(&developer(), Method::DELETE, &path, Vec::new(), true).await;
    assert_eq!(status, 204);
}

async fn everybody_reads(world: &World) {
    for path in [
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/v1/status",
        "/v1/sites?limit=2",
        "/v1/sites/site-1",
        "/v1/deposits?limit=2",
        "/livez",
        "/readyz",
        "/openapi.json",
        "/docs",
        "/docs/favicon-16x16.png",
        "/docs/index.css",
        "/docs/swagger-initializer.js",
        "/problems/wrong-round",
    ] {
        read(world, &auditor(), path).await;
    }
}

async fn jobs_are_read(world: &World, job: &JobId) {
    let torchscript = Digest::of(b"not looked at by the gateway");
    let range =
        world.answer(&developer(), &format!("/v1/blobs/{torchscript}"), Some(("range", "bytes=4-9"))).await;
    seen("a range", range);
    let model = world.app().state().models[0].model;
    for path in [
        format!("/v1/blobs/{torchscript}"),
        "/v1/models?limit=2".to_owned(),
        format!("/v1/models/{model}"),
        "/v1/jobs?limit=2".to_owned(),
        format!("/v1/jobs/{job}"),
        format!("/v1/jobs/{job}/roster"),
        format!("/v1/jobs/{job}/rounds?limit=1"),
        format!("/v1/jobs/{job}/rounds/2"),
        format!("/v1/jobs/{job}/contributions?limit=1"),
        format!("/v1/jobs/{job}/statements?limit=1"),
        format!("/v1/evaluations?job={job}&limit=1"),
    ] {
        read(world, &developer(), &path).await;
    }
    let _ = world.send(&evaluator(), Method::GET, "/v1/work?wait_seconds=0", Vec::new(), true).await;
}

async fn the_ledger_is_read(world: &World, export: &LedgerExport, contact: Hash) {
    let named = |prefix: &str| {
        let file = export.files.iter().find(|file| file.starts_with(prefix));
        format!("/{}", file.unwrap_or_else(|| panic!("no {prefix} in {:?}", export.files)))
    };
    let text = world.answer(&auditor(), "/v1/ledger/entries/3/receipt", Some(("accept", "text/plain"))).await;
    seen("a receipt", text);
    for path in [
        "/checkpoint".to_owned(),
        "/witnessed".to_owned(),
        named("tile/0/"),
        named("statements/"),
        "/v1/ledger/checkpoint".to_owned(),
        "/v1/ledger/consistency?old=5&new=12".to_owned(),
        "/v1/ledger/entries?action=round.opened&limit=1&proofs=true".to_owned(),
        "/v1/ledger/entries/3".to_owned(),
        "/v1/ledger/entries/3/proof?size=12".to_owned(),
        "/v1/ledger/entries/3/receipt".to_owned(),
        "/v1/ledger/export.ndjson?action=job.requested".to_owned(),
        "/v1/ledger/status".to_owned(),
        "/v1/ledger/schemas".to_owned(),
        "/v1/ledger/schemas/policy.set".to_owned(),
        "/v1/ledger/corrections?limit=1".to_owned(),
        "/v1/ledger/reviews?limit=1".to_owned(),
        "/v1/ledger/add-checkpoint?old=5".to_owned(),
        "/v1/ledger/witnesses".to_owned(),
        "/v1/ledger/keys".to_owned(),
        format!("/v1/ledger/openings/{contact}"),
    ] {
        read(world, &auditor(), &path).await;
    }
}
