//! Enrolled sites.

use konclave_crypto::{MembershipCertificate, SiteId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An enrolled site enclave or evaluator.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Site {
    /// The site's pseudonym.
    pub site: SiteId,
    /// Its certificate under the consortium root: identity key, legal entity, role, validity.
    pub certificate: MembershipCertificate,
    /// The verification key of its cosignatures (C2SP signed-note vkey).
    pub witness_vkey: String,
    /// The ledger entry that enrolled it.
    pub enrolled_entry: u64,
    /// When it was last heard from (RFC 3339), if since this gateway's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
}

/// What a site makes once and gives to the operator, who checks the fingerprint out of band and signs it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentRequest {
    /// The wanted pseudonym.
    pub site: SiteId,
    /// The legal entity behind it (rewards go to legal entities).
    pub legal_entity: String,
    /// `site` or `evaluator`.
    pub role: konclave_crypto::MemberRole,
    /// The site's Ed25519 identity key.
    pub identity_key: konclave_crypto::IdentityPublicKey,
    /// The verification key of its cosignatures (C2SP signed-note vkey).
    pub witness_vkey: String,
    /// A PKCS#10 request for its TLS client certificate, PEM.
    pub tls_request: String,
    /// By the identity key, over all of the above.
    pub signature: konclave_crypto::Signature,
}

/// What the site gets back.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The certificate under the consortium root.
    pub certificate: MembershipCertificate,
    /// The verification key of its cosignatures, as requested.
    pub witness_vkey: String,
    /// The TLS client certificate, PEM.
    pub tls_certificate: String,
    /// The CA of the gateway's TLS certificate, PEM.
    pub tls_ca: String,
    /// The consortium root's public key, to pin.
    pub consortium_root: konclave_crypto::IdentityPublicKey,
    /// Where the gateway listens.
    pub gateway_url: String,
    /// The ledger's verification key (vkey), to pin.
    pub ledger_key: String,
}
