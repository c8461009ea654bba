//! Tokens of partner clients.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use konclave_gateway::auth::jwt;
use konclave_openapi::token::{JsonWebKeySet, TokenResponse};
use reqwest::{Response, StatusCode};
use serde_json::json;

use crate::deployment::{Folders, Served, problem};

const SEED: u8 = 7;

async fn served() -> Served {
    let folders = Folders::new();
    folders.add_client("acme", "model-developer", SEED);
    folders.serve().await
}

async fn with_token(served: &Served, token: &str) -> Response {
    served.client(None).get(served.url("/v1/sites")).bearer_auth(token).send().await.unwrap()
}

#[tokio::test]
async fn a_client_gets_a_token_for_ten_minutes() {
    let served = served().await;
    let answer = served.ask_token(&served.claims("acme", "1"), SEED, Some("model-developer")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let token: TokenResponse = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!((token.expires_in, token.scope.as_str()), (600, "model-developer"));
    assert_eq!(with_token(&served, &token.access_token).await.status(), StatusCode::OK);

    served.clock.advance_seconds(600);
    let answer = with_token(&served, &token.access_token).await;
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.contains("invalid_token"), "{challenge}");
    problem(answer, 401, "token-expired").await;
}

#[tokio::test]
async fn the_published_keys_verify_the_token() {
    let served = served().await;
    let token = served.token("acme", SEED).await;
    let answer = served.client(None).get(served.url("/.well-known/jwks.json")).send().await.unwrap();
    let keys: JsonWebKeySet = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(keys.keys.len(), 2);
    let kid = jwt::unverified_header(&token).unwrap().kid.unwrap();
    let key = keys.keys.iter().find(|key| key.kid == kid).unwrap();
    assert_eq!((key.kty.as_str(), key.crv.as_str(), key.alg.as_str()), ("OKP", "Ed25519", "EdDSA"));
    let public: [u8; 32] = URL_SAFE_NO_PAD.decode(&key.x).unwrap().try_into().unwrap();
    let claims: serde_json::Value = jwt::verified_claims(&token, &public).unwrap();
    assert_eq!(claims["client_id"], "acme");
}

#[tokio::test]
async fn an_assertion_that_is_replayed_or_lacks_its_audience_gives_no_token() {
    let served = served().await;
    let claims = served.claims("acme", "once");
    assert_eq!(served.ask_token(&claims, SEED, None).await.status(), StatusCode::OK);
    let replayed = problem(served.ask_token(&claims, SEED, None).await, 401, "unauthenticated").await;
    assert!(replayed.detail.contains("used before"), "{}", replayed.detail);

    let mut without = served.claims("acme", "two");
    without.as_object_mut().unwrap().remove("aud");
    problem(served.ask_token(&without, SEED, None).await, 401, "unauthenticated").await;
    let mut elsewhere = served.claims("acme", "three");
    elsewhere["aud"] = json!("https://elsewhere");
    let refused = problem(served.ask_token(&elsewhere, SEED, None).await, 401, "unauthenticated").await;
    assert!(refused.detail.contains("aud must be exactly"), "{}", refused.detail);
}

#[tokio::test]
async fn unknown_clients_other_keys_and_other_algorithms_give_no_token() {
    let served = served().await;
    problem(served.ask_token(&served.claims("nobody", "1"), SEED, None).await, 401, "unauthenticated").await;
    problem(served.ask_token(&served.claims("acme", "2"), 8, None).await, 401, "unauthenticated").await;
    let body = URL_SAFE_NO_PAD.encode(served.claims("acme", "3").to_string());
    for alg in ["none", "HS256", "ES256"] {
        let head = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "typ": "JWT"}).to_string());
        let answer = served.ask_token_with(&format!("{head}.{body}.AAAA"), None).await;
        let refused = problem(answer, 401, "unauthenticated").await;
        assert!(refused.detail.contains("EdDSA"), "{alg}: {}", refused.detail);
    }
}

/// Registrations are for their own organisations: an answer does not tell whose key was missed.
#[tokio::test]
async fn nobody_learns_which_clients_are_registered() {
    let served = served().await;
    let good = |client: &str| {
        let claims = served.claims(client, "1");
        jwt::signed(&[8; 32], "JWT", None, &claims).unwrap()
    };
    let unsigned = |client: &str| good(client).rsplit_once('.').unwrap().0.to_owned();
    let no_claims = |client: &str| jwt::signed(&[8; 32], "JWT", None, &json!({"sub": client})).unwrap();
    let assertions: [&dyn Fn(&str) -> String; 5] = [
        &good,
        &|client| format!("{}.", unsigned(client)),
        &|client| format!("{}.AAAA", unsigned(client)),
        &|client| format!("{}.!", unsigned(client)),
        &no_claims,
    ];
    for (number, assertion) in assertions.into_iter().enumerate() {
        let mut said = Vec::new();
        for client in ["acme", "nobody"] {
            let answer = served.ask_token_with(&assertion(client), None).await;
            said.push(problem(answer, 401, "unauthenticated").await.detail);
        }
        assert_eq!(said[0], said[1], "assertion {number}");
    }
}

#[tokio::test]
async fn a_token_that_was_not_issued_here_is_refused() {
    let served = served().await;
    let claims = served.claims("acme", "self-made");
    let forged = jwt::signed(&[SEED; 32], "at+jwt", Some("key"), &claims).unwrap();
    for token in [forged.as_str(), "nonsense", ""] {
        problem(with_token(&served, token).await, 401, "unauthenticated").await;
    }
    let basic = served.client(None).get(served.url("/v1/sites")).basic_auth("acme", Some("x"));
    problem(basic.send().await.unwrap(), 401, "unauthenticated").await;
}

#[tokio::test]
async fn a_form_at_fault_names_the_parameter() {
    let served = served().await;
    let wrong = served.ask_token(&served.claims("acme", "1"), SEED, Some("operator")).await;
    let refused = problem(wrong, 400, "invalid-request").await;
    assert_eq!(refused.errors[0].at, "scope");
    let post = |body: &'static str, media: &'static str| {
        served.client(None).post(served.url("/oauth/token")).header("content-type", media).body(body).send()
    };
    let missing = post("grant_type=client_credentials", "application/x-www-form-urlencoded").await.unwrap();
    let refused = problem(missing, 400, "invalid-request").await;
    assert!(refused.detail.contains("client_assertion_type"), "{}", refused.detail);
    let json = post("{}", "application/json").await.unwrap();
    problem(json, 415, "unsupported-media-type").await;
}

#[tokio::test]
async fn a_role_that_may_not_is_told_the_policy() {
    let folders = Folders::new();
    folders.add_client("watcher", "auditor", 9);
    let served = folders.serve().await;
    let token = served.token("watcher", 9).await;
    let path = format!("/v1/blobs/{}", "0".repeat(64));
    let put = served.client(None).put(served.url(&path)).bearer_auth(token).body("x");
    let refused = problem(put.send().await.unwrap(), 403, "forbidden").await;
    assert!(refused.detail.contains("default-deny"), "{}", refused.detail);
    assert_eq!(refused.errors[0].at, "policy:default-deny");
}

#[tokio::test]
async fn a_token_gives_no_more_than_the_client_is_registered_for_now() {
    let folders = Folders::new();
    folders.add_client("acme", "auditor", SEED);
    let served = folders.serve().await;
    let token = served.token("acme", SEED).await;
    let checkpoint = async || {
        let request = served.client(None).get(served.url("/checkpoint")).bearer_auth(&token);
        request.send().await.unwrap()
    };
    assert_eq!(checkpoint().await.status(), StatusCode::OK);
    served.folders.add_client("acme", "data-owner", SEED);
    let refused = problem(checkpoint().await, 401, "unauthenticated").await;
    assert!(refused.detail.contains("none of its roles"), "{}", refused.detail);
    served.folders.add_client("acme", "auditor", 9);
    let refused = problem(checkpoint().await, 401, "unauthenticated").await;
    assert!(refused.detail.contains("registration was changed"), "{}", refused.detail);
    std::fs::remove_file(std::path::Path::new(&served.folders.dir()).join("clients/acme.json")).unwrap();
    let refused = problem(checkpoint().await, 401, "unauthenticated").await;
    assert!(refused.detail.contains("was removed"), "{}", refused.detail);
}

#[tokio::test]
async fn the_token_endpoint_speaks_oauth() {
    let served = served().await;
    let mut jti = 0;
    let mut ask = async |changes: &[(&str, &str)]| {
        jti += 1;
        let claims = served.claims("acme", &jti.to_string());
        let assertion = jwt::signed(&[SEED; 32], "JWT", None, &claims).unwrap();
        let mut form = std::collections::BTreeMap::from([
            ("grant_type", "client_credentials"),
            ("client_assertion_type", konclave_openapi::token::CLIENT_ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
        ]);
        form.extend(changes.iter().copied());
        form.retain(|_, value| !value.is_empty());
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = served.client(None).post(served.url("/oauth/token")).body(body);
        request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap()
    };
    // What others add, and what is not known, does no harm.
    for fine in [("client_id", "acme"), ("resource", "https://elsewhere"), ("scope", "model-developer")] {
        assert_eq!(ask(&[fine]).await.status(), StatusCode::OK, "{fine:?}");
    }
    let refusals = [
        (("client_id", "other"), 401, "unauthenticated", "invalid_client"),
        (("client_assertion", "a.b.c"), 401, "unauthenticated", "invalid_client"),
        (("client_assertion", ""), 400, "invalid-request", "invalid_request"),
        (("client_assertion_type", "other"), 400, "invalid-request", "invalid_request"),
        (("grant_type", "password"), 400, "invalid-request", "unsupported_grant_type"),
        (("scope", "operator"), 400, "invalid-request", "invalid_scope"),
    ];
    for (change, status, slug, code) in refusals {
        let answer = ask(&[change]).await;
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let refused = problem(answer, status, slug).await;
        assert_eq!(refused.error.as_deref(), Some(code), "{change:?}");
        assert_eq!(refused.error_description, Some(refused.detail), "{change:?}");
    }
    // Other operations have no such members.
    let other = problem(with_token(&served, "nonsense").await, 401, "unauthenticated").await;
    assert_eq!((other.error, other.error_description), (None, None));
}
