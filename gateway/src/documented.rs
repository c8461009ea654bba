//! Nothing answers but what the OpenAPI document names.
//!
//! Routers answer more than they are told: HEAD for every GET, routes that a library brings along. What is not in the
//! document is refused here before any handler, and before anything is known of who asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::OpenApi;

use crate::error::ApiError;

/// The methods of each path, as the document names them. Cloning shares them.
#[derive(Debug, Clone)]
pub(crate) struct Documented(Arc<BTreeMap<String, Offer>>);

/// What a path offers, and the words for it.
#[derive(Debug)]
struct Offer {
    methods: Vec<Method>,
    allow: HeaderValue,
}

impl Documented {
    /// What the operations of a document offer.
    pub(crate) fn by(operations: &OpenApi) -> Self {
        let offers = crate::openapi::offered(operations).into_iter().map(|(path, methods)| {
            let names = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            let allow = HeaderValue::from_str(&names).unwrap_or(HeaderValue::from_static(""));
            (path, Offer { methods, allow })
        });
        Self(Arc::new(offers.collect()))
    }
}

/// The layer: 404 for a path that the document does not have, 405 for a method that it does not have there.
pub(crate) async fn only_documented(
    State(documented): State<Documented>,
    request: Request,
    next: Next,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let Some(offer) = matched.and_then(|path| documented.0.get(path.as_str())) else {
        return ApiError::not_found(format!("resource at {}", request.uri().path())).into_response();
    };
    if offer.methods.contains(request.method()) {
        return next.run(request).await;
    }
    let mut refused = ApiError::MethodNotAllowed { method: request.method().to_string() }.into_response();
    refused.headers_mut().insert(header::ALLOW, offer.allow.clone());
    refused
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::middleware::{from_fn, from_fn_with_state};
    use axum::routing::get;
    use tower::ServiceExt;
    use utoipa::openapi::path::{HttpMethod, OperationBuilder};
    use utoipa::openapi::{InfoBuilder, OpenApiBuilder, PathItem, PathsBuilder};

    use super::*;

    async fn answer(method: Method, path: &str) -> (StatusCode, Option<HeaderValue>) {
        let item = |methods: &[HttpMethod]| {
            let mut item = PathItem::default();
            for method in methods {
                item.merge_operations(PathItem::new(method.clone(), OperationBuilder::new()));
            }
            item
        };
        let paths = PathsBuilder::new()
            .path("/told/{what}", item(&[HttpMethod::Get]))
            .path("/livez", item(&[HttpMethod::Get]));
        let document = OpenApiBuilder::new().info(InfoBuilder::new()).paths(paths).build();
        let router = Router::new()
            .route("/told/{what}", get(|| async { "here" }).delete(|| async { "gone" }))
            .route("/livez", get(|| async { "alive" }))
            .route("/secret", get(|| async { "not told" }))
            .layer(from_fn_with_state(Documented::by(&document), only_documented))
            .layer(from_fn(crate::request::surround));
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        (response.status(), response.headers().get(header::ALLOW).cloned())
    }

    #[tokio::test]
    async fn what_is_not_told_does_not_answer() {
        assert_eq!(answer(Method::GET, "/told/a").await, (StatusCode::OK, None));
        for method in [Method::HEAD, Method::DELETE, Method::OPTIONS, Method::POST] {
            let (status, allow) = answer(method.clone(), "/told/a").await;
            assert_eq!((status, allow.unwrap()), (StatusCode::METHOD_NOT_ALLOWED, "GET".parse().unwrap()));
        }
        for path in ["/secret", "/told", "/told/a/b", "/nothing"] {
            assert_eq!(answer(Method::GET, path).await, (StatusCode::NOT_FOUND, None), "{path}");
        }
    }

    #[tokio::test]
    async fn head_answers_where_it_is_told() {
        assert_eq!(answer(Method::HEAD, "/livez").await, (StatusCode::OK, None));
        let (status, allow) = answer(Method::PUT, "/livez").await;
        assert_eq!((status, allow.unwrap()), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD".parse().unwrap()));
    }
}
