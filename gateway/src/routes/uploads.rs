//! Masked updates: streamed to disk, resumable at the offset that is durable.

use std::sync::PoisonError;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use futures_util::StreamExt;
use konclave_crypto::{JobId, RoundNumber, SiteId};
use konclave_openapi::rounds::{UploadOffset, UploadReceipt};
use serde::Deserialize;
use tokio::sync::OwnedMutexGuard;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::blobs::OctetStream;
use super::seats::seat;
use crate::auth::Principal;
use crate::core::{App, CommandError};
use crate::error::ApiError;
use crate::extract::{Json, Path, Query, body_error};
use crate::rounds_store::{BodyError, BodyFile, RoundKey};

/// Bytes that are gathered before they are written.
const PIECE: usize = 1 << 20;
/// Bytes after which what was written is made durable, so that a broken upload does not begin anew.
const SYNC_EVERY: u64 = 64 << 20;
/// How long an upload waits for an earlier one of the same site that was cut off.
const TAKE_OVER: Duration = Duration::from_secs(5);

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(read_upload, upload))
}

/// Where an upload goes on.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UploadQuery {
    /// The offset of the body's first byte; 0 without it. GET the same path to learn the one that is wanted.
    #[serde(default)]
    pub offset: u64,
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Offset { .. } => Self::conflict(error.to_string()),
            BodyError::TooLong { expected } => Self::too_large(expected),
            BodyError::Root { .. } => Self::digest_mismatch(error.to_string()),
            BodyError::Io(error) => error.into(),
        }
    }
}

/// Upload the site's masked update
///
/// After its manifest. The body continues at `offset`; what came of a broken upload stays. The upload counts once all
/// bytes are durable and have the Merkle root of the manifest.
#[utoipa::path(
    put, path = "/v1/jobs/{job}/rounds/{round}/uploads/{site}", tag = "rounds",
    params(("job" = JobId, Path, description = "The job's id"), ("round" = RoundNumber, Path, description = "The round"),
           ("site" = SiteId, Path, description = "The sending site"), UploadQuery),
    request_body(content = OctetStream, content_type = "application/octet-stream", description = "The bytes from the offset on"),
    responses((status = 200, description = "The bytes are durable", body = UploadReceipt))
)]
async fn upload(
    State(app): State<App>,
    principal: Principal,
    Path((job, round, site)): Path<(JobId, RoundNumber, SiteId)>,
    Query(query): Query<UploadQuery>,
    request: Request,
) -> Result<Json<UploadReceipt>, ApiError> {
    seat(&app, &principal, &job, &site)?;
    let key = RoundKey { job, round };
    let mut body = take(&app, &key, &site).await?;
    if body.is_complete() && query.offset <= body.offset() {
        // A repeated upload whose answer was lost: its bytes are here. They may not count yet, if the connection broke
        // while the last of them were made durable.
        return Ok(Json(count(&app, &key, &site, &body).await?));
    }
    body.begin(query.offset)?;
    let (body, broken) = receive(&app, &key, body, request.into_body()).await?;
    let receipt = count(&app, &key, &site, &body).await?;
    match broken {
        Some(error) => Err(error),
        None => Ok(Json(receipt)),
    }
}

/// Lets a complete body count, once and for all; says what is durable.
async fn count(app: &App, key: &RoundKey, site: &SiteId, body: &BodyFile) -> Result<UploadReceipt, ApiError> {
    let receipt = UploadReceipt { bytes: body.offset(), body_root: body.root() };
    if body.is_complete() {
        let (sender, root, bytes) = (site.clone(), receipt.body_root, receipt.bytes);
        app.with_round(key, site, move |live, _| live.body_complete(&sender, root, bytes)).await?;
        app.notify();
    }
    Ok(receipt)
}

/// Read how far the upload has come
#[utoipa::path(
    get, path = "/v1/jobs/{job}/rounds/{round}/uploads/{site}", tag = "rounds",
    params(("job" = JobId, Path, description = "The job's id"), ("round" = RoundNumber, Path, description = "The round"),
           ("site" = SiteId, Path, description = "The sending site")),
    responses((status = 200, description = "The next byte wanted", body = UploadOffset))
)]
async fn read_upload(
    State(app): State<App>,
    principal: Principal,
    Path((job, round, site)): Path<(JobId, RoundNumber, SiteId)>,
) -> Result<Json<UploadOffset>, ApiError> {
    seat(&app, &principal, &job, &site)?;
    let body = take(&app, &RoundKey { job, round }, &site).await?;
    Ok(Json(UploadOffset { offset: body.offset(), bytes: body.expected_bytes() }))
}

/// Holds the site's body; waits a little for an upload that was cut off and has not noticed.
async fn take(app: &App, key: &RoundKey, site: &SiteId) -> Result<OwnedMutexGuard<BodyFile>, ApiError> {
    let sender = site.clone();
    let shared = app.with_round(key, site, move |live, _| live.body(&sender)).await?;
    tokio::time::timeout(TAKE_OVER, shared.lock_owned())
        .await
        .map_err(|_| ApiError::conflict(format!("another upload of {site} in {key} is under way")))
}

/// Writes the stream to the body. What came before it broke off is made durable too; how it broke is the second part.
async fn receive(
    app: &App,
    key: &RoundKey,
    mut body: OwnedMutexGuard<BodyFile>,
    stream: Body,
) -> Result<(OwnedMutexGuard<BodyFile>, Option<ApiError>), ApiError> {
    let mut stream = stream.into_data_stream();
    let (mut piece, mut unsynced, mut broken) = (Vec::with_capacity(PIECE), 0_u64, None);
    loop {
        let next = stream.next().await;
        match &next {
            Some(Ok(chunk)) => piece.extend_from_slice(chunk),
            Some(Err(error)) => broken = Some(body_error(error, 0)),
            None => {}
        }
        let done = broken.is_some() || next.is_none();
        if piece.len() >= PIECE || done {
            let written = piece.len() as u64;
            unsynced = unsynced.saturating_add(written);
            let sync = done || unsynced >= SYNC_EVERY;
            if sync {
                unsynced = 0;
            }
            body = write(body, std::mem::replace(&mut piece, Vec::with_capacity(PIECE)), sync).await?;
            if written > 0 {
                note_bytes(app, key);
            }
        }
        if done {
            return Ok((body, broken));
        }
    }
}

async fn write(
    mut body: OwnedMutexGuard<BodyFile>,
    piece: Vec<u8>,
    sync: bool,
) -> Result<OwnedMutexGuard<BodyFile>, ApiError> {
    let written = tokio::task::spawn_blocking(move || {
        body.append(&piece)?;
        if sync {
            body.sync()?;
        }
        Ok::<_, BodyError>(body)
    });
    Ok(written.await.map_err(|_| CommandError::CutOff)??)
}

/// Puts off the upload deadline while bytes flow.
fn note_bytes(app: &App, key: &RoundKey) {
    if let Some(live) = app.live().find(key) {
        live.lock().unwrap_or_else(PoisonError::into_inner).bytes_came(app.clock().now());
    }
}
