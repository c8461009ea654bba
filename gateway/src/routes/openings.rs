//! What commitments in the ledger stand for.

use axum::extract::State;
use konclave_ledger::Hash;
use konclave_openapi::openings::{NewErasure, OpeningView};
use konclave_policies::authorization::Action;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::Created;
use crate::auth::{Principal, authorize};
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Json, Path};
use crate::idempotency::Command;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(read_opening)).routes(routes!(erase_opening))
}

/// Read what a commitment stands for
///
/// Values that must be erasable, such as the name of the person who answers for a partner system, are in the ledger as
/// HMAC-SHA256 under a random salt. Compute it again from salt and value and compare. Once erased, neither is left.
#[utoipa::path(
    get, path = "/v1/ledger/openings/{commitment}", tag = "ledger",
    params(("commitment" = Hash, Path, description = "The commitment, as an entry's `commitments` carry it")),
    responses((status = 200, description = "The opening, or which entry erased it", body = OpeningView))
)]
async fn read_opening(
    State(app): State<App>,
    principal: Principal,
    Path(commitment): Path<Hash>,
) -> Result<Json<OpeningView>, ApiError> {
    let resource = Action::ReadOpening.on(commitment.to_string(), None);
    authorize(app.authorizer(), &principal, Action::ReadOpening, &resource)?;
    Ok(Json(app.opening(commitment).await?))
}

/// Erase what a commitment stands for
///
/// The erasure is an entry of its own; the entry with the commitment, its hash and every proof stay as they are. Asked
/// again, the answer is the same and nothing is added.
#[utoipa::path(
    post, path = "/v1/ledger/erasures", tag = "ledger", request_body = NewErasure,
    responses((status = 201, description = "The opening is erased", body = OpeningView))
)]
async fn erase_opening(
    State(app): State<App>,
    Command { principal, caller, body }: Command<NewErasure>,
) -> Result<Created<OpeningView>, ApiError> {
    let resource = Action::EraseOpening.on(body.commitment.to_string(), None);
    authorize(app.authorizer(), &principal, Action::EraseOpening, &resource)?;
    let body = app.erase_opening(&caller, body).await?;
    Ok(Created { location: format!("/v1/ledger/openings/{}", body.commitment), body })
}
