//! Whoever is revoked loses also what is under way: bodies end that were let in before.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::Principal;
use crate::core::App;

/// Who was let in, once that is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct LetIn(Arc<OnceLock<Known>>);

/// A member or client, and whether the ledger knew it when it was let in: a client works as soon as its record is there,
/// which is a moment earlier.
#[derive(Debug)]
struct Known {
    principal: Principal,
    recorded: bool,
}

/// Somebody was revoked while a body was under way.
#[derive(Debug, thiserror::Error)]
#[error("{who} was revoked")]
struct NoLongerLetIn {
    who: String,
}

impl LetIn {
    /// Notes who it is.
    pub(crate) fn note(&self, principal: &Principal, app: &App) {
        let known = Known { principal: principal.clone(), recorded: is_recorded(principal, app) };
        // A request has one principal; the first extractor names it.
        let _ = self.0.set(known);
    }

    fn check(&self, app: &App) -> Result<(), axum::Error> {
        match self.0.get() {
            Some(Known { principal, recorded: true }) if !is_recorded(principal, app) => {
                Err(axum::Error::new(NoLongerLetIn { who: principal.to_string() }))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn is_recorded(principal: &Principal, app: &App) -> bool {
    match &principal.member {
        Some(member) => app.is_member(&member.site),
        None => app.is_client(&principal.id),
    }
}

/// A body that ends with whoever sends or gets it.
struct Watched {
    body: Body,
    let_in: LetIn,
    app: App,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(next, Poll::Ready(Some(Ok(_))))
            && let Err(error) = self.let_in.check(&self.app)
        {
            return Poll::Ready(Some(Err(error)));
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The layer.
pub(crate) async fn watched(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let let_in = LetIn::default();
    request.extensions_mut().insert(let_in.clone());
    let watch = |body| Body::new(Watched { body, let_in: let_in.clone(), app: app.clone() });
    next.run(request.map(watch)).await.map(watch)
}
