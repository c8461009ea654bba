//! What the gateway says of itself.

use axum::extract::State;
use konclave_crypto::Digest;
use konclave_openapi::status::{Attestation, Status};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::core::App;
use crate::error::ApiError;
use crate::extract::Json;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(read_status))
}

/// Read the gateway's status
///
/// Says first how far the software is attested; `none` means that nothing proves which code runs.
#[utoipa::path(
    get, path = "/v1/status", tag = "status",
    responses((status = 200, description = "The status", body = Status))
)]
async fn read_status(State(app): State<App>) -> Result<Json<Status>, ApiError> {
    let (ledger_size, ledger_key) = app
        .ledger()
        .read(|ledger| (ledger.head().size, ledger.verifier_key().to_string()))
        .await
        .map_err(|error| ApiError::unavailable(error.to_string(), 5))?;
    let policy: Digest =
        app.state().policy.ok_or_else(|| ApiError::unavailable("no rounds policy is recorded yet", 5))?;
    Ok(Json(Status {
        attestation: Attestation::None,
        origin: app.config().settings.origin.clone(),
        software: crate::SOFTWARE.to_owned(),
        policy,
        gateway: app.certificate().clone(),
        ledger_size,
        ledger_key,
    }))
}
