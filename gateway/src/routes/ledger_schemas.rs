//! The JSON Schemas of the ledger's entries.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use konclave_ledger::Hash;
use konclave_ledger::records::schema::schemas;
use konclave_openapi::ledger::{SchemaEntry, SchemaList};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caching::{Lifetime, answer};
use super::ledger::may_read;
use crate::auth::Principal;
use crate::core::App;
use crate::error::ApiError;
use crate::extract::Path;

/// The files by action: the bytes of `ledger/schemas/`.
static FILES: LazyLock<BTreeMap<&'static str, Vec<u8>>> = LazyLock::new(|| {
    schemas().into_iter().map(|(action, schema)| (action, format!("{schema:#}\n").into_bytes())).collect()
});

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_schemas)).routes(routes!(read_schema))
}

/// List the schemas of entries
///
/// One JSON Schema (2020-12) for each action, of the whole leaf.
#[utoipa::path(
    get, path = "/v1/ledger/schemas", tag = "ledger",
    responses(
        (status = 200, description = "What there is", body = SchemaList),
        (status = 304, description = "The list is the one you named in `If-None-Match`")
    )
)]
async fn list_schemas(
    State(app): State<App>,
    principal: Principal,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    may_read(&app, &principal)?;
    let item = |(action, bytes): (&&str, &Vec<u8>)| SchemaEntry {
        action: (*action).to_owned(),
        path: format!("/v1/ledger/schemas/{action}"),
        sha256: Hash::of(bytes),
    };
    let list = SchemaList { items: FILES.iter().map(item).collect() };
    let bytes = serde_json::to_vec(&list).map_err(ApiError::internal)?;
    Ok(answer(&headers, "application/json", bytes, Lifetime::ThisVersion))
}

/// Read the schema of an action's entries
///
/// A newer version of the gateway may add fields, never take any away: keep it no longer than the answer says.
#[utoipa::path(
    get, path = "/v1/ledger/schemas/{action}", tag = "ledger",
    params(("action" = String, Path, description = "The action, such as `round.opened`")),
    responses(
        (status = 200, description = "A JSON Schema (2020-12)", body = serde_json::Value, content_type = "application/schema+json"),
        (status = 304, description = "The schema is the one you named in `If-None-Match`")
    )
)]
async fn read_schema(
    State(app): State<App>,
    principal: Principal,
    Path(action): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    may_read(&app, &principal)?;
    let bytes = FILES.get(action.as_str()).cloned();
    let bytes = bytes.ok_or_else(|| ApiError::not_found(format!("schema of `{action}`")))?;
    Ok(answer(&headers, "application/schema+json", bytes, Lifetime::ThisVersion))
}
