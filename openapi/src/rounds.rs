//! Rounds of secure aggregation.

use konclave_crypto::{Digest, JobId, RoundNumber, SiteId};
use konclave_ledger::records::SumResult;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A round and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Round {
    /// The job.
    pub job: JobId,
    /// Its number, from 1; an aborted round keeps its number.
    pub round: RoundNumber,
    /// Where it stands.
    pub phase: RoundPhase,
    /// The signed context every site masks under.
    pub context: konclave_crypto::SignedContext,
    /// The context's digest.
    pub context_digest: Digest,
    /// The sites whose upload is complete.
    pub uploaded: Vec<SiteId>,
    /// The agreed set, once proposed.
    pub agreed: Vec<SiteId>,
    /// The sites that signed the agreed set.
    pub signed: Vec<SiteId>,
    /// The sites that answered the unmasking.
    pub unmasked: Vec<SiteId>,
    /// The parameters it started from.
    pub parameters_before: Digest,
    /// The parameters after it, once opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_after: Option<Digest>,
    /// What was opened: one sum, or one for each batch in a scoring round.
    pub openings: Vec<OpeningView>,
    /// The blob with the proposal and the signatures that fixed the agreed set, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement_evidence: Option<Digest>,
    /// How far the verification of the opened sum is, once it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// When it began (RFC 3339).
    pub started_at: String,
    /// When the phase under way ends (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
}

/// Where a round stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RoundPhase {
    /// Sites train, mask and upload.
    Uploading,
    /// Sites sign the set of uploads to open.
    Agreeing,
    /// Sites give the shares that remove the masks.
    Unmasking,
    /// The sum is open.
    Opened,
    /// Nothing was opened, or what was opened was refused.
    Aborted {
        /// Why.
        reason: String,
        /// The sites that caused it, where known.
        culprits: Vec<SiteId>,
    },
}

/// How far the verification of an opened sum is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verification {
    /// What it comes to so far.
    pub result: SumResult,
    /// The blob with the sum over all sites (little-endian i32): what every site checks.
    pub total: Digest,
    /// The sum of the sites' weights.
    pub weight: u64,
    /// The digest of the announcement that tags and verdicts are signed for.
    pub announcement: Digest,
    /// The blob with the tags, once they are settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Digest>,
    /// The sites that sent their tag.
    pub tagged: Vec<SiteId>,
    /// The sites whose tag is missing and cannot be computed.
    pub missing: Vec<SiteId>,
    /// The sites that sent a false tag.
    pub false_tags: Vec<SiteId>,
    /// The sites that accept the sum and the model after it.
    pub accepted: Vec<SiteId>,
    /// The sites that found it wrong.
    pub rejected: Vec<SiteId>,
    /// Until when tags or verdicts are waited for (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
}

/// One opened sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
// Commitments have openings too, and schemas are told apart by name alone.
#[schema(as = OpenedSumView)]
pub struct OpeningView {
    /// The sites it sums.
    pub sites: Vec<SiteId>,
    /// The blob with the summed coordinates (little-endian i32).
    pub sum: Digest,
    /// The sum of the sites' weights.
    pub weight: u64,
}

/// The receipt of a masked upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadReceipt {
    /// Bytes that are durable here.
    pub bytes: u64,
    /// The Merkle root over their chunks; the upload counts once it equals the manifest's.
    pub body_root: Digest,
}

/// How far an upload has come, for resuming it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadOffset {
    /// The next byte wanted.
    pub offset: u64,
    /// The bytes in all.
    pub bytes: u64,
}
