//! Declarations of data.

use axum::extract::State;
use konclave_ledger::statements::DepositStatement;
use konclave_openapi::deposits::{Deposit, NewDeposit};
use konclave_openapi::page::{Page, PageQuery};
use konclave_policies::authorization::Action;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::{Created, may_list, visible_owners};
use super::paging;
use crate::auth::{Principal, authorize};
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::idempotency::Command;
use crate::projections::{DepositState, to_hash};

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_deposits, register_deposit))
}

/// Register a deposit
///
/// A DSSE envelope around a deposit statement, signed with the member's identity key: amounts and salted commitments,
/// never data. For rewards, a member's latest statement counts.
#[utoipa::path(
    post, path = "/v1/deposits", tag = "deposits", request_body = NewDeposit,
    responses((status = 201, description = "The deposit is registered", body = Deposit))
)]
async fn register_deposit(
    State(app): State<App>,
    command: Command<NewDeposit>,
) -> Result<Created<Deposit>, ApiError> {
    let Command { principal, caller, body } = command;
    let site = principal.member()?.site.clone();
    let resource = Action::CreateDeposit.on("new", Some(&principal.organisation));
    authorize(app.authorizer(), &principal, Action::CreateDeposit, &resource)?;
    let entry = app.register_deposit(&caller, &site, body.statement).await?;
    let known = app.state().deposits.iter().find(|known| known.entry == entry).cloned();
    let known = known.ok_or_else(|| ApiError::internal("the registered deposit is not there"))?;
    Ok(Created { location: "/v1/deposits".to_owned(), body: view(&app, known).await? })
}

/// List deposits
#[utoipa::path(
    get, path = "/v1/deposits", tag = "deposits", params(PageQuery),
    responses((status = 200, description = "The deposits you may see, oldest first", body = Page<Deposit>))
)]
async fn list_deposits(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Deposit>>, ApiError> {
    may_list(&app, &principal, Action::ReadDeposit)?;
    let owners = visible_owners(&app, &principal, Action::ReadDeposit, |state| {
        state.sites.values().map(|site| site.legal_entity().to_owned()).collect()
    });
    let page = {
        let state = app.state();
        let visible = state.deposits.iter().filter(|known| {
            state.sites.get(&known.site).is_some_and(|site| owners.contains(site.legal_entity()))
        });
        paging::page(visible.cloned(), &query)?
    };
    let mut items = Vec::with_capacity(page.items.len());
    for known in page.items {
        items.push(view(&app, known).await?);
    }
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

async fn view(app: &App, known: DepositState) -> Result<Deposit, ApiError> {
    let statement: DepositStatement = app.statement(to_hash(&known.deposit)).await?;
    Ok(Deposit { deposit: known.deposit, site: known.site, statement, entry: known.entry })
}
