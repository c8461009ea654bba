//! Requests: how many are under way, and whose they are.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Capacity;
use super::answer::Answer;
use super::shares::{Holder, Shares};
use crate::error::ApiError;
use crate::routes::health;

/// The requests under way. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Requests(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// How many at once.
    all: usize,
    /// Of them, those without a certificate in force: at most half, so that members are always heard.
    anonymous: usize,
    /// Those of one address or certificate.
    each: usize,
    /// How long a client may take nothing of an answer.
    answer: Duration,
    under_way: Mutex<Shares>,
}

impl Requests {
    /// None is under way yet. A client that takes nothing of an answer for the time `answer` loses it.
    #[must_use]
    pub fn new(capacity: &Capacity, answer: Duration) -> Self {
        let all = capacity.requests;
        Self(Arc::new(Shared {
            all,
            anonymous: all.div_ceil(2),
            each: capacity.requests_per_address(),
            answer,
            under_way: Mutex::default(),
        }))
    }

    pub(super) fn enter(&self, holder: Holder) -> Option<Place> {
        let Shared { all, anonymous, each, .. } = *self.0;
        let mut under_way = self.under_way();
        let is_full = under_way.total() >= all
            || under_way.of(holder) >= each
            || (matches!(holder, Holder::Address(_)) && under_way.anonymous() >= anonymous);
        if is_full {
            return None;
        }
        under_way.add(holder);
        Some(Place { requests: self.clone(), holder })
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, Shares> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's place until its answer is sent.
#[derive(Debug)]
pub(super) struct Place {
    requests: Requests,
    holder: Holder,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.requests.under_way().remove(self.holder);
    }
}

/// The layer: a request too many is answered 503 without being looked at. Whether the gateway works is always answered: a
/// supervisor that cannot ask would end it.
pub(crate) async fn bounded(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    if health::PATHS.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let place = request.extensions().get::<Holder>().and_then(|holder| requests.enter(*holder));
    match place {
        Some(place) => {
            let limit = requests.0.answer;
            next.run(request).await.map(|body| Body::new(Answer::new(body, place, limit)))
        }
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
    use konclave_crypto::Digest;
    use tower::ServiceExt;

    use super::*;

    fn requests(requests: usize, connections_per_address: usize) -> Requests {
        let capacity = Capacity { connections: 16, connections_per_address, requests };
        Requests::new(&capacity, Duration::from_secs(60))
    }

    fn somebody(host: u8) -> Holder {
        Holder::at([192, 0, 2, host].into())
    }

    fn member(name: &str) -> Holder {
        Holder::Certificate(Digest::of(name.as_bytes()))
    }

    #[tokio::test]
    async fn a_request_holds_its_place_until_its_answer_is_read() {
        let requests = requests(2, 16);
        let router = Router::new()
            .route("/", get(|| async { "answer" }))
            .route("/livez", get(|| async { "alive" }))
            .layer(from_fn_with_state(requests.clone(), bounded));
        let ask = |path| {
            let request = Request::get(path).extension(somebody(1)).body(Body::empty()).unwrap();
            router.clone().oneshot(request)
        };
        let first = ask("/").await.unwrap();
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(ask("/").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE, "half is for members");
        let member = requests.enter(member("alpha")).unwrap();
        assert!(requests.enter(self::member("alpha")).is_none());
        assert_eq!(ask("/livez").await.unwrap().status(), StatusCode::OK);
        assert_eq!(axum::body::to_bytes(first.into_body(), 100).await.unwrap(), "answer");
        assert_eq!(ask("/").await.unwrap().status(), StatusCode::OK);
        drop(member);
    }

    #[test]
    fn an_address_or_certificate_takes_only_its_share() {
        let requests = requests(64, 2);
        for holder in [somebody(1), member("alpha")] {
            let held: Vec<_> = (0..8).map(|_| requests.enter(holder).unwrap()).collect();
            assert!(requests.enter(holder).is_none());
            assert!(requests.enter(somebody(2)).is_some() && requests.enter(member("beta")).is_some());
            drop(held);
            assert!(requests.enter(holder).is_some());
        }
        // All addresses together take half.
        let held: Vec<_> = (0..32).map(|n| requests.enter(somebody(n % 4)).unwrap()).collect();
        assert!(requests.enter(somebody(9)).is_none());
        assert!(requests.enter(member("beta")).is_some());
        drop(held);
        assert_eq!(requests.under_way().total(), 0);
    }
}
