//! What members and auditors do with the ledger itself: cosign it, read a statement.

use konclave_crypto::SiteId;
use konclave_ledger::note::SignatureLine;
use konclave_ledger::statements::Statement;
use konclave_ledger::{CosignError, Hash, Ledger, VerifierKey};
use konclave_openapi::ledger::NewCosignature;

use super::{App, CommandError};
use crate::error::ApiError;

impl App {
    /// Keeps a witness's cosignature on the latest checkpoint.
    ///
    /// # Errors
    /// [`ApiError`]: the ledger has grown, or the line is not the member's own.
    pub async fn take_cosignature(&self, site: &SiteId, new: NewCosignature) -> Result<(), ApiError> {
        let vkey = self.state().sites.get(site).map(|member| member.witness_vkey.clone());
        let vkey = vkey.ok_or_else(|| ApiError::not_found(format!("site {site}")))?;
        let key: VerifierKey = vkey.parse().map_err(ApiError::internal)?;
        // By the key it has now: one that was replaced may be in other hands.
        let own = new.line.trim_end().parse::<SignatureLine>();
        if own.is_ok_and(|line| !key.claims(&line)) {
            return Err(ApiError::rejected(format!(
                "the line is not by {}, the witness key of {site}",
                key.name()
            )));
        }
        let added = self
            .ledger()
            .add_cosignature(new.size, new.line.trim_end().to_owned())
            .await
            .map_err(CommandError::from)?;
        let now = self.clock().unix_millis();
        match added {
            Ok(note) => {
                note.iter().for_each(|note| self.witnesses().keep(&key, note, now));
                Ok(())
            }
            Err(error @ CosignError::UnknownHead { .. }) => Err(ApiError::conflict(error.to_string())),
            Err(error @ (CosignError::Line(_) | CosignError::UnknownWitness { .. })) => {
                Err(ApiError::rejected(error.to_string()))
            }
            Err(error) if error.is_disk_full() => Err(ApiError::full_disk()),
            Err(error @ (CosignError::NotStored(_) | CosignError::Poisoned)) => {
                Err(ApiError::internal(error))
            }
        }
    }

    /// The payload of a recorded statement. Its signature was checked before it was recorded.
    ///
    /// # Errors
    /// [`ApiError::Internal`] if it cannot be read.
    pub async fn statement<S: Statement>(&self, digest: Hash) -> Result<S, ApiError> {
        let found = self.ledger().read(move |ledger: &Ledger| ledger.get_statement(&digest)).await;
        let envelope = found.map_err(CommandError::from)?.map_err(ApiError::internal)?;
        let envelope =
            envelope.ok_or_else(|| ApiError::internal(format!("the statement {digest} is missing")))?;
        let payload = envelope.unverified_payload().map_err(ApiError::internal)?;
        serde_json::from_slice(&payload).map_err(ApiError::internal)
    }
}
