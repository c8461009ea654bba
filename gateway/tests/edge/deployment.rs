//! A deployment in a temporary folder, served in this process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use axum_server::Handle;
use base64::Engine as _;
use konclave_crypto::{IdentityKey, MemberRole, UnixSeconds};
use konclave_gateway::auth::jwt;
use konclave_gateway::config::{Config, Overrides};
use konclave_gateway::core::Clock;
use konclave_gateway::folder::Folder;
use konclave_gateway::serve::{Deployment, Gateway};
use konclave_gateway::tls::install_provider;
use konclave_gateway::traffic::Recorder;
use konclave_ledger::SigningKey;
use konclave_ledger::note::{SignatureType, VerifierKey};
use konclave_openapi::problem::Problem;
use konclave_openapi::sites::{Enrolment, EnrolmentRequest};
use konclave_openapi::token::CLIENT_ASSERTION_TYPE;
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Response, StatusCode};
use ring::signature::KeyPair as _;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// The issuer of a deployment made with default flags.
pub(crate) const ISSUER: &str = "https://localhost:8443";

/// A deployment that is not served yet.
pub(crate) struct Folders {
    pub(crate) temporary: tempfile::TempDir,
}

/// A member's keys with its enrolment.
pub(crate) struct Member {
    pub(crate) key: KeyPair,
    pub(crate) enrolment: Enrolment,
}

/// A served deployment.
pub(crate) struct Served {
    pub(crate) folders: Folders,
    pub(crate) address: SocketAddr,
    pub(crate) clock: Clock,
    handle: Handle<SocketAddr>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// Runs the program.
pub(crate) fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_konclave-gateway")).args(arguments).output().unwrap()
}

/// Runs the program, which must succeed; its output.
pub(crate) fn succeed(arguments: &[&str]) -> String {
    let output = program(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the program, which must fail; what it says.
pub(crate) fn fail(arguments: &[&str]) -> String {
    let output = program(arguments);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

/// A site's request, and the key of its TLS certificate.
pub(crate) fn enrolment_request(site: &str, role: MemberRole, seed: u8) -> (EnrolmentRequest, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let identity = IdentityKey::from_seed(Zeroizing::new([seed; 32]));
    let witness = SigningKey::from_seed(&[seed ^ 0x80; 32]).public();
    let name = format!("konclave.example/{site}").parse().unwrap();
    let mut request = EnrolmentRequest {
        site: site.parse().unwrap(),
        legal_entity: format!("{site} Ltd"),
        role,
        identity_key: identity.public(),
        witness_vkey: VerifierKey::new(name, SignatureType::Cosignature, witness).to_string(),
        tls_request: CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap(),
        signature: identity.sign(b""),
    };
    request.signature = identity.sign(&request.signed_bytes());
    (request, key)
}

impl Member {
    /// Certificate and key, PEM.
    pub(crate) fn identity(&self) -> String {
        format!("{}{}", self.enrolment.tls_certificate, self.key.serialize_pem())
    }
}

impl Folders {
    /// Makes a deployment.
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folders = Self { temporary };
        succeed(&["init", "--dir", &folders.dir()]);
        folders
    }

    /// The deployment's folder.
    pub(crate) fn dir(&self) -> String {
        self.path("deployment")
    }

    /// A path beside the deployment.
    pub(crate) fn path(&self, name: &str) -> String {
        self.temporary.path().join(name).to_str().unwrap().to_owned()
    }

    /// Enrols a member through the command line.
    pub(crate) fn enrol(&self, site: &str, role: MemberRole, seed: u8) -> Member {
        let (request, key) = enrolment_request(site, role, seed);
        let (input, output) = (self.path("request.json"), self.path("enrolment.json"));
        std::fs::write(&input, serde_json::to_vec(&request).unwrap()).unwrap();
        let (dir, role) = (self.dir(), role.as_str());
        let said = succeed(&["enrol", "--dir", &dir, "--request", &input, "--out", &output, "--role", role]);
        assert!(said.contains(&request.fingerprint().to_string()), "{said}");
        let enrolment = serde_json::from_slice(&std::fs::read(output).unwrap()).unwrap();
        Member { key, enrolment }
    }

    /// Registers a client with the key of a seed through the command line.
    pub(crate) fn add_client(&self, id: &str, role: &str, seed: u8) {
        let path = self.path("client.pub");
        std::fs::write(&path, public_pem(seed)).unwrap();
        let dir = self.dir();
        succeed(&[
            "client",
            "add",
            "--dir",
            &dir,
            "--client-id",
            id,
            "--organisation",
            "Acme",
            "--role",
            role,
            "--public-key",
            &path,
        ]);
    }

    /// A client of the gateway at an address that trusts the deployment's authority, with a certificate if given
    /// (certificate and key, PEM).
    pub(crate) fn client(&self, address: SocketAddr, identity: Option<&str>) -> Client {
        let builder = self.client_builder(address);
        let builder = match identity {
            Some(identity) => builder.identity(Identity::from_pem(identity.as_bytes()).unwrap()),
            None => builder,
        };
        builder.build().unwrap()
    }

    /// What makes such a client, for a test that sets more of it.
    pub(crate) fn client_builder(&self, address: SocketAddr) -> ClientBuilder {
        let ca = std::fs::read(PathBuf::from(self.dir()).join("tls/ca.pem")).unwrap();
        Client::builder()
            .tls_certs_only([Certificate::from_pem(&ca).unwrap()])
            .resolve("localhost", address)
            .timeout(Duration::from_secs(30))
    }

    /// Changes `gateway.toml`.
    pub(crate) fn configure(&self, from: &str, to: &str) {
        let path = PathBuf::from(self.dir()).join("gateway.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Serves the deployment on a free port.
    pub(crate) async fn serve(self) -> Served {
        self.serve_recording(None).await
    }

    /// Serves the deployment, recording its traffic.
    pub(crate) async fn serve_recording(self, recording: Option<&Path>) -> Served {
        install_provider();
        let clock = Clock::set_to(Clock::System.now());
        let overrides = Overrides { listen: Some("127.0.0.1:0".parse().unwrap()) };
        let config = Config::load(Folder::new(self.dir()), &overrides).unwrap();
        let recorder = recording.map(|folder| Recorder::new(folder).unwrap());
        let gateway =
            Gateway::open(Deployment::read(config, clock.clone(), recorder).unwrap()).await.unwrap();
        let handle = Handle::new();
        tokio::spawn(gateway.serve(handle.clone()));
        let address = handle.listening().await.unwrap();
        Served { folders: self, address, clock, handle }
    }
}

/// A public key as other tools write it.
pub(crate) fn public_pem(seed: u8) -> String {
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let mut der = hex::decode("302a300506032b6570032100").unwrap();
    der.extend_from_slice(pair.public_key().as_ref());
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

impl Served {
    /// A client that trusts the deployment's authority, with a certificate if given (certificate and key, PEM).
    pub(crate) fn client(&self, identity: Option<&str>) -> Client {
        self.folders.client(self.address, identity)
    }

    /// A client with a member's certificate.
    pub(crate) fn client_of(&self, member: &Member) -> Client {
        self.client(Some(&member.identity()))
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// The gateway's time.
    pub(crate) fn now(&self) -> UnixSeconds {
        self.clock.now()
    }

    /// The claims of a good assertion.
    pub(crate) fn claims(&self, client: &str, jti: &str) -> Value {
        json!({"iss": client, "sub": client, "aud": ISSUER, "exp": self.now().get() + 60, "jti": jti})
    }

    /// Asks for a token with some claims signed by the key of a seed.
    pub(crate) async fn ask_token(&self, claims: &Value, seed: u8, scope: Option<&str>) -> Response {
        let assertion = jwt::signed(&[seed; 32], "JWT", None, claims).unwrap();
        self.ask_token_with(&assertion, scope).await
    }

    /// Asks for a token with an assertion.
    pub(crate) async fn ask_token_with(&self, assertion: &str, scope: Option<&str>) -> Response {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials")
            .append_pair("client_assertion_type", CLIENT_ASSERTION_TYPE)
            .append_pair("client_assertion", assertion);
        if let Some(scope) = scope {
            form.append_pair("scope", scope);
        }
        self.client(None)
            .post(self.url("/oauth/token"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.finish())
            .send()
            .await
            .unwrap()
    }

    /// A token for a client whose key is that of a seed.
    pub(crate) async fn token(&self, client: &str, seed: u8) -> String {
        let mut jti = [0; 8];
        getrandom::fill(&mut jti).unwrap();
        let answer = self.ask_token(&self.claims(client, &hex::encode(jti)), seed, None).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }
}

/// The problem in an answer, checked for what every problem has.
pub(crate) async fn problem(response: Response, status: u16, slug: &str) -> Problem {
    let headers = response.headers().clone();
    let got = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    let text = String::from_utf8_lossy(&body).into_owned();
    assert_eq!(got, status, "{text}");
    assert_eq!(headers["content-type"], "application/problem+json", "{text}");
    let problem: Problem = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (problem.status, problem.kind.as_str()),
        (status, format!("/problems/{slug}").as_str()),
        "{text}"
    );
    assert_eq!(headers["x-request-id"], problem.request_id.as_str());
    assert!(!problem.request_id.is_empty());
    problem
}
