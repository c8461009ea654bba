//! Client assertions: `private_key_jwt` (RFC 7523), checked strictly.

use konclave_crypto::UnixSeconds;
use serde::Deserialize;

use super::clients::{Client, ClientId, Clients};
use super::jwt::{self, TokenError};
use super::replay::{ReplayError, UsedAssertions};
use crate::error::ApiError;

/// The longest time an assertion may be good for, in seconds.
pub const MAX_LIFETIME: u64 = 300;

/// How far a client's clock may be ahead, in seconds.
const CLOCK_SKEW: u64 = 5;

/// What is answered to an unknown client and to a wrong key alike: who is registered is not for everyone to know.
const WHOSE_KEY: &str =
    "the client assertion was refused: no client of this id is registered with the key that signed it";

/// In the place of an unknown client's key, so that what comes from one gets the answers that a known one gets, in about
/// the same time. What verifies under it counts for nothing. It is a point of the curve: its base (RFC 8032, section 5.1).
const NOBODYS_KEY: [u8; 32] = *b"Xfffffffffffffffffffffffffffffff";

/// The claims of an assertion. `aud` is one text: an array with several readers could be used at each of them.
#[derive(Debug, Clone, Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: u64,
    jti: String,
    #[serde(default)]
    nbf: Option<u64>,
    #[serde(default)]
    iat: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn is_only(&self, issuer: &str) -> bool {
        match self {
            Self::One(audience) => audience == issuer,
            Self::Several(audiences) => matches!(audiences.as_slice(), [audience] if audience == issuer),
        }
    }
}

/// Why an assertion was not taken. The client corrects it and makes a fresh one.
#[derive(Debug, thiserror::Error)]
pub enum AssertionError {
    /// Not a JWT signed with EdDSA by the client's key.
    #[error("the client assertion was refused: {0}")]
    Token(#[from] TokenError),
    /// No such client. Whoever asks is told no more than that the key is not the client's.
    #[error("no client of this id is registered")]
    UnknownClient,
    /// Another key signed it than the client's. Told in the same words as an unknown client.
    #[error("another key signed it than the registered one")]
    OtherKey,
    /// `iss` and `sub` differ.
    #[error("the client assertion was refused: iss and sub must both be the client id")]
    Subject,
    /// `aud` is not exactly the issuer.
    #[error("the client assertion was refused: aud must be exactly {issuer}")]
    Audience {
        /// What it must be.
        issuer: String,
    },
    /// `exp` is over.
    #[error("the client assertion was refused: it expired; make a fresh one, and check the clock")]
    Expired,
    /// `exp` is too far ahead.
    #[error("the client assertion was refused: exp must be at most {MAX_LIFETIME} s ahead")]
    TooLong,
    /// `nbf` or `iat` lie ahead.
    #[error("the client assertion was refused: nbf or iat lie in the future; check the clock")]
    NotYet,
    /// `jti` is empty or too long.
    #[error("the client assertion was refused: jti must be 1 to 128 characters, fresh for every request")]
    Id,
    /// It was used before, or that cannot be noted.
    #[error("the client assertion was refused: {0}")]
    Replay(#[from] ReplayError),
    /// The client's record cannot be read.
    #[error("the client's record cannot be read")]
    Record(#[source] std::io::Error),
}

impl From<AssertionError> for ApiError {
    fn from(error: AssertionError) -> Self {
        match error {
            AssertionError::Record(error) | AssertionError::Replay(ReplayError::Io(error)) => error.into(),
            AssertionError::Replay(ReplayError::Full) => Self::TooManyRequests { retry_after: 300 },
            AssertionError::UnknownClient | AssertionError::OtherKey => Self::unauthenticated(WHOSE_KEY),
            AssertionError::Token(_)
            | AssertionError::Subject
            | AssertionError::Audience { .. }
            | AssertionError::Expired
            | AssertionError::TooLong
            | AssertionError::NotYet
            | AssertionError::Id
            | AssertionError::Replay(ReplayError::Replayed) => Self::unauthenticated(error.to_string()),
        }
    }
}

/// The client that an assertion proves to be present; the assertion is used up. Blocks for file access.
///
/// # Errors
/// [`AssertionError`].
pub fn authenticate(
    assertion: &str,
    issuer: &str,
    clients: &Clients,
    used: &UsedAssertions,
    now: UnixSeconds,
) -> Result<Client, AssertionError> {
    jwt::unverified_header(assertion)?;
    let named = claimed_subject(assertion).ok_or(AssertionError::UnknownClient)?;
    let client = clients.find(&named).map_err(AssertionError::Record)?;
    let key = client.as_ref().map_or(&NOBODYS_KEY, |client| client.public_key.as_bytes());
    let claims = jwt::verified_claims::<Claims>(assertion, key);
    let claims = claims.map_err(|error| match (error, &client) {
        (TokenError::Signature, Some(_)) => AssertionError::OtherKey,
        (TokenError::Signature, None) => AssertionError::UnknownClient,
        (error, _) => AssertionError::Token(error),
    })?;
    let client = client.ok_or(AssertionError::UnknownClient)?;
    check(&claims, &client.client_id, issuer, now)?;
    used.take(&client.client_id, &claims.jti, UnixSeconds(claims.exp), now)?;
    Ok(client)
}

/// Whom the assertion says it is from: good for finding the key it must verify under, for nothing else.
fn claimed_subject(assertion: &str) -> Option<ClientId> {
    use base64::Engine as _;
    #[derive(Deserialize)]
    struct Subject {
        sub: ClientId,
    }
    let payload = assertion.split('.').nth(1)?;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<Subject>(&payload).ok().map(|subject| subject.sub)
}

fn check(claims: &Claims, client: &ClientId, issuer: &str, now: UnixSeconds) -> Result<(), AssertionError> {
    // The key was found under `sub`, so that it is the client's; `iss` is the one left to check.
    if claims.iss != client.as_str() {
        return Err(AssertionError::Subject);
    }
    if !claims.aud.is_only(issuer) {
        return Err(AssertionError::Audience { issuer: issuer.to_owned() });
    }
    if claims.exp <= now.get() {
        return Err(AssertionError::Expired);
    }
    if claims.exp > now.get().saturating_add(MAX_LIFETIME + CLOCK_SKEW) {
        return Err(AssertionError::TooLong);
    }
    let latest = now.get().saturating_add(CLOCK_SKEW);
    if [claims.nbf, claims.iat].into_iter().flatten().any(|time| time > latest) {
        return Err(AssertionError::NotYet);
    }
    if !(1..=128).contains(&claims.jti.len()) {
        return Err(AssertionError::Id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use konclave_policies::authorization::Role;
    use ring::signature::KeyPair;
    use serde_json::{Value, json};

    use super::super::clients::ClientKey;
    use super::*;

    const ISSUER: &str = "https://localhost:8443";
    const NOW: UnixSeconds = UnixSeconds(1_000_000);

    struct Desk {
        _folder: tempfile::TempDir,
        clients: Clients,
        used: UsedAssertions,
    }

    fn desk() -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let clients = Clients::new(folder.path());
        let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap();
        let mut der = hex::decode("302a300506032b6570032100").unwrap();
        der.extend_from_slice(pair.public_key().as_ref());
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
        let client = Client {
            client_id: "acme".parse().unwrap(),
            organisation: "Acme".into(),
            roles: vec![Role::ModelDeveloper],
            public_key: ClientKey::from_pem(&pem).unwrap(),
            contact: None,
            certificate_bound: false,
        };
        clients.put(&client).unwrap();
        let used = UsedAssertions::open(&folder.path().join("used.log"), NOW).unwrap();
        Desk { _folder: folder, clients, used }
    }

    impl Desk {
        fn present(&self, claims: &Value) -> Result<Client, AssertionError> {
            let token = jwt::signed(&[5; 32], "JWT", None, claims).unwrap();
            authenticate(&token, ISSUER, &self.clients, &self.used, NOW)
        }
    }

    fn claims(changes: &Value) -> Value {
        let mut claims = json!({
            "iss": "acme", "sub": "acme", "aud": ISSUER, "exp": NOW.get() + 60, "jti": "one"
        });
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    }

    #[test]
    fn a_good_assertion_is_good_once() {
        let desk = desk();
        assert_eq!(desk.present(&claims(&json!({}))).unwrap().organisation, "Acme");
        let error = desk.present(&claims(&json!({}))).unwrap_err();
        assert!(matches!(error, AssertionError::Replay(ReplayError::Replayed)));
        desk.present(&claims(&json!({"jti": "two", "aud": [ISSUER], "iat": NOW.get()}))).unwrap();
    }

    #[test]
    fn each_claim_is_checked() {
        let desk = desk();
        let now = NOW.get();
        let wrong = [
            json!({"aud": null}),
            json!({"aud": "https://elsewhere"}),
            json!({"aud": [ISSUER, "https://elsewhere"]}),
            json!({"aud": []}),
            json!({"iss": "other"}),
            json!({"iss": null}),
            json!({"sub": "other"}),
            json!({"sub": "../acme"}),
            json!({"exp": null}),
            json!({"exp": now}),
            json!({"exp": now + 3600}),
            json!({"exp": "soon"}),
            json!({"nbf": now + 60}),
            json!({"iat": now + 60}),
            json!({"jti": null}),
            json!({"jti": ""}),
            json!({"jti": "j".repeat(129)}),
        ];
        for change in wrong {
            let refused = desk.present(&claims(&change));
            assert!(refused.is_err(), "{change}");
        }
        // None of them used the jti up.
        desk.present(&claims(&json!({}))).unwrap();
    }

    #[test]
    fn another_key_is_refused() {
        let desk = desk();
        let token = jwt::signed(&[6; 32], "JWT", None, &claims(&json!({}))).unwrap();
        let error = authenticate(&token, ISSUER, &desk.clients, &desk.used, NOW).unwrap_err();
        assert!(matches!(error, AssertionError::OtherKey));
        let unknown = jwt::signed(&[6; 32], "JWT", None, &claims(&json!({"sub": "nobody"}))).unwrap();
        let error = authenticate(&unknown, ISSUER, &desk.clients, &desk.used, NOW).unwrap_err();
        assert!(matches!(error, AssertionError::UnknownClient));
    }
}
