//! Blobs: models, parameter vectors and opened sums, by the SHA-256 of their bytes.

use std::io::SeekFrom;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use konclave_crypto::Digest;
use konclave_openapi::models::Blob;
use konclave_policies::authorization::Action;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Principal, authorize};
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Json, Path};

/// Bytes read from disk at once.
const CHUNK: usize = 64 * 1024;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(read_blob, put_blob))
}

/// A blob's bytes.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
pub struct OctetStream(#[allow(dead_code, reason = "only its schema is used")] Vec<u8>);

/// Upload a blob
///
/// The bytes are streamed to disk and kept only if they have the digest in the path. Sending the same blob again
/// changes nothing.
#[utoipa::path(
    put, path = "/v1/blobs/{digest}", tag = "blobs",
    params(("digest" = Digest, Path, description = "SHA-256 of the bytes")),
    request_body(content = OctetStream, content_type = "application/octet-stream", description = "The bytes"),
    responses((status = 200, description = "The blob is durable", body = Blob))
)]
async fn put_blob(
    State(app): State<App>,
    principal: Principal,
    Path(digest): Path<Digest>,
    request: Request,
) -> Result<Json<Blob>, ApiError> {
    let resource = Action::UploadBlob.on(digest.to_string(), Some(&principal.organisation));
    authorize(app.authorizer(), &principal, Action::UploadBlob, &resource)?;
    let limit = app.config().settings.limits.blob_bytes;
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse::<u64>().ok()).is_some_and(|bytes| bytes > limit) {
        return Err(ApiError::too_large(limit));
    }
    let blob = app.blobs().put_stream(&digest, limit, request.into_body().into_data_stream()).await?;
    let (blobs, organisation) = (app.blobs().clone(), principal.organisation);
    tokio::task::spawn_blocking(move || blobs.add_owner(&digest, &organisation))
        .await
        .map_err(ApiError::internal)??;
    Ok(Json(blob))
}

/// Download a blob
///
/// A developer's organisation reads its own blobs, a site those that a job names which it is asked to take part in or
/// takes part in, an evaluator all. One byte range (`Range: bytes=FROM-TO`) is answered with 206, so that a broken
/// download can be resumed.
#[utoipa::path(
    get, path = "/v1/blobs/{digest}", tag = "blobs",
    params(
        ("digest" = Digest, Path, description = "SHA-256 of the bytes"),
        ("range" = Option<String>, Header, description = "One byte range, such as `bytes=1048576-`")
    ),
    responses(
        (status = 200, description = "The bytes", body = OctetStream, content_type = "application/octet-stream"),
        (status = 206, description = "The bytes of the range", body = OctetStream,
         content_type = "application/octet-stream")
    )
)]
async fn read_blob(
    State(app): State<App>,
    method: Method,
    principal: Principal,
    Path(digest): Path<Digest>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let owners = app.blobs().owners(&digest)?;
    let owner = owners.get(&principal.organisation).or_else(|| owners.first()).map(String::as_str);
    let resource = Action::ReadBlob.on(digest.to_string(), owner);
    authorize(app.authorizer(), &principal, Action::ReadBlob, &resource)?;
    app.check_blob_audience(&principal, &digest).await?;
    let (mut file, bytes) = app.blobs().open(&digest).await?;
    let range = match headers.get(header::RANGE) {
        // HEAD says what the whole blob is (RFC 9110, section 14.2).
        Some(value) if method != Method::HEAD => parse_range(value, bytes)?,
        Some(_) | None => None,
    };
    let (from, length) = range.unwrap_or((0, bytes));
    file.seek(SeekFrom::Start(from)).await?;
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::ETAG, quoted(&format!("\"{digest}\""))?);
    if range.is_some() {
        let last = from.saturating_add(length).saturating_sub(1);
        headers.insert(header::CONTENT_RANGE, quoted(&format!("bytes {from}-{last}/{bytes}"))?);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

fn quoted(text: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(text).map_err(ApiError::internal)
}

/// Start and length of a single byte range (RFC 9110, section 14). Several ranges and other units are passed over:
/// the whole blob is sent then, as the RFC allows.
fn parse_range(value: &HeaderValue, bytes: u64) -> Result<Option<(u64, u64)>, ApiError> {
    let Some((first, last)) = value
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("bytes="))
        .filter(|text| !text.contains(','))
        .and_then(|text| text.trim().split_once('-'))
    else {
        return Ok(None);
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let (from, to) = match (number(first), number(last)) {
        (Some(from), Some(to)) if from <= to => (from, to.min(bytes.saturating_sub(1))),
        (Some(from), None) if last.is_empty() => (from, bytes.saturating_sub(1)),
        (None, Some(tail)) if first.is_empty() && tail > 0 => {
            (bytes.saturating_sub(tail), bytes.saturating_sub(1))
        }
        _ => return Ok(None),
    };
    if from >= bytes {
        return Err(ApiError::RangeNotSatisfiable { bytes });
    }
    Ok(Some((from, to - from + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &'static str, bytes: u64) -> Option<Option<(u64, u64)>> {
        parse_range(&HeaderValue::from_static(text), bytes).ok()
    }

    #[test]
    fn single_ranges_are_understood() {
        assert_eq!(range("bytes=0-", 10), Some(Some((0, 10))));
        assert_eq!(range("bytes=3-5", 10), Some(Some((3, 3))));
        assert_eq!(range("bytes=3-500", 10), Some(Some((3, 7))));
        assert_eq!(range("bytes=-4", 10), Some(Some((6, 4))));
        assert_eq!(range("bytes=-40", 10), Some(Some((0, 10))));
    }

    #[test]
    fn what_is_no_single_range_sends_the_whole() {
        for text in ["bytes=1-2,4-5", "lines=1-2", "bytes=5-3", "bytes=-", "bytes=a-b", "bytes=-0"] {
            assert_eq!(range(text, 10), Some(None), "{text}");
        }
    }

    #[test]
    fn a_range_behind_the_end_is_not_satisfiable() {
        assert_eq!(range("bytes=10-", 10), None);
        assert_eq!(range("bytes=0-0", 0), None);
    }
}
