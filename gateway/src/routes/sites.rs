//! Enrolled sites and evaluators.

use std::ops::Bound;

use axum::extract::State;
use konclave_crypto::{SiteId, UnixSeconds};
use konclave_openapi::page::{Page, PageQuery};
use konclave_openapi::sites::Site;
use konclave_policies::authorization::Action;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Principal, authorize};
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query, page_limit};
use crate::projections::SiteState;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_sites)).routes(routes!(read_site))
}

/// List the enrolled sites
#[utoipa::path(
    get, path = "/v1/sites", tag = "sites", params(PageQuery),
    responses((status = 200, description = "Sites and evaluators, by id", body = Page<Site>))
)]
async fn list_sites(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Site>>, ApiError> {
    authorize(app.authorizer(), &principal, Action::ReadSites, &Action::ReadSites.on("sites", None))?;
    let limit = page_limit(&query)?;
    let start = match query.cursor {
        Some(cursor) => Bound::Excluded(
            cursor.parse::<SiteId>().map_err(|error| ApiError::invalid_field("cursor", error.to_string()))?,
        ),
        None => Bound::Unbounded,
    };
    let mut items: Vec<Site> = {
        let state = app.state();
        let range = state.sites.range((start, Bound::Unbounded));
        range.take(limit + 1).map(|(_, site)| view(&app, site)).collect()
    };
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|site| site.site.to_string());
    Ok(Json(Page { items, next_cursor }))
}

/// Read one site
#[utoipa::path(
    get, path = "/v1/sites/{site}", tag = "sites",
    params(("site" = SiteId, Path, description = "The site's id")),
    responses((status = 200, description = "The site", body = Site))
)]
async fn read_site(
    State(app): State<App>,
    principal: Principal,
    Path(site): Path<SiteId>,
) -> Result<Json<Site>, ApiError> {
    let resource = Action::ReadSites.on(site.to_string(), None);
    authorize(app.authorizer(), &principal, Action::ReadSites, &resource)?;
    let found = app.state().sites.get(&site).cloned();
    let found = found.ok_or_else(|| ApiError::not_found(format!("site {site}")))?;
    Ok(Json(view(&app, &found)))
}

fn view(app: &App, state: &SiteState) -> Site {
    Site {
        site: state.site.clone(),
        certificate: state.certificate.clone(),
        witness_vkey: state.witness_vkey.clone(),
        tls_spki: state.tls_spki,
        enrolled_entry: state.entry,
        last_seen: app.last_seen(&state.site).and_then(rfc3339),
    }
}

fn rfc3339(time: UnixSeconds) -> Option<String> {
    let seconds = i64::try_from(time.get()).ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}
