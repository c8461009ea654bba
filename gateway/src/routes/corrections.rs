//! Corrections of entries.

use axum::extract::State;
use konclave_openapi::corrections::{Correction, CorrectionQuery, NewCorrection};
use konclave_openapi::page::{Page, PageQuery};
use konclave_policies::authorization::Action;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::Created;
use super::ledger::{look, may_read};
use super::ledger_entries::{cursor, readable};
use crate::auth::{Principal, authorize};
use crate::core::{App, EntryReader, subject};
use crate::error::ApiError;
use crate::extract::{Json, Query, page_limit};
use crate::idempotency::Command;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_corrections, correct_entry))
}

/// Correct an entry
///
/// Says what a field of an entry should say, and why; the entry itself stays as it is, and shows from now on which
/// entries correct it. What the field says is read from the ledger. A correction can be corrected in its turn. Who did
/// what, when, under which rules and at which place of the ledger is never corrected. Only the operator and the council
/// correct.
#[utoipa::path(
    post, path = "/v1/ledger/corrections", tag = "ledger", request_body = NewCorrection,
    responses((status = 201, description = "The correction is recorded", body = Correction))
)]
async fn correct_entry(
    State(app): State<App>,
    command: Command<NewCorrection>,
) -> Result<Created<Correction>, ApiError> {
    let Command { principal, caller, body } = command;
    let resource = Action::CorrectEntry.on(format!("entry {}", body.entry), None);
    authorize(app.authorizer(), &principal, Action::CorrectEntry, &resource)?;
    readable(&app, &principal, body.entry).await?;
    let recorded = app.correct_entry(&caller, body).await?;
    let body = app.corrections(vec![recorded]).await?.into_iter().next();
    let body = body.ok_or_else(|| ApiError::internal("the recorded correction is not there"))?;
    Ok(Created { location: format!("/v1/ledger/entries/{recorded}"), body })
}

/// List corrections
///
/// Of one entry, or of all that you may read. Those of entries of others are left out, so that a page can hold fewer than
/// asked for, even none, and still have a `next_cursor`.
#[utoipa::path(
    get, path = "/v1/ledger/corrections", tag = "ledger", params(CorrectionQuery),
    responses((status = 200, description = "Corrections, oldest first", body = Page<Correction>))
)]
async fn list_corrections(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<CorrectionQuery>,
) -> Result<Json<Page<Correction>>, ApiError> {
    may_read(&app, &principal)?;
    let limit = page_limit(&PageQuery { cursor: None, limit: query.limit })?;
    let after = cursor(query.cursor.as_deref())?;
    if let Some(entry) = query.entry {
        readable(&app, &principal, entry).await?;
    }
    let mut indexes: Vec<u64> = {
        let state = app.state();
        match query.entry {
            Some(entry) => state.corrections.get(&entry).cloned().unwrap_or_default(),
            None => state.corrections.values().flatten().copied().collect(),
        }
    };
    indexes.sort_unstable();
    indexes.retain(|index| after.is_none_or(|after| *index > after));
    // Before the page is cut off: a cursor tells of nothing that the reader may not read.
    let mut indexes = keep_readable(&app, &principal, indexes).await?;
    let more = indexes.len() > limit;
    indexes.truncate(limit);
    let next_cursor = indexes.last().filter(|_| more).map(ToString::to_string);
    Ok(Json(Page { items: app.corrections(indexes).await?, next_cursor }))
}

/// Those of some corrections that the principal may read.
async fn keep_readable(app: &App, principal: &Principal, indexes: Vec<u64>) -> Result<Vec<u64>, ApiError> {
    let reader = EntryReader::new(app.authorizer(), principal);
    if reader.reads_all() {
        return Ok(indexes);
    }
    let read = look(app, move |ledger| {
        let stored = ledger.stored_entries(&indexes)?;
        let subjects =
            indexes.iter().zip(stored).map(|(index, stored)| Ok((*index, subject(ledger, &stored)?)));
        subjects.collect::<Result<Vec<_>, _>>()
    });
    let subjects: Vec<(u64, Vec<u8>)> = read.await?;
    let state = app.state();
    let readable = subjects.into_iter().filter(|(_, subject)| reader.reads(subject, &state));
    Ok(readable.map(|(index, _)| index).collect())
}
