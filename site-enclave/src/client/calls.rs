//! The operations of the API that a member uses, one function each.

use konclave_crypto::messages::{
    AgreementProposal, AgreementSignature, Manifest, SumTag, SumVerdict, TaggingRequest, UnmaskingRequest,
    UnmaskingResponse,
};
use konclave_crypto::setup::KeyAdvertisement;
use konclave_crypto::{Digest, JobId, RoundNumber, SiteId};
use konclave_ledger::Leaf;
use konclave_ledger::dsse::Envelope;
use konclave_ledger::note::MAX_NOTE_BYTES;
use konclave_ledger::records::Record;
use konclave_openapi::certificates::{CertificateRenewal, RenewedCertificate};
use konclave_openapi::deposits::{Deposit, NewDeposit};
use konclave_openapi::evaluations::{Evaluation, NewEvaluation};
use konclave_openapi::jobs::{Ciphertexts, Job, RosterView};
use konclave_openapi::ledger::{
    CheckpointView, ConsistencyProofView, EntryView, InclusionProofView, NewCosignature,
};
use konclave_openapi::models::Model;
use konclave_openapi::page::Page;
use konclave_openapi::rounds::Round;
use konclave_openapi::status::Status;
use konclave_openapi::witnesses::{LogKeysView, WitnessesView};
use konclave_openapi::work::WorkList;
use reqwest::Method;

use super::{ClientError, GatewayClient, MessageClass, Outgoing};

/// The most bytes of an `add-checkpoint` body: a note, 63 hashes of 45 bytes, the size.
const MAX_ADD_CHECKPOINT: usize = MAX_NOTE_BYTES + 4096;

impl GatewayClient {
    /// What the gateway says of itself.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.exchange(&Outgoing::get("/v1/status")).await
    }

    /// Asks for a TLS certificate over another key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn renew_certificate(
        &self,
        site: &SiteId,
        renewal: &CertificateRenewal,
    ) -> Result<RenewedCertificate, ClientError> {
        let path = format!("/v1/sites/{site}/certificates");
        self.exchange(&Outgoing::json(Method::POST, path, MessageClass::CertificateRequest, renewal)?).await
    }

    /// What is waited for from this member; answers when there is something or `wait_seconds` are over.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn work(&self, wait_seconds: u8) -> Result<WorkList, ClientError> {
        self.exchange(&Outgoing::get(format!("/v1/work?wait_seconds={wait_seconds}"))).await
    }

    /// A job.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn job(&self, job: &JobId) -> Result<Job, ClientError> {
        self.exchange(&Outgoing::get(format!("/v1/jobs/{job}"))).await
    }

    /// A registered model.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn model(&self, model: &Digest) -> Result<Model, ClientError> {
        self.exchange(&Outgoing::get(format!("/v1/models/{model}"))).await
    }

    /// Sends a consent or a refusal.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_consent(&self, job: &JobId, statement: &Envelope) -> Result<(), ClientError> {
        let path = format!("/v1/jobs/{job}/consents");
        self.deliver(&Outgoing::json(Method::POST, path, MessageClass::Consent, statement)?).await
    }

    /// Sends this site's KEM key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_key(
        &self,
        job: &JobId,
        site: &SiteId,
        key: &KeyAdvertisement,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/jobs/{job}/keys/{site}");
        self.deliver(&Outgoing::json(Method::PUT, path, MessageClass::KeyAdvertisement, key)?).await
    }

    /// The advertisements of the job's roster.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn roster(&self, job: &JobId) -> Result<RosterView, ClientError> {
        self.exchange(&Outgoing::get(format!("/v1/jobs/{job}/roster"))).await
    }

    /// Sends the KEM ciphertexts from this site.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_ciphertexts(
        &self,
        job: &JobId,
        site: &SiteId,
        ciphertexts: &Ciphertexts,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/jobs/{job}/ciphertexts/{site}");
        self.deliver(&Outgoing::json(Method::PUT, path, MessageClass::KemCiphertexts, ciphertexts)?).await
    }

    /// The KEM ciphertexts for this site.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ciphertexts(&self, job: &JobId, site: &SiteId) -> Result<Ciphertexts, ClientError> {
        self.exchange(&Outgoing::get(format!("/v1/jobs/{job}/ciphertexts/{site}"))).await
    }

    /// A round.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn round(&self, job: &JobId, round: RoundNumber) -> Result<Round, ClientError> {
        self.exchange(&Outgoing::get(format!("/v1/jobs/{job}/rounds/{round}"))).await
    }

    /// Sends the manifest of a masked update.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_manifest(
        &self,
        job: &JobId,
        round: RoundNumber,
        site: &SiteId,
        manifest: &Manifest,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/jobs/{job}/rounds/{round}/manifests/{site}");
        self.deliver(&Outgoing::json(Method::PUT, path, MessageClass::Manifest, manifest)?).await
    }

    /// The proposed set of uploads to open.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn agreement(&self, job: &JobId, round: RoundNumber) -> Result<AgreementProposal, ClientError> {
        self.exchange(&Outgoing::get(format!("/v1/jobs/{job}/rounds/{round}/agreement"))).await
    }

    /// Sends this site's signature on the agreed set.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_agreement(
        &self,
        job: &JobId,
        round: RoundNumber,
        site: &SiteId,
        signature: &AgreementSignature,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/jobs/{job}/rounds/{round}/agreement/{site}");
        self.deliver(&Outgoing::json(Method::PUT, path, MessageClass::Agreement, signature)?).await
    }

    /// The signatures on the agreed set and the shares sealed to this site.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn unmasking(
        &self,
        job: &JobId,
        round: RoundNumber,
        site: &SiteId,
    ) -> Result<UnmaskingRequest, ClientError> {
        self.exchange(&Outgoing::get(format!("/v1/jobs/{job}/rounds/{round}/unmasking/{site}"))).await
    }

    /// Sends this site's shares.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_unmasking(
        &self,
        job: &JobId,
        round: RoundNumber,
        site: &SiteId,
        response: &UnmaskingResponse,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/jobs/{job}/rounds/{round}/unmasking/{site}");
        self.deliver(&Outgoing::json(Method::PUT, path, MessageClass::Unmasking, response)?).await
    }

    /// What was opened, and this site's own seeds that are open now.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tagging(
        &self,
        job: &JobId,
        round: RoundNumber,
        site: &SiteId,
    ) -> Result<TaggingRequest, ClientError> {
        self.exchange(&Outgoing::get(format!("/v1/jobs/{job}/rounds/{round}/tags/{site}"))).await
    }

    /// Sends this site's tag.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_tag(
        &self,
        job: &JobId,
        round: RoundNumber,
        site: &SiteId,
        tag: &SumTag,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/jobs/{job}/rounds/{round}/tags/{site}");
        self.deliver(&Outgoing::json(Method::PUT, path, MessageClass::Tag, tag)?).await
    }

    /// Sends this site's verdict on an opened sum.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_verdict(
        &self,
        job: &JobId,
        round: RoundNumber,
        site: &SiteId,
        verdict: &SumVerdict,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/jobs/{job}/rounds/{round}/verdicts/{site}");
        self.deliver(&Outgoing::json(Method::PUT, path, MessageClass::Verdict, verdict)?).await
    }

    /// Reports an evaluation.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_evaluation(&self, statement: Envelope) -> Result<Evaluation, ClientError> {
        let body = NewEvaluation { statement };
        self.exchange(&Outgoing::json(Method::POST, "/v1/evaluations", MessageClass::Evaluation, &body)?)
            .await
    }

    /// Registers a deposit.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_deposit(&self, statement: Envelope) -> Result<Deposit, ClientError> {
        let body = NewDeposit { statement };
        self.exchange(&Outgoing::json(Method::POST, "/v1/deposits", MessageClass::Deposit, &body)?).await
    }

    /// The ledger's latest checkpoint.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn checkpoint(&self) -> Result<CheckpointView, ClientError> {
        self.exchange(&Outgoing::get("/v1/ledger/checkpoint")).await
    }

    /// What this witness is asked to cosign, who has seen `old` entries: the body of an `add-checkpoint` request.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn add_checkpoint(&self, old: u64) -> Result<String, ClientError> {
        self.text(&Outgoing::get(format!("/v1/ledger/add-checkpoint?old={old}")), MAX_ADD_CHECKPOINT).await
    }

    /// What all witnesses vouch for.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn witnesses(&self) -> Result<WitnessesView, ClientError> {
        self.exchange(&Outgoing::get("/v1/ledger/witnesses")).await
    }

    /// The ledger's key and the changes of it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn log_keys(&self) -> Result<LogKeysView, ClientError> {
        self.exchange(&Outgoing::get("/v1/ledger/keys")).await
    }

    /// The ledger entry that set the rounds policy with a digest, and the policy's text. Only a text with that digest
    /// is given; whether the entry is in the ledger is for the witness to check.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn policy_entry(&self, policy: Digest) -> Result<Option<(EntryView, String)>, ClientError> {
        let mut cursor = None::<String>;
        loop {
            let mut path = "/v1/ledger/entries?action=policy.set&limit=100".to_owned();
            if let Some(cursor) = &cursor {
                path.push_str("&cursor=");
                path.push_str(cursor);
            }
            let page: Page<EntryView> = self.exchange(&Outgoing::get(path)).await?;
            for entry in page.items {
                let Ok(leaf) = Leaf::parse(entry.leaf.as_bytes()) else { continue };
                let Ok(Record::PolicySet { text, .. }) = Record::parse(&leaf.action, &leaf.record) else {
                    continue;
                };
                if Digest::of(text.as_bytes()) == policy {
                    return Ok(Some((entry, text)));
                }
            }
            match page.next_cursor {
                Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
                Some(_) | None => return Ok(None),
            }
        }
    }

    /// The ledger's entries with an action about a round. Nothing of the answer is proven.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn round_entries(
        &self,
        job: &JobId,
        round: RoundNumber,
        action: &str,
    ) -> Result<Vec<EntryView>, ClientError> {
        let path = format!("/v1/ledger/entries?object=jobs/{job}/rounds/{round}&action={action}&limit=10");
        Ok(self.exchange::<Page<EntryView>>(&Outgoing::get(path)).await?.items)
    }

    /// The proof that an entry is in the ledger of `size` entries.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn inclusion(&self, index: u64, size: u64) -> Result<InclusionProofView, ClientError> {
        self.exchange(&Outgoing::get(format!("/v1/ledger/entries/{index}/proof?size={size}"))).await
    }

    /// The proof that the ledger of size `new` extends that of size `old`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn consistency(&self, old: u64, new: u64) -> Result<ConsistencyProofView, ClientError> {
        self.exchange(&Outgoing::get(format!("/v1/ledger/consistency?old={old}&new={new}"))).await
    }

    /// Sends a cosignature.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_cosignature(&self, size: u64, line: String) -> Result<CheckpointView, ClientError> {
        let body = NewCosignature { size, line };
        self.exchange(&Outgoing::json(
            Method::POST,
            "/v1/ledger/cosignatures",
            MessageClass::Cosignature,
            &body,
        )?)
        .await
    }
}
