//! The table of contents: every operation of the gateway, and what surrounds all of them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutBody;
use utoipa_axum::router::OpenApiRouter;

use crate::auth::standing::watched;
use crate::auth::tokens::Tokens;
use crate::capacity::{Requests, bounded, held};
use crate::core::App;
use crate::documented::{Documented, only_documented};
use crate::error::ApiError;
use crate::extract::BodyTime;
use crate::traffic::{Recorder, record};
use crate::{request, routes};

/// Every operation, with its documentation.
#[must_use]
pub fn operations() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(crate::openapi::frame())
        .merge(routes::token::router())
        .merge(routes::status::router())
        .merge(routes::sites::router())
        .merge(routes::certificates::router())
        .merge(routes::blobs::router())
        .merge(routes::blob_uploads::router())
        .merge(routes::models::router())
        .merge(routes::jobs::router())
        .merge(routes::setup::router())
        .merge(routes::rounds::router())
        .merge(routes::uploads::router())
        .merge(routes::work::router())
        .merge(routes::evaluations::router())
        .merge(routes::contributions::router())
        .merge(routes::deposits::router())
        .merge(routes::ledger::router())
        .merge(routes::ledger_entries::router())
        .merge(routes::ledger_exports::router())
        .merge(routes::ledger_status::router())
        .merge(routes::ledger_schemas::router())
        .merge(routes::corrections::router())
        .merge(routes::reviews::router())
        .merge(routes::ledger_files::router())
        .merge(routes::openings::router())
        .merge(routes::witnesses::router())
        .merge(routes::docs::router())
        .merge(routes::problems::router())
        .merge(routes::health::router())
}

/// What the edge adds to the core.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Tokens of partner clients.
    pub tokens: Arc<Tokens>,
    /// Where traffic is recorded, if it is.
    pub recorder: Option<Recorder>,
    /// The requests under way.
    pub requests: Requests,
}

/// The whole service.
pub fn router(app: App, edge: Edge) -> Router {
    let (operations, document) = operations().split_for_parts();
    surrounded(operations, Documented::by(&document), &app, edge).with_state(app)
}

/// Puts around some operations what surrounds all of them; outermost last.
fn surrounded(operations: Router<App>, documented: Documented, app: &App, edge: Edge) -> Router<App> {
    let timeouts = app.config().settings.timeouts;
    let times = (timeouts.body_idle(), BodyTime(timeouts.body()));
    let router = operations
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(app.clone(), watched))
        .layer(Extension(edge.tokens))
        .layer(from_fn(move |request: Request, next: Next| time_bodies(times, request, next)))
        .layer(CatchPanicLayer::custom(request::panicked));
    let router = match edge.recorder {
        Some(recorder) => router.layer(from_fn_with_state(recorder, record)),
        None => router,
    };
    router
        .layer(from_fn_with_state(edge.requests, bounded))
        .layer(from_fn_with_state(app.clone(), held))
        .layer(from_fn_with_state(documented, only_documented))
        .layer(from_fn(request::surround))
}

async fn nothing_here(uri: Uri) -> ApiError {
    ApiError::not_found(format!("resource at {}", uri.path()))
}

async fn other_method(method: Method) -> ApiError {
    ApiError::MethodNotAllowed { method: method.to_string() }
}

/// Gives up on a body that stops arriving, however long it may take in all; what reads one whole also has a time for
/// all of it.
async fn time_bodies((idle, whole): (Duration, BodyTime), mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(whole);
    next.run(request.map(|body| Body::new(TimeoutBody::new(idle, body)))).await
}
