//! A small gateway for tests: real TLS 1.3 with client certificates, scripted answers.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "each test file uses a part of this, and a test may panic"
)]

pub mod gateway;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::RustlsConfig;
use konclave_site::client::{EgressLog, Endpoint, GatewayClient, RetryPolicy, TlsMaterial};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate authority, a server's and a client's certificate under it.
pub struct Pki {
    pub ca: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
    server: (String, String),
    pub client: (String, String),
}

impl Pki {
    pub fn new(site: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "test CA");
        let ca = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let signed = |names: Vec<String>, common: &str| {
            let key = KeyPair::generate().unwrap();
            let mut parameters = CertificateParams::new(names).unwrap();
            parameters.distinguished_name.push(DnType::CommonName, common);
            let certificate = parameters.signed_by(&key, &ca).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        Self {
            server: signed(vec!["localhost".into()], "gateway"),
            client: signed(Vec::new(), site),
            ca: ca.pem(),
            issuer: ca,
        }
    }

    /// A client certificate for a PKCS#10 request.
    pub fn sign(&self, request: &str) -> String {
        let request = rcgen::CertificateSigningRequestParams::from_pem(request).unwrap();
        request.signed_by(&self.issuer).unwrap().pem()
    }

    /// Serves a router; only clients with a certificate of this authority get through.
    pub fn serve(&self, router: Router) -> SocketAddr {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let chain = vec![CertificateDer::from_pem_slice(self.server.0.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(self.server.1.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let server =
            axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(Arc::new(config))).unwrap();
        tokio::spawn(server.serve(router.into_make_service()));
        address
    }

    /// A client of the server at `address` that pins this authority and logs below `folder`.
    pub fn client(&self, address: SocketAddr, folder: &Path) -> GatewayClient {
        self.client_pinning(&self.ca, address, folder)
    }

    pub fn client_pinning(&self, ca: &str, address: SocketAddr, folder: &Path) -> GatewayClient {
        let endpoint = Endpoint {
            url: format!("https://localhost:{}", address.port()),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(5),
            retry: RetryPolicy {
                attempts: 5,
                first_wait: Duration::from_millis(10),
                longest_wait: Duration::from_millis(50),
            },
        };
        let material = TlsMaterial { gateway_ca: ca, certificate: &self.client.0, key: &self.client.1 };
        let egress = EgressLog::open(&folder.join("egress.ndjson")).unwrap();
        GatewayClient::new(&endpoint, &material, Arc::new(egress)).unwrap()
    }
}
