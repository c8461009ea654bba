//! Enrolled sites.

use konclave_crypto::{Digest, MembershipCertificate, SiteId, Transcript};
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
    /// SHA-256 of the DER SubjectPublicKeyInfo of its TLS client certificate in force.
    pub tls_spki: Digest,
    /// The ledger entry that enrolled it, or renewed a key of it last.
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
    /// By the identity key, over [`EnrolmentRequest::signed_bytes`].
    pub signature: konclave_crypto::Signature,
}

impl EnrolmentRequest {
    /// What the identity key signs: the label `konclave/v1/enrolment-request`, then site, legal entity, role,
    /// identity key (32 bytes), witness key and TLS request, each with its length in front (u64, big-endian).
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        Transcript::new("enrolment-request")
            .text(self.site.as_str())
            .text(&self.legal_entity)
            .text(self.role.as_str())
            .bytes(self.identity_key.as_bytes())
            .text(&self.witness_vkey)
            .text(&self.tls_request)
            .as_bytes()
            .to_vec()
    }

    /// What the site's and the gateway's operators compare out of band: the SHA-256 of the signed bytes.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.signed_bytes())
    }

    /// Whether the request is signed by the identity key it names.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.identity_key.verifies(&self.signed_bytes(), &self.signature)
    }
}

/// What the site gets back.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The certificate under the consortium root, over its identity key and its witness key.
    pub certificate: MembershipCertificate,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> EnrolmentRequest {
        let text = serde_json::json!({
            "site": "alpha", "legal_entity": "Alpha Ltd", "role": "site", "identity_key": "00".repeat(32),
            "witness_vkey": "alpha+1+x", "tls_request": "pem", "signature": format!("{}==", "A".repeat(86)),
        });
        serde_json::from_value(text).unwrap()
    }

    /// Made without this crate: SHA-256 over the label and the fields, each behind its length.
    #[test]
    fn the_fingerprint_is_the_one_written_down() {
        assert_eq!(
            request().fingerprint().to_string(),
            "53e259e5f7040470c3ba2c6cf222f41f93567e77041b6243df76f8f172d8344f"
        );
    }

    #[test]
    fn every_field_is_in_the_signed_bytes() {
        let changes: [fn(&mut EnrolmentRequest); 5] = [
            |request| request.site = "beta".parse().unwrap(),
            |request| request.legal_entity.push('x'),
            |request| request.role = konclave_crypto::MemberRole::Evaluator,
            |request| request.witness_vkey.push('x'),
            |request| request.tls_request.push('x'),
        ];
        for change in changes {
            let mut changed = request();
            change(&mut changed);
            assert_ne!(changed.fingerprint(), request().fingerprint());
        }
        let mut moved = request();
        moved.legal_entity = "Alpha Lt".into();
        moved.witness_vkey = "dalpha+1+x".into();
        assert_ne!(moved.fingerprint(), request().fingerprint());
        assert!(!request().is_signed());
    }
}
