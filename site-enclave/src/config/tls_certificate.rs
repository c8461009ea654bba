//! The site's TLS client certificate: which key it is over, whose name it has, and how long it is good.

use konclave_crypto::{Digest, UnixSeconds};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What of a certificate counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsCertificate {
    /// The DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// Its common name; absent unless there is exactly one.
    pub name: Option<String>,
    /// Its first moment.
    pub not_before: UnixSeconds,
    /// Its last moment.
    pub not_after: UnixSeconds,
}

impl TlsCertificate {
    /// Reads the first certificate in PEM.
    ///
    /// # Errors
    /// The parser's reason.
    pub fn parse(pem: &str) -> Result<Self, String> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
        let mut names = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        let name = names.next().map(str::to_owned).filter(|_| names.next().is_none());
        let seconds = |moment: x509_parser::time::ASN1Time| {
            UnixSeconds(u64::try_from(moment.timestamp()).unwrap_or_default())
        };
        Ok(Self {
            spki: parsed.public_key().raw.to_vec(),
            name,
            not_before: seconds(parsed.validity().not_before),
            not_after: seconds(parsed.validity().not_after),
        })
    }

    /// The digest by which the ledger and the API name its key.
    #[must_use]
    pub fn key_digest(&self) -> Digest {
        Digest::of(&self.spki)
    }

    /// Whether half of its life is over: the time to renew it.
    #[must_use]
    pub fn is_half_over(&self, now: UnixSeconds) -> bool {
        now.get() >= self.not_before.get().midpoint(self.not_after.get())
    }

    /// Whether a tenth of its life or less is left: the time to worry.
    #[must_use]
    pub fn is_nearly_over(&self, now: UnixSeconds) -> bool {
        let life = self.not_after.get().saturating_sub(self.not_before.get());
        self.not_after.get().saturating_sub(now.get()) <= life / 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_half_and_the_end_of_a_life() {
        let certificate = TlsCertificate {
            spki: Vec::new(),
            name: None,
            not_before: UnixSeconds(1000),
            not_after: UnixSeconds(2000),
        };
        for (now, half, nearly) in [
            (999, false, false),
            (1499, false, false),
            (1500, true, false),
            (1900, true, true),
            (3000, true, true),
        ] {
            let now = UnixSeconds(now);
            assert_eq!(
                (certificate.is_half_over(now), certificate.is_nearly_over(now)),
                (half, nearly),
                "{now}"
            );
        }
    }
}
