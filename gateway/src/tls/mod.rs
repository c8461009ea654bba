//! TLS: version 1.3 only, on ring, with optional client certificates of the deployment's own authority.

pub mod authority;
pub mod renewal;
pub mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::folder::{Folder, SecretError, read_secret};

/// Why TLS could not be set up. The operator restores or renews the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate file cannot be read.
    #[error("{path} cannot be read as PEM certificates: {detail}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] SecretError),
    /// The file holds no key.
    #[error("{path} holds no private key in PEM")]
    KeyFormat {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not fit, or the authority is no CA.
    #[error("the TLS files in tls/ do not fit together: {0}")]
    Rustls(#[from] rustls::Error),
    /// The authority cannot verify clients.
    #[error("tls/ca.pem cannot verify client certificates: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Makes ring the process's TLS provider. Called first of all; later calls change nothing.
pub fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The server's side of TLS, from the deployment's folder.
///
/// Without a client certificate the handshake succeeds (partner clients bring a token); with one of another authority
/// it fails, so that a misconfigured site learns at once.
///
/// # Errors
/// [`TlsError`].
pub fn server_config(folder: &Folder) -> Result<ServerConfig, TlsError> {
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
    let mut authority = RootCertStore::empty();
    for certificate in certificates(folder.tls_ca())? {
        authority.add(certificate)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authority), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let chain = certificates(folder.tls_certificate())?;
    let key_path = folder.tls_key();
    let keys = PrivateKeyDer::pem_slice_iter(&read_secret(&key_path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::KeyFormat { path: key_path.clone() })?;
    let mut configs = keys.into_iter().map(|key| {
        ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(chain.clone(), key)
    });
    // In the middle of a renewal there are two keys; the one that the certificate is over counts.
    let first = configs.next().ok_or(TlsError::KeyFormat { path: key_path })?;
    let mut config = configs.fold(first, |fits, next| fits.or(next))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |detail: String| TlsError::Certificate { path: path.clone(), detail };
    let text = std::fs::read(&path).map_err(|error: io::Error| unreadable(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreadable(error.to_string()))?;
    if certificates.is_empty() { Err(unreadable("it holds none".to_owned())) } else { Ok(certificates) }
}
