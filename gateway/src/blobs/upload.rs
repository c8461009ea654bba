//! Writing a blob: streamed, checked against its digest, durable.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use konclave_crypto::Digest;
use konclave_openapi::models::Blob;
use ring::digest::{Context, SHA256};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;

use super::BlobStore;
use crate::error::ApiError;
use crate::extract::body_error;
use crate::folder::{make_folder, sync_folder};

/// Why a blob was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob.
    #[error("there is no blob {digest}")]
    NotFound {
        /// The digest asked for.
        digest: Digest,
    },
    /// It is larger than allowed.
    #[error("the blob is larger than the {limit} bytes allowed")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The bytes that came have another digest.
    #[error("announced was {announced}, but the {bytes} bytes that came have SHA-256 {found}")]
    DigestMismatch {
        /// The digest in the request.
        announced: Digest,
        /// The digest of what came.
        found: Digest,
        /// How many bytes came.
        bytes: u64,
    },
    /// The sender's stream broke off.
    #[error("the bytes broke off")]
    Source(#[source] Box<dyn Error + Send + Sync>),
    /// The file system failed, or is full.
    #[error("the blob store failed")]
    Io(#[from] io::Error),
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::NotFound { digest } => Self::not_found(format!("blob {digest}")),
            BlobError::TooLarge { limit } => Self::too_large(limit),
            BlobError::DigestMismatch { .. } => Self::digest_mismatch(error.to_string()),
            BlobError::Source(source) => body_error(source.as_ref(), 0),
            BlobError::Io(error) => error.into(),
        }
    }
}

/// Removes the temporary file of an upload that did not come to its end.
struct Temporary {
    path: PathBuf,
    published: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.published {
            // A file that stays is cleared at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl BlobStore {
    /// Takes a blob of at most `limit` bytes from a stream; it is there once all of it came and matched.
    ///
    /// A blob that is already there is read through all the same, so that the answer does not tell it.
    ///
    /// # Errors
    /// [`BlobError`]; nothing is kept then.
    pub async fn put_stream<S, E>(&self, digest: &Digest, limit: u64, stream: S) -> Result<Blob, BlobError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut temporary = self.temporary_file()?;
        let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary.path).await?;
        let (found, bytes) = copy(&mut file, limit, stream).await?;
        if found != *digest {
            return Err(BlobError::DigestMismatch { announced: *digest, found, bytes });
        }
        file.sync_all().await?;
        drop(file);
        if !self.exists(digest) {
            let (store, path, digest) = (self.clone(), temporary.path.clone(), *digest);
            tokio::task::spawn_blocking(move || store.publish(&path, &digest))
                .await
                .map_err(io::Error::other)??;
            temporary.published = true;
        }
        Ok(Blob { digest: *digest, bytes })
    }

    /// Stores bytes that the gateway itself made; durable on return. Blocks: not for the async threads if large.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn put_bytes(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        if !self.exists(&digest) {
            let mut temporary = self.temporary_file()?;
            write_synced(&temporary.path, bytes)?;
            self.publish(&temporary.path, &digest)?;
            temporary.published = true;
        }
        Ok(digest)
    }

    /// Begins a blob that the gateway itself makes, written piece by piece. Blocks: not for the async threads.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn writer(&self) -> io::Result<BlobWriter> {
        let temporary = self.temporary_file()?;
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&temporary.path)?;
        let file = io::BufWriter::with_capacity(1 << 16, file);
        Ok(BlobWriter { store: self.clone(), temporary, file, hash: Context::new(&SHA256) })
    }

    /// Replaces a small file in one step, by way of a temporary file of its own; durable on return.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut temporary = self.temporary_file()?;
        write_synced(&temporary.path, bytes)?;
        let folder = path.parent().unwrap_or(path);
        make_folder(folder)?;
        std::fs::rename(&temporary.path, path)?;
        temporary.published = true;
        sync_folder(folder)
    }

    fn temporary_file(&self) -> io::Result<Temporary> {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(io::Error::other)?;
        Ok(Temporary { path: self.temporary().join(hex::encode(name)), published: false })
    }
}

/// A blob on its way in. Dropped before it is finished, nothing of it stays.
pub struct BlobWriter {
    store: BlobStore,
    temporary: Temporary,
    file: io::BufWriter<std::fs::File>,
    hash: Context,
}

impl BlobWriter {
    /// Gives the blob its name; durable on return.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn finish(mut self) -> io::Result<Digest> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        let digest: [u8; 32] = self.hash.finish().as_ref().try_into().map_err(io::Error::other)?;
        let digest = Digest(digest);
        if !self.store.exists(&digest) {
            self.store.publish(&self.temporary.path, &digest)?;
            self.temporary.published = true;
        }
        Ok(digest)
    }
}

impl io::Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

async fn copy<S, E>(file: &mut File, limit: u64, stream: S) -> Result<(Digest, u64), BlobError>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let mut hash = Context::new(&SHA256);
    let mut bytes = 0_u64;
    let mut stream = std::pin::pin!(stream);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| BlobError::Source(error.into()))?;
        bytes = bytes.saturating_add(chunk.len() as u64);
        if bytes > limit {
            return Err(BlobError::TooLarge { limit });
        }
        hash.update(&chunk);
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    Ok((Digest::from(digest), bytes))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    fn chunks(parts: &[&'static [u8]]) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
        stream::iter(parts.iter().map(|part| Ok(Bytes::from_static(part))).collect::<Vec<_>>())
    }

    fn store() -> (tempfile::TempDir, BlobStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::at(&folder.path().join("blobs")).unwrap();
        (folder, store)
    }

    fn leftovers(store: &BlobStore) -> usize {
        std::fs::read_dir(store.temporary()).unwrap().count()
    }

    #[tokio::test]
    async fn a_streamed_blob_is_there_once_its_digest_matched() {
        let (_folder, store) = store();
        let digest = Digest::of(b"hello world");
        for _ in 0..2 {
            let blob = store.put_stream(&digest, 100, chunks(&[b"hello ", b"world"])).await.unwrap();
            assert_eq!(blob.bytes, 11);
        }
        assert_eq!(store.read(&digest, 100).await.unwrap(), b"hello world");
        assert_eq!(store.put_bytes(b"hello world").unwrap(), digest);
        assert_eq!(leftovers(&store), 0);
    }

    #[tokio::test]
    async fn other_bytes_than_announced_are_refused_and_not_kept() {
        let (_folder, store) = store();
        let digest = Digest::of(b"hello");
        let error = store.put_stream(&digest, 100, chunks(&[b"hellO"])).await.unwrap_err();
        assert!(matches!(error, BlobError::DigestMismatch { bytes: 5, .. }));
        assert!(!store.exists(&digest));
        assert_eq!(leftovers(&store), 0);
    }

    #[tokio::test]
    async fn a_blob_above_the_limit_is_refused_and_not_kept() {
        let (_folder, store) = store();
        let digest = Digest::of(b"hello world");
        let error = store.put_stream(&digest, 10, chunks(&[b"hello ", b"world"])).await.unwrap_err();
        assert!(matches!(error, BlobError::TooLarge { limit: 10 }));
        assert_eq!(leftovers(&store), 0);
    }

    #[tokio::test]
    async fn owners_added_at_once_are_all_kept() {
        let (_folder, store) = store();
        let digest = store.put_bytes(b"weights").unwrap();
        std::thread::scope(|scope| {
            for index in 0..8 {
                let store = &store;
                scope.spawn(move || store.add_owner(&digest, &format!("owner-{index}")).unwrap());
            }
        });
        assert_eq!(store.owners(&digest).unwrap().len(), 8);
        assert_eq!(leftovers(&store), 0);
    }

    #[tokio::test]
    async fn what_an_organisation_owns_is_not_restricted_and_what_is_published_is_released() {
        let (_folder, store) = store();
        let owners = |digest: &Digest| store.owners(digest).unwrap().into_iter().collect::<Vec<_>>();
        let owned = store.put_bytes(b"a model").unwrap();
        store.add_owner(&owned, "Acme").unwrap();
        store.restrict(&owned, "only:evaluators").unwrap();
        assert_eq!(owners(&owned), ["Acme"]);
        let sum = store.put_bytes(b"a sum").unwrap();
        for _ in 0..2 {
            store.restrict(&sum, "only:evaluators").unwrap();
            assert_eq!(owners(&sum), ["only:evaluators"]);
        }
        store.release(&sum, "only:evaluators").unwrap();
        assert!(owners(&sum).is_empty());
    }

    #[tokio::test]
    async fn owners_are_remembered_and_removed_with_the_blob() {
        let (_folder, store) = store();
        let digest = store.put_bytes(b"weights").unwrap();
        store.add_owner(&digest, "Acme").unwrap();
        store.add_owner(&digest, "Acme").unwrap();
        assert_eq!(store.owners(&digest).unwrap().into_iter().collect::<Vec<_>>(), ["Acme"]);
        store.remove(&digest).await.unwrap();
        assert!(store.owners(&digest).unwrap().is_empty() && !store.exists(&digest));
    }
}
