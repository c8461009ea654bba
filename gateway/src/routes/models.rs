//! Baseline models.

use axum::extract::State;
use konclave_crypto::Digest;
use konclave_openapi::models::{Model, NewModel};
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

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_models, register_model)).routes(routes!(read_model))
}

/// Register a baseline model
///
/// Its TorchScript file and its initial parameters must have been uploaded as blobs, in one request or by
/// a resumable upload. Registering the same model again changes nothing.
#[utoipa::path(
    post, path = "/v1/models", tag = "models", request_body = NewModel,
    responses((status = 201, description = "The model is registered", body = Model))
)]
async fn register_model(
    State(app): State<App>,
    command: Command<NewModel>,
) -> Result<Created<Model>, ApiError> {
    let Command { principal, caller, body } = command;
    let resource = Action::CreateModel.on("new", Some(&principal.organisation));
    authorize(app.authorizer(), &principal, Action::CreateModel, &resource)?;
    let id = app.register_model(&caller, &principal.organisation, body).await?;
    let known = app.state().model(&id).cloned().ok_or_else(|| ApiError::not_found(format!("model {id}")))?;
    Ok(Created { location: format!("/v1/models/{id}"), body: views::model(&app, &known).await? })
}

/// List the models
#[utoipa::path(
    get, path = "/v1/models", tag = "models", params(PageQuery),
    responses((status = 200, description = "The models you may see, oldest first", body = Page<Model>))
)]
async fn list_models(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Model>>, ApiError> {
    let owners = visible_owners(&app, &principal, Action::ReadModel, |state| {
        state.models.iter().map(|model| model.organisation.clone()).collect()
    });
    let page = {
        let state = app.state();
        let visible = state.models.iter().filter(|model| owners.contains(&model.organisation));
        paging::page(visible.cloned(), &query)?
    };
    let mut items = Vec::with_capacity(page.items.len());
    for model in &page.items {
        items.push(views::model(&app, model).await?);
    }
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// Read one model
#[utoipa::path(
    get, path = "/v1/models/{model}", tag = "models",
    params(("model" = Digest, Path, description = "The model's id")),
    responses((status = 200, description = "The model", body = Model))
)]
async fn read_model(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<Digest>,
) -> Result<Json<Model>, ApiError> {
    let known = app.state().model(&id).cloned();
    let owner = known.as_ref().map(|known| known.organisation.as_str());
    // Before saying whether there is one: what is not there is answered like what is another organisation's.
    authorize(app.authorizer(), &principal, Action::ReadModel, &Action::ReadModel.on(id.to_string(), owner))?;
    let known = known.ok_or_else(|| ApiError::not_found(format!("model {id}")))?;
    Ok(Json(views::model(&app, &known).await?))
}
