//! What the gateway waits for from one member: the site enclave's to-do list.
//!
//! A hint only: every step checks signatures, contexts and rules by itself.

use konclave_crypto::{Digest, JobId, RoundNumber, SiteId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Asks for work, waiting for some.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WorkQuery {
    /// Wait up to so many seconds (0 to 30) until there is work.
    #[serde(default)]
    #[param(maximum = 30)]
    pub wait_seconds: u8,
}

/// The member's to-do list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkList {
    /// What is waited for, oldest first.
    pub items: Vec<WorkItem>,
    /// The ledger's size, so that a witness knows when to look.
    pub ledger_size: u64,
}

/// One thing that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum WorkItem {
    /// Answer an invitation: POST /v1/jobs/{job}/consents.
    Consent {
        /// The job.
        job: JobId,
    },
    /// PUT /v1/jobs/{job}/keys/{site}.
    AdvertiseKeys {
        /// The job.
        job: JobId,
    },
    /// Read the roster, then PUT /v1/jobs/{job}/ciphertexts/{site}.
    Encapsulate {
        /// The job.
        job: JobId,
    },
    /// Train, mask, then PUT the manifest and the masked update.
    Upload {
        /// The job.
        job: JobId,
        /// The round.
        round: RoundNumber,
    },
    /// Read the proposal, then PUT the agreement signature.
    Agree {
        /// The job.
        job: JobId,
        /// The round.
        round: RoundNumber,
    },
    /// Read the signatures, then PUT the shares.
    Unmask {
        /// The job.
        job: JobId,
        /// The round.
        round: RoundNumber,
    },
    /// Read what was opened, compute the tag, then PUT it.
    Tag {
        /// The job.
        job: JobId,
        /// The round.
        round: RoundNumber,
    },
    /// Check the opened sum against all tags, then PUT the verdict.
    Verify {
        /// The job.
        job: JobId,
        /// The round.
        round: RoundNumber,
    },
    /// For the evaluator: score these parameters on the benchmark, POST /v1/evaluations.
    Evaluate {
        /// The job.
        job: JobId,
        /// The round.
        round: RoundNumber,
        /// The flat parameter vector to score.
        parameters: Digest,
        /// The batches whose sums made it; empty for the global model.
        coalition: Vec<Vec<SiteId>>,
    },
}
