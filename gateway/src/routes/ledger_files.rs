//! The ledger's published files (C2SP tlog-tiles), for mirrors and auditors.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use konclave_ledger::Hash;
use konclave_ledger::tiles::{TileKind, TilePath};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ledger::{look, may_read, may_read_all};
use crate::auth::Principal;
use crate::core::App;
use crate::error::ApiError;
use crate::extract::Path;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    // A path with slashes has no place in an OpenAPI document; the tiles are documented at the checkpoint.
    OpenApiRouter::new()
        .routes(routes!(checkpoint_file))
        .routes(routes!(statement_file))
        .route("/tile/{*path}", get(tile_file))
}

/// The checkpoint as a file
///
/// A C2SP tlog-checkpoint with the cosignatures gathered so far. The tiles below it are at `/tile/<L>/<N>` and
/// `/tile/entries/<N>`, with `.p/<W>` for a partial one (C2SP tlog-tiles). Every member reads the tiles of hashes;
/// those of entries are for who may export the ledger: auditors, the council, the operator.
#[utoipa::path(
    get, path = "/checkpoint", tag = "ledger",
    responses((status = 200, description = "The signed note", body = String, content_type = "text/plain"))
)]
async fn checkpoint_file(State(app): State<App>, principal: Principal) -> Result<Response, ApiError> {
    may_read(&app, &principal)?;
    file(&app, "checkpoint".to_owned(), "text/plain; charset=utf-8").await
}

/// A tile: `tile/<L>/<N>` or `tile/entries/<N>`, with `.p/<W>` for a partial one.
async fn tile_file(
    State(app): State<App>,
    principal: Principal,
    Path(path): Path<String>,
) -> Result<Response, ApiError> {
    let path = format!("tile/{path}");
    match path.parse::<TilePath>().map(|tile| tile.kind()) {
        Ok(TileKind::Entries) => may_read_all(&app, &principal)?,
        Ok(TileKind::Hashes { .. }) | Err(_) => may_read(&app, &principal)?,
    }
    file(&app, path, "application/octet-stream").await
}

/// A signed statement
///
/// For who may export the ledger: auditors, the council, the operator.
#[utoipa::path(
    get, path = "/statements/{file}", tag = "ledger",
    params(("file" = String, Path, description = "The statement's digest with `.json`")),
    responses((status = 200, description = "The DSSE envelope", body = konclave_ledger::dsse::Envelope))
)]
async fn statement_file(
    State(app): State<App>,
    principal: Principal,
    Path(file): Path<String>,
) -> Result<Response, ApiError> {
    may_read_all(&app, &principal)?;
    let missing = || ApiError::not_found(format!("statement {file}"));
    let digest: Hash = file.strip_suffix(".json").and_then(|name| name.parse().ok()).ok_or_else(missing)?;
    let found = look(&app, move |ledger| ledger.get_statement(&digest)).await?;
    let envelope = found.ok_or_else(missing)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], envelope.to_bytes()).into_response())
}

async fn file(app: &App, path: String, media: &'static str) -> Result<Response, ApiError> {
    let wanted = path.clone();
    let found = look(app, move |ledger| ledger.static_file(&wanted)).await?;
    let bytes = found.ok_or_else(|| ApiError::not_found(format!("file {path}")))?;
    Ok(([(header::CONTENT_TYPE, media)], bytes).into_response())
}
