//! Tokens bound to a client certificate (RFC 8705), and what is refused of tokens over HTTP.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use konclave_crypto::MemberRole;
use konclave_gateway::auth::jwt;
use konclave_openapi::token::{AuthorizationServer, CLIENT_ASSERTION_TYPE, JsonWebKeySet, TokenResponse};
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::deployment::{Folders, Served, fail, problem, public_pem, succeed};

const SEED: u8 = 7;

/// A certificate and key that the command line made for a registered client.
pub(crate) fn certified(folders: &Folders, client: &str) -> String {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let (input, output) = (folders.path("tls.csr"), folders.path("tls.pem"));
    std::fs::write(&input, request).unwrap();
    let dir = folders.dir();
    succeed(&[
        "client",
        "certify",
        "--dir",
        &dir,
        "--client-id",
        client,
        "--request",
        &input,
        "--out",
        &output,
    ]);
    format!("{}{}", std::fs::read_to_string(output).unwrap(), key.serialize_pem())
}

/// Registers a client that gets bound tokens only.
fn add_bound(folders: &Folders, client: &str) {
    let (key, dir) = (folders.path("client.pub"), folders.dir());
    std::fs::write(&key, public_pem(SEED)).unwrap();
    succeed(&[
        "client",
        "add",
        "--dir",
        &dir,
        "--client-id",
        client,
        "--organisation",
        "Acme",
        "--role",
        "auditor",
        "--public-key",
        &key,
        "--certificate-bound",
    ]);
}

async fn ask(served: &Served, over: &Client, jti: &str) -> Response {
    let assertion = jwt::signed(&[SEED; 32], "JWT", None, &served.claims("acme", jti)).unwrap();
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_assertion_type", CLIENT_ASSERTION_TYPE)
        .append_pair("client_assertion", &assertion)
        .finish();
    let request = over.post(served.url("/oauth/token")).body(form);
    request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap()
}

async fn token(served: &Served, over: &Client, jti: &str) -> String {
    let answer = ask(served, over, jti).await;
    assert_eq!(answer.status(), StatusCode::OK);
    serde_json::from_slice::<TokenResponse>(&answer.bytes().await.unwrap()).unwrap().access_token
}

async fn sites(served: &Served, over: &Client, token: &str) -> Response {
    over.get(served.url("/v1/sites")).bearer_auth(token).send().await.unwrap()
}

async fn refused(answer: Response, why: &str) {
    let refused = problem(answer, 401, "unauthenticated").await;
    assert!(refused.detail.contains(why), "{}", refused.detail);
}

#[tokio::test]
async fn a_token_used_with_another_certificate_is_refused() {
    let folders = Folders::new();
    folders.add_client("acme", "model-developer", SEED);
    folders.add_client("rival", "model-developer", 8);
    let (own, rival) = (certified(&folders, "acme"), certified(&folders, "rival"));
    let served = folders.serve().await;
    let own = served.client(Some(&own));
    let token = token(&served, &own, "1").await;
    assert_eq!(sites(&served, &own, &token).await.status(), StatusCode::OK);
    let others = [served.client(Some(&rival)), served.client(None)];
    for other in others {
        refused(sites(&served, &other, &token).await, "bound to another client certificate").await;
    }
    // Another certificate of the same client is another one, too.
    let renewed = served.client(Some(&certified(&served.folders, "acme")));
    refused(sites(&served, &renewed, &token).await, "bound to another client certificate").await;
    // A certificate alone makes nobody a member.
    let alone = own.get(served.url("/v1/sites")).send().await.unwrap();
    problem(alone, 401, "unknown-certificate").await;
}

#[tokio::test]
async fn a_bound_client_gets_tokens_with_its_certificate_only() {
    let folders = Folders::new();
    add_bound(&folders, "acme");
    let identity = certified(&folders, "acme");
    let served = folders.serve().await;
    refused(ask(&served, &served.client(None), "1").await, "must be bound to a certificate").await;
    let own = served.client(Some(&identity));
    let token = token(&served, &own, "2").await;
    assert_eq!(sites(&served, &own, &token).await.status(), StatusCode::OK);
    let key = served.folders.path("client.pub");
    let said = fail(&[
        "client",
        "certify",
        "--dir",
        &served.folders.dir(),
        "--client-id",
        "nobody",
        "--request",
        &key,
        "--out",
        &key,
    ]);
    assert!(said.contains("no client `nobody` is registered"), "{said}");
}

/// Of the certificates that the deployment's authority signed, only the client's own binds its tokens.
#[tokio::test]
async fn no_token_is_bound_to_anothers_certificate() {
    let folders = Folders::new();
    add_bound(&folders, "acme");
    folders.add_client("rival", "model-developer", 8);
    let (own, rival) = (certified(&folders, "acme"), certified(&folders, "rival"));
    let alpha = folders.enrol("alpha", MemberRole::Site, 1);
    let served = folders.serve().await;
    let member = served.client_of(&alpha);
    refused(ask(&served, &member, "1").await, "a member's certificate").await;
    refused(ask(&served, &served.client(Some(&rival)), "2").await, "another's certificate").await;
    let dir = served.folders.dir();
    succeed(&["site", "revoke", "--dir", &dir, "--site", "alpha", "--reason", "its key was stolen"]);
    let mut tries = 0;
    while member.get(served.url("/v1/sites")).send().await.unwrap().status() == StatusCode::OK {
        assert!(tries < 300, "a revocation is taken in");
        tries += 1;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    refused(ask(&served, &member, "3").await, "another's certificate").await;
    token(&served, &served.client(Some(&own)), "4").await;
}

#[tokio::test]
async fn a_token_over_a_members_connection_is_refused() {
    let folders = Folders::new();
    folders.add_client("acme", "model-developer", SEED);
    let alpha = folders.enrol("alpha", MemberRole::Site, 1);
    let served = folders.serve().await;
    let member = served.client_of(&alpha);
    let token = served.token("acme", SEED).await;
    refused(sites(&served, &member, &token).await, "send one of the two").await;
    refused(ask(&served, &member, "1").await, "a member's certificate").await;
    assert_eq!(sites(&served, &served.client(None), &token).await.status(), StatusCode::OK);
}

/// A token of the deployment's own key with other claims: everything about it is right but those.
fn with_claims(served: &Served, token: &str, change: impl FnOnce(&mut Value)) -> String {
    let kid = jwt::unverified_header(token).unwrap().kid.unwrap();
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let mut claims: Value = serde_json::from_slice(&payload).unwrap();
    change(&mut claims);
    let seed = std::fs::read_to_string(format!("{}/keys/token-2.key", served.folders.dir())).unwrap();
    let seed: [u8; 32] = hex::decode(seed.trim()).unwrap().try_into().unwrap();
    jwt::signed(&seed, "at+jwt", Some(&kid), &claims).unwrap()
}

#[tokio::test]
async fn a_token_for_another_audience_is_refused() {
    let folders = Folders::new();
    folders.add_client("acme", "model-developer", SEED);
    let served = folders.serve().await;
    let (good, client) = (served.token("acme", SEED).await, served.client(None));
    let same = with_claims(&served, &good, |_| {});
    assert_eq!(sites(&served, &client, &same).await.status(), StatusCode::OK, "signed as the gateway does");
    for audience in [json!("https://elsewhere"), json!(["https://elsewhere"]), Value::Null] {
        let other = with_claims(&served, &good, |claims| claims["aud"] = audience);
        problem(sites(&served, &client, &other).await, 401, "unauthenticated").await;
    }
    let none = with_claims(&served, &good, |claims| drop(claims.as_object_mut().unwrap().remove("aud")));
    problem(sites(&served, &client, &none).await, 401, "unauthenticated").await;
    // A way of binding that is not known here is none.
    let bound = with_claims(&served, &good, |claims| claims["cnf"] = json!({"jkt": "x"}));
    problem(sites(&served, &client, &bound).await, 401, "unauthenticated").await;
}

#[tokio::test]
async fn an_unsigned_token_is_refused() {
    let folders = Folders::new();
    folders.add_client("acme", "model-developer", SEED);
    let served = folders.serve().await;
    let good = served.token("acme", SEED).await;
    let kid = jwt::unverified_header(&good).unwrap().kid.unwrap();
    let rest = good.split_once('.').unwrap().1;
    let body = rest.split_once('.').unwrap().0;
    for alg in ["none", "None", "NONE", "", "HS256"] {
        let head = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "typ": "at+jwt", "kid": kid}).to_string());
        for token in [format!("{head}.{rest}"), format!("{head}.{body}.")] {
            problem(sites(&served, &served.client(None), &token).await, 401, "unauthenticated").await;
        }
    }
}

#[tokio::test]
async fn an_expired_assertion_gives_no_token() {
    let folders = Folders::new();
    folders.add_client("acme", "model-developer", SEED);
    let served = folders.serve().await;
    let claims = served.claims("acme", "1");
    served.clock.advance_seconds(60);
    refused(served.ask_token(&claims, SEED, None).await, "expired").await;
}

#[tokio::test]
async fn token_keys_change_while_the_gateway_runs() {
    let folders = Folders::new();
    folders.add_client("acme", "model-developer", SEED);
    let served = folders.serve().await;
    let client = served.client(None);
    let old = served.token("acme", SEED).await;
    let said = fail(&["token", "rotate", "--dir", &served.folders.dir()]);
    assert!(said.contains("--now"), "{said}");
    succeed(&["token", "rotate", "--dir", &served.folders.dir(), "--now"]);
    let published = async || {
        let answer = client.get(served.url("/.well-known/jwks.json")).send().await.unwrap();
        let keys: JsonWebKeySet = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        keys.keys.into_iter().map(|key| key.kid).collect::<Vec<_>>()
    };
    let before = jwt::unverified_header(&old).unwrap().kid.unwrap();
    for _ in 0..300 {
        if published().await.first() != Some(&before) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let keys = published().await;
    assert_eq!((keys.len(), &keys[1]), (2, &before), "the key before it still verifies");
    let new = served.token("acme", SEED).await;
    assert_eq!(jwt::unverified_header(&new).unwrap().kid.as_ref(), keys.first());
    for token in [old, new] {
        assert_eq!(sites(&served, &client, &token).await.status(), StatusCode::OK);
    }
}

/// A key that does not fit on the disk leaves nothing behind that a start, or the next rotation, would stumble over.
#[tokio::test]
async fn a_rotation_that_cannot_write_changes_nothing() {
    let folders = Folders::new();
    let keys = format!("{}/keys", folders.dir());
    let names = || {
        let mut names: Vec<_> =
            std::fs::read_dir(&keys).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let rotated = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" token rotate --dir \"$1\" --now"])
        .args([env!("CARGO_BIN_EXE_konclave-gateway"), &folders.dir()])
        .output()
        .unwrap();
    assert_eq!(rotated.status.code(), Some(1), "{}", String::from_utf8_lossy(&rotated.stdout));
    assert_eq!(names(), before);
    folders.serve().await;
}

#[tokio::test]
async fn the_authorisation_server_says_what_it_takes() {
    let served = Folders::new().serve().await;
    let url = served.url("/.well-known/oauth-authorization-server");
    let answer = served.client(None).get(url).send().await.unwrap();
    let said: AuthorizationServer = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(said.token_endpoint, format!("{}/oauth/token", said.issuer));
    assert!(said.tls_client_certificate_bound_access_tokens);
    assert!(said.scopes_supported.contains(&"auditor".to_owned()));
    assert!(!said.scopes_supported.contains(&"site".to_owned()));
}
