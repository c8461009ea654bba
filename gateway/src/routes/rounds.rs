//! Rounds of secure aggregation: what they are, and the sites' messages in them.

use axum::extract::State;
use axum::http::StatusCode;
use konclave_crypto::messages::{
    AgreementProposal, AgreementSignature, Manifest, SumTag, SumVerdict, TaggingRequest, UnmaskingRequest,
    UnmaskingResponse,
};
use konclave_crypto::{JobId, RoundNumber, SiteId};
use konclave_openapi::page::{Page, PageQuery};
use konclave_openapi::rounds::Round;
use konclave_policies::authorization::Action;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::jobs::visible_job;
use super::seats::{RoundSeat, seat};
use super::{paging, views};
use crate::auth::Principal;
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Json, Message, Path, Query};
use crate::rounds_store::RoundKey;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_rounds))
        .routes(routes!(read_round))
        .routes(routes!(send_manifest))
        .routes(routes!(read_agreement))
        .routes(routes!(sign_agreement))
        .routes(routes!(read_unmasking, answer_unmasking))
        .routes(routes!(read_tagging, send_tag))
        .routes(routes!(send_verdict))
}

/// List the rounds of a job
#[utoipa::path(
    get, path = "/v1/jobs/{job}/rounds", tag = "rounds",
    params(("job" = JobId, Path, description = "The job's id"), PageQuery),
    responses((status = 200, description = "Its rounds, oldest first", body = Page<Round>))
)]
async fn list_rounds(
    State(app): State<App>,
    principal: Principal,
    Path(job): Path<JobId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Round>>, ApiError> {
    let known = visible_job(&app, &principal, &job, Action::ReadRound)?;
    let page = paging::page(known.rounds.values(), &query)?;
    let mut items = Vec::with_capacity(page.items.len());
    for round in &page.items {
        items.push(views::round(&app, &known, round).await?);
    }
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// Read one round
#[utoipa::path(
    get, path = "/v1/jobs/{job}/rounds/{round}", tag = "rounds",
    params(("job" = JobId, Path, description = "The job's id"), ("round" = RoundNumber, Path, description = "The round")),
    responses((status = 200, description = "The round", body = Round))
)]
async fn read_round(
    State(app): State<App>,
    principal: Principal,
    Path((job, round)): Path<(JobId, RoundNumber)>,
) -> Result<Json<Round>, ApiError> {
    let known = visible_job(&app, &principal, &job, Action::ReadRound)?;
    let state = known.rounds.get(&round);
    let state = state.ok_or_else(|| ApiError::not_found(format!("round {round} of {job}")))?;
    Ok(Json(views::round(&app, &known, state).await?))
}

/// Send the site's manifest
///
/// Before its masked update. The same message again is no news; another one is refused.
#[utoipa::path(
    put, path = "/v1/jobs/{job}/rounds/{round}/manifests/{site}", tag = "rounds", request_body = Manifest,
    params(RoundSeat),
    responses((status = 204, description = "The manifest is durable"))
)]
async fn send_manifest(
    State(app): State<App>,
    seat: RoundSeat,
    Message(manifest): Message<Manifest>,
) -> Result<StatusCode, ApiError> {
    let (key, sender) = (seat.key(), seat.site.clone());
    app.with_round(&key, &seat.site, move |live, store| live.accept_manifest(store, &sender, &manifest))
        .await?;
    app.notify();
    Ok(StatusCode::NO_CONTENT)
}

/// Read the proposed set of uploads
///
/// The site checks it by itself before it signs, and signs one set in a round.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/rounds/{round}/agreement", tag = "rounds",
    params(("job" = JobId, Path, description = "The job's id"), ("round" = RoundNumber, Path, description = "The round")),
    responses((status = 200, description = "The proposal", body = AgreementProposal))
)]
async fn read_agreement(
    State(app): State<App>,
    principal: Principal,
    Path((job, round)): Path<(JobId, RoundNumber)>,
) -> Result<Json<AgreementProposal>, ApiError> {
    let site = principal.member()?.site.clone();
    seat(&app, &principal, &job, &site)?;
    let key = RoundKey { job, round };
    let proposal = app.with_round(&key, &site, |live, _| Ok(live.proposal().cloned())).await?;
    let wrong = || {
        ApiError::wrong_round(format!(
            "{key} has no proposal to sign: uploads are still open, or the sum is being opened"
        ))
    };
    Ok(Json(proposal.ok_or_else(wrong)?))
}

/// Sign the agreed set
#[utoipa::path(
    put, path = "/v1/jobs/{job}/rounds/{round}/agreement/{site}", tag = "rounds", request_body = AgreementSignature,
    params(RoundSeat),
    responses((status = 204, description = "The signature is durable"))
)]
async fn sign_agreement(
    State(app): State<App>,
    seat: RoundSeat,
    Message(signature): Message<AgreementSignature>,
) -> Result<StatusCode, ApiError> {
    named(&seat.site, &signature.site)?;
    let (key, sender, now) = (seat.key(), seat.site.clone(), app.clock().now());
    app.with_round(&key, &seat.site, move |live, store| {
        live.accept_agreement(store, &sender, &signature, now)
    })
    .await?;
    app.notify();
    Ok(StatusCode::NO_CONTENT)
}

/// Read what the site is asked to unmask
///
/// With the signatures of a quorum under one agreed set; the site checks them by itself.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/rounds/{round}/unmasking/{site}", tag = "rounds",
    params(RoundSeat),
    responses((status = 200, description = "The request", body = UnmaskingRequest))
)]
async fn read_unmasking(State(app): State<App>, seat: RoundSeat) -> Result<Json<UnmaskingRequest>, ApiError> {
    let (key, asked) = (seat.key(), seat.site.clone());
    let request = app.with_round(&key, &seat.site, move |live, _| live.request_for(&asked)).await?;
    let missing = || ApiError::not_found(format!("unmasking request for {} in {key}", seat.site));
    Ok(Json(request.ok_or_else(missing)?))
}

/// Give the shares that remove the masks
#[utoipa::path(
    put, path = "/v1/jobs/{job}/rounds/{round}/unmasking/{site}", tag = "rounds", request_body = UnmaskingResponse,
    params(RoundSeat),
    responses((status = 204, description = "The shares are durable"))
)]
async fn answer_unmasking(
    State(app): State<App>,
    seat: RoundSeat,
    Message(response): Message<UnmaskingResponse>,
) -> Result<StatusCode, ApiError> {
    named(&seat.site, &response.site)?;
    let (key, sender) = (seat.key(), seat.site.clone());
    app.with_round(&key, &seat.site, move |live, store| live.accept_unmasking(store, &sender, &response))
        .await?;
    app.notify();
    Ok(StatusCode::NO_CONTENT)
}

/// Read what the site is asked to tag
///
/// What was opened, by digest, and the site's own seeds that are open now; the site checks both by itself.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/rounds/{round}/tags/{site}", tag = "rounds",
    params(RoundSeat),
    responses((status = 200, description = "The request", body = TaggingRequest))
)]
async fn read_tagging(State(app): State<App>, seat: RoundSeat) -> Result<Json<TaggingRequest>, ApiError> {
    let (key, asked) = (seat.key(), seat.site.clone());
    let request = app.with_round(&key, &seat.site, move |live, _| live.tagging_request_for(&asked)).await?;
    let missing = || ApiError::not_found(format!("request for a tag of {} in {key}", seat.site));
    Ok(Json(request.ok_or_else(missing)?))
}

/// Send the site's tag
///
/// Its signed share of the check of the opened sum.
#[utoipa::path(
    put, path = "/v1/jobs/{job}/rounds/{round}/tags/{site}", tag = "rounds", request_body = SumTag,
    params(RoundSeat),
    responses((status = 204, description = "The tag is durable"))
)]
async fn send_tag(
    State(app): State<App>,
    seat: RoundSeat,
    Message(tag): Message<SumTag>,
) -> Result<StatusCode, ApiError> {
    named(&seat.site, &tag.site)?;
    let (key, sender) = (seat.key(), seat.site.clone());
    app.with_round(&key, &seat.site, move |live, store| live.accept_tag(store, &sender, &tag)).await?;
    app.notify();
    Ok(StatusCode::NO_CONTENT)
}

/// Say what the site found of the opened sum
///
/// After it checked the sum against all tags, and the new model against the sum.
#[utoipa::path(
    put, path = "/v1/jobs/{job}/rounds/{round}/verdicts/{site}", tag = "rounds", request_body = SumVerdict,
    params(RoundSeat),
    responses((status = 204, description = "The verdict is durable"))
)]
async fn send_verdict(
    State(app): State<App>,
    seat: RoundSeat,
    Message(verdict): Message<SumVerdict>,
) -> Result<StatusCode, ApiError> {
    named(&seat.site, &verdict.site)?;
    app.take_verdict(&seat.key(), &seat.site, verdict).await?;
    app.notify();
    Ok(StatusCode::NO_CONTENT)
}

fn named(sender: &SiteId, named: &SiteId) -> Result<(), ApiError> {
    if sender == named {
        return Ok(());
    }
    Err(ApiError::rejected(format!("{sender} sent a message of {named}; members speak only for themselves")))
}
