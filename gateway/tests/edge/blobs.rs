//! Blobs over HTTP: streamed, checked, resumable to read.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use konclave_crypto::Digest;
use konclave_openapi::models::Blob;
use reqwest::{Body, Response, StatusCode};

use crate::deployment::{Folders, Served, problem};

const SEED: u8 = 3;

async fn served(folders: Folders) -> (Served, String) {
    folders.add_client("dev", "model-developer", SEED);
    let served = folders.serve().await;
    let token = served.token("dev", SEED).await;
    (served, token)
}

async fn put(served: &Served, token: &str, digest: &Digest, body: impl Into<Body>) -> Response {
    let url = served.url(&format!("/v1/blobs/{digest}"));
    served.client(None).put(url).bearer_auth(token).body(body).send().await.unwrap()
}

async fn get(served: &Served, token: &str, digest: &Digest, range: Option<&str>) -> Response {
    let url = served.url(&format!("/v1/blobs/{digest}"));
    let request = served.client(None).get(url).bearer_auth(token);
    let request = match range {
        Some(range) => request.header("range", range),
        None => request,
    };
    request.send().await.unwrap()
}

fn chunked(parts: Vec<&'static str>) -> Body {
    Body::wrap_stream(stream::iter(parts.into_iter().map(|part| Ok::<_, Infallible>(Bytes::from(part)))))
}

#[tokio::test]
async fn a_blob_comes_back_whole_and_in_ranges() {
    let (served, token) = served(Folders::new()).await;
    let digest = Digest::of(b"hello world");
    for _ in 0..2 {
        let answer = put(&served, &token, &digest, chunked(vec!["hello ", "world"])).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let blob: Blob = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(blob, Blob { digest, bytes: 11 });
    }
    let whole = get(&served, &token, &digest, None).await;
    assert_eq!(whole.headers()["etag"], format!("\"{digest}\"").as_str());
    assert_eq!(whole.bytes().await.unwrap(), "hello world");
    let rest = get(&served, &token, &digest, Some("bytes=6-")).await;
    assert_eq!(rest.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(rest.headers()["content-range"], "bytes 6-10/11");
    assert_eq!(rest.bytes().await.unwrap(), "world");
    let behind = get(&served, &token, &digest, Some("bytes=11-")).await;
    assert_eq!(behind.headers()["content-range"], "bytes */11");
    problem(behind, 416, "range-not-satisfiable").await;
}

#[tokio::test]
async fn other_bytes_than_announced_are_refused() {
    let (served, token) = served(Folders::new()).await;
    let digest = Digest::of(b"hello");
    let refused = problem(put(&served, &token, &digest, "hellO").await, 422, "digest-mismatch").await;
    assert!(refused.detail.contains(&digest.to_string()), "{}", refused.detail);
    // Nothing of it is kept, under its name or another.
    let folder = std::path::PathBuf::from(served.folders.dir()).join("blobs");
    let kept: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept, [folder.join("tmp")]);
    assert_eq!(std::fs::read_dir(folder.join("tmp")).unwrap().count(), 0);
    assert_eq!(put(&served, &token, &digest, "hello").await.status(), StatusCode::OK);
    assert_eq!(get(&served, &token, &digest, None).await.bytes().await.unwrap(), "hello");
}

#[tokio::test]
async fn a_blob_above_the_limit_is_refused_announced_or_not() {
    let folders = Folders::new();
    folders.configure("blob_bytes = 4294967296", "blob_bytes = 10");
    let (served, token) = served(folders).await;
    let digest = Digest::of(b"hello world");
    for body in [Body::from("hello world"), chunked(vec!["hello ", "world"])] {
        let refused = problem(put(&served, &token, &digest, body).await, 413, "too-large").await;
        assert!(refused.detail.contains("10 bytes"), "{}", refused.detail);
    }
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let folders = Folders::new();
    folders.configure("body_idle_seconds = 30", "body_idle_seconds = 1");
    let (served, token) = served(folders).await;
    let parts = stream::unfold(true, |first| async move {
        if !first {
            std::future::pending::<()>().await;
        }
        Some((Ok::<_, Infallible>(Bytes::from_static(b"hel")), false))
    });
    let answer = put(&served, &token, &Digest::of(b"hello"), Body::wrap_stream(parts)).await;
    let refused = problem(answer, 400, "invalid-request").await;
    assert!(refused.detail.contains("stopped arriving"), "{}", refused.detail);
}

#[tokio::test]
async fn another_organisations_blob_is_not_shown() {
    let folders = Folders::new();
    let path = folders.path("other.pub");
    std::fs::write(&path, crate::deployment::public_pem(4)).unwrap();
    let dir = folders.dir();
    crate::deployment::succeed(&[
        "client",
        "add",
        "--dir",
        &dir,
        "--client-id",
        "rival",
        "--organisation",
        "Rival",
        "--role",
        "model-developer",
        "--public-key",
        &path,
    ]);
    let (served, token) = served(folders).await;
    let digest = Digest::of(b"weights");
    assert_eq!(put(&served, &token, &digest, "weights").await.status(), StatusCode::OK);
    let rival = served.token("rival", 4).await;
    problem(get(&served, &rival, &digest, None).await, 403, "forbidden").await;
}

#[tokio::test]
async fn a_malformed_digest_is_named() {
    let (served, token) = served(Folders::new()).await;
    let url = served.url("/v1/blobs/XYZ");
    let answer = served.client(None).get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(problem(answer, 400, "invalid-request").await.errors[0].at, "digest");
}

#[tokio::test]
async fn recorded_traffic_holds_what_was_sent_and_no_token() {
    let folders = Folders::new();
    folders.add_client("dev", "model-developer", SEED);
    let recording = std::path::PathBuf::from(folders.path("traffic"));
    let served = folders.serve_recording(Some(&recording)).await;
    let token = served.token("dev", SEED).await;
    let digest = Digest::of(b"canary CCO1");
    assert_eq!(put(&served, &token, &digest, "canary CCO1").await.status(), StatusCode::OK);
    let files: Vec<Vec<u8>> = std::fs::read_dir(&recording)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert_eq!(files.len(), 2);
    let holds = |text: &str| {
        files.iter().any(|file| file.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    assert!(holds("canary CCO1") && holds(&digest.to_string()));
    assert!(!holds(&token));
}
