//! Revoked keys: within seconds, also for what is under way, and for ever.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::stream;
use konclave_crypto::{Digest, IdentityKey, MemberRole};
use konclave_openapi::sites::{Enrolment, EnrolmentRequest};
use reqwest::{Body, Client, StatusCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::deployment::{Folders, Served, enrolment_request, fail, problem, public_pem, succeed};

const SEED: u8 = 7;

fn revoke_site(served: &Served, site: &str) -> String {
    let dir = served.folders.dir();
    succeed(&["site", "revoke", "--dir", &dir, "--site", site, "--reason", "its key was stolen"])
}

async fn status(served: &Served, client: &Client) -> StatusCode {
    client.get(served.url("/v1/sites")).send().await.unwrap().status()
}

/// Seconds until a member is refused.
async fn refused_after(served: &Served, client: &Client) -> f64 {
    let started = Instant::now();
    while status(served, client).await != StatusCode::UNAUTHORIZED {
        assert!(started.elapsed() < Duration::from_secs(60), "a revocation takes effect within a minute");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    started.elapsed().as_secs_f64()
}

#[tokio::test]
async fn a_revoked_site_is_refused_within_seconds_and_for_ever() {
    let folders = Folders::new();
    let alpha = folders.enrol("alpha", MemberRole::Site, 1);
    folders.enrol("beta", MemberRole::Site, 2);
    let mut served = folders.serve().await;
    let client = served.client_of(&alpha);
    assert_eq!(status(&served, &client).await, StatusCode::OK);
    let said = revoke_site(&served, "alpha");
    assert!(said.contains("within two seconds"), "{said}");
    let seconds = refused_after(&served, &client).await;
    assert!(seconds < 30.0, "{seconds}");
    let answer = client.get(served.url("/v1/sites")).send().await.unwrap();
    problem(answer, 401, "unknown-certificate").await;

    // The same keys do not come back; others do.
    let (request, _) = enrolment_request("alpha", MemberRole::Site, 1);
    let (input, dir) = (served.folders.path("request.json"), served.folders.dir());
    std::fs::write(&input, serde_json::to_vec(&request).unwrap()).unwrap();
    let said =
        fail(&["enrol", "--dir", &dir, "--request", &input, "--out", &served.folders.path("out.json")]);
    assert!(said.contains("was revoked"), "{said}");
    // The gateway's clock stands still in this test, and the certificate is from now on.
    served.clock.advance_seconds(120);
    let renewed = served.folders.enrol("alpha", MemberRole::Site, 3);
    let renewed = served.client_of(&renewed);
    let started = Instant::now();
    while status(&served, &renewed).await != StatusCode::OK {
        assert!(started.elapsed() < Duration::from_secs(60), "new keys are taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(status(&served, &client).await, StatusCode::UNAUTHORIZED);

    // A gateway that starts anew knows it from the ledger.
    let folders = std::mem::replace(&mut served.folders, Folders::new());
    drop(served);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let served = folders.serve().await;
    assert_eq!(status(&served, &served.client_of(&alpha)).await, StatusCode::UNAUTHORIZED);
    let dir = served.folders.dir();
    let said = fail(&["site", "revoke", "--dir", &dir, "--site", "nobody", "--reason", "x"]);
    assert!(said.contains("no site `nobody` is enrolled"), "{said}");
    let said = fail(&["site", "revoke", "--dir", &dir, "--site", "beta", "--reason", " "]);
    assert!(said.contains("--reason"), "{said}");
}

/// Enrols again over the command line, with any keys.
fn enrol(served: &Folders, request: &EnrolmentRequest, more: &[&str]) -> Enrolment {
    let (input, out, dir) = (served.path("again.json"), served.path("again-out.json"), served.dir());
    std::fs::write(&input, serde_json::to_vec(request).unwrap()).unwrap();
    let mut arguments = vec!["enrol", "--dir", &dir, "--request", &input, "--out", &out];
    arguments.extend(more);
    succeed(&arguments);
    serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap()
}

/// The operator enrolled alpha with other keys, which the gateway has not taken in, and now revokes it: the keys in force end.
#[tokio::test]
async fn a_revocation_ends_the_keys_in_force_whatever_was_enrolled_since() {
    let folders = Folders::new();
    let alpha = folders.enrol("alpha", MemberRole::Site, 1);
    let mut served = folders.serve().await;
    let folders = std::mem::replace(&mut served.folders, Folders::new());
    drop(served);
    tokio::time::sleep(Duration::from_secs(3)).await;
    enrol(&folders, &enrolment_request("alpha", MemberRole::Site, 3).0, &["--renew"]);
    let dir = folders.dir();
    succeed(&["site", "revoke", "--dir", &dir, "--site", "alpha", "--reason", "stolen"]);
    let served = folders.serve().await;
    let client = served.client_of(&alpha);
    problem(client.get(served.url("/v1/sites")).send().await.unwrap(), 401, "unknown-certificate").await;

    // Without a record, the key in force is named.
    let said = fail(&["site", "revoke", "--dir", &dir, "--site", "beta", "--reason", "stolen"]);
    assert!(said.contains("no site `beta` is enrolled"), "{said}");
    let key = alpha.enrolment.certificate.membership.identity_key.to_string();
    succeed(&["site", "revoke", "--dir", &dir, "--site", "alpha", "--reason", "x", "--identity-key", &key]);
}

#[tokio::test]
async fn a_revoked_tls_key_does_not_come_back_with_another_identity_nor_the_id_with_another_owner() {
    let folders = Folders::new();
    let (first, key) = enrolment_request("alpha", MemberRole::Site, 1);
    let enrolment = enrol(&folders, &first, &[]);
    let served = folders.serve().await;
    let identity = format!("{}{}", enrolment.tls_certificate, key.serialize_pem());
    let stolen = served.client(Some(&identity));
    assert_eq!(status(&served, &stolen).await, StatusCode::OK);
    revoke_site(&served, "alpha");
    refused_after(&served, &stolen).await;
    served.clock.advance_seconds(120);

    // The same TLS key under a new identity key, then the id for another legal entity.
    let (mut again, fresh) = enrolment_request("alpha", MemberRole::Site, 3);
    let signed = |request: &mut EnrolmentRequest| {
        request.signature = IdentityKey::from_seed(Zeroizing::new([3; 32])).sign(&request.signed_bytes());
    };
    let fresh_request = std::mem::replace(&mut again.tls_request, first.tls_request.clone());
    signed(&mut again);
    enrol(&served.folders, &again, &[]);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(status(&served, &stolen).await, StatusCode::UNAUTHORIZED);
    again.tls_request = fresh_request;
    again.legal_entity = "Other Corp".to_owned();
    signed(&mut again);
    let other = enrol(&served.folders, &again, &["--renew"]);
    let other = served.client(Some(&format!("{}{}", other.tls_certificate, fresh.serialize_pem())));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(status(&served, &other).await, StatusCode::UNAUTHORIZED);

    // Nor does a client get the id.
    let (key, dir) = (served.folders.path("client.pub"), served.folders.dir());
    std::fs::write(&key, public_pem(SEED)).unwrap();
    let words = ["client", "add", "--dir", &dir, "--client-id", "alpha", "--organisation", "Acme"];
    let said = fail(&[&words[..], &["--role", "auditor", "--public-key", &key]].concat());
    assert!(said.contains("alpha"), "{said}");
}

#[tokio::test]
async fn a_revoked_client_loses_its_tokens_and_what_it_is_sending() {
    let folders = Folders::new();
    folders.add_client("acme", "model-developer", SEED);
    let served = folders.serve().await;
    let token = served.token("acme", SEED).await;
    let client = served.client(None);

    // A body that goes on for ever, as slowly as a body may.
    let digest = "0".repeat(64);
    let pieces = stream::unfold(0_u32, |sent| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b"piece")), sent + 1))
    });
    let upload = client
        .put(served.url(&format!("/v1/blobs/{digest}")))
        .bearer_auth(&token)
        .header("content-type", "application/octet-stream")
        .body(Body::wrap_stream(pieces));
    let upload = tokio::spawn(upload.send());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!upload.is_finished(), "the upload is under way");

    let dir = served.folders.dir();
    let kept = std::fs::read(format!("{dir}/clients/acme.json")).unwrap();
    succeed(&["client", "revoke", "--dir", &dir, "--client-id", "acme", "--reason", "its contract ended"]);
    let ended =
        tokio::time::timeout(Duration::from_secs(30), upload).await.expect("the upload ends").unwrap();
    assert!(ended.is_err() || !ended.unwrap().status().is_success());
    let refused = client.get(served.url("/v1/sites")).bearer_auth(&token).send().await.unwrap();
    problem(refused, 401, "unauthenticated").await;
    problem(served.ask_token(&served.claims("acme", "later"), SEED, None).await, 401, "unauthenticated")
        .await;

    // A record that a power cut brought back goes again, and its tokens with it.
    let record = format!("{dir}/clients/acme.json");
    std::fs::write(&record, kept).unwrap();
    let started = Instant::now();
    while std::path::Path::new(&record).exists() {
        assert!(started.elapsed() < Duration::from_secs(30), "the record of a revoked key goes");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // With the same key it does not come back; with another one it does.
    let key = served.folders.path("client.pub");
    let said = fail(&[
        "client",
        "add",
        "--dir",
        &dir,
        "--client-id",
        "acme",
        "--organisation",
        "Acme",
        "--role",
        "auditor",
        "--public-key",
        &key,
    ]);
    assert!(said.contains("was revoked"), "{said}");
    served.folders.add_client("acme", "model-developer", 9);
    let token = served.token("acme", 9).await;
    let answer = client.get(served.url("/v1/sites")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// An upload of a blob that is under way. What is sent into it goes on; dropping that ends the body.
struct Upload {
    bytes: mpsc::Sender<Bytes>,
    answer: JoinHandle<reqwest::Result<reqwest::Response>>,
}

impl Upload {
    fn begin(served: &Served, token: &str, blob: &[u8]) -> Self {
        let (bytes, coming) = mpsc::channel(1);
        let body = stream::unfold(coming, |mut coming| async move {
            coming.recv().await.map(|bytes: Bytes| (Ok::<_, std::io::Error>(bytes), coming))
        });
        let url = served.url(&format!("/v1/blobs/{}", Digest::of(blob)));
        let put = served.client(None).put(url).bearer_auth(token);
        let put = put.header("content-type", "application/octet-stream").body(Body::wrap_stream(body));
        Self { bytes, answer: tokio::spawn(put.send()) }
    }

    async fn send(&mut self, bytes: &'static [u8]) {
        // The gateway may have broken it off; the answer tells.
        let _ = self.bytes.send(Bytes::from_static(bytes)).await;
    }

    /// Whether it became a blob.
    async fn end(self) -> bool {
        drop(self.bytes);
        self.answer.await.unwrap().is_ok_and(|answer| answer.status().is_success())
    }
}

/// Entries of the ledger, from its checkpoint.
async fn entries(served: &Served, token: &str) -> u64 {
    let answer = served.client(None).get(served.url("/checkpoint")).bearer_auth(token).send().await.unwrap();
    answer.text().await.unwrap().lines().nth(1).unwrap().parse().unwrap()
}

async fn wait_for_an_entry(served: &Served, token: &str, before: u64) {
    let started = Instant::now();
    while entries(served, token).await == before {
        assert!(started.elapsed() < Duration::from_secs(60), "the operator's record is taken in");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn what_a_revoked_client_began_is_not_finished() {
    let folders = Folders::new();
    // Nothing here ends because it is slow.
    folders.configure("body_idle_seconds = 30", "body_idle_seconds = 600");
    folders.add_client("acme", "model-developer", SEED);
    folders.add_client("other", "model-developer", 8);
    folders.add_client("watcher", "auditor", 10);
    let served = folders.serve().await;
    let (stolen, other) = (served.token("acme", SEED).await, served.token("other", 8).await);
    let watcher = served.token("watcher", 10).await;

    // All the bytes came before the revocation, the end of the body comes after it.
    let mut unfinished = Upload::begin(&served, &stolen, b"unfinished");
    let mut allowed = Upload::begin(&served, &other, b"allowed");
    // Nothing comes of it while the client is revoked.
    let mut paused = Upload::begin(&served, &stolen, b"paused");
    unfinished.send(b"unfinished").await;
    allowed.send(b"allowed").await;
    paused.send(b"pau").await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let (dir, before) = (served.folders.dir(), entries(&served, &watcher).await);
    succeed(&["client", "revoke", "--dir", &dir, "--client-id", "acme", "--reason", "its key was stolen"]);
    wait_for_an_entry(&served, &watcher, before).await;
    assert!(!unfinished.end().await, "the end of a body counts, too");
    assert!(allowed.end().await, "others go on");

    let before = entries(&served, &watcher).await;
    served.folders.add_client("acme", "model-developer", 9);
    wait_for_an_entry(&served, &watcher, before).await;
    paused.send(b"sed").await;
    assert!(!paused.end().await, "the new registration is not the thief's");
    let new = served.token("acme", 9).await;
    for blob in [&b"unfinished"[..], b"paused"] {
        let url = served.url(&format!("/v1/blobs/{}", Digest::of(blob)));
        let answer = served.client(None).get(url).bearer_auth(&new).send().await.unwrap();
        problem(answer, 403, "forbidden").await;
    }
    // The organisation itself goes on.
    let mut own = Upload::begin(&served, &new, b"own");
    own.send(b"own").await;
    assert!(own.end().await);
}
