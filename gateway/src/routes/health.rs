//! Health, for load balancers and process managers.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::core::App;
use crate::error::ApiError;

/// Where they are.
pub(crate) const PATHS: [&str; 2] = ["/livez", "/readyz"];

/// How many look at the ledger at once. The others wait: nothing else bounds those who ask.
static LOOKING: Semaphore = Semaphore::const_new(4);

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(read_liveness)).routes(routes!(read_readiness))
}

/// Is the process alive?
#[utoipa::path(
    get, path = "/livez", tag = "health",
    responses((status = 200, description = "It answers", body = String, content_type = "text/plain"))
)]
async fn read_liveness() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain")], "alive\n")
}

/// Can the gateway serve requests?
///
/// Answers once the ledger was replayed and can be read.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses((status = 200, description = "It serves requests", body = String, content_type = "text/plain"))
)]
async fn read_readiness(State(app): State<App>) -> Result<impl IntoResponse, ApiError> {
    let _looking = LOOKING.acquire().await;
    app.ledger()
        .read(|ledger| ledger.head().size)
        .await
        .map_err(|error| ApiError::unavailable(error.to_string(), 5))?;
    if !app.ledger().is_writable() {
        return Err(ApiError::unavailable("the ledger cannot be written; the gateway is about to end", 5));
    }
    Ok(([(header::CONTENT_TYPE, "text/plain")], "ready\n"))
}
