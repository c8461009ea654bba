//! Extractors whose rejections are problem documents that name the field: `Json`, `Message`, `Form`, `Query`, `Path`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use konclave_openapi::page::PageQuery;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::core::App;
use crate::error::ApiError;

/// The most bytes a request body may have where a route states nothing else.
pub const DEFAULT_BODY_LIMIT: u64 = 1 << 20;

/// The most bytes a request body may have at this route; a layer puts it into the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit(pub u64);

/// A layer that sets the body limit of the routes below it: `.layer(body_limit(8 << 20))`.
pub fn body_limit(bytes: u64) -> axum::Extension<BodyLimit> {
    axum::Extension(BodyLimit(bytes))
}

/// The limit that is in force for a request.
pub(crate) fn limit_of(extensions: &axum::http::Extensions) -> u64 {
    extensions.get::<BodyLimit>().map_or(DEFAULT_BODY_LIMIT, |limit| limit.0)
}

/// How long all of a body may take that is read whole; a layer puts it into the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyTime(pub Duration);

/// Reads a whole body, at most `limit` bytes of it and in its time.
pub(crate) async fn read_body(parts: &Parts, body: Body, limit: u64) -> Result<Bytes, ApiError> {
    let announced = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > limit) {
        return Err(ApiError::too_large(limit));
    }
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let reading = axum::body::to_bytes(body, most);
    let read = match parts.extensions.get::<BodyTime>() {
        Some(BodyTime(time)) => tokio::time::timeout(*time, reading).await.map_err(|_| {
            ApiError::invalid_request(format!(
                "the body did not arrive within {} s; send it again",
                time.as_secs()
            ))
        })?,
        None => reading.await,
    };
    read.map_err(|error| body_error(&error, limit))
}

/// Reads a whole JSON body, at most `limit` bytes of it, without parsing it.
pub(crate) async fn read_json_body(parts: &Parts, body: Body, limit: u64) -> Result<Bytes, ApiError> {
    if !is_json(&parts.headers) {
        return Err(ApiError::UnsupportedMediaType { expected: "application/json" });
    }
    read_body(parts, body, limit).await
}

/// Says why a body broke off: its limit, its silence, or its connection.
pub(crate) fn body_error(error: &(dyn std::error::Error + 'static), limit: u64) -> ApiError {
    let text = crate::error::chain(error);
    if text.contains("length limit exceeded") {
        ApiError::too_large(limit)
    } else if text.contains("timeout") || text.contains("timed out") {
        ApiError::invalid_request("the body stopped arriving; send it again")
    } else {
        ApiError::invalid_request("the body broke off before its end; send it again")
    }
}

/// A JSON body, in requests and answers.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read_json_body(&parts, body, limit_of(&parts.extensions)).await?;
        parse_json(&bytes).map(Self)
    }
}

/// A message of the protocol: a JSON body of at most `limits.message_bytes`.
#[derive(Debug, Clone, Copy)]
pub struct Message<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Message<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read_json_body(&parts, body, app.config().settings.limits.message_bytes).await?;
        parse_json(&bytes).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => ApiError::internal(error).into_response(),
        }
    }
}

/// Parses JSON; the error names the field as a JSON pointer (RFC 6901).
///
/// # Errors
/// [`ApiError::InvalidRequest`].
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer(error.path());
        ApiError::invalid_field(pointer, error.into_inner().to_string())
    })?;
    reader.end().map_err(|error| ApiError::invalid_field("", error.to_string()))?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |mut pointer, segment| {
        let name = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { .. } | Segment::Unknown => return pointer,
        };
        pointer.push('/');
        pointer.push_str(&name);
        pointer
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|text| {
        let media = text.split(';').next().unwrap_or_default().trim();
        media.eq_ignore_ascii_case("application/json") || media.to_ascii_lowercase().ends_with("+json")
    })
}

/// Query parameters.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parse_form(parts.uri.query().unwrap_or_default().as_bytes()).map(Self)
    }
}

/// Parses `application/x-www-form-urlencoded`; the error names the parameter.
///
/// # Errors
/// [`ApiError::InvalidRequest`].
pub fn parse_form<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let reader = serde_urlencoded::Deserializer::new(form_urlencoded::parse(bytes));
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let path = pointer(error.path());
        let name = path.trim_start_matches('/').to_owned();
        let detail = error.into_inner().to_string();
        if name.is_empty() {
            ApiError::invalid_request(format!("the parameters could not be read: {detail}"))
        } else {
            ApiError::invalid_field(name, detail)
        }
    })
}

/// The most items a page may have, and how many it has without a wish.
const MAX_PAGE: u16 = 500;
const DEFAULT_PAGE: u16 = 100;

/// How many items the page asked for has.
///
/// # Errors
/// [`ApiError::InvalidRequest`] outside 1 to 500.
pub fn page_limit(query: &PageQuery) -> Result<usize, ApiError> {
    match query.limit.unwrap_or(DEFAULT_PAGE) {
        limit @ 1..=MAX_PAGE => Ok(limit.into()),
        limit => Err(ApiError::invalid_field("limit", format!("{limit} is not 1 to {MAX_PAGE}"))),
    }
}

/// A form in the body.
#[derive(Debug, Clone, Copy)]
pub struct Form<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let expected = "application/x-www-form-urlencoded";
        let media = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if media.is_none_or(|media| media.split(';').next().unwrap_or_default().trim() != expected) {
            return Err(ApiError::UnsupportedMediaType { expected });
        }
        let bytes = read_body(&parts, body, limit_of(&parts.extensions)).await?;
        parse_form(&bytes).map(Self)
    }
}

/// Path parameters.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => {
                let names = RawPathParams::from_request_parts(parts, state).await.ok();
                let mut names = names.iter().flat_map(RawPathParams::iter).map(|(name, _)| name);
                // With one parameter axum does not say which; there is no other.
                let only = names.next().filter(|_| names.next().is_none()).unwrap_or("path");
                Err(path_error(&rejection, only))
            }
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "axum's enum is open, and its own text names the parameter"
)]
fn path_error(rejection: &PathRejection, only: &str) -> ApiError {
    use axum::extract::path::ErrorKind;
    let PathRejection::FailedToDeserializePathParams(failure) = rejection else {
        return ApiError::internal(rejection.to_string());
    };
    match failure.kind() {
        ErrorKind::ParseErrorAtKey { key, value, expected_type } => {
            ApiError::invalid_field(key.clone(), format!("`{value}` is not a {expected_type}"))
        }
        ErrorKind::DeserializeError { key, value, message } => {
            ApiError::invalid_field(key.clone(), format!("`{value}`: {message}"))
        }
        ErrorKind::InvalidUtf8InPathParam { key } => {
            ApiError::invalid_field(key.clone(), "is not UTF-8 after percent-decoding")
        }
        other => ApiError::invalid_field(only, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(rename = "a/b")]
        count: u8,
    }

    fn pointer_of(error: &ApiError) -> String {
        error.problem().errors[0].at.clone()
    }

    #[test]
    fn a_json_error_names_the_field_by_pointer() {
        let error = parse_json::<Outer>(br#"{"inner":[{"a/b":1},{"a/b":300}]}"#).unwrap_err();
        assert_eq!(pointer_of(&error), "/inner/1/a~1b");
        assert_eq!(parse_json::<Outer>(br#"{"inner":[{"a/b":7}]}"#).unwrap().inner[0].count, 7);
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert_eq!(pointer_of(&parse_json::<Outer>(br#"{"inner":[]} x"#).unwrap_err()), "");
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Params {
        limit: Option<u16>,
    }

    #[test]
    fn a_query_error_names_the_parameter() {
        assert_eq!(pointer_of(&parse_form::<Params>(b"limit=many").unwrap_err()), "limit");
        assert_eq!(parse_form::<Params>(b"limit=5").unwrap().limit, Some(5));
        assert!(parse_form::<Params>(b"limits=5").is_err());
    }
}
