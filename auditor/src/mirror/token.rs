//! Asking for an access token: OAuth 2.0 client credentials with a JWT that the client signs (RFC 7523).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use konclave_ledger::SigningKey;
use serde::Deserialize;
use serde_json::json;

use crate::client_key::ClientKey;

/// How long an assertion is good for, in seconds. The gateway takes at most 300.
const LIFETIME: u64 = 60;

/// A token is renewed when less than this is left of it, in seconds.
pub(super) const RENEW_BEFORE: u64 = 30;

/// What the token endpoint answers.
#[derive(Deserialize)]
pub(super) struct Token {
    pub(super) access_token: String,
    pub(super) expires_in: u64,
}

/// The assertion that proves the client to the gateway at `audience`, good once.
pub(super) fn assertion(
    client: &str,
    key: &ClientKey,
    audience: &str,
    unix_seconds: u64,
    nonce: [u8; 16],
) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({ "alg": "EdDSA", "typ": "JWT" }));
    let claims = part(json!({
        "iss": client,
        "sub": client,
        "aud": audience,
        "iat": unix_seconds,
        "exp": unix_seconds + LIFETIME,
        "jti": URL_SAFE_NO_PAD.encode(nonce),
    }));
    let signed = format!("{head}.{claims}");
    let signature = SigningKey::from_seed(key.seed()).sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The form that asks for a token.
pub(super) fn form(assertion: &str) -> [(&'static str, &str); 3] {
    [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion),
    ]
}
