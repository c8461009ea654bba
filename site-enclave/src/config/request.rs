//! What a site asks the operator and the gateway to certify.

use konclave_crypto::{Digest, Signature, SiteId};
use konclave_openapi::certificates::CertificateRenewal;
use konclave_openapi::sites::EnrolmentRequest;

use super::enrolment::Asked;
use crate::keystore::{KeyError, SiteKeys, TlsKey};

/// The request to be enrolled, signed; the TLS certificate is to be over `key`.
///
/// # Errors
/// [`KeyError::Tls`].
pub fn enrolment_request(asked: &Asked, keys: &SiteKeys, key: &TlsKey) -> Result<EnrolmentRequest, KeyError> {
    let mut request = EnrolmentRequest {
        site: asked.site.clone(),
        legal_entity: asked.legal_entity.clone(),
        role: asked.role,
        identity_key: keys.identity.public(),
        witness_vkey: keys.witness.verifier_key().to_string(),
        tls_request: tls_request(&asked.site, key)?,
        signature: Signature::from([0; 64]),
    };
    request.signature = keys.identity.sign(&request.signed_bytes());
    Ok(request)
}

/// The request to certify `key` in place of the TLS key with this digest, signed.
///
/// # Errors
/// [`KeyError::Tls`].
pub fn renewal_request(
    site: &SiteId,
    replaces: Digest,
    keys: &SiteKeys,
    key: &TlsKey,
) -> Result<CertificateRenewal, KeyError> {
    let mut request = CertificateRenewal {
        site: site.clone(),
        replaces,
        tls_request: tls_request(site, key)?,
        signature: Signature::from([0; 64]),
    };
    request.signature = keys.identity.sign(&request.signed_bytes());
    Ok(request)
}

/// A PKCS#10 request, PEM.
fn tls_request(site: &SiteId, key: &TlsKey) -> Result<String, KeyError> {
    let failed = |error: rcgen::Error| KeyError::Tls(error.to_string());
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).map_err(failed)?;
    let mut name = rcgen::DistinguishedName::new();
    name.push(rcgen::DnType::CommonName, site.as_str());
    parameters.distinguished_name = name;
    parameters.serialize_request(&key.pair()?).and_then(|request| request.pem()).map_err(failed)
}
