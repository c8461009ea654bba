//! Blobs by digest: read to a file, continued where an earlier attempt broke off, and checked before use.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use konclave_crypto::Digest;
use reqwest::StatusCode;
use ring::digest::{Context, SHA256};
use tokio::fs::{self, OpenOptions};
use tokio::io::AsyncWriteExt;

use super::{ClientError, GatewayClient, Outgoing, retry};

impl GatewayClient {
    /// Fetches a blob into `folder` under its digest's name, unless it is there already, and gives its path.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::BlobTooLarge`] and [`ClientError::WrongBlob`] remove what came.
    pub async fn fetch_blob(
        &self,
        digest: Digest,
        folder: &Path,
        limit: u64,
    ) -> Result<PathBuf, ClientError> {
        let path = folder.join(digest.to_string());
        if fs::try_exists(&path).await.unwrap_or(false) {
            if digest_of_file(&path).await? == digest {
                return Ok(path);
            }
            tracing::warn!("the stored blob {digest} is damaged; fetching it again");
        }
        let partial = folder.join(format!(".{digest}.part"));
        let mut attempt = 1;
        loop {
            match self.fetch_rest(digest, &partial, limit).await {
                Ok(()) => break,
                Err(error) if error.is_temporary() && attempt < self.endpoint.retry.attempts => {
                    tracing::debug!(attempt, "continuing a blob after: {error}");
                    tokio::time::sleep(self.endpoint.retry.wait(
                        attempt,
                        retry::random_bits(),
                        error.retry_after(),
                    ))
                    .await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
        let found = digest_of_file(&partial).await?;
        if found != digest {
            remove(&partial).await?;
            return Err(ClientError::WrongBlob { wanted: digest, found });
        }
        fs::rename(&partial, &path).await.map_err(|source| file_error("name", &path, source))?;
        Ok(path)
    }

    /// Appends what is missing to the partial file.
    async fn fetch_rest(&self, digest: Digest, partial: &Path, limit: u64) -> Result<(), ClientError> {
        let held = fs::metadata(partial).await.map_or(0, |found| found.len());
        let outgoing = Outgoing::get(format!("/v1/blobs/{digest}")).starting_at(held);
        let mut response = match self.send(&outgoing).await {
            // Nothing is missing: the connection broke after the last byte.
            Err(ClientError::Problem { problem, .. }) if held > 0 && problem.status == 416 => return Ok(()),
            Err(ClientError::NotAGateway { status: 416, .. }) if held > 0 => return Ok(()),
            other => other?,
        };
        let continues = response.status() == StatusCode::PARTIAL_CONTENT && held > 0;
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .append(continues)
            .truncate(!continues)
            .mode(0o600)
            .open(partial)
            .await
            .map_err(|source| file_error("open", partial, source))?;
        let mut length = if continues { held } else { 0 };
        let broken = |error: &reqwest::Error| ClientError::connection("GET", &outgoing.path, error);
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
            length += chunk.len() as u64;
            if length > limit {
                drop(file);
                remove(partial).await?;
                return Err(ClientError::BlobTooLarge { digest, limit });
            }
            file.write_all(&chunk).await.map_err(|source| file_error("write", partial, source))?;
        }
        file.flush().await.map_err(|source| file_error("write", partial, source))
    }
}

async fn remove(path: &Path) -> Result<(), ClientError> {
    fs::remove_file(path).await.map_err(|source| file_error("remove", path, source))
}

/// The SHA-256 of a file, read in blocks off the async threads.
async fn digest_of_file(path: &Path) -> Result<Digest, ClientError> {
    let owned = path.to_path_buf();
    let hash = move || -> io::Result<Digest> {
        let mut file = std::fs::File::open(owned)?;
        let mut context = Context::new(&SHA256);
        let mut block = vec![0; 256 * 1024];
        loop {
            let count = file.read(&mut block)?;
            if count == 0 {
                break;
            }
            context.update(block.get(..count).unwrap_or_default());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Ok(Digest(bytes))
    };
    tokio::task::spawn_blocking(hash)
        .await
        .unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
        .map_err(|source| file_error("read", path, source))
}

pub(super) fn file_error(doing: &'static str, path: &Path, source: io::Error) -> ClientError {
    ClientError::File { doing, path: path.to_path_buf(), source }
}
