//! The operations a partner system uses.

use konclave_crypto::{Digest, JobId};
use konclave_openapi::contributions::{Contribution, Statement};
use konclave_openapi::deposits::Deposit;
use konclave_openapi::evaluations::Evaluation;
use konclave_openapi::jobs::{Job, NewJob};
use konclave_openapi::ledger::{CheckpointView, EntryView};
use konclave_openapi::models::{Blob, Model, NewModel};
use konclave_openapi::page::Page;
use konclave_openapi::rounds::Round;
use konclave_openapi::status::Status;
use serde::de::DeserializeOwned;

use super::PartnerClient;
use crate::error::HarnessError;

impl PartnerClient {
    /// Uploads bytes under their digest.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn upload(&self, bytes: Vec<u8>) -> Result<Digest, HarnessError> {
        let digest = Digest::of(&bytes);
        let blob: Blob = self.put_bytes(&format!("/v1/blobs/{digest}"), bytes)?;
        Ok(blob.digest)
    }

    /// Registers a model.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn register_model(&self, model: &NewModel) -> Result<Model, HarnessError> {
        self.post("/v1/models", &format!("model-{}", model.manifest.torchscript), model)
    }

    /// Asks for federated learning.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn create_job(&self, job: &NewJob) -> Result<Job, HarnessError> {
        self.post("/v1/jobs", &format!("job-{}", job.name.replace(' ', "-")), job)
    }

    /// A job.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn job(&self, job: &JobId) -> Result<Job, HarnessError> {
        self.get(&format!("/v1/jobs/{job}"))
    }

    /// A job's rounds, oldest first.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn rounds(&self, job: &JobId) -> Result<Vec<Round>, HarnessError> {
        self.all(&format!("/v1/jobs/{job}/rounds"), "")
    }

    /// A job's evaluations.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn evaluations(&self, job: &JobId) -> Result<Vec<Evaluation>, HarnessError> {
        self.all("/v1/evaluations", &format!("job={job}"))
    }

    /// A job's contribution tables.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn contributions(&self, job: &JobId) -> Result<Vec<Contribution>, HarnessError> {
        self.all(&format!("/v1/jobs/{job}/contributions"), "")
    }

    /// A job's reward statements.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn statements(&self, job: &JobId) -> Result<Vec<Statement>, HarnessError> {
        self.all(&format!("/v1/jobs/{job}/statements"), "")
    }

    /// The registered deposits.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn deposits(&self) -> Result<Vec<Deposit>, HarnessError> {
        self.all("/v1/deposits", "")
    }

    /// Ledger entries with an action, or all.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn entries(&self, action: Option<&str>) -> Result<Vec<EntryView>, HarnessError> {
        self.all("/v1/ledger/entries", &action.map(|action| format!("action={action}")).unwrap_or_default())
    }

    /// The latest checkpoint.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn checkpoint(&self) -> Result<CheckpointView, HarnessError> {
        self.get("/v1/ledger/checkpoint")
    }

    /// What the gateway says of itself.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn status(&self) -> Result<Status, HarnessError> {
        self.get("/v1/status")
    }

    /// Every page of a list.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn all<T: DeserializeOwned>(&self, path: &str, query: &str) -> Result<Vec<T>, HarnessError> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let parts = [
                Some(query.to_owned()).filter(|query| !query.is_empty()),
                Some("limit=500".to_owned()),
                cursor.map(|cursor| format!("cursor={}", escape(&cursor))),
            ];
            let parts = parts.into_iter().flatten().collect::<Vec<_>>().join("&");
            let page: Page<T> = self.get(&format!("{path}?{parts}"))?;
            items.extend(page.items);
            let Some(next) = page.next_cursor else { return Ok(items) };
            cursor = Some(next);
        }
    }
}

/// Percent-encodes a query value (RFC 3986: all but unreserved characters).
fn escape(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn cursors_survive_a_query() {
        assert_eq!(escape("a-Z_0.~"), "a-Z_0.~");
        assert_eq!(escape("a+b/c==&d"), "a%2Bb%2Fc%3D%3D%26d");
    }
}
