//! Tokens: OAuth 2.0 client credentials with `private_key_jwt`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use konclave_openapi::token::{CLIENT_ASSERTION_TYPE, JsonWebKeySet, TokenRequest, TokenResponse};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::tokens::{LIFETIME, Tokens};
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Form, Json, body_limit};

/// The most bytes of a token request: anyone may send one, and an assertion has a few hundred.
const FORM_BYTES: u64 = 16 << 10;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(issue_token)).routes(routes!(read_jwks)).layer(body_limit(FORM_BYTES))
}

/// Ask for an access token
///
/// Proves the client by a JWT that it signs with its registered Ed25519 key (RFC 7523). The token is good for ten
/// minutes; ask again with a fresh assertion when it is over.
#[utoipa::path(
    post, path = "/oauth/token", tag = "tokens",
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "An access token", body = TokenResponse))
)]
async fn issue_token(
    State(app): State<App>,
    Extension(tokens): Extension<Arc<Tokens>>,
    Form(request): Form<TokenRequest>,
) -> Result<impl IntoResponse, ApiError> {
    if request.grant_type != "client_credentials" {
        return Err(ApiError::invalid_field("grant_type", "must be client_credentials"));
    }
    if request.client_assertion_type != CLIENT_ASSERTION_TYPE {
        return Err(ApiError::invalid_field(
            "client_assertion_type",
            format!("must be {CLIENT_ASSERTION_TYPE}"),
        ));
    }
    let now = app.clock().now();
    let desk = Arc::clone(&tokens);
    let client = tokio::task::spawn_blocking(move || desk.authenticate(&request.client_assertion, now))
        .await
        .map_err(ApiError::internal)?
        .inspect_err(|error| tracing::info!(%error, "no token was given"))?;
    let (access_token, scope) = tokens.issue(&client, request.scope.as_deref(), now)?;
    tracing::info!(client = %client.client_id, %scope, "a token was given");
    let response =
        TokenResponse { access_token, token_type: "Bearer".to_owned(), expires_in: LIFETIME, scope };
    // RFC 6749, section 5.1.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(response)))
}

/// Read the keys that access tokens are signed with
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "tokens",
    responses((status = 200, description = "The current key and the one before it", body = JsonWebKeySet))
)]
async fn read_jwks(Extension(tokens): Extension<Arc<Tokens>>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(tokens.published()))
}
