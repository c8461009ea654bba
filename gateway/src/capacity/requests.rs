//! Requests: how many are under way, with a client certificate or not.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_server::tls::TlsInfo;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Capacity;
use crate::error::ApiError;

/// The requests under way. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Requests {
    all: Arc<Semaphore>,
    /// Those on connections without a client certificate: at most half, so that members are always heard.
    anonymous: Arc<Semaphore>,
}

impl Requests {
    /// None is under way yet.
    #[must_use]
    pub fn new(capacity: &Capacity) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self { all: semaphore(capacity.requests), anonymous: semaphore(capacity.requests.div_ceil(2)) }
    }

    fn enter(&self, certificate: bool) -> Option<Places> {
        let anonymous = match certificate {
            true => None,
            false => Some(Arc::clone(&self.anonymous).try_acquire_owned().ok()?),
        };
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Places { _all: all, _anonymous: anonymous })
    }
}

/// A request's place until its answer is sent.
#[derive(Debug)]
struct Places {
    _all: OwnedSemaphorePermit,
    _anonymous: Option<OwnedSemaphorePermit>,
}

/// An answer's body that keeps the request's place.
struct Held {
    body: Body,
    _places: Places,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The layer: a request too many is answered 503 without being looked at.
pub(crate) async fn bounded(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let tls = request.extensions().get::<Arc<TlsInfo>>();
    let certificate = tls.is_some_and(|tls| !tls.peer_certificates.is_empty());
    match requests.enter(certificate) {
        Some(places) => next.run(request).await.map(|body| Body::new(Held { body, _places: places })),
        None => {
            ApiError::unavailable("the gateway has as many requests as it can take on", 1).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_request_holds_its_place_until_its_answer_is_read() {
        let requests = Requests::new(&Capacity { connections: 1, connections_per_address: 1, requests: 2 });
        let router = Router::new()
            .route("/", get(|| async { "answer" }))
            .layer(from_fn_with_state(requests.clone(), bounded));
        let ask = || router.clone().oneshot(Request::get("/").body(Body::empty()).unwrap());
        let first = ask().await.unwrap();
        assert_eq!(first.status(), StatusCode::OK);
        let refused = ask().await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "half is for members");
        let member = requests.enter(true).unwrap();
        assert!(requests.enter(true).is_none());
        assert_eq!(axum::body::to_bytes(first.into_body(), 100).await.unwrap(), "answer");
        assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
        drop(member);
    }
}
