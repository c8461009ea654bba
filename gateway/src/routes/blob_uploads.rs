//! Resumable uploads of blobs (draft-ietf-httpbis-resumable-upload): announce, append at an offset, ask how far it is.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use konclave_openapi::page::{Page, PageQuery};
use konclave_openapi::uploads::{NewUpload, PARTIAL_UPLOAD, Upload as View, UploadId};
use konclave_policies::authorization::Action;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::blobs::OctetStream;
use super::upload_headers::{
    UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_LIMIT, UPLOAD_OFFSET, boolean, complete, offset,
};
use super::{paging, views};
use crate::auth::{Principal, authorize};
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::idempotency::Command;
use crate::uploads::{Announcement, Append, KEPT_SECONDS, Upload};

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_blob_uploads, announce_upload)).routes(routes!(
        read_blob_upload,
        head_blob_upload,
        append_to_upload,
        delete_upload
    ))
}

/// Announce an upload
///
/// For blobs that are too large for one request, such as the parameters of a large model. Append the bytes then with
/// PATCH, in one request or many; after a break go on where HEAD says. `PUT /v1/blobs/{digest}` does for small ones.
///
/// Repeat it with the same `Idempotency-Key` to find the upload again after a crash: the answer says how far it is.
/// An organisation has at most 16 open uploads. One that gets no bytes for a week is forgotten.
#[utoipa::path(
    post, path = "/v1/uploads", tag = "uploads", request_body = NewUpload,
    responses((status = 201, description = "The upload is open", body = View))
)]
async fn announce_upload(
    State(app): State<App>,
    command: Command<NewUpload>,
) -> Result<(StatusCode, Answer), ApiError> {
    let Command { principal, caller, body } = command;
    let resource = Action::UploadBlob.on(body.digest.to_string(), Some(&principal.organisation));
    authorize(app.authorizer(), &principal, Action::UploadBlob, &resource)?;
    let limit = app.config().settings.limits.blob_bytes;
    if body.bytes == 0 {
        return Err(ApiError::invalid_field("/bytes", "must be at least 1"));
    }
    if body.bytes > limit {
        return Err(ApiError::too_large(limit));
    }
    let announcement = Announcement {
        organisation: principal.organisation,
        digest: body.digest,
        bytes: body.bytes,
        request: caller.idempotency,
    };
    let (uploads, now) = (app.uploads().clone(), app.clock().now());
    let upload = tokio::task::spawn_blocking(move || uploads.announce(announcement, now))
        .await
        .map_err(ApiError::internal)??;
    Ok((StatusCode::CREATED, Answer { location: true, ..answer(&app, &upload) }))
}

/// List the uploads of your organisation
#[utoipa::path(
    get, path = "/v1/uploads", tag = "uploads", params(PageQuery),
    responses((status = 200, description = "Open ones and those that were completed lately, oldest first", body = Page<View>))
)]
async fn list_blob_uploads(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<View>>, ApiError> {
    let resource = Action::UploadBlob.on("list", Some(&principal.organisation));
    authorize(app.authorizer(), &principal, Action::UploadBlob, &resource)?;
    let uploads = app.uploads().of(&principal.organisation);
    Ok(Json(paging::page(uploads.iter().map(view), &query)?))
}

/// Read how far an upload is
#[utoipa::path(
    get, path = "/v1/uploads/{upload}", tag = "uploads",
    params(("upload" = UploadId, Path, description = "The upload's id")),
    responses((status = 200, description = "The upload", body = View))
)]
async fn read_blob_upload(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<UploadId>,
) -> Result<Answer, ApiError> {
    Ok(answer(&app, &own(&app, &principal, &id)?))
}

/// Read where an upload goes on
///
/// The same as GET, without a body: `Upload-Offset` is the next byte wanted. Everything before it is durable.
#[utoipa::path(
    head, path = "/v1/uploads/{upload}", tag = "uploads",
    params(("upload" = UploadId, Path, description = "The upload's id")),
    responses((status = 204, description = "Where it goes on"))
)]
async fn head_blob_upload(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<UploadId>,
) -> Result<Response, ApiError> {
    let answer = answer(&app, &own(&app, &principal, &id)?);
    Ok((StatusCode::NO_CONTENT, answer.headers()).into_response())
}

/// Append bytes to an upload
///
/// `Upload-Offset` must be where the upload stands; `Upload-Complete: ?1` says that these bytes end it. What came before
/// a break is kept. The answer comes once the bytes are durable; of the last ones, once all have the announced digest
/// and are a blob. Then the upload is complete, and the same request again gives the same answer. With another digest
/// the upload begins anew. A newer request ends one that hangs.
#[utoipa::path(
    patch, path = "/v1/uploads/{upload}", tag = "uploads",
    params(
        ("upload" = UploadId, Path, description = "The upload's id"),
        ("Upload-Offset" = u64, Header, description = "Where the bytes begin"),
        ("Upload-Complete" = String, Header, description = "`?1` if the bytes end the upload, `?0` if more will come")
    ),
    request_body(content = OctetStream, content_type = "application/partial-upload", description = "The bytes from the offset on"),
    responses((status = 200, description = "The bytes are durable", body = View))
)]
async fn append_to_upload(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<UploadId>,
    request: Request,
) -> Result<Answer, ApiError> {
    let upload = own(&app, &principal, &id)?;
    let headers = request.headers();
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !media.is_some_and(|media| media.eq_ignore_ascii_case(PARTIAL_UPLOAD)) {
        return Err(ApiError::UnsupportedMediaType { expected: PARTIAL_UPLOAD });
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let append = Append {
        offset: offset(headers)?,
        complete: complete(headers)?,
        length: length.and_then(|text| text.parse().ok()),
    };
    let end = append.offset.saturating_add(append.length.unwrap_or(0));
    if append.length.is_some() && end > upload.about().bytes {
        return Err(ApiError::too_large(upload.about().bytes));
    }
    let stream = request.into_body().into_data_stream();
    upload.append(append, stream, app.clock().clone()).await?;
    Ok(answer(&app, &upload))
}

/// Delete an upload
///
/// Its bytes are removed; an append under way ends. A complete upload is forgotten, its blob stays.
#[utoipa::path(
    delete, path = "/v1/uploads/{upload}", tag = "uploads",
    params(("upload" = UploadId, Path, description = "The upload's id")),
    responses((status = 204, description = "It is gone"))
)]
async fn delete_upload(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<UploadId>,
) -> Result<StatusCode, ApiError> {
    let upload = own(&app, &principal, &id)?;
    app.uploads().remove(&upload).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The upload, if the principal may upload and it is its organisation's. Another organisation's is answered like one
/// that is not there.
fn own(app: &App, principal: &Principal, id: &UploadId) -> Result<Upload, ApiError> {
    let resource = Action::UploadBlob.on(id.to_string(), Some(&principal.organisation));
    authorize(app.authorizer(), principal, Action::UploadBlob, &resource)?;
    let upload = app.uploads().find(id, &principal.organisation);
    upload.ok_or_else(|| ApiError::not_found(format!("upload {id}")))
}

/// An upload with the header fields that say how far it is.
struct Answer {
    view: View,
    max_size: u64,
    location: bool,
}

fn answer(app: &App, upload: &Upload) -> Answer {
    Answer { view: view(upload), max_size: app.config().settings.limits.blob_bytes, location: false }
}

fn view(upload: &Upload) -> View {
    let (about, progress) = (upload.about(), upload.progress());
    View {
        upload: about.upload.clone(),
        digest: about.digest,
        bytes: about.bytes,
        offset: progress.offset,
        complete: progress.complete,
        expires: views::rfc3339(upload.expires()),
    }
}

impl Answer {
    fn headers(&self) -> HeaderMap {
        let Self { view, max_size, location } = self;
        let limit = format!("max-size={max_size}, max-age={KEPT_SECONDS}");
        let mut headers = HeaderMap::new();
        headers.insert(UPLOAD_OFFSET, HeaderValue::from(view.offset));
        headers.insert(UPLOAD_COMPLETE, boolean(view.complete));
        headers.insert(UPLOAD_LENGTH, HeaderValue::from(view.bytes));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let place = location.then(|| format!("/v1/uploads/{}", view.upload));
        for (name, text) in [(UPLOAD_LIMIT, Some(limit)), (header::LOCATION, place)] {
            // Digits, hexadecimal and punctuation are always a header's value.
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
                headers.insert(name, value);
            }
        }
        headers
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let headers = self.headers();
        (headers, Json(self.view)).into_response()
    }
}
