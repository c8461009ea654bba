//! Exports of the ledger: as files, and as a stream of entries.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use konclave_openapi::ledger::{ExportEnd, ExportHead, ExportQuery, LedgerExport};
use serde::Serialize;
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::Created;
use super::ledger::may_read_all;
use super::ledger_entries::filter;
use crate::auth::Principal;
use crate::core::{App, EntryExport, ExportPlace, IdempotencyKey};
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
/// entry of its own, after the exported ones. The same request again under the same key gets the same checkpoint and list.
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
/// Every export becomes an entry of its own, before the first byte is sent. A client can have one under way, and all
/// together a few; one too many is answered 429. It is broken off if its reader takes no part of it for a minute (as the
/// gateway is configured: `timeouts.answer_seconds`).
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
    let (export, place) = app.export_entries(&caller, &principal.id, wanted, text).await?;
    let limit = app.config().settings.timeouts.answer();
    let headers =
        [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "private, no-store")];
    Ok((headers, lines(export, query, watched(place, limit))).into_response())
}

/// Where an export is.
enum Next {
    Head(ExportQuery),
    Entries,
    Nothing,
}

/// The export's lines. The next entries are read when the client has taken the ones before.
fn lines(export: EntryExport, query: ExportQuery, reader: Reader) -> Body {
    let start = (export, Next::Head(query), 0_u64, reader);
    Body::from_stream(stream::try_unfold(start, |(mut export, next, count, reader)| async move {
        reader.takes()?;
        match next {
            Next::Head(filter) => {
                let head = ExportHead {
                    origin: export.origin.clone(),
                    checkpoint: export.checkpoint.clone(),
                    filter,
                };
                Ok::<_, io::Error>(Some((json_lines(&[head])?, (export, Next::Entries, count, reader))))
            }
            Next::Entries => {
                let entries = export.next().await.map_err(broken)?;
                let count = count.saturating_add(entries.len() as u64);
                if entries.is_empty() {
                    let end = ExportEnd { end: count };
                    return Ok(Some((json_lines(&[end])?, (export, Next::Nothing, count, reader))));
                }
                Ok(Some((json_lines(&entries)?, (export, Next::Entries, count, reader))))
            }
            Next::Nothing => Ok(None),
        }
    }))
}

/// The reader of an export: asks for a part when it has taken those before.
struct Reader {
    /// Who has the export's place: the reader, until it is too slow.
    place: Arc<Mutex<Option<ExportPlace>>>,
    asks: watch::Sender<()>,
}

/// The reader of an export that keeps its place as long as it takes a part within the limit, and no longer than the
/// export. Nobody asks a connection on which nothing moves for more, so that this needs a task of its own.
fn watched(place: ExportPlace, limit: Duration) -> Reader {
    let place = Arc::new(Mutex::new(Some(place)));
    let (asks, mut asked) = watch::channel(());
    let kept = Arc::clone(&place);
    tokio::spawn(async move {
        loop {
            match tokio::time::timeout(limit, asked.changed()).await {
                Ok(Ok(())) => {}
                // The export is over, or its reader went away: the place went with it.
                Ok(Err(_)) => return,
                Err(_) => break,
            }
        }
        if kept.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!(seconds = limit.as_secs(), "an export is broken off: its reader takes nothing");
        }
    });
    Reader { place, asks }
}

impl Reader {
    /// It asks for the next part.
    fn takes(&self) -> io::Result<()> {
        self.asks.send_replace(());
        let keeps = self.place.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if keeps {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the reader took nothing for too long"))
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
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
