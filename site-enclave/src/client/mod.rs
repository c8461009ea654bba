//! The connection to the gateway: outward only, TLS 1.3 with the site's certificate.
//!
//! Every request goes through `GatewayClient::send`: it is written to the egress log first, repeated with backoff
//! where that may help, and answered by a typed value or a [`ClientError`] that shows the gateway's problem in full.
//! All messages of the protocol are idempotent, so repeating one never does harm.

mod blobs;
mod calls;
mod egress;
mod error;
mod retry;
mod tls;
mod upload;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use konclave_crypto::Digest;
use konclave_openapi::problem::{MEDIA_TYPE, Problem};
use reqwest::header::{CONTENT_TYPE, RANGE, RETRY_AFTER};
use reqwest::{Method, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use egress::{EgressLine, EgressLog, EgressTotal, EgressTotals, MessageClass};
pub use error::ClientError;
pub use retry::RetryPolicy;
pub use tls::TlsMaterial;

const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";
/// The most bytes read of a problem document or a JSON answer.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Where the gateway is and how long to wait for it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The gateway's address, `https://HOST:PORT`.
    pub url: String,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long an open exchange may be silent; there is no limit on its whole length.
    pub idle_timeout: Duration,
    /// When to send again.
    pub retry: RetryPolicy,
}

/// A client of the gateway for one member.
#[derive(Debug, Clone)]
pub struct GatewayClient {
    /// Replaced when the certificate is: requests under way keep the one they began with.
    http: Arc<RwLock<reqwest::Client>>,
    base: Url,
    endpoint: Endpoint,
    egress: Arc<EgressLog>,
}

/// A request: what it is, where it goes and what it carries.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    method: Method,
    path: String,
    class: MessageClass,
    body: Option<(Bytes, &'static str)>,
    from_byte: Option<u64>,
}

impl Outgoing {
    fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            class: MessageClass::Read,
            body: None,
            from_byte: None,
        }
    }

    fn json<T: Serialize>(
        method: Method,
        path: impl Into<String>,
        class: MessageClass,
        message: &T,
    ) -> Result<Self, ClientError> {
        let path = path.into();
        let body = serde_json::to_vec(message).map_err(|error| ClientError::Setup {
            reason: format!("a message cannot be written: {error}"),
        })?;
        Ok(Self { method, path, class, body: Some((Bytes::from(body), JSON)), from_byte: None })
    }

    fn octets(path: impl Into<String>, class: MessageClass, body: Bytes) -> Self {
        Self { method: Method::PUT, path: path.into(), class, body: Some((body, OCTETS)), from_byte: None }
    }

    /// Asks for the rest of a blob from a byte on.
    fn starting_at(mut self, byte: u64) -> Self {
        self.from_byte = (byte > 0).then_some(byte);
        self
    }

    fn verb(&self) -> &'static str {
        match self.method {
            Method::GET => "GET",
            Method::PUT => "PUT",
            Method::POST => "POST",
            _ => "request",
        }
    }
}

impl GatewayClient {
    /// A client that presents the site's certificate and trusts only the pinned CA.
    ///
    /// # Errors
    /// [`ClientError::Setup`].
    pub fn new(
        endpoint: &Endpoint,
        tls: &TlsMaterial<'_>,
        egress: Arc<EgressLog>,
    ) -> Result<Self, ClientError> {
        let base = Url::parse(&endpoint.url).map_err(|error| ClientError::Setup {
            reason: format!("gateway_url {}: {error}", endpoint.url),
        })?;
        if base.scheme() != "https" || base.cannot_be_a_base() {
            let reason = format!("gateway_url {} must be https://HOST:PORT", endpoint.url);
            return Err(ClientError::Setup { reason });
        }
        let http = Arc::new(RwLock::new(connections(endpoint, tls)?));
        Ok(Self { http, base, endpoint: endpoint.clone(), egress })
    }

    /// Shows another certificate from the next request on, on new connections.
    ///
    /// # Errors
    /// [`ClientError::Setup`]; the old one stays.
    pub fn show(&self, tls: &TlsMaterial<'_>) -> Result<(), ClientError> {
        let new = connections(&self.endpoint, tls)?;
        *self.http.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn http(&self) -> reqwest::Client {
        self.http.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request until it succeeds, fails for good or the attempts are used up.
    pub(crate) async fn send(&self, outgoing: &Outgoing) -> Result<Response, ClientError> {
        let mut attempt = 1;
        loop {
            let error = match self.send_once(outgoing).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if !error.is_temporary() || attempt >= self.endpoint.retry.attempts {
                return Err(error);
            }
            let wait = self.endpoint.retry.wait(attempt, retry::random_bits(), error.retry_after());
            tracing::debug!(attempt, wait_ms = wait.as_millis(), "sending again after: {error}");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// Sends a request once. The egress log has it before the network does.
    async fn send_once(&self, outgoing: &Outgoing) -> Result<Response, ClientError> {
        let verb = outgoing.verb();
        let url = self
            .base
            .join(&outgoing.path)
            .map_err(|error| ClientError::Setup { reason: format!("{}: {error}", outgoing.path) })?;
        let mut request = self.http().request(outgoing.method.clone(), url);
        let mut body_bytes = None;
        if let Some((body, media_type)) = &outgoing.body {
            body_bytes = Some(body.as_ref());
            request = request.header(CONTENT_TYPE, *media_type).body(body.clone());
            if outgoing.method == Method::POST {
                // The same statement always has the same key, also after a crash.
                request = request.header("idempotency-key", Digest::of(body).to_string());
            }
        }
        if let Some(byte) = outgoing.from_byte {
            request = request.header(RANGE, format!("bytes={byte}-"));
        }
        self.egress
            .record(verb, &outgoing.path, outgoing.class, body_bytes)
            .map_err(|source| ClientError::EgressLog { path: self.egress.path().to_path_buf(), source })?;
        let response =
            request.send().await.map_err(|error| ClientError::connection(verb, &outgoing.path, &error))?;
        if response.status().is_success() { Ok(response) } else { Err(refused(outgoing, response).await) }
    }

    /// Sends and reads a JSON answer.
    pub(crate) async fn exchange<T: DeserializeOwned>(&self, outgoing: &Outgoing) -> Result<T, ClientError> {
        let response = self.send(outgoing).await?;
        Self::read_answer(outgoing, response).await
    }

    /// As [`Self::exchange`], but sends only once: for what is better continued than repeated.
    pub(crate) async fn exchange_once<T: DeserializeOwned>(
        &self,
        outgoing: &Outgoing,
    ) -> Result<T, ClientError> {
        let response = self.send_once(outgoing).await?;
        Self::read_answer(outgoing, response).await
    }

    async fn read_answer<T: DeserializeOwned>(
        outgoing: &Outgoing,
        response: Response,
    ) -> Result<T, ClientError> {
        let verb = outgoing.verb();
        let body = read_limited(response, MAX_ANSWER)
            .await
            .map_err(|error| ClientError::connection(verb, &outgoing.path, &error))?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Malformed {
            method: verb,
            path: outgoing.path.clone(),
            reason: error.to_string(),
        })
    }

    /// Sends and reads a text of at most `limit` bytes.
    pub(crate) async fn text(&self, outgoing: &Outgoing, limit: usize) -> Result<String, ClientError> {
        let (verb, path) = (outgoing.verb(), outgoing.path.clone());
        let response = self.send(outgoing).await?;
        let body = read_limited(response, limit)
            .await
            .map_err(|error| ClientError::connection(verb, &outgoing.path, &error))?;
        let malformed = |reason: String| ClientError::Malformed { method: verb, path, reason };
        if body.len() > limit {
            return Err(malformed(format!("it has more than {limit} bytes")));
        }
        String::from_utf8(body).map_err(|error| malformed(error.to_string()))
    }

    /// Sends and wants no answer but success.
    pub(crate) async fn deliver(&self, outgoing: &Outgoing) -> Result<(), ClientError> {
        self.send(outgoing).await.map(drop)
    }
}

/// A pool of connections that show a certificate and trust only the pinned CA.
fn connections(endpoint: &Endpoint, tls: &TlsMaterial<'_>) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls::configuration(tls)?)
        .http1_only()
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(endpoint.connect_timeout)
        .read_timeout(endpoint.idle_timeout)
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("konclave-site/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| ClientError::Setup { reason: error.to_string() })
}

/// Reads an answer's body up to a limit; what lies beyond is not read, so that it cannot fill the memory.
async fn read_limited(mut response: Response, limit: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            break;
        }
    }
    Ok(body)
}

/// What an answer other than success means.
async fn refused(outgoing: &Outgoing, response: Response) -> ClientError {
    let method = outgoing.verb();
    let path = outgoing.path.clone();
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let retry_after = header(RETRY_AFTER).and_then(|value| value.trim().parse().ok());
    let is_problem = header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with(MEDIA_TYPE));
    let problem = if is_problem {
        let body = read_limited(response, MAX_ANSWER).await.unwrap_or_default();
        serde_json::from_slice::<Problem>(&body).ok()
    } else {
        None
    };
    match problem {
        Some(problem) => ClientError::Problem { method, path, problem: Box::new(problem), retry_after },
        None => ClientError::NotAGateway { method, path, status, retry_after },
    }
}
