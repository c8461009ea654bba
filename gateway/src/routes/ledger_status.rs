//! How the ledger stands.

use axum::extract::State;
use konclave_openapi::ledger::LedgerStatus;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ledger::{look, may_read};
use super::reviews;
use crate::auth::Principal;
use crate::core::App;
use crate::error::ApiError;
use crate::extract::Json;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(read_ledger_status))
}

/// Read how the ledger stands
///
/// Whether it can be written and queried, how far the witnesses are, and when it was last reviewed.
#[utoipa::path(
    get, path = "/v1/ledger/status", tag = "ledger",
    responses((status = 200, description = "The status", body = LedgerStatus))
)]
async fn read_ledger_status(
    State(app): State<App>,
    principal: Principal,
) -> Result<Json<LedgerStatus>, ApiError> {
    may_read(&app, &principal)?;
    let last_review = app.state().reviews.last().cloned().map(reviews::view);
    let writable = app.ledger().is_writable();
    let quorum = app.quorum().await?;
    let status = look(&app, move |ledger| {
        let head = ledger.head();
        Ok(LedgerStatus {
            origin: head.origin.to_string(),
            size: head.size,
            writable,
            index: ledger.index_state(),
            checkpoint_lags: ledger.checkpoint_lags(),
            reserve: ledger.reserve_state(),
            quorum,
            last_review,
        })
    });
    Ok(Json(status.await?))
}
