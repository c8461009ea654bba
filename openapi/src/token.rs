//! OAuth 2.0 client credentials with `private_key_jwt` (RFC 6749 section 4.4, RFC 7523).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The only assertion type taken (RFC 7523, section 2.2).
pub const CLIENT_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The form of a token request. Parameters that are not known are passed over (RFC 6749, section 3.2).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenRequest {
    /// `client_credentials`.
    pub grant_type: String,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    pub client_assertion_type: String,
    /// A JWT signed (EdDSA) with the client's registered key: `iss` = `sub` = client id, `aud` = the issuer, a fresh `jti`, `exp` at most five minutes ahead.
    pub client_assertion: String,
    /// The client id, if sent: the assertion's `sub` (RFC 7521, section 4.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Wanted scopes, separated by spaces; all that the client has without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// An access token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenResponse {
    /// The token, for `Authorization: Bearer`.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds it is good for.
    pub expires_in: u64,
    /// The scopes it carries.
    pub scope: String,
}

/// The published signing keys of access tokens (RFC 7517).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JsonWebKeySet {
    /// The keys.
    pub keys: Vec<JsonWebKey>,
}

/// One Ed25519 public key (RFC 8037).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JsonWebKey {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// The public key, base64url without padding.
    pub x: String,
    /// The key's id.
    pub kid: String,
    /// `EdDSA`.
    pub alg: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: String,
}

/// What the gateway does as an authorisation server (RFC 8414, section 2; RFC 8705, section 3.3).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuthorizationServer {
    /// `iss` and `aud` of access tokens, and `aud` of assertions.
    pub issuer: String,
    /// Where tokens are asked for.
    pub token_endpoint: String,
    /// The keys that access tokens are signed with.
    pub jwks_uri: String,
    /// Documentation for people.
    pub service_documentation: String,
    /// The scopes: roles that a client can have.
    pub scopes_supported: Vec<String>,
    /// None: there is no authorisation endpoint.
    pub response_types_supported: Vec<String>,
    /// `client_credentials`.
    pub grant_types_supported: Vec<String>,
    /// `private_key_jwt`.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// What assertions may be signed with.
    pub token_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// Whether a token asked for with a client certificate is bound to it.
    pub tls_client_certificate_bound_access_tokens: bool,
}
