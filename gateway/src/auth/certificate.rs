//! The client certificate of a connection: what of it counts. Its chain and validity were checked in the TLS handshake.

use std::fmt;
use std::sync::Arc;

use axum::http::Extensions;
use axum_server::tls::TlsInfo;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use konclave_crypto::Digest;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::ApiError;

/// What names a certificate in a token: SHA-256 of its DER, base64url (`x5t#S256`, RFC 8705 section 3.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thumbprint(String);

impl Thumbprint {
    /// Of a certificate's DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(digest(&SHA256, der)))
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The DER of the certificate that the client showed in the handshake, if it showed one.
pub(crate) fn shown(extensions: &Extensions) -> Option<&[u8]> {
    let tls = extensions.get::<Arc<TlsInfo>>()?;
    tls.peer_certificates.first().map(AsRef::as_ref)
}

/// Name and key of a client certificate.
pub(crate) struct PresentedCertificate {
    pub(crate) name: String,
    pub(crate) spki: Digest,
}

impl PresentedCertificate {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, ApiError> {
        let unreadable = || ApiError::unknown_certificate("the client certificate could not be read");
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| unreadable())?;
        let mut names = certificate.subject().iter_common_name();
        let (Some(name), None) = (names.next(), names.next()) else {
            return Err(ApiError::unknown_certificate(
                "the client certificate needs exactly one common name",
            ));
        };
        Ok(Self {
            name: name.as_str().map_err(|_| unreadable())?.to_owned(),
            spki: Digest::of(certificate.public_key().raw),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash of the empty text, in the base64 of RFC 4648 section 5.
    #[test]
    fn a_thumbprint_is_base64url_without_padding() {
        assert_eq!(Thumbprint::of(b"").to_string(), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for bytes in [&b""[..], b"0", &[0x30, 0x82, 0xff, 0xff]] {
            assert!(PresentedCertificate::parse(bytes).is_err());
        }
    }
}
