//! What surrounds every request: its id, its log line, and problem documents for every failure.

use std::any::Any;
use std::fmt;
use std::time::Instant;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use konclave_openapi::problem::{MEDIA_TYPE, Problem};
use tracing::Instrument;

use crate::error::{ApiError, problem_response};

/// The header that carries the request id in every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of one request: in the answer's `x-request-id`, in problems, in the log and in ledger entries.
///
/// The gateway draws it; one that a client sends is not taken over, so that nobody can make two requests look
/// like one in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Draws a new id: 96 random bits in hexadecimal.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn draw() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 12];
        getrandom::fill(&mut bytes)?;
        Ok(Self(hex::encode(bytes)))
    }

    /// The id of work the gateway does by itself, such as `round-deadline`.
    #[must_use]
    pub fn of_task(task: &str) -> Self {
        Self(task.to_owned())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match parts.extensions.get::<Self>() {
            Some(id) => Ok(id.clone()),
            None => Self::draw().map_err(ApiError::internal),
        }
    }
}

/// Outermost layer: draws the request id, logs one line and makes every failure a problem document.
pub(crate) async fn surround(mut request: Request, next: Next) -> Response {
    let id = match RequestId::draw() {
        Ok(id) => id,
        Err(error) => return ApiError::internal(error).into_response(),
    };
    request.extensions_mut().insert(id.clone());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let span = tracing::info_span!("request", id = %id, %method, %path);
    let started = Instant::now();
    async move {
        let mut response = as_problem(next.run(request).await, &id, method.as_str(), &path);
        if let Ok(value) = HeaderValue::from_str(id.as_str()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let (status, elapsed) = (response.status().as_u16(), started.elapsed());
        if status >= 500 {
            tracing::warn!(status, ?elapsed, "answered");
        } else {
            tracing::debug!(status, ?elapsed, "answered");
        }
        response
    }
    .instrument(span)
    .await
}

/// Writes the request id into a problem, and makes one of what axum and its layers answer in plain text.
fn as_problem(mut response: Response, id: &RequestId, method: &str, path: &str) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let problem = response.extensions_mut().remove::<Problem>().unwrap_or_else(|| {
        let error = match status {
            StatusCode::NOT_FOUND => ApiError::not_found(format!("resource at {path}")),
            StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed { method: method.to_owned() },
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                ApiError::UnsupportedMediaType { expected: "application/json" }
            }
            _ if status.is_server_error() => {
                ApiError::internal(format!("{method} {path} gave {status} without a problem"))
            }
            _ => ApiError::invalid_request(format!("{method} {path} could not be read ({status})")),
        };
        error.problem()
    });
    let mut written = problem_response(&Problem { request_id: id.to_string(), ..problem });
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            written.headers_mut().insert(name, value.clone());
        }
    }
    written.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    written
}

/// What a panic in a handler is answered with: 500, the message goes to the log.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    ApiError::internal(format!("a handler panicked: {message}")).into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    async fn panics() -> &'static str {
        panic!("secret of the inside")
    }

    async fn answer(path: &str) -> (StatusCode, HeaderValue, String) {
        let router = Router::new()
            .route("/panics", get(panics))
            .route("/teapot", get(|| async { StatusCode::IM_A_TEAPOT }))
            .route("/broken", get(|| async { (StatusCode::BAD_GATEWAY, "secret of the inside") }))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn(surround));
        let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let (status, id) = (response.status(), response.headers()[REQUEST_ID].clone());
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, id, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_reveals_nothing() {
        let (status, id, body) = answer("/panics").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        let problem: Problem = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (problem.kind.as_str(), problem.request_id.as_str()),
            ("/problems/internal", id.to_str().unwrap())
        );
        assert!(!body.contains("secret"), "{body}");
    }

    #[tokio::test]
    async fn plain_failures_of_any_layer_become_problems() {
        let (status, _, body) = answer("/teapot").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        let (status, _, body) = answer("/broken").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!body.contains("secret"), "{body}");
        assert_eq!(answer("/nothing").await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn every_request_has_its_own_id() {
        assert_ne!(answer("/nothing").await.1, answer("/nothing").await.1);
    }
}
