//! A job's key set-up: advertisements, roster, ciphertexts.

use axum::extract::State;
use axum::http::StatusCode;
use konclave_crypto::JobId;
use konclave_crypto::setup::KeyAdvertisement;
use konclave_openapi::jobs::{Ciphertexts, RosterView};
use konclave_policies::authorization::Action;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::jobs::visible_job;
use super::seats::JobSeat;
use crate::auth::Principal;
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Json, Message, Path};

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(advertise_keys))
        .routes(routes!(read_roster))
        .routes(routes!(read_ciphertexts, send_ciphertexts))
}

/// Advertise the site's KEM key
///
/// Once for each job. The same message again is no news; another one is refused.
#[utoipa::path(
    put, path = "/v1/jobs/{job}/keys/{site}", tag = "jobs", request_body = KeyAdvertisement,
    params(JobSeat),
    responses((status = 204, description = "The advertisement is durable"))
)]
async fn advertise_keys(
    State(app): State<App>,
    JobSeat { job, site }: JobSeat,
    Message(advertisement): Message<KeyAdvertisement>,
) -> Result<StatusCode, ApiError> {
    app.take_advertisement(&job, &site, advertisement).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Read the roster
///
/// Every advertisement, so that each site checks them and computes the roster's digest by itself.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/roster", tag = "jobs",
    params(("job" = JobId, Path, description = "The job's id")),
    responses((status = 200, description = "The roster", body = RosterView))
)]
async fn read_roster(
    State(app): State<App>,
    principal: Principal,
    Path(job): Path<JobId>,
) -> Result<Json<RosterView>, ApiError> {
    let known = visible_job(&app, &principal, &job, Action::ReadJob)?;
    let digest = known.roster.ok_or_else(|| {
        ApiError::wrong_round(format!(
            "{job} has no roster yet: keys are still being advertised, or consent is open"
        ))
    })?;
    let roster = app.roster(&job).await?;
    Ok(Json(RosterView { job, roster: digest, advertisements: roster.advertisements().to_vec() }))
}

/// Send the site's KEM ciphertexts
///
/// One to every later site of the roster, none from the last one. Once for each job.
#[utoipa::path(
    put, path = "/v1/jobs/{job}/ciphertexts/{site}", tag = "jobs", request_body = Ciphertexts,
    params(JobSeat),
    responses((status = 204, description = "The ciphertexts are durable"))
)]
async fn send_ciphertexts(
    State(app): State<App>,
    JobSeat { job, site }: JobSeat,
    Message(body): Message<Ciphertexts>,
) -> Result<StatusCode, ApiError> {
    app.take_ciphertexts(&job, &site, body.ciphertexts).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Read the KEM ciphertexts for the site
///
/// Those that have come so far: one from every earlier site of the roster when all are here.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/ciphertexts/{site}", tag = "jobs",
    params(JobSeat),
    responses((status = 200, description = "The ciphertexts for this site", body = Ciphertexts))
)]
async fn read_ciphertexts(
    State(app): State<App>,
    principal: Principal,
    JobSeat { job, site }: JobSeat,
) -> Result<Json<Ciphertexts>, ApiError> {
    visible_job(&app, &principal, &job, Action::ReadJob)?;
    Ok(Json(Ciphertexts { ciphertexts: app.ciphertexts_for(&job, &site).await? }))
}
