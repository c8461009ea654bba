//! Access tokens: EdDSA JWTs of ten minutes (RFC 9068), and the published keys they verify under.

use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use konclave_crypto::{Digest, UnixSeconds};
use konclave_openapi::token::{JsonWebKey, JsonWebKeySet};
use konclave_policies::authorization::Role;
use serde::{Deserialize, Serialize};

use super::assertion;
use super::certificate::Thumbprint;
use super::clients::{Client, ClientId, Clients};
use super::jwt;
use super::replay::UsedAssertions;
use super::token_keys::TokenKeys;
use crate::error::ApiError;

/// How long an access token is good for, in seconds.
pub const LIFETIME: u64 = 600;

/// The `typ` of access tokens (RFC 9068, section 2.1).
const TYPE: &str = "at+jwt";

/// Everything about tokens: the clients that may ask for one, the assertions they used, the keys that sign.
#[derive(Debug)]
pub struct Tokens {
    issuer: String,
    keys: RwLock<TokenKeys>,
    clients: Clients,
    used: UsedAssertions,
}

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The client.
    pub client_id: String,
    /// The organisation it acts for.
    pub organisation: String,
    /// The roles of its scope.
    pub roles: Vec<Role>,
    /// The digest of the key that the client proved itself with.
    pub client_key: Digest,
    /// Whether it is good over one certificate's connections only.
    is_bound: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    iat: u64,
    jti: String,
    client_id: String,
    organisation: String,
    scope: String,
    /// The digest of the key that the client proved itself with.
    client_key: Digest,
    /// Over whose connections alone the token is good (RFC 8705).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
}

/// A token's binding (RFC 7800, RFC 8705 section 3.1). Another way of binding is refused, not passed over.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    #[serde(rename = "x5t#S256")]
    certificate: Thumbprint,
}

impl Tokens {
    /// Tokens of an issuer for some clients.
    #[must_use]
    pub fn new(issuer: String, keys: TokenKeys, clients: Clients, used: UsedAssertions) -> Self {
        Self { issuer, keys: RwLock::new(keys), clients, used }
    }

    /// The issuer: `iss` and `aud` of access tokens, `aud` of assertions.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Uses these keys from now on; whether they are others than before.
    pub fn replace_keys(&self, keys: TokenKeys) -> bool {
        let mut held = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let are_others = !held.iter().map(|key| &key.kid).eq(keys.iter().map(|key| &key.kid));
        *held = keys;
        are_others
    }

    /// The client that an assertion proves to be present. Blocks for file access.
    ///
    /// # Errors
    /// [`assertion::AssertionError`].
    pub fn authenticate(
        &self,
        assertion: &str,
        now: UnixSeconds,
    ) -> Result<Client, assertion::AssertionError> {
        assertion::authenticate(assertion, &self.issuer, &self.clients, &self.used, now)
    }

    /// An access token for some of a client's roles; all of them without a wish. Asked for over a connection with a
    /// client certificate, it is bound to that certificate.
    ///
    /// # Errors
    /// [`ApiError::InvalidRequest`] for a scope the client does not have.
    pub fn issue(
        &self,
        client: &Client,
        wanted: Option<&str>,
        shown: Option<Thumbprint>,
        now: UnixSeconds,
    ) -> Result<(String, String), ApiError> {
        let granted = granted(client, wanted)?;
        let scope = granted.iter().map(|role| role.name()).collect::<Vec<_>>().join(" ");
        let mut jti = [0; 16];
        getrandom::fill(&mut jti).map_err(ApiError::internal)?;
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: client.client_id.to_string(),
            aud: self.issuer.clone(),
            exp: now.get().saturating_add(LIFETIME),
            iat: now.get(),
            jti: hex::encode(jti),
            client_id: client.client_id.to_string(),
            organisation: client.organisation.clone(),
            scope: scope.clone(),
            client_key: client.public_key.digest(),
            cnf: shown.map(|certificate| Confirmation { certificate }),
        };
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.iter().next().ok_or_else(|| ApiError::internal("no token key"))?;
        let token = jwt::signed(&key.seed, TYPE, Some(&key.kid), &claims).map_err(ApiError::internal)?;
        Ok((token, scope))
    }

    /// Checks an access token: signature under a published key, issuer, audience, type, time, and that it came over the
    /// connection it is bound to.
    ///
    /// # Errors
    /// [`ApiError::Unauthenticated`] or [`ApiError::TokenExpired`].
    pub fn verify(
        &self,
        token: &str,
        shown: Option<&Thumbprint>,
        now: UnixSeconds,
    ) -> Result<AccessToken, ApiError> {
        let refused = |why: &str| ApiError::unauthenticated(format!("the access token was refused: {why}"));
        let header = jwt::unverified_header(token).map_err(|error| refused(&error.to_string()))?;
        if header.typ.as_deref() != Some(TYPE) {
            return Err(refused("it is not an access token (typ at+jwt)"));
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys
            .iter()
            .find(|key| header.kid.as_deref() == Some(&key.kid))
            .ok_or_else(|| refused("its key is not one of /.well-known/jwks.json"))?;
        let claims: Claims =
            jwt::verified_claims(token, &key.public).map_err(|error| refused(&error.to_string()))?;
        if claims.iss != self.issuer {
            return Err(refused("its issuer is another"));
        }
        if claims.aud != self.issuer {
            return Err(refused("it is meant for another audience"));
        }
        let bound = claims.cnf.as_ref().map(|confirmation| &confirmation.certificate);
        if bound.is_some() && bound != shown {
            return Err(refused("it is bound to another client certificate than this connection's"));
        }
        if claims.exp <= now.get() {
            return Err(ApiError::TokenExpired);
        }
        let roles = claims
            .scope
            .split_ascii_whitespace()
            .map(str::parse)
            .collect::<Result<Vec<Role>, _>>()
            .map_err(|error| refused(&error.to_string()))?;
        let is_bound = claims.cnf.is_some();
        let Claims { client_id, organisation, client_key, .. } = claims;
        Ok(AccessToken { client_id, organisation, roles, client_key, is_bound })
    }

    /// What a token still gives: the client may have been removed since, or have got another key or other roles.
    /// Blocks for file access.
    ///
    /// # Errors
    /// [`ApiError::Unauthenticated`] if it gives nothing any more.
    pub fn still_granted(&self, token: AccessToken) -> Result<AccessToken, ApiError> {
        let over =
            |why: &str| ApiError::unauthenticated(format!("the access token is no longer good: {why}"));
        let id: ClientId = token.client_id.parse().map_err(|_| over("its client id is not one"))?;
        let client = self.clients.find(&id)?.ok_or_else(|| over("the client was removed"))?;
        if client.organisation != token.organisation || client.public_key.digest() != token.client_key {
            return Err(over("the client's registration was changed; ask for a new one"));
        }
        if client.certificate_bound && !token.is_bound {
            return Err(over(
                "the client's tokens must be bound to a certificate now; ask for a new one with it",
            ));
        }
        let mut token = token;
        token.roles.retain(|role| client.roles.contains(role));
        if token.roles.is_empty() {
            return Err(over("the client has none of its roles any more; ask for a new one"));
        }
        Ok(token)
    }

    /// The public keys, current first.
    #[must_use]
    pub fn published(&self) -> JsonWebKeySet {
        let held = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let keys = held.iter().map(|key| JsonWebKey {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: URL_SAFE_NO_PAD.encode(key.public),
            kid: key.kid.clone(),
            alg: "EdDSA".to_owned(),
            usage: "sig".to_owned(),
        });
        JsonWebKeySet { keys: keys.collect() }
    }
}

fn granted(client: &Client, wanted: Option<&str>) -> Result<Vec<Role>, ApiError> {
    let Some(wanted) = wanted else { return Ok(client.roles.clone()) };
    let mut granted = Vec::new();
    for word in wanted.split_ascii_whitespace() {
        match client.roles.iter().find(|role| role.name() == word) {
            Some(role) if !granted.contains(role) => granted.push(*role),
            Some(_) => {}
            None => {
                let has = client.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(" ");
                return Err(ApiError::invalid_field(
                    "scope",
                    format!("this client does not have `{word}`; it has: {has}"),
                ));
            }
        }
    }
    if granted.is_empty() {
        Err(ApiError::invalid_field("scope", "is empty; leave it out for all"))
    } else {
        Ok(granted)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;
    use zeroize::Zeroizing;

    use super::*;
    use crate::auth::clients::ClientKey;
    use crate::folder::write_seed;

    const ISSUER: &str = "https://localhost:8443";
    const NOW: UnixSeconds = UnixSeconds(1_000_000);

    fn tokens(folder: &Path, seeds: &[(u32, u8)]) -> Tokens {
        for (number, byte) in seeds {
            let path = folder.join(format!("token-{number}.key"));
            if !path.exists() {
                write_seed(&path, &Zeroizing::new([*byte; 32])).unwrap();
            }
        }
        let used = UsedAssertions::open(&folder.join("used.log"), NOW).unwrap();
        Tokens::new(ISSUER.to_owned(), TokenKeys::load(folder).unwrap(), Clients::new(folder), used)
    }

    fn client() -> Client {
        let pem = "-----BEGIN PUBLIC KEY-----\n\
            MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        Client {
            client_id: "acme".parse().unwrap(),
            organisation: "Acme".into(),
            roles: vec![Role::ModelDeveloper, Role::Auditor],
            public_key: ClientKey::from_pem(pem).unwrap(),
            contact: None,
            certificate_bound: false,
        }
    }

    #[test]
    fn a_token_says_who_and_what_until_it_expires() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = tokens(folder.path(), &[(1, 1), (2, 2)]);
        let (token, scope) = tokens.issue(&client(), Some("auditor"), None, NOW).unwrap();
        assert_eq!(scope, "auditor");
        let access = tokens.verify(&token, None, UnixSeconds(NOW.get() + LIFETIME - 1)).unwrap();
        assert_eq!((access.client_id.as_str(), access.roles), ("acme", vec![Role::Auditor]));
        let expired = tokens.verify(&token, None, UnixSeconds(NOW.get() + LIFETIME));
        assert!(matches!(expired, Err(ApiError::TokenExpired)));
    }

    #[test]
    fn a_token_gives_no_more_than_the_registration_does_now() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = tokens(folder.path(), &[(1, 1)]);
        let (token, _) = tokens.issue(&client(), None, None, NOW).unwrap();
        let now = || tokens.still_granted(tokens.verify(&token, None, NOW).unwrap());
        assert!(now().is_err(), "the client is not registered");
        tokens.clients.put(&client()).unwrap();
        assert_eq!(now().unwrap().roles, client().roles);
        tokens.clients.put(&Client { roles: vec![Role::Auditor, Role::Council], ..client() }).unwrap();
        assert_eq!(now().unwrap().roles, [Role::Auditor]);
        tokens.clients.put(&Client { roles: vec![Role::Council], ..client() }).unwrap();
        assert!(now().is_err());
        tokens.clients.put(&Client { organisation: "Other".into(), ..client() }).unwrap();
        assert!(now().is_err());
        let pem = client().public_key.pem().replace("GxZuE=", "GxZuA=").replace("w4rXAxZuE=", "w4rXAxZuA=");
        let public_key = ClientKey::from_pem(&pem).unwrap();
        tokens.clients.put(&Client { public_key, ..client() }).unwrap();
        assert!(now().is_err(), "the key was replaced");
    }

    #[test]
    fn a_bound_token_is_good_over_its_certificates_connections_only() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = tokens(folder.path(), &[(1, 1)]);
        let (own, other) = (Thumbprint::of(b"own"), Thumbprint::of(b"other"));
        let (bound, _) = tokens.issue(&client(), None, Some(own.clone()), NOW).unwrap();
        assert!(tokens.verify(&bound, Some(&own), NOW).is_ok());
        for shown in [Some(&other), None] {
            let refused = tokens.verify(&bound, shown, NOW).unwrap_err();
            assert!(matches!(refused, ApiError::Unauthenticated { .. }), "{refused:?}");
        }
        let (free, _) = tokens.issue(&client(), None, None, NOW).unwrap();
        assert!(tokens.verify(&free, Some(&other), NOW).is_ok());
        tokens.clients.put(&Client { certificate_bound: true, ..client() }).unwrap();
        assert!(tokens.still_granted(tokens.verify(&bound, Some(&own), NOW).unwrap()).is_ok());
        assert!(tokens.still_granted(tokens.verify(&free, Some(&own), NOW).unwrap()).is_err());
    }

    #[test]
    fn a_scope_beyond_the_clients_roles_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = tokens(folder.path(), &[(1, 1)]);
        for scope in ["operator", "auditor operator", "", " ", "nonsense"] {
            assert!(tokens.issue(&client(), Some(scope), None, NOW).is_err(), "{scope:?}");
        }
        assert_eq!(tokens.issue(&client(), None, None, NOW).unwrap().1, "model-developer auditor");
    }

    #[test]
    fn the_previous_key_still_verifies_and_older_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let (old, _) = tokens(folder.path(), &[(9, 9)]).issue(&client(), None, None, NOW).unwrap();
        let rotated = tokens(folder.path(), &[(10, 10)]);
        assert_eq!(rotated.published().keys.len(), 2);
        rotated.verify(&old, None, NOW).unwrap();
        let again = tokens(folder.path(), &[(11, 11)]);
        assert!(matches!(again.verify(&old, None, NOW), Err(ApiError::Unauthenticated { .. })));
    }

    #[test]
    fn tokens_without_audience_or_of_another_issuer_type_or_key_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = tokens(folder.path(), &[(1, 1)]);
        let kid = tokens.published().keys[0].kid.clone();
        let claims = json!({
            "iss": ISSUER, "sub": "acme", "aud": ISSUER, "exp": NOW.get() + 60, "iat": NOW.get(), "jti": "x",
            "client_id": "acme", "organisation": "Acme", "scope": "auditor", "client_key": "00".repeat(32)
        });
        let verify = |seed: u8, typ: &str, kid: &str, change: (&str, Option<&str>)| {
            let mut claims = claims.clone();
            match change.1 {
                Some(value) => claims[change.0] = json!(value),
                None => {
                    claims.as_object_mut().unwrap().remove(change.0);
                }
            }
            tokens.verify(&jwt::signed(&[seed; 32], typ, Some(kid), &claims).unwrap(), None, NOW)
        };
        verify(1, TYPE, &kid, ("scope", Some("auditor"))).unwrap();
        assert!(verify(1, TYPE, &kid, ("aud", None)).is_err());
        assert!(verify(1, TYPE, &kid, ("aud", Some("https://elsewhere"))).is_err());
        assert!(verify(1, TYPE, &kid, ("iss", Some("https://elsewhere"))).is_err());
        assert!(verify(1, TYPE, &kid, ("exp", None)).is_err());
        assert!(verify(1, TYPE, &kid, ("scope", Some("root"))).is_err());
        assert!(verify(1, "JWT", &kid, ("scope", Some("auditor"))).is_err());
        assert!(verify(1, TYPE, "other", ("scope", Some("auditor"))).is_err());
        assert!(verify(2, TYPE, &kid, ("scope", Some("auditor"))).is_err());
    }
}
