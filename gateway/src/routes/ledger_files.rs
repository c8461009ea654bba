//! The ledger's published files (C2SP tlog-tiles), for mirrors and auditors.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use konclave_ledger::Hash;
use konclave_ledger::tiles::{TileKind, TilePath};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::blobs::OctetStream;
use super::caching::{Lifetime, answer};
use super::ledger::{look, may_read, may_read_all};
use crate::auth::Principal;
use crate::core::App;
use crate::error::ApiError;
use crate::extract::Path;

/// The media type of signed notes (C2SP tlog-tiles).
const NOTE: &str = "text/plain; charset=utf-8";

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(checkpoint_file))
        .routes(routes!(witnessed_file))
        .routes(routes!(tile_file))
        .routes(routes!(statement_file))
}

/// The checkpoint as a file
///
/// A C2SP tlog-checkpoint with the cosignatures gathered so far. The tiles below it never change, this one does.
#[utoipa::path(
    get, path = "/checkpoint", tag = "ledger",
    responses(
        (status = 200, description = "The signed note", body = String, content_type = "text/plain"),
        (status = 304, description = "The note is the one you named in `If-None-Match`")
    )
)]
async fn checkpoint_file(
    State(app): State<App>,
    principal: Principal,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    may_read(&app, &principal)?;
    file(&app, &headers, "checkpoint", NOTE, Lifetime::Moment).await
}

/// The witnessed checkpoint as a file
///
/// The newest checkpoint that as many witnesses cosigned as the consortium asks for, with their cosignatures; 404 if there
/// was none yet.
#[utoipa::path(
    get, path = "/witnessed", tag = "ledger",
    responses(
        (status = 200, description = "The signed note", body = String, content_type = "text/plain"),
        (status = 304, description = "The note is the one you named in `If-None-Match`")
    )
)]
async fn witnessed_file(
    State(app): State<App>,
    principal: Principal,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    may_read(&app, &principal)?;
    file(&app, &headers, "witnessed", NOTE, Lifetime::Moment).await
}

/// A tile of hashes or entries
///
/// `/tile/<L>/<N>` and `/tile/entries/<N>`, with `.p/<W>` for a partial one (C2SP tlog-tiles): the index has slashes,
/// such as `x001/234.p/5`, which are not percent-encoded. Every member reads the tiles of hashes; those of entries are
/// for who may export the ledger: auditors, the council, the operator.
#[utoipa::path(
    get, path = "/tile/{level}/{*index}", tag = "ledger",
    params(
        ("level" = String, Path, description = "The tile's level, `0` to `5`, or `entries`"),
        ("index" = String, Path, description = "The tile's index in groups of three digits with slashes between them")
    ),
    responses(
        (status = 200, description = "The tile", body = OctetStream, content_type = "application/octet-stream"),
        (status = 304, description = "You have it: you named it in `If-None-Match`")
    )
)]
async fn tile_file(
    State(app): State<App>,
    principal: Principal,
    Path((level, index)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let path = format!("tile/{level}/{index}");
    match path.parse::<TilePath>().map(|tile| tile.kind()) {
        Ok(TileKind::Entries) => may_read_all(&app, &principal)?,
        Ok(TileKind::Hashes { .. }) | Err(_) => may_read(&app, &principal)?,
    }
    // A partial tile is named by its width, and what stands in it stays the beginning of the wider ones.
    file(&app, &headers, &path, "application/octet-stream", Lifetime::ForEver).await
}

/// A signed statement
///
/// For who may export the ledger: auditors, the council, the operator.
#[utoipa::path(
    get, path = "/statements/{file}", tag = "ledger",
    params(("file" = String, Path, description = "The statement's digest with `.json`")),
    responses(
        (status = 200, description = "The DSSE envelope", body = konclave_ledger::dsse::Envelope),
        (status = 304, description = "You have it: you named it in `If-None-Match`")
    )
)]
async fn statement_file(
    State(app): State<App>,
    principal: Principal,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    may_read_all(&app, &principal)?;
    let missing = || ApiError::not_found(format!("statement {file}"));
    let digest: Hash = file.strip_suffix(".json").and_then(|name| name.parse().ok()).ok_or_else(missing)?;
    let found = look(&app, move |ledger| ledger.get_statement(&digest)).await?;
    let envelope = found.ok_or_else(missing)?;
    Ok(answer(&headers, "application/json", envelope.to_bytes(), Lifetime::ForEver))
}

async fn file(
    app: &App,
    request: &HeaderMap,
    path: &str,
    media: &'static str,
    lifetime: Lifetime,
) -> Result<Response, ApiError> {
    let wanted = path.to_owned();
    let found = look(app, move |ledger| ledger.static_file(&wanted)).await?;
    let bytes = found.ok_or_else(|| ApiError::not_found(format!("file {path}")))?;
    Ok(answer(request, media, bytes, lifetime))
}
