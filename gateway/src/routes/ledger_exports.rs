//! Exports of the ledger: as files, and as a stream of entries.

use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use konclave_openapi::ledger::{ExportEnd, ExportHead, ExportQuery, LedgerExport};
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::Created;
use super::ledger::may_read_all;
use super::ledger_entries::filter;
use crate::auth::Principal;
use crate::core::{App, EntryExport, IdempotencyKey};
use crate::error::ApiError;
use crate::extract::Query;
use crate::idempotency;
use crate::request::RequestId;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(export)).routes(routes!(export_entries))
}

/// Export the ledger
///
/// Fixes a checkpoint and lists the files below `/` that `konclave-audit verify` needs. That it was exported becomes an
/// entry of its own, after the exported ones.
#[utoipa::path(
    post, path = "/v1/ledger/exports", tag = "ledger",
    responses((status = 201, description = "What to fetch", body = LedgerExport))
)]
async fn export(
    State(app): State<App>,
    principal: Principal,
    id: RequestId,
    headers: HeaderMap,
) -> Result<Created<LedgerExport>, ApiError> {
    may_read_all(&app, &principal)?;
    let mut caller = idempotency::caller(&principal, &id);
    let key = idempotency::idempotency_key(&headers)?;
    caller.idempotency =
        key.map(|key| IdempotencyKey::new(&principal.id, "POST /v1/ledger/exports", key, b""));
    let body = app.export_ledger(&caller, &principal.id).await?;
    Ok(Created { location: "/checkpoint".to_owned(), body })
}

/// Export entries with proofs
///
/// A stream of JSON lines. The first is the checkpoint that everything leads to with what was asked for, then one line
/// for each entry with its audit path, last `{"end": N}` with the number of entries: without it the export was cut short.
/// The entries are those below the checkpoint, however long it takes to read them.
/// Every export becomes an entry of its own, before the first byte is sent. A few can be under way at once; one too many
/// is answered 429.
#[utoipa::path(
    get, path = "/v1/ledger/export.ndjson", tag = "ledger", params(ExportQuery),
    responses((status = 200, description = "Lines: `ExportHead`, any number of `ExportedEntry`, `ExportEnd`", body = String,
        content_type = "application/x-ndjson"))
)]
async fn export_entries(
    State(app): State<App>,
    principal: Principal,
    id: RequestId,
    Query(query): Query<ExportQuery>,
) -> Result<Response, ApiError> {
    may_read_all(&app, &principal)?;
    let text = serde_urlencoded::to_string(&query).map_err(ApiError::internal)?;
    let text = Some(text).filter(|text| !text.is_empty());
    let wanted = filter(query.clone())?;
    let caller = idempotency::caller(&principal, &id);
    let export = app.export_entries(&caller, &principal.id, wanted, text).await?;
    let headers =
        [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "private, no-store")];
    Ok((headers, lines(export, query)).into_response())
}

/// Where an export is.
enum Next {
    Head(ExportQuery),
    Entries,
    Nothing,
}

/// The export's lines. The next entries are read when the client has taken the ones before.
fn lines(export: EntryExport, query: ExportQuery) -> Body {
    let start = (export, Next::Head(query), 0_u64);
    Body::from_stream(stream::try_unfold(start, |(mut export, next, count)| async move {
        match next {
            Next::Head(filter) => {
                let head = ExportHead {
                    origin: export.origin.clone(),
                    checkpoint: export.checkpoint.clone(),
                    filter,
                };
                Ok::<_, io::Error>(Some((json_lines(&[head])?, (export, Next::Entries, count))))
            }
            Next::Entries => {
                let entries = export.next().await.map_err(broken)?;
                let count = count.saturating_add(entries.len() as u64);
                if entries.is_empty() {
                    let end = ExportEnd { end: count };
                    return Ok(Some((json_lines(&[end])?, (export, Next::Nothing, count))));
                }
                Ok(Some((json_lines(&entries)?, (export, Next::Entries, count))))
            }
            Next::Nothing => Ok(None),
        }
    }))
}

fn json_lines<T: Serialize>(items: &[T]) -> io::Result<Bytes> {
    let mut lines = Vec::new();
    for item in items {
        serde_json::to_writer(&mut lines, item)?;
        lines.push(b'\n');
    }
    Ok(lines.into())
}

/// The status is long sent: all that is left is to break off.
fn broken(error: ApiError) -> io::Error {
    tracing::error!(error = %crate::error::chain(&error), "an export breaks off");
    io::Error::other(error)
}
