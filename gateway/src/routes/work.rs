//! What the gateway waits for from a member.

use std::time::Duration;

use axum::extract::State;
use konclave_openapi::work::{WorkList, WorkQuery};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Principal;
use crate::coordinator::work::work_of;
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Json, Query};

/// The longest wait, in seconds.
const MAX_WAIT_SECONDS: u8 = 30;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(read_work))
}

/// Read the member's to-do list
///
/// With `wait_seconds` the answer comes as soon as there is something to do, at the latest after that time. The list
/// is a hint: the member checks signatures, contexts and its own rules at every step.
#[utoipa::path(
    get, path = "/v1/work", tag = "work", params(WorkQuery),
    responses((status = 200, description = "What is waited for, oldest first", body = WorkList))
)]
async fn read_work(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<WorkQuery>,
) -> Result<Json<WorkList>, ApiError> {
    let member = principal.member()?;
    if query.wait_seconds > MAX_WAIT_SECONDS {
        return Err(ApiError::invalid_field("wait_seconds", format!("is at most {MAX_WAIT_SECONDS}")));
    }
    let until = tokio::time::Instant::now() + Duration::from_secs(query.wait_seconds.into());
    let mut changes = app.changes();
    loop {
        // Marked as seen before looking: a change during the look wakes the wait below.
        changes.borrow_and_update();
        let items = work_of(&app, &member.site, member.role).await?;
        let ended = tokio::time::Instant::now() >= until;
        if !items.is_empty() || ended {
            return Ok(Json(WorkList { items, ledger_size: app.state().size }));
        }
        // A wait that times out, or a gateway that stops, ends with one last look.
        let _ = tokio::time::timeout_at(until, changes.changed()).await;
    }
}
