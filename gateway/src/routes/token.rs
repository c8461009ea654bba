//! Tokens: OAuth 2.0 client credentials with `private_key_jwt`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{Extensions, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use konclave_openapi::problem::Problem;
use konclave_openapi::token::{
    AuthorizationServer, CLIENT_ASSERTION_TYPE, JsonWebKeySet, TokenRequest, TokenResponse,
};
use konclave_policies::authorization::Role;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::certificate::{PresentedCertificate, Thumbprint, shown};
use crate::auth::clients::Client;
use crate::auth::principal::is_members;
use crate::auth::tokens::{LIFETIME, Tokens};
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Form, Json, body_limit};

/// The most bytes of a token request: anyone may send one, and an assertion has a few hundred.
const FORM_BYTES: u64 = 16 << 10;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(issue_token))
        .routes(routes!(read_jwks))
        .routes(routes!(read_authorization_server))
        .layer(body_limit(FORM_BYTES))
}

/// A refusal in OAuth's words beside ours: its error code (RFC 6749, section 5.2).
struct Refusal(&'static str, ApiError);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(code, error) = self;
        let mut response = error.into_response();
        // OAuth has no code for what is the gateway's fault, or for too much of something.
        let ours = matches!(response.status().as_u16(), 429 | 500..);
        if let Some(problem) = response.extensions_mut().get_mut::<Problem>().filter(|_| !ours) {
            problem.error = Some(code.to_owned());
            problem.error_description = Some(problem.detail.clone());
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Ask for an access token
///
/// Proves the client by a JWT that it signs with its registered Ed25519 key (RFC 7523). The token is good for ten
/// minutes; ask again with a fresh assertion when it is over. Asked for over a connection with a client certificate
/// (`konclave-gateway client certify`), it is good over that certificate's connections only (RFC 8705). Errors carry `error` and `error_description` (RFC 6749,
/// section 5.2) beside the members of a problem.
#[utoipa::path(
    post, path = "/oauth/token", tag = "tokens",
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "An access token", body = TokenResponse))
)]
async fn issue_token(
    State(app): State<App>,
    Extension(tokens): Extension<Arc<Tokens>>,
    extensions: Extensions,
    form: Result<Form<TokenRequest>, ApiError>,
) -> Result<impl IntoResponse, Refusal> {
    let Form(request) = form.map_err(|error| Refusal("invalid_request", error))?;
    if request.grant_type != "client_credentials" {
        let error = ApiError::invalid_field("grant_type", "must be client_credentials");
        return Err(Refusal("unsupported_grant_type", error));
    }
    if request.client_assertion_type != CLIENT_ASSERTION_TYPE {
        let must = format!("must be {CLIENT_ASSERTION_TYPE}");
        return Err(Refusal("invalid_request", ApiError::invalid_field("client_assertion_type", must)));
    }
    let now = app.clock().now();
    let desk = Arc::clone(&tokens);
    let client = tokio::task::spawn_blocking(move || desk.authenticate(&request.client_assertion, now))
        .await
        .map_err(|error| Refusal("invalid_client", ApiError::internal(error)))?
        .inspect_err(|error| tracing::info!(%error, "no token was given"))
        .map_err(|error| Refusal("invalid_client", error.into()))?;
    if request.client_id.as_deref().is_some_and(|id| id != client.client_id.as_str()) {
        let error =
            ApiError::unauthenticated("client_id is not the sub of the client assertion; leave it out");
        return Err(Refusal("invalid_client", error));
    }
    let certificate =
        bound_to(&app, &extensions, &client).map_err(|error| Refusal("invalid_client", error))?;
    let (access_token, scope) = tokens
        .issue(&client, request.scope.as_deref(), certificate, now)
        .map_err(|error| Refusal("invalid_scope", error))?;
    tracing::info!(client = %client.client_id, %scope, "a token was given");
    let response =
        TokenResponse { access_token, token_type: "Bearer".to_owned(), expires_in: LIFETIME, scope };
    // RFC 6749, section 5.1.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(response)))
}

/// What the token will be bound to. The authority's signature tells nothing of whose a certificate is: it signs those of
/// all partners, and a revoked member's is signed for as long as it was made for.
fn bound_to(app: &App, extensions: &Extensions, client: &Client) -> Result<Option<Thumbprint>, ApiError> {
    let certificate = shown(extensions);
    if certificate.is_some_and(|der| is_members(app, der)) {
        return Err(ApiError::unauthenticated(
            "the connection shows a member's certificate; connect with the client's own, or with none",
        ));
    }
    if certificate.is_none() && client.certificate_bound {
        return Err(ApiError::unauthenticated(
            "this client's tokens must be bound to a certificate; connect with the one that `konclave-gateway client \
             certify` made",
        ));
    }
    let is_own =
        |der| PresentedCertificate::parse(der).is_ok_and(|shown| shown.name == client.client_id.as_str());
    if certificate.is_some_and(|der| !is_own(der)) {
        return Err(ApiError::unauthenticated(
            "the connection shows another's certificate; connect with the one that `konclave-gateway client certify` \
             made for this client, or with none",
        ));
    }
    Ok(certificate.map(Thumbprint::of))
}

/// Read what this authorisation server does (RFC 8414)
#[utoipa::path(
    get, path = "/.well-known/oauth-authorization-server", tag = "tokens",
    responses((status = 200, description = "Its endpoints and what it takes", body = AuthorizationServer))
)]
async fn read_authorization_server(Extension(tokens): Extension<Arc<Tokens>>) -> impl IntoResponse {
    let issuer = tokens.issuer();
    let scopes = Role::ALL.iter().filter(|role| !matches!(role, Role::Site | Role::Evaluator));
    let one = |text: &str| vec![text.to_owned()];
    let server = AuthorizationServer {
        issuer: issuer.to_owned(),
        token_endpoint: format!("{issuer}/oauth/token"),
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        service_documentation: format!("{issuer}/docs"),
        scopes_supported: scopes.map(|role| role.name().to_owned()).collect(),
        response_types_supported: Vec::new(),
        grant_types_supported: one("client_credentials"),
        token_endpoint_auth_methods_supported: one("private_key_jwt"),
        token_endpoint_auth_signing_alg_values_supported: one("EdDSA"),
        tls_client_certificate_bound_access_tokens: true,
    };
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(server))
}

/// Read the keys that access tokens are signed with
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "tokens",
    responses((status = 200, description = "The current key and the one before it", body = JsonWebKeySet))
)]
async fn read_jwks(Extension(tokens): Extension<Arc<Tokens>>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(tokens.published()))
}
