//! The deployment's TLS authority: signs the gateway's certificate and those of the members' clients.

use std::net::IpAddr;

use konclave_crypto::Digest;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
    SerialNumber,
};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::folder::{Folder, SecretError, read_secret};

/// How long the authority and the gateway's certificate are good for.
const AUTHORITY_DAYS: i64 = 3650;
const SERVER_DAYS: i64 = 825;

/// Why a certificate was not made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The request is no PKCS#10, or its self-signature is wrong. Whoever sent it makes a new one.
    #[error("the TLS certificate request is not valid ({0}); its sender makes a new one")]
    Request(rcgen::Error),
    /// A host name is not one.
    #[error("`{host}` is neither a host name nor an IP address")]
    Host {
        /// The text.
        host: String,
    },
    /// The authority's files do not fit.
    #[error("the deployment's TLS authority cannot sign: {0}")]
    Signing(#[from] rcgen::Error),
    /// The system has no randomness to give.
    #[error("no randomness for a serial number: {0}")]
    Randomness(#[from] getrandom::Error),
    /// A certificate that was just made does not read back.
    #[error("the new certificate does not read back")]
    Unreadable,
}

/// A certificate and its private key, PEM.
pub struct Certified {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS#8.
    pub key: Zeroizing<String>,
}

/// A TLS client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, PEM.
    pub certificate: String,
    /// SHA-256 of its DER SubjectPublicKeyInfo.
    pub spki: Digest,
    /// Its last moment.
    pub not_after: OffsetDateTime,
}

impl Certified {
    /// The authority of a deployment.
    ///
    /// # Errors
    /// [`SecretError`] names the file at fault.
    pub fn read_authority(folder: &Folder) -> Result<Self, SecretError> {
        let path = folder.tls_ca();
        let certificate =
            std::fs::read_to_string(&path).map_err(|source| SecretError::Read { path, source })?;
        let path = folder.tls_ca_key();
        let bytes = read_secret(&path)?;
        let key = std::str::from_utf8(&bytes).map_err(|_| SecretError::Malformed { path })?;
        Ok(Self { certificate, key: Zeroizing::new(key.to_owned()) })
    }
}

/// Makes a new authority.
///
/// # Errors
/// [`AuthorityError`].
pub fn new_authority(name: &str, now: OffsetDateTime) -> Result<Certified, AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = params(name, now, AUTHORITY_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    Ok(Certified { certificate: certificate.pem(), key: Zeroizing::new(key.serialize_pem()) })
}

/// Makes the gateway's certificate for some host names and IP addresses.
///
/// # Errors
/// [`AuthorityError`].
pub fn new_server(
    authority: &Certified,
    hosts: &[String],
    now: OffsetDateTime,
) -> Result<Certified, AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = params("konclave gateway", now, SERVER_DAYS)?;
    params.subject_alt_names = hosts.iter().map(|host| subject(host)).collect::<Result<_, _>>()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, &issuer(authority)?)?;
    Ok(Certified { certificate: certificate.pem(), key: Zeroizing::new(key.serialize_pem()) })
}

/// Signs a member's or a partner's request. Of the request only the public key counts: name, uses and times are the authority's.
///
/// # Errors
/// [`AuthorityError::Request`] if the request is not signed by its own key.
pub fn sign_client(
    authority: &Certified,
    request: &str,
    name: &str,
    now: OffsetDateTime,
    days: u32,
) -> Result<ClientCertificate, AuthorityError> {
    let mut request = CertificateSigningRequestParams::from_pem(request).map_err(AuthorityError::Request)?;
    let mut params = params(name, now, days.into())?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    request.params = params;
    let certificate = request.signed_by(&issuer(authority)?)?;
    let (_, parsed) = X509Certificate::from_der(certificate.der()).map_err(|_| AuthorityError::Unreadable)?;
    let spki = Digest::of(parsed.public_key().raw);
    let not_after = parsed.validity().not_after.to_datetime();
    Ok(ClientCertificate { certificate: certificate.pem(), spki, not_after })
}

fn issuer(authority: &Certified) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
    let key = KeyPair::from_pem(&authority.key)?;
    Ok(Issuer::from_ca_cert_pem(&authority.certificate, key)?)
}

fn params(name: &str, now: OffsetDateTime, days: i64) -> Result<CertificateParams, AuthorityError> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial)?;
    // Positive, as RFC 5280 section 4.1.2.2 asks.
    serial[0] &= 0x7f;
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    let mut params = CertificateParams::default();
    // Clocks of members may be a little behind.
    params.not_before = now - Duration::minutes(5);
    params.not_after = now + Duration::days(days);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = distinguished_name;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn subject(host: &str) -> Result<SanType, AuthorityError> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(SanType::IpAddress(ip)),
        Err(_) if host.is_empty() || host.contains([' ', '/', ':']) => {
            Err(AuthorityError::Host { host: host.to_owned() })
        }
        Err(_) => host
            .to_owned()
            .try_into()
            .map(SanType::DnsName)
            .map_err(|_| AuthorityError::Host { host: host.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_790_000_000).unwrap()
    }

    fn request(name: &str, key: &KeyPair) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serialize_request(key).unwrap().pem().unwrap()
    }

    #[test]
    fn a_client_certificate_has_the_authoritys_name_and_uses_not_the_requests() {
        let authority = new_authority("test", now()).unwrap();
        let key = KeyPair::generate().unwrap();
        let client = sign_client(&authority, &request("root-of-all", &key), "alpha", now(), 30).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(client.certificate.as_bytes()).unwrap();
        let parsed = pem.parse_x509().unwrap();
        let names: Vec<_> = parsed.subject().iter_common_name().map(|n| n.as_str().unwrap()).collect();
        assert_eq!(names, ["alpha"]);
        let usage = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
        assert!(!parsed.is_ca());
        assert_eq!(client.spki, Digest::of(parsed.public_key().raw));
    }

    #[test]
    fn a_request_that_was_changed_is_refused() {
        let authority = new_authority("test", now()).unwrap();
        let key = KeyPair::generate().unwrap();
        let pem = request("alpha", &key);
        let (_, parsed) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let mut der = parsed.contents;
        let at = der.windows(5).position(|window| window == b"alpha").unwrap();
        der[at] = b'b';
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        let forged =
            format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
        let refused = sign_client(&authority, &forged, "alpha", now(), 30);
        assert!(matches!(refused, Err(AuthorityError::Request(_))));
    }

    #[test]
    fn a_host_that_is_none_is_refused() {
        let authority = new_authority("test", now()).unwrap();
        for host in ["", "a b", "https://x"] {
            let refused = new_server(&authority, &[host.to_owned()], now());
            assert!(matches!(refused, Err(AuthorityError::Host { .. })), "{host}");
        }
        assert!(new_server(&authority, &["localhost".into(), "::1".into()], now()).is_ok());
    }
}
