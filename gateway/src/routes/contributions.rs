//! Contribution figures and reward statements.

use std::collections::BTreeSet;

use axum::extract::State;
use konclave_crypto::{JobId, RoundNumber, SiteId};
use konclave_openapi::contributions::{Contribution, Statement};
use konclave_openapi::page::{Page, PageQuery};
use konclave_policies::authorization::Action;
use konclave_policies::contribution::{ContributionRow, RewardStatement};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::{may, may_list};
use super::paging;
use crate::auth::{Principal, authorize};
use crate::core::{App, CommandError};
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::projections::{ContributionState, JobState};

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_contributions)).routes(routes!(list_statements))
}

/// List the contribution tables of a job
///
/// One for each scoring round whose evaluations are complete. A site sees its own legal entity's rows.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/contributions", tag = "contributions",
    params(("job" = JobId, Path, description = "The job's id"), PageQuery),
    responses((status = 200, description = "The tables, oldest first", body = Page<Contribution>))
)]
async fn list_contributions(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<JobId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Contribution>>, ApiError> {
    may_list(&app, &principal, Action::ReadContribution)?;
    let job = job(&app, &principal, &id, Action::ReadContribution)?;
    let page = paging::page(job.contributions.iter(), &query)?;
    let mut items = Vec::with_capacity(page.items.len());
    for (round, known) in page.items {
        items.push(visible(&app, &principal, &job, *round, known).await?);
    }
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

async fn visible(
    app: &App,
    principal: &Principal,
    job: &JobState,
    round: RoundNumber,
    known: &ContributionState,
) -> Result<Contribution, ApiError> {
    let table: Vec<ContributionRow> =
        serde_json::from_value(app.read_document(&known.rows).await?).map_err(CommandError::from)?;
    let id = format!("{}/{round}", job.job);
    let whole = Action::ReadContribution.on(id.clone(), Some(&job.organisation));
    let rows = if may(app.authorizer(), principal, Action::ReadContribution, &whole) {
        table
    } else {
        let mut rows = table;
        rows.retain(|row| {
            let resource = Action::ReadContribution.on(format!("{id}/{}", row.site), Some(&row.legal_entity));
            may(app.authorizer(), principal, Action::ReadContribution, &resource)
        });
        if rows.is_empty() {
            // Nothing of it is theirs: say by which policy.
            authorize(app.authorizer(), principal, Action::ReadContribution, &whole)?;
        }
        rows
    };
    Ok(Contribution { job: job.job.clone(), round, rows, entry: known.entry })
}

/// List the reward statements of a job
///
/// There is one when the job's rounds and evaluations are done. A site sees its own legal entity's line.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/statements", tag = "contributions",
    params(("job" = JobId, Path, description = "The job's id"), PageQuery),
    responses((status = 200, description = "The statements", body = Page<Statement>))
)]
async fn list_statements(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<JobId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Statement>>, ApiError> {
    may_list(&app, &principal, Action::ReadStatement)?;
    let job = job(&app, &principal, &id, Action::ReadStatement)?;
    let page = paging::page(job.statement.iter(), &query)?;
    let mut items = Vec::with_capacity(page.items.len());
    for known in page.items {
        let mut statement: RewardStatement =
            serde_json::from_value(app.read_document(&known.statement).await?).map_err(CommandError::from)?;
        let whole = Action::ReadStatement.on(id.to_string(), Some(&job.organisation));
        if !may(app.authorizer(), &principal, Action::ReadStatement, &whole) {
            statement.lines.retain(|line| {
                let resource =
                    Action::ReadStatement.on(format!("{id}/{}", line.legal_entity), Some(&line.legal_entity));
                may(app.authorizer(), &principal, Action::ReadStatement, &resource)
            });
            let own: BTreeSet<&SiteId> = statement.lines.iter().flat_map(|line| &line.sites).collect();
            // From what the other batches are worth follows what their sites contributed.
            statement.batches.retain(|batch| batch.sites.iter().any(|site| own.contains(site)));
            if statement.lines.is_empty() {
                authorize(app.authorizer(), &principal, Action::ReadStatement, &whole)?;
            }
        }
        items.push(Statement { job: id.clone(), statement, entry: known.entry });
    }
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// The job, for those who may read all its figures and for those whose sites are asked to take part: they read their own.
/// To anyone else it is as if there were none, whether it has figures yet or not.
fn job(app: &App, principal: &Principal, id: &JobId, action: Action) -> Result<JobState, ApiError> {
    let (known, takes_part) = {
        let state = app.state();
        let known = state.jobs.get(id).cloned();
        let own =
            |site| state.sites.get(site).is_some_and(|site| site.legal_entity() == principal.organisation);
        let takes_part = known.as_ref().is_some_and(|job| job.invited.iter().any(own));
        (known, takes_part)
    };
    if !takes_part {
        let owner = known.as_ref().map(|job| job.organisation.as_str());
        authorize(app.authorizer(), principal, action, &action.on(id.to_string(), owner))?;
    }
    known.ok_or_else(|| ApiError::not_found(format!("job {id}")))
}
