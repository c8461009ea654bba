//! The TLS side of the connection: TLS 1.3 only, the site's client certificate, and the gateway's CA as the only root.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::ClientError;

/// What a site needs to make its connections, in PEM.
pub struct TlsMaterial<'a> {
    /// The CA of the gateway's certificate, pinned at enrolment.
    pub gateway_ca: &'a str,
    /// The site's client certificate.
    pub certificate: &'a str,
    /// Its private key (PKCS#8).
    pub key: &'a str,
}

impl std::fmt::Debug for TlsMaterial<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsMaterial(key not shown)")
    }
}

/// The client configuration of rustls.
///
/// # Errors
/// [`ClientError::Setup`] naming the part that does not fit.
pub(crate) fn configuration(material: &TlsMaterial<'_>) -> Result<ClientConfig, ClientError> {
    let setup = |reason: String| ClientError::Setup { reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(material.gateway_ca.as_bytes()) {
        let certificate =
            certificate.map_err(|error| setup(format!("the gateway's CA is not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| setup(format!("the gateway's CA is not usable: {error}")))?;
    }
    if roots.is_empty() {
        return Err(setup(
            "there is no certificate in the pinned CA file; run `konclave-site join` again".into(),
        ));
    }
    let chain = CertificateDer::pem_slice_iter(material.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| setup(format!("the site's TLS certificate is not PEM: {error}")))?;
    let key = PrivateKeyDer::from_pem_slice(material.key.as_bytes())
        .map_err(|error| setup(format!("the site's TLS key is not PEM: {error}")))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| setup(error.to_string()))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| setup(format!("the site's TLS certificate and key do not fit: {error}")))?;
    // HTTP/1.1 moves masked updates as fast as tuned HTTP/2 and in less memory; each long poll has its own connection.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
