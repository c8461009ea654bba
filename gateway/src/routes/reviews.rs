//! Reviews of the ledger by auditors.

use axum::extract::State;
use konclave_ledger::dsse::Envelope;
use konclave_openapi::page::{Page, PageQuery};
use konclave_openapi::reviews::Review;
use konclave_policies::authorization::Action;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::Created;
use super::ledger::may_read;
use super::paging;
use crate::auth::{Principal, authorize};
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::idempotency::Command;
use crate::projections::ReviewState;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_reviews, record_review))
}

/// Hand in a review
///
/// A DSSE envelope around a review statement, signed with the Ed25519 key that the reviewer's client is registered with:
/// what was found in the ledger up to a head. The head must be one of this ledger, and no smaller than that of the
/// reviewer's last review. The statement is kept beside the ledger, its digest becomes an entry. Only auditors review.
#[utoipa::path(
    post, path = "/v1/ledger/reviews", tag = "ledger", request_body = Envelope,
    responses((status = 201, description = "The review is recorded", body = Review))
)]
async fn record_review(
    State(app): State<App>,
    command: Command<Envelope>,
) -> Result<Created<Review>, ApiError> {
    let Command { principal, caller, body } = command;
    let resource = Action::RecordReview.on("ledger", None);
    authorize(app.authorizer(), &principal, Action::RecordReview, &resource)?;
    let entry = app.record_review(&caller, &principal.id, body).await?;
    let known = app.state().reviews.iter().find(|known| known.entry == entry).cloned();
    let known = known.ok_or_else(|| ApiError::internal("the recorded review is not there"))?;
    Ok(Created { location: format!("/v1/ledger/entries/{entry}"), body: view(known) })
}

/// List the reviews
#[utoipa::path(
    get, path = "/v1/ledger/reviews", tag = "ledger", params(PageQuery),
    responses((status = 200, description = "All reviews, oldest first", body = Page<Review>))
)]
async fn list_reviews(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Review>>, ApiError> {
    may_read(&app, &principal)?;
    let page = paging::page(app.state().reviews.iter().cloned(), &query)?;
    Ok(Json(paging::map(page, view)))
}

pub(super) fn view(known: ReviewState) -> Review {
    let ReviewState { reviewer, from, size, root, result, statement, entry, time } = known;
    Review { entry, time, reviewer, from, size, root, result, statement }
}
