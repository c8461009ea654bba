//! The client against a real TLS server that fails in scripted ways.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use konclave_crypto::{Digest, JobId, RoundNumber, SiteId};
use konclave_openapi::problem::{FieldError, MEDIA_TYPE, Problem, ProblemType};
use konclave_openapi::rounds::{UploadOffset, UploadReceipt};
use konclave_site::client::{ClientError, EgressLine, MessageClass};
use support::Pki;

fn problem(kind: ProblemType, detail: &str) -> Response {
    let mut problem = Problem::new(kind, detail, "request-7");
    problem.errors.push(FieldError { at: "/round".into(), detail: "is 4".into() });
    let status = StatusCode::from_u16(problem.status).unwrap();
    let headers = [(header::CONTENT_TYPE, MEDIA_TYPE), (header::RETRY_AFTER, "0")];
    (status, headers, serde_json::to_vec(&problem).unwrap()).into_response()
}

fn job() -> JobId {
    "job-1".parse().unwrap()
}

fn site() -> SiteId {
    "site-a".parse().unwrap()
}

#[tokio::test]
async fn temporary_failures_are_repeated_and_lasting_ones_shown_in_full() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let router = Router::new()
        .route(
            "/v1/work",
            get(move || {
                let calls = Arc::clone(&counted);
                async move {
                    match calls.fetch_add(1, Ordering::SeqCst) {
                        0 => problem(ProblemType::Unavailable, "starting"),
                        1 => problem(ProblemType::TooManyRequests, "slow down"),
                        2 => (StatusCode::BAD_GATEWAY, "<html>proxy</html>").into_response(),
                        _ => Json(serde_json::json!({"items": [], "ledger_size": 9})).into_response(),
                    }
                }
            }),
        )
        .route("/v1/jobs/{job}", get(|| async { problem(ProblemType::WrongRound, "uploads closed") }));
    let (pki, folder) = (Pki::new("site-a"), tempfile::tempdir().unwrap());
    let client = pki.client(pki.serve(router), folder.path());
    assert_eq!(client.work(0).await.unwrap().ledger_size, 9);
    assert_eq!(calls.load(Ordering::SeqCst), 4);
    let error = client.job(&job()).await.unwrap_err();
    assert!(error.is_over() && !error.is_temporary());
    let text = error.to_string();
    for part in ["GET /v1/jobs/job-1", "409", "wrong-round", "uploads closed", "/round: is 4", "request-7"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[tokio::test]
async fn only_the_pinned_authority_is_trusted_and_attempts_end() {
    let (pki, other, folder) = (Pki::new("site-a"), Pki::new("site-a"), tempfile::tempdir().unwrap());
    let address = pki.serve(Router::new().route("/v1/work", get(|| async { "never" })));
    let error = pki.client_pinning(&other.ca, address, folder.path()).work(0).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Connection { reason, .. } if reason.contains("certificate")),
        "{error}"
    );
    // A certificate of another authority does not get through either.
    let error = other.client_pinning(&pki.ca, address, folder.path()).work(0).await.unwrap_err();
    assert!(matches!(error, ClientError::Connection { .. }), "{error}");
}

#[derive(Default)]
struct Uploads {
    bytes: Vec<u8>,
    calls: u32,
    expected: u64,
}

async fn take(
    State(uploads): State<Arc<Mutex<Uploads>>>,
    Query(query): Query<BTreeMap<String, u64>>,
    body: Bytes,
) -> Response {
    let mut uploads = uploads.lock().unwrap();
    uploads.calls += 1;
    if query["offset"] != uploads.bytes.len() as u64 {
        return problem(ProblemType::Conflict, "another offset is wanted");
    }
    if uploads.calls == 1 {
        // What a broken connection leaves: a part of the part, and no receipt.
        uploads.bytes.extend_from_slice(&body[..body.len() / 3]);
        return (StatusCode::BAD_GATEWAY, "").into_response();
    }
    uploads.bytes.extend_from_slice(&body);
    let bytes = uploads.bytes.len() as u64;
    Json(UploadReceipt { bytes, body_root: Digest::of(&uploads.bytes) }).into_response()
}

async fn offset(State(uploads): State<Arc<Mutex<Uploads>>>) -> Json<UploadOffset> {
    let uploads = uploads.lock().unwrap();
    Json(UploadOffset { offset: uploads.bytes.len() as u64, bytes: uploads.expected })
}

#[tokio::test]
async fn an_upload_continues_where_the_gateway_says_and_the_log_has_every_byte() {
    let content: Vec<u8> = (0..20_000_000_u32).map(|index| (index % 251) as u8).collect();
    let uploads = Arc::new(Mutex::new(Uploads { expected: content.len() as u64, ..Uploads::default() }));
    let router = Router::new()
        .route("/v1/jobs/{job}/rounds/{round}/uploads/{site}", put(take).get(offset))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(Arc::clone(&uploads));
    let (pki, folder) = (Pki::new("site-a"), tempfile::tempdir().unwrap());
    let file = folder.path().join("body");
    std::fs::write(&file, &content).unwrap();
    let client = pki.client(pki.serve(router), folder.path());
    let receipt = client.upload(&job(), RoundNumber::FIRST, &site(), &file).await.unwrap();
    assert_eq!(receipt, UploadReceipt { bytes: content.len() as u64, body_root: Digest::of(&content) });
    assert!(uploads.lock().unwrap().bytes == content);
    // Again, as after a crash: nothing is sent but an empty part that asks for the receipt.
    client.upload(&job(), RoundNumber::FIRST, &site(), &file).await.unwrap();
    drop(client);
    let log = std::fs::read_to_string(folder.path().join("egress.ndjson")).unwrap();
    let lines: Vec<EgressLine> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sent: Vec<&EgressLine> =
        lines.iter().filter(|line| line.class == MessageClass::MaskedUpdate).collect();
    assert_eq!(u32::try_from(sent.len()), Ok(uploads.lock().unwrap().calls));
    let bytes: u64 = sent.iter().map(|line| line.bytes).sum();
    // All of it once, and again only what the broken connection lost of one part.
    assert!(bytes >= content.len() as u64 && bytes < content.len() as u64 + 8_500_000, "{bytes}");
    assert!(sent.iter().all(|line| line.sha256.is_some() && line.path.contains("offset=")));
}

async fn blob(
    State((content, calls)): State<(Arc<Vec<u8>>, Arc<AtomicU32>)>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Response {
    if digest != Digest::of(&content).to_string() {
        return "not what was asked for".into_response();
    }
    let from: usize = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().unwrap().strip_prefix("bytes="))
        .map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
    if calls.fetch_add(1, Ordering::SeqCst) < 2 {
        // Breaks off after a third of the rest.
        let part = content[from..from + (content.len() - from) / 3].to_vec();
        let whole = (content.len() - from).to_string();
        let pieces = vec![Ok(Bytes::from(part)), Err(std::io::Error::other("cut"))];
        let stream = Body::from_stream(tokio_stream(pieces));
        let status = if from == 0 { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
        return (status, [(header::CONTENT_LENGTH, whole)], stream).into_response();
    }
    let status = if from == 0 { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
    (status, content[from..].to_vec()).into_response()
}

/// A stream of ready pieces.
fn tokio_stream(
    pieces: Vec<Result<Bytes, std::io::Error>>,
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send {
    futures_util::stream::iter(pieces)
}

#[tokio::test]
async fn a_blob_continues_after_broken_connections_and_is_checked() {
    let content: Arc<Vec<u8>> = Arc::new((0..900_000_u32).map(|index| (index % 241) as u8).collect());
    let calls = Arc::new(AtomicU32::new(0));
    let router = Router::new()
        .route("/v1/blobs/{digest}", get(blob))
        .with_state((Arc::clone(&content), Arc::clone(&calls)));
    let (pki, folder) = (Pki::new("site-a"), tempfile::tempdir().unwrap());
    let client = pki.client(pki.serve(router), folder.path());
    let digest = Digest::of(&content);
    let path = client.fetch_blob(digest, folder.path(), 1_000_000).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == *content);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    // A stored blob is not fetched again, a damaged one is.
    client.fetch_blob(digest, folder.path(), 1_000_000).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    std::fs::write(&path, b"damaged").unwrap();
    client.fetch_blob(digest, folder.path(), 1_000_000).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == *content);

    std::fs::remove_file(&path).unwrap();
    let error = client.fetch_blob(digest, folder.path(), 1_000).await.unwrap_err();
    assert!(matches!(error, ClientError::BlobTooLarge { limit: 1_000, .. }), "{error}");
    let wanted = Digest::of(b"something else");
    let error = client.fetch_blob(wanted, folder.path(), 1_000).await.unwrap_err();
    assert!(matches!(error, ClientError::WrongBlob { .. }), "{error}");
    assert!(!folder.path().join(wanted.to_string()).exists());
}

#[tokio::test]
async fn the_same_statement_has_the_same_idempotency_key() {
    let keys = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&keys);
    let router = Router::new().route(
        "/v1/jobs/{job}/consents",
        post(move |headers: HeaderMap| {
            let key = headers["idempotency-key"].to_str().unwrap().to_owned();
            seen.lock().unwrap().push(key);
            async { StatusCode::NO_CONTENT }
        }),
    );
    let (pki, folder) = (Pki::new("site-a"), tempfile::tempdir().unwrap());
    let client = pki.client(pki.serve(router), folder.path());
    let one = konclave_ledger::dsse::sign(&[1; 32], "application/x", b"one");
    let two = konclave_ledger::dsse::sign(&[1; 32], "application/x", b"two");
    for statement in [&one, &one, &two] {
        client.send_consent(&job(), statement).await.unwrap();
    }
    let keys = keys.lock().unwrap();
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
}
