//! Requests for federated learning, and the invited sites' answers.

use axum::extract::State;
use konclave_crypto::JobId;
use konclave_ledger::dsse::Envelope;
use konclave_openapi::jobs::{Job, NewJob};
use konclave_openapi::page::{Page, PageQuery};
use konclave_policies::authorization::Action;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::{Created, visible_owners};
use super::{paging, views};
use crate::auth::{Principal, authorize};
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::idempotency::Command;
use crate::projections::JobState;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_jobs, request_job))
        .routes(routes!(read_job))
        .routes(routes!(consent))
}

/// The job, if the principal may do this with it.
pub(crate) fn visible_job(
    app: &App,
    principal: &Principal,
    id: &JobId,
    action: Action,
) -> Result<JobState, ApiError> {
    let known = app.state().jobs.get(id).cloned();
    let owner = known.as_ref().map(|known| known.organisation.as_str());
    // Before saying whether there is one: what is not there is answered like what is another organisation's.
    authorize(app.authorizer(), principal, action, &action.on(id.to_string(), owner))?;
    known.ok_or_else(|| ApiError::not_found(format!("job {id}")))
}

/// Ask for federated learning
///
/// The invited sites are asked for consent by their own policies; with enough of them the key set-up and the rounds
/// follow by themselves.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs", request_body = NewJob,
    responses((status = 201, description = "The job is recorded and the sites are invited", body = Job))
)]
async fn request_job(State(app): State<App>, command: Command<NewJob>) -> Result<Created<Job>, ApiError> {
    let Command { principal, caller, body } = command;
    let resource = Action::CreateJob.on("new", Some(&principal.organisation));
    authorize(app.authorizer(), &principal, Action::CreateJob, &resource)?;
    let id = app.request_job(&caller, &principal.organisation, body).await?;
    let job = visible_job(&app, &principal, &id, Action::ReadJob)?;
    Ok(Created { location: format!("/v1/jobs/{id}"), body: views::job(&app, &job) })
}

/// List the jobs
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", params(PageQuery),
    responses((status = 200, description = "The jobs you may see, oldest first", body = Page<Job>))
)]
async fn list_jobs(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Job>>, ApiError> {
    let owners = visible_owners(&app, &principal, Action::ReadJob, |state| {
        state.jobs.values().map(|job| job.organisation.clone()).collect()
    });
    let page = {
        let state = app.state();
        let jobs = state.job_order.iter().filter_map(|id| state.jobs.get(id));
        paging::page(jobs.filter(|job| owners.contains(&job.organisation)).cloned(), &query)?
    };
    Ok(Json(paging::map(page, |job| views::job(&app, &job))))
}

/// Read one job
#[utoipa::path(
    get, path = "/v1/jobs/{job}", tag = "jobs",
    params(("job" = JobId, Path, description = "The job's id")),
    responses((status = 200, description = "The job", body = Job))
)]
async fn read_job(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<JobId>,
) -> Result<Json<Job>, ApiError> {
    Ok(Json(views::job(&app, &visible_job(&app, &principal, &id, Action::ReadJob)?)))
}

/// Answer an invitation
///
/// A DSSE envelope around a consent statement, signed with the site's identity key. The first answer stands.
#[utoipa::path(
    post, path = "/v1/jobs/{job}/consents", tag = "jobs", request_body = Envelope,
    params(("job" = JobId, Path, description = "The job's id")),
    responses((status = 200, description = "The answer is recorded", body = Job))
)]
async fn consent(
    State(app): State<App>,
    Path(id): Path<JobId>,
    command: Command<Envelope>,
) -> Result<Json<Job>, ApiError> {
    let Command { principal, caller, body } = command;
    let site = principal.member()?.site.clone();
    let resource = Action::Consent.on(format!("{id}/{site}"), Some(&principal.organisation));
    authorize(app.authorizer(), &principal, Action::Consent, &resource)?;
    app.consent(&caller, &id, &site, body).await?;
    Ok(Json(views::job(&app, &visible_job(&app, &principal, &id, Action::ReadJob)?)))
}
