//! Answers: each keeps its request's place while it is read, and gives it up when it is not.
//!
//! Of a client that takes nothing HTTP/2 tells nobody: with a window of zero the connection lives, its pings are answered,
//! and the answer's body waits for ever, with the file that it may have open.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::requests::Place;

/// The most bytes that are handed over at once. What is handed over waits for the client in the connection's memory,
/// outside of all bounds.
const PIECE: usize = 16 << 10;

/// The client did not read.
#[derive(Debug, thiserror::Error)]
#[error("the client took nothing of the answer for {} s", .limit.as_secs())]
struct NotRead {
    limit: Duration,
}

/// An answer's body with the request's place.
pub(super) struct Answer {
    shared: Arc<Mutex<Shared>>,
    limit: Duration,
    watch: AbortHandle,
}

struct Shared {
    /// None once it was given up.
    held: Option<Held>,
    /// When the client took something last.
    taken: Instant,
    /// Whether the end that nobody expected was told.
    told: bool,
}

struct Held {
    body: Body,
    /// What the body gave and was not handed over.
    rest: Bytes,
    _place: Place,
}

impl Answer {
    /// Keeps a place for a body until it is read, or until nothing of it is for `limit`.
    pub(super) fn new(body: Body, place: Place, limit: Duration) -> Self {
        let held = Held { body, rest: Bytes::new(), _place: place };
        let shared = Shared { held: Some(held), taken: Instant::now(), told: false };
        let shared = Arc::new(Mutex::new(shared));
        let watch = tokio::spawn(watch(Arc::downgrade(&shared), limit)).abort_handle();
        Self { shared, limit, watch }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Gives an answer up when nothing of it was taken for the limit, whether or not anybody asks for it.
async fn watch(answer: Weak<Mutex<Shared>>, limit: Duration) {
    while let Some(shared) = answer.upgrade() {
        let until = lock(&shared).taken + limit;
        if until <= Instant::now() {
            let given_up = lock(&shared).held.take();
            drop(given_up);
            tracing::info!("an answer is given up: its client took nothing of it for too long");
            return;
        }
        drop(shared);
        tokio::time::sleep_until(until).await;
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    /// The next piece.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => self.rest = bytes,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other @ (Poll::Ready(_) | Poll::Pending) => return other,
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut shared = lock(&self.shared);
        let Some(held) = &mut shared.held else {
            let first = !std::mem::replace(&mut shared.told, true);
            let limit = self.limit;
            return Poll::Ready(first.then(|| Err(axum::Error::new(NotRead { limit }))));
        };
        let next = held.poll_piece(cx);
        if next.is_ready() {
            shared.taken = Instant::now();
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.shared).held.as_ref().is_some_and(|held| held.rest.is_empty() && held.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let shared = lock(&self.shared);
        let Some(held) = &shared.held else { return SizeHint::default() };
        let (rest, hint) = (u64::try_from(held.rest.len()).unwrap_or(u64::MAX), held.body.size_hint());
        let mut all = SizeHint::default();
        all.set_lower(hint.lower().saturating_add(rest));
        if let Some(upper) = hint.upper().and_then(|upper| upper.checked_add(rest)) {
            all.set_upper(upper);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};

    use super::super::shares::Holder;
    use super::super::{Capacity, Requests};
    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    fn requests() -> Requests {
        let capacity = Capacity { connections: 1, connections_per_address: 1, requests: 2 };
        Requests::new(&capacity, LIMIT)
    }

    fn somebody() -> Holder {
        Holder::at([192, 0, 2, 1].into())
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_gives_up_its_place_and_its_body() {
        let requests = requests();
        let in_use = Arc::new(());
        let body = {
            let in_use = Arc::clone(&in_use);
            Body::from_stream(stream::repeat_with(move || {
                let _ = &in_use;
                Ok::<_, std::io::Error>(Bytes::from_static(b"part"))
            }))
        };
        let place = requests.enter(somebody()).unwrap();
        let mut answer = Body::new(Answer::new(body, place, LIMIT)).into_data_stream();
        // As long as it is read, it goes on.
        for _ in 0..4 {
            tokio::time::sleep(LIMIT / 2).await;
            assert_eq!(answer.next().await.unwrap().unwrap(), "part");
        }
        assert!(requests.enter(somebody()).is_none());
        let started = Instant::now();
        while requests.enter(somebody()).is_none() {
            assert!(started.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(LIMIT / 4).await;
        }
        assert_eq!(Arc::strong_count(&in_use), 1, "the file that it reads is closed");
        let error = answer.next().await.expect("it does not end as if it were whole").unwrap_err();
        assert!(error.to_string().contains("took nothing"), "{error}");
        assert!(answer.next().await.is_none());
    }

    #[tokio::test]
    async fn a_large_answer_is_handed_over_piece_by_piece() {
        let whole = Bytes::from(vec![7; 3 * PIECE + 1]);
        let place = requests().enter(somebody()).unwrap();
        let mut answer = Answer::new(Body::from(whole.clone()), place, LIMIT);
        let mut read = Vec::new();
        loop {
            let left = u64::try_from(whole.len() - read.len()).unwrap();
            assert_eq!(HttpBody::size_hint(&answer).exact(), Some(left));
            assert_eq!(answer.is_end_stream(), left == 0);
            let next = std::future::poll_fn(|cx| Pin::new(&mut answer).poll_frame(cx)).await;
            let Some(frame) = next else { break };
            let piece = frame.unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE, "{}", piece.len());
            read.extend_from_slice(&piece);
        }
        assert_eq!(read, whole);
    }
}
