//! Renewal of a member's TLS client certificate.

use konclave_crypto::{Digest, Signature, SiteId, Transcript};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a member asks for when it renews its TLS client certificate: one over another key, in place of the key in force.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateRenewal {
    /// The member that asks.
    pub site: SiteId,
    /// The key in force: SHA-256 of the DER SubjectPublicKeyInfo of the certificate that is to be replaced.
    pub replaces: Digest,
    /// A PKCS#10 request over a key that this member never used before, PEM.
    pub tls_request: String,
    /// By the identity key, over [`CertificateRenewal::signed_bytes`]: a stolen TLS key alone cannot prolong its own life.
    pub signature: Signature,
}

impl CertificateRenewal {
    /// What the identity key signs: the label `konclave/v1/certificate-renewal`, then site, the replaced key (32 bytes)
    /// and TLS request, each with its length in front (u64, big-endian).
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        Transcript::new("certificate-renewal")
            .text(self.site.as_str())
            .bytes(&self.replaces.0)
            .text(&self.tls_request)
            .as_bytes()
            .to_vec()
    }
}

/// A renewed TLS client certificate. The replaced one stays good for seven days, for connections and requests that are
/// under way and in case this answer is lost; the same request gets the same answer then.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RenewedCertificate {
    /// The certificate, PEM.
    pub tls_certificate: String,
    /// Its last moment (RFC 3339).
    pub not_after: String,
    /// The ledger entry that put its key in force.
    pub entry: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_in_the_signed_bytes() {
        let text = serde_json::json!({
            "site": "alpha", "replaces": "11".repeat(32), "tls_request": "pem",
            "signature": format!("{}==", "A".repeat(86)),
        });
        let renewal: CertificateRenewal = serde_json::from_value(text).unwrap();
        let changes: [fn(&mut CertificateRenewal); 3] = [
            |renewal| renewal.site = "beta".parse().unwrap(),
            |renewal| renewal.replaces.0[31] = 0,
            |renewal| renewal.tls_request.push('x'),
        ];
        for change in changes {
            let mut changed = renewal.clone();
            change(&mut changed);
            assert_ne!(changed.signed_bytes(), renewal.signed_bytes());
        }
    }
}
