//! Benchmark evaluations.

use axum::extract::State;
use konclave_crypto::JobId;
use konclave_ledger::statements::EvaluationStatement;
use konclave_openapi::evaluations::{Evaluation, NewEvaluation};
use konclave_openapi::page::{Page, PageQuery};
use konclave_policies::authorization::Action;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::{Created, may, may_list};
use super::paging;
use crate::auth::{Principal, authorize};
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::idempotency::Command;
use crate::projections::{EvaluationState, to_hash};

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_evaluations, report_evaluation))
}

/// Which evaluations.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EvaluationQuery {
    /// Only those of this job.
    #[serde(default)]
    pub job: Option<JobId>,
    /// The `next_cursor` of the page before; the first page without it.
    #[serde(default)]
    pub cursor: Option<String>,
    /// The most items wanted, 1 to 500; 100 without it.
    #[serde(default)]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u16>,
}

/// Report an evaluation
///
/// A DSSE envelope around an evaluation statement, signed with the evaluator's identity key. The first score of the
/// same parameters stands.
#[utoipa::path(
    post, path = "/v1/evaluations", tag = "evaluations", request_body = NewEvaluation,
    responses((status = 201, description = "The evaluation is recorded", body = Evaluation))
)]
async fn report_evaluation(
    State(app): State<App>,
    command: Command<NewEvaluation>,
) -> Result<Created<Evaluation>, ApiError> {
    let Command { principal, caller, body } = command;
    let evaluator = principal.member()?.site.clone();
    let resource = Action::Evaluate.on("new", None);
    authorize(app.authorizer(), &principal, Action::Evaluate, &resource)?;
    let entry = app.record_evaluation(&caller, &evaluator, body.statement).await?;
    let known = app.state().evaluations.iter().find(|known| known.entry == entry).cloned();
    let known = known.ok_or_else(|| ApiError::internal("the recorded evaluation is not there"))?;
    Ok(Created { location: format!("/v1/evaluations?job={}", known.job), body: view(&app, known).await? })
}

/// List evaluations
#[utoipa::path(
    get, path = "/v1/evaluations", tag = "evaluations", params(EvaluationQuery),
    responses((status = 200, description = "The evaluations you may see, oldest first", body = Page<Evaluation>))
)]
async fn list_evaluations(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<EvaluationQuery>,
) -> Result<Json<Page<Evaluation>>, ApiError> {
    may_list(&app, &principal, Action::ReadEvaluation)?;
    let page = {
        let state = app.state();
        let visible = state.evaluations.iter().filter(|known| {
            let owner = state.jobs.get(&known.job).map(|job| job.organisation.as_str());
            let resource = Action::ReadEvaluation.on(known.evaluation.to_string(), owner);
            query.job.as_ref().is_none_or(|job| *job == known.job)
                && may(app.authorizer(), &principal, Action::ReadEvaluation, &resource)
        });
        paging::page(visible.cloned(), &PageQuery { cursor: query.cursor.clone(), limit: query.limit })?
    };
    let mut items = Vec::with_capacity(page.items.len());
    for known in page.items {
        items.push(view(&app, known).await?);
    }
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

async fn view(app: &App, known: EvaluationState) -> Result<Evaluation, ApiError> {
    let statement: EvaluationStatement = app.statement(to_hash(&known.evaluation)).await?;
    Ok(Evaluation { evaluation: known.evaluation, statement, entry: known.entry })
}
