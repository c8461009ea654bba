//! Whoever is revoked loses also what is under way: bodies end that were let in before.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use konclave_crypto::{Digest, IdentityPublicKey, SiteId};

use super::clients::ClientKey;
use crate::core::App;
use crate::projections;

/// The registration under which somebody was let in. An id can come back after its keys were revoked, under others: that is
/// another registration, and whatever was let in under the first one stays out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Registration {
    /// A member's, with the identity key that the consortium root certified.
    Member { site: SiteId, identity_key: IdentityPublicKey },
    /// A partner client's, with the digest of the key that it proved itself with.
    Client { client: String, key: Digest },
}

impl Registration {
    fn is_in_force(&self, state: &projections::State) -> bool {
        match self {
            Self::Member { site, identity_key } => state.sites.get(site).is_some_and(|known| {
                known.revoked.is_none() && known.certificate.membership.identity_key == *identity_key
            }),
            Self::Client { client, key } => {
                state.clients.get(client).is_some_and(|known| is_key(&known.public_key, key))
            }
        }
    }

    fn is_revoked(&self, state: &projections::State) -> bool {
        match self {
            Self::Member { identity_key, .. } => state.revoked_keys.contains(identity_key),
            Self::Client { client, key } => {
                state.revoked_clients.iter().any(|(id, pem)| id == client && is_key(pem, key))
            }
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Member { site, .. } => site.as_str(),
            Self::Client { client, .. } => client,
        }
    }
}

fn is_key(pem: &str, digest: &Digest) -> bool {
    ClientKey::from_pem(pem).is_ok_and(|key| key.digest() == *digest)
}

/// Who was let in, once that is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct LetIn(Arc<OnceLock<Known>>);

/// A registration, and whether the ledger was seen to have it since: a client works as soon as its record is there, which is
/// a moment earlier.
#[derive(Debug)]
struct Known {
    registration: Registration,
    recorded: AtomicBool,
}

/// Somebody was revoked, or registered anew, while a body was under way.
#[derive(Debug, thiserror::Error)]
#[error("the keys of {who} are no longer in force")]
struct NoLongerLetIn {
    who: String,
}

impl LetIn {
    /// Notes who it is.
    pub(crate) fn note(&self, registration: Registration, state: &projections::State) {
        let recorded = AtomicBool::new(registration.is_in_force(state));
        // A request has one principal; the first extractor names it.
        let _ = self.0.set(Known { registration, recorded });
    }

    fn check(&self, state: &projections::State) -> Result<(), axum::Error> {
        let Some(Known { registration, recorded }) = self.0.get() else { return Ok(()) };
        if registration.is_in_force(state) {
            recorded.store(true, Ordering::Relaxed);
        } else if recorded.load(Ordering::Relaxed) || registration.is_revoked(state) {
            return Err(axum::Error::new(NoLongerLetIn { who: registration.id().to_owned() }));
        }
        Ok(())
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
        // Its end counts, too: without it nothing becomes of what came.
        if matches!(next, Poll::Ready(Some(Ok(_)) | None))
            && let Err(error) = self.let_in.check(&self.app.state())
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
