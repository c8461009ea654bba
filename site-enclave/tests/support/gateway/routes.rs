//! The gateway's routes, as one site's connection sees them.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use konclave_crypto::body_root;
use konclave_crypto::messages::{AgreementSignature, Manifest, SumTag, SumVerdict, UnmaskingResponse};
use konclave_crypto::setup::KeyAdvertisement;
use konclave_crypto::{Digest, SiteId};
use konclave_ledger::Hash;
use konclave_ledger::dsse::Envelope;
use konclave_ledger::statements::EvaluationStatement;
use konclave_ledger::witness::AddCheckpoint;
use konclave_openapi::evaluations::{Evaluation, NewEvaluation};
use konclave_openapi::jobs::{Ciphertexts, Job, JobPhase, RosterView};
use konclave_openapi::ledger::{CheckpointView, ConsistencyProofView, InclusionProofView, NewCosignature};
use konclave_openapi::models::Model;
use konclave_openapi::problem::{MEDIA_TYPE, Problem, ProblemType};
use konclave_openapi::rounds::{UploadOffset, UploadReceipt};
use konclave_openapi::witnesses::{QuorumView, WitnessesView};
use konclave_openapi::work::WorkList;

use super::{Gateway, Shared, Stage};

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
        .route("/v1/ledger/entries/{index}/proof", get(inclusion))
        .route("/v1/ledger/consistency", get(consistency))
        .route("/v1/ledger/checkpoint", get(checkpoint))
        .route("/v1/ledger/add-checkpoint", get(add_checkpoint))
        .route("/v1/ledger/witnesses", get(witnesses))
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
        .route("/v1/jobs/{job}/rounds/{round}/tags/{site}", put(tagged).get(tagging))
        .route("/v1/jobs/{job}/rounds/{round}/verdicts/{site}", put(verdict))
        .route("/v1/evaluations", post(evaluation))
        .layer(from_fn_with_state(door.clone(), deceive))
        .with_state(door)
}

/// Lets the gateway change what it answers.
async fn deceive(State(door): State<Door>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let deceit = door.open().deceit.clone();
    let Some(deceit) = deceit.filter(|_| method == Method::GET && response.status().is_success()) else {
        return response;
    };
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    match serde_json::from_slice(&bytes) {
        Ok(mut answer) => {
            deceit(&door.open(), &door.site, &path, &mut answer);
            Json::<serde_json::Value>(answer).into_response()
        }
        Err(_) => Response::from_parts(parts, Body::from(bytes)),
    }
}

async fn work(State(door): State<Door>) -> Json<WorkList> {
    // A short poll: the loop is the same as with a long one.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let mut gateway = door.open();
    let items = gateway.work(&door.site).into_iter().collect();
    Json(WorkList { items, ledger_size: gateway.log.head().size })
}

async fn the_job(State(door): State<Door>) -> Json<Job> {
    let gateway = door.open();
    Json(Job {
        job: gateway.job.clone(),
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
        privacy: None,
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

async fn entries(State(door): State<Door>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let items = door.open().log.entries(query.get("object"), query.get("action"));
    Json(serde_json::json!({"items": items})).into_response()
}

async fn inclusion(
    State(door): State<Door>,
    Path(index): Path<u64>,
    Query(query): Query<BTreeMap<String, u64>>,
) -> Json<InclusionProofView> {
    let (gateway, size) = (door.open(), query["size"]);
    let mut path = gateway.log.inclusion(index, size);
    if gateway.wrong_proofs {
        path.push(Hash::ZERO);
    }
    Json(InclusionProofView { index, size, root: Hash::ZERO, leaf_hash: Hash::ZERO, path })
}

async fn consistency(
    State(door): State<Door>,
    Query(query): Query<BTreeMap<String, u64>>,
) -> Json<ConsistencyProofView> {
    let (old, new) = (query["old"], query["new"]);
    Json(ConsistencyProofView { old, new, path: door.open().log.consistency(old, new) })
}

async fn checkpoint(State(door): State<Door>) -> Json<CheckpointView> {
    let gateway = door.open();
    let head = gateway.log.head();
    let note = head.sign(&gateway.ledger).to_string();
    Json(CheckpointView {
        origin: head.origin.to_string(),
        size: head.size,
        root: head.root,
        note,
        witnesses: Vec::new(),
        quorum: no_quorum(),
    })
}

async fn add_checkpoint(State(door): State<Door>, Query(query): Query<BTreeMap<String, u64>>) -> String {
    let (gateway, old_size) = (door.open(), query["old"]);
    let head = gateway.log.head();
    let hashes = if old_size == 0 { Vec::new() } else { gateway.log.consistency(old_size, head.size) };
    AddCheckpoint { old_size, hashes, checkpoint: head.sign(&gateway.ledger) }.to_string()
}

async fn witnesses() -> Json<WitnessesView> {
    Json(WitnessesView { quorum: no_quorum(), note: None, witnesses: Vec::new() })
}

fn no_quorum() -> QuorumView {
    QuorumView {
        required: 0,
        enrolled: 0,
        witnessed: 0,
        witnesses: Vec::new(),
        stands: true,
        missing_since: None,
    }
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
            job: gateway.job.clone(),
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
    if gateway.late.contains(&door.site) {
        gateway.last().manifests.insert(door.site.clone(), manifest);
        return done();
    }
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
        Stage::Unmasking(unmasking) => Json(unmasking.proposal().clone()).into_response(),
        _ => refuse(ProblemType::WrongRound, "not agreeing"),
    }
}

async fn agreement(State(door): State<Door>, Json(signature): Json<AgreementSignature>) -> Response {
    let mut gateway = door.open();
    gateway.signatures_seen.push(signature.clone());
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
    let number = gateway.last().number.get();
    gateway.answers_seen.push((number, door.site.clone()));
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

async fn tagging(State(door): State<Door>) -> Response {
    match &door.open().last().stage {
        Stage::Tagging(tagging) => Json(tagging.request_for(&door.site).unwrap()).into_response(),
        _ => refuse(ProblemType::WrongRound, "not tagging"),
    }
}

async fn tagged(State(door): State<Door>, Json(tag): Json<SumTag>) -> Response {
    let mut gateway = door.open();
    let Stage::Tagging(tagging) = &mut gateway.last().stage else {
        return refuse(ProblemType::WrongRound, "not tagging");
    };
    match tagging.accept(tag) {
        Ok(()) => done(),
        Err(rejection) => refuse(ProblemType::Rejected, &rejection.to_string()),
    }
}

async fn verdict(State(door): State<Door>, Json(verdict): Json<SumVerdict>) -> Response {
    let mut gateway = door.open();
    let number = gateway.last().number.get();
    gateway.verdicts_seen.push((number, door.site.clone(), verdict.accepted));
    gateway.last().verdicts.insert(door.site.clone(), verdict.accepted);
    done()
}

async fn evaluation(State(door): State<Door>, Json(new): Json<NewEvaluation>) -> Json<Evaluation> {
    let payload = new.statement.unverified_payload().unwrap();
    let statement: EvaluationStatement = serde_json::from_slice(&payload).unwrap();
    door.open().evaluations_seen.push(statement.clone());
    let evaluation = Digest(new.statement.digest().0);
    Json(Evaluation { evaluation, statement, entry: 1 })
}
