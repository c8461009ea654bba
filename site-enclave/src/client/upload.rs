//! Masked updates: sent in parts from a file, continued from where the gateway says it is.

use std::io::SeekFrom;
use std::path::Path;

use bytes::Bytes;
use konclave_crypto::{JobId, RoundNumber, SiteId};
use konclave_openapi::problem::ProblemType;
use konclave_openapi::rounds::{UploadOffset, UploadReceipt};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::blobs::file_error;
use super::{ClientError, GatewayClient, MessageClass, Outgoing, retry};

/// Bytes in one request: what a broken connection costs at most, and all of the file that is in memory.
const PART: u64 = 8 * 1024 * 1024;

impl GatewayClient {
    /// Sends a masked update; on return the gateway holds all of it durably.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Stalled`] if the gateway's offset does not move.
    pub async fn upload(
        &self,
        job: &JobId,
        round: RoundNumber,
        site: &SiteId,
        path: &Path,
    ) -> Result<UploadReceipt, ClientError> {
        self.upload_in_parts(&format!("/v1/jobs/{job}/rounds/{round}/uploads/{site}"), path, PART).await
    }

    async fn upload_in_parts(&self, to: &str, path: &Path, part: u64) -> Result<UploadReceipt, ClientError> {
        let mut file = File::open(path).await.map_err(|source| file_error("open", path, source))?;
        let bytes = file.metadata().await.map_err(|source| file_error("read", path, source))?.len();
        let mut held = self.held(to).await?;
        let mut without_progress = 0;
        loop {
            // An empty part at the end asks for the receipt of an upload that is already whole.
            let size = bytes.saturating_sub(held).min(part);
            let mut body = vec![0; usize::try_from(size).unwrap_or(0)];
            file.seek(SeekFrom::Start(held)).await.map_err(|source| file_error("read", path, source))?;
            file.read_exact(&mut body).await.map_err(|source| file_error("read", path, source))?;
            let outgoing = Outgoing::octets(
                format!("{to}?offset={held}"),
                MessageClass::MaskedUpdate,
                Bytes::from(body),
            );
            match self.exchange_once::<UploadReceipt>(&outgoing).await {
                Ok(receipt) if receipt.bytes >= bytes => return Ok(receipt),
                Ok(receipt) if receipt.bytes > held => {
                    held = receipt.bytes;
                    without_progress = 0;
                    continue;
                }
                Ok(_) => {}
                // The gateway has another offset than we think: its word counts.
                Err(error) if error.problem_type() == Some(ProblemType::Conflict) || error.is_temporary() => {
                    tracing::debug!("continuing the upload after: {error}");
                }
                Err(error) => return Err(error),
            }
            without_progress += 1;
            if without_progress >= self.endpoint.retry.attempts {
                return Err(ClientError::Stalled { held, bytes, attempts: without_progress });
            }
            tokio::time::sleep(self.endpoint.retry.wait(without_progress, retry::random_bits(), None)).await;
            held = self.held(to).await?.min(bytes);
        }
    }

    /// How much the gateway has.
    async fn held(&self, to: &str) -> Result<u64, ClientError> {
        Ok(self.exchange::<UploadOffset>(&Outgoing::get(to)).await?.offset)
    }
}
