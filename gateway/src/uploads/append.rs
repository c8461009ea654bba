//! Appending a stream to an upload: one request at a time, the newest one wins.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::{OwnedMutexGuard, watch};

use super::body::UploadBody;
use super::{Progress, Upload, UploadError};
use crate::core::Clock;

/// Bytes that are gathered before they are written: what an append holds in memory.
const PIECE: usize = 1 << 20;
/// Bytes after which what was written is made durable, so that a crash does not cost all of a long append.
const SYNC_EVERY: u64 = 64 << 20;
/// How long a request waits for the one before it to make durable what came, or to hash what a restart found.
const TAKE_OVER: Duration = Duration::from_secs(20);

/// One append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Append {
    /// Where its bytes begin.
    pub offset: u64,
    /// Whether they end the upload.
    pub complete: bool,
    /// How many bytes the sender announced, if it did.
    pub length: Option<u64>,
}

impl Append {
    /// Whether these bytes would end where all are there.
    fn ends_at(&self, bytes: u64) -> bool {
        self.offset <= bytes
            && self.length.is_none_or(|length| self.offset.checked_add(length) == Some(bytes))
    }
}

/// The right to write, until a newer request takes it.
pub(super) struct Turn {
    newest: watch::Receiver<u64>,
    own: u64,
}

impl Turn {
    /// Waits until a newer request wants to write.
    async fn is_over(&mut self) {
        let own = self.own;
        // The sender lives as long as the upload, which the holder of the body keeps.
        let _ = self.newest.wait_for(|newest| *newest != own).await;
    }
}

impl Upload {
    /// Appends a stream. What came before it broke off is durable, and so is everything once this returns; with
    /// `complete` the bytes are a blob then. Goes on to its end even if its caller is dropped.
    ///
    /// An append to a complete upload that would end at the same place is taken for a repeated one whose answer was
    /// lost.
    ///
    /// # Errors
    /// [`UploadError`].
    pub async fn append<S, E>(&self, append: Append, stream: S, clock: Clock) -> Result<Progress, UploadError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let (body, turn) = self.take().await?;
        let progress = body.progress();
        if progress.complete && append.complete && append.ends_at(self.about.bytes) {
            return Ok(progress);
        }
        let task = tokio::spawn(write_all(body, turn, append, stream, clock));
        task.await.map_err(|_| UploadError::CutOff)?
    }

    /// Ends the request that holds the body, and holds it.
    pub(super) async fn take(&self) -> Result<(OwnedMutexGuard<UploadBody>, Turn), UploadError> {
        let mut own = 0;
        self.turn.send_modify(|newest| {
            *newest = newest.wrapping_add(1);
            own = *newest;
        });
        let turn = Turn { newest: self.turn.subscribe(), own };
        let body = self.body.clone().lock_owned();
        let body = tokio::time::timeout(TAKE_OVER, body).await.map_err(|_| UploadError::Busy)?;
        if body.is_gone() { Err(UploadError::Gone) } else { Ok((body, turn)) }
    }
}

/// Writes the stream to its end, or to where it breaks off.
async fn write_all<S, E>(
    body: OwnedMutexGuard<UploadBody>,
    mut turn: Turn,
    append: Append,
    stream: S,
    clock: Clock,
) -> Result<Progress, UploadError>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let mut body = blocking(body, move |body| body.begin(append.offset)).await?;
    let mut stream = std::pin::pin!(stream);
    let (mut piece, mut unsynced) = (Vec::with_capacity(PIECE), 0_u64);
    let broken = loop {
        let next = tokio::select! {
            next = stream.next() => next,
            () = turn.is_over() => break Some(UploadError::TakenOver),
        };
        match next {
            Some(Ok(chunk)) => piece.extend_from_slice(&chunk),
            Some(Err(error)) => break Some(UploadError::Source(error.into())),
            None => break None,
        }
        if piece.len() >= PIECE {
            unsynced = unsynced.saturating_add(piece.len() as u64);
            let sync = unsynced >= SYNC_EVERY;
            if sync {
                unsynced = 0;
            }
            let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE));
            let now = clock.now();
            body = blocking(body, move |body| {
                add(body, &full, now)?;
                if sync { Ok(body.sync(now)?) } else { Ok(()) }
            })
            .await?;
        }
    };
    let (now, whole) = (clock.now(), append.complete && broken.is_none());
    let body = blocking(body, move |body| {
        add(body, &piece, now)?;
        if whole { body.finish(now) } else { Ok(body.sync(now)?) }
    })
    .await?;
    match broken {
        Some(error) => Err(error),
        None => Ok(body.progress()),
    }
}

/// Adds a piece. If it is too long, what came before it is made durable all the same.
fn add(body: &mut UploadBody, piece: &[u8], now: konclave_crypto::UnixSeconds) -> Result<(), UploadError> {
    let added = body.append(piece);
    if let Err(UploadError::TooLong { .. }) = &added {
        body.sync(now)?;
    }
    added
}

/// Works on the body where it may block, and gives it back.
async fn blocking(
    mut body: OwnedMutexGuard<UploadBody>,
    act: impl FnOnce(&mut UploadBody) -> Result<(), UploadError> + Send + 'static,
) -> Result<OwnedMutexGuard<UploadBody>, UploadError> {
    let done = tokio::task::spawn_blocking(move || act(&mut body).map(|()| body));
    done.await.map_err(|_| UploadError::CutOff)?
}
