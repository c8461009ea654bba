//! What the gateway says of itself.

use konclave_crypto::{Digest, MembershipCertificate};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The gateway's state in brief; open to all.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Says first what is not protected: `none` means that no hardware attests what code runs.
    pub attestation: Attestation,
    /// The ledger's origin line.
    pub origin: String,
    /// The gateway's software version.
    pub software: String,
    /// The digest of the rounds policy in force.
    pub policy: Digest,
    /// The gateway's certificate under the consortium root.
    pub gateway: MembershipCertificate,
    /// Entries in the ledger.
    pub ledger_size: u64,
    /// The ledger's verification key (C2SP signed-note vkey).
    pub ledger_key: String,
}

/// How far the gateway's software is attested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Attestation {
    /// Nothing attests what code runs.
    None,
    /// The operator signs an inventory of software.
    SignedInventory,
    /// Hardware attests it.
    ConfidentialComputing,
}
