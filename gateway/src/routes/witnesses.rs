//! What witnesses are asked to cosign, what each of them vouches for, and the keys of the log.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use konclave_openapi::witnesses::{AddCheckpointQuery, LogKeysView, WitnessesView};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ledger::may_read;
use crate::auth::Principal;
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Json, Query};

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(add_checkpoint)).routes(routes!(witnesses)).routes(routes!(keys))
}

/// Ask for a head to cosign
///
/// The body of an `add-checkpoint` request of C2SP tlog-witness, byte for byte: in the specification the log sends it to
/// the witness, here the witness fetches it. All who ask within a few seconds, or a minute after another witness cosigned,
/// get the same head, so that their cosignatures meet under it; who has seen more gets the newest one. The cosignature goes to
/// POST /v1/ledger/cosignatures. A witness that has seen more entries than there are gets 422.
#[utoipa::path(
    get, path = "/v1/ledger/add-checkpoint", tag = "ledger", params(AddCheckpointQuery),
    responses(
        (status = 200, description = "`old N`, the proof's hashes, and the signed note", body = String, content_type = "text/plain"),
        (status = 422, description = "The witness has seen more than there is", body = konclave_openapi::problem::Problem,
            content_type = "application/problem+json")
    )
)]
async fn add_checkpoint(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<AddCheckpointQuery>,
) -> Result<Response, ApiError> {
    may_read(&app, &principal)?;
    let site = principal.member.as_ref().map(|member| &member.site);
    let body = app.add_checkpoint(site, query.old).await?.to_string();
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// Read what the witnesses vouch for
///
/// How many of them are asked for and have come, and the newest note of each: its own proof of which ledger it was shown.
/// A witness compares its head with them, so that two histories shown to two witnesses are found.
#[utoipa::path(
    get, path = "/v1/ledger/witnesses", tag = "ledger",
    responses((status = 200, description = "The quorum, and every witness", body = WitnessesView))
)]
async fn witnesses(State(app): State<App>, principal: Principal) -> Result<Json<WitnessesView>, ApiError> {
    may_read(&app, &principal)?;
    Ok(Json(app.witnesses_view().await?))
}

/// Read the keys of the log
///
/// The key that signs the newest head, and every change of it with the consortium root's authorisation. Who knows an
/// earlier key follows the changes from there.
#[utoipa::path(
    get, path = "/v1/ledger/keys", tag = "ledger",
    responses((status = 200, description = "The key, and its changes, oldest first", body = LogKeysView))
)]
async fn keys(State(app): State<App>, principal: Principal) -> Result<Json<LogKeysView>, ApiError> {
    may_read(&app, &principal)?;
    Ok(Json(app.log_keys().await?))
}
