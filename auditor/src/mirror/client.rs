//! Requests to a gateway: TLS with ring, one token, no redirects, bounded answers, another try after a pause.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use konclave_ledger::Hash;
use serde::Deserialize;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::token::{self, Token};
use crate::client_key::ClientKey;

/// No request takes longer, whatever the other side does.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// The longest pause that an answer may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// What is read of an answer that is no success.
const PROBLEM_BYTES: u64 = 64 * 1024;

/// How to reach a gateway.
#[derive(Debug, Clone)]
pub struct Connection {
    /// `https://host:port`.
    pub url: String,
    /// The API client's id.
    pub client: String,
    /// PEM certificates of the authorities to trust; without them those of this machine.
    pub ca: Option<Vec<u8>>,
    /// How often a request is made again.
    pub retries: u32,
    /// The pause before the first retry; it doubles.
    pub pause: Duration,
}

/// A client of one gateway.
pub struct GatewayClient {
    agent: Agent,
    connection: Connection,
    key: ClientKey,
    token: Option<(String, Instant)>,
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an HTTPS address.
    #[error("the gateway's address must be https://HOST[:PORT], not {url}")]
    Url {
        /// What was given.
        url: String,
    },
    /// The file of authorities holds none.
    #[error("the file given with --ca holds no PEM certificate")]
    Authority,
    /// No connection, or one that broke.
    #[error("{request}: {source}")]
    Transport {
        /// Which request.
        request: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The gateway sends us elsewhere. A token must not go there.
    #[error("{request}: the gateway redirects to {location}; redirects are not followed")]
    Redirect {
        /// Which request.
        request: String,
        /// Where to.
        location: String,
    },
    /// The gateway refuses.
    #[error("{request}: {status} {detail}")]
    Status {
        /// Which request.
        request: String,
        /// The status.
        status: u16,
        /// What the gateway says.
        detail: String,
    },
    /// The answer to a request for a token is none.
    #[error("the gateway's answer to a request for a token can't be read: {0}")]
    Token(#[source] serde_json::Error),
    /// No random numbers, or no time.
    #[error("this machine has no random numbers or no clock")]
    Machine,
}

/// The member of a problem document (RFC 9457) that is worth showing.
#[derive(Deserialize)]
struct Problem {
    detail: Option<String>,
    title: Option<String>,
}

impl GatewayClient {
    /// Prepares a connection; nothing is sent.
    ///
    /// # Errors
    /// [`ClientError::Url`] or [`ClientError::Authority`].
    pub fn new(connection: Connection, key: ClientKey) -> Result<Self, ClientError> {
        let url = connection.url.trim_end_matches('/').to_owned();
        let host = url.strip_prefix("https://").unwrap_or_default();
        if host.is_empty() || host.contains(|c: char| "/@?# ".contains(c) || c.is_control()) {
            return Err(ClientError::Url { url: connection.url });
        }
        let roots = match &connection.ca {
            None => RootCerts::PlatformVerifier,
            Some(pem) => RootCerts::new_with_certs(&authorities(pem)?),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_LIMIT))
            .user_agent(concat!("konclave-audit/", env!("CARGO_PKG_VERSION")))
            .build();
        let connection = Connection { url, ..connection };
        Ok(Self { agent: Agent::new_with_config(config), connection, key, token: None })
    }

    /// A file of the gateway, of at most `limit` bytes; `None` if there is none.
    ///
    /// # Errors
    /// [`ClientError`] after the last try.
    pub(super) fn get(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ClientError> {
        let (request, url) = (format!("GET /{path}"), format!("{}/{path}", self.connection.url));
        match self.authorized(&request, limit, |agent, token| {
            agent.get(&url).header(header::AUTHORIZATION, format!("Bearer {token}")).call()
        }) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ClientError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a signed review. It may be sent again: the gateway knows it by its digest.
    ///
    /// # Errors
    /// [`ClientError`] after the last try.
    pub fn submit_review(&mut self, envelope: &[u8]) -> Result<(), ClientError> {
        let path = "v1/ledger/reviews";
        let (request, url) = (format!("POST /{path}"), format!("{}/{path}", self.connection.url));
        let again = Hash::of(envelope).to_string();
        self.authorized(&request, PROBLEM_BYTES, |agent, token| {
            agent
                .post(&url)
                .header(header::AUTHORIZATION, format!("Bearer {token}"))
                .header("idempotency-key", &again)
                .content_type("application/json")
                .send(envelope)
        })?;
        Ok(())
    }

    /// A request with the token; with a new one if the gateway no longer takes it.
    fn authorized(
        &mut self,
        request: &str,
        limit: u64,
        send: impl Fn(&Agent, &str) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Vec<u8>, ClientError> {
        for _ in 0..2 {
            let token = self.token()?;
            match self.exchange(request, limit, |agent| send(agent, &token)) {
                Err(ClientError::Status { status: 401, .. }) if self.token.is_some() => self.token = None,
                done => return done,
            }
        }
        let token = self.token()?;
        self.exchange(request, limit, |agent| send(agent, &token))
    }

    fn token(&mut self) -> Result<String, ClientError> {
        if let Some((token, until)) = &self.token
            && *until > Instant::now()
        {
            return Ok(token.clone());
        }
        let url = format!("{}/oauth/token", self.connection.url);
        let request = "POST /oauth/token";
        let answer = self.exchange(request, PROBLEM_BYTES, |agent| {
            // A fresh assertion for every try: the gateway takes each once.
            agent
                .post(&url)
                .send_form(token::form(&self.assertion().map_err(|_| ureq::Error::ConnectionFailed)?))
        })?;
        let Token { access_token, expires_in } =
            serde_json::from_slice(&answer).map_err(ClientError::Token)?;
        let good_for = Duration::from_secs(expires_in.saturating_sub(token::RENEW_BEFORE));
        self.token = Some((access_token.clone(), Instant::now() + good_for.min(Duration::from_secs(3600))));
        Ok(access_token)
    }

    fn assertion(&self) -> Result<String, ClientError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|_| ClientError::Machine)?;
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|_| ClientError::Machine)?;
        let Connection { client, url, .. } = &self.connection;
        Ok(token::assertion(client, &self.key, url, now.as_secs(), nonce))
    }

    /// Sends until there is an answer that another try would not better.
    fn exchange(
        &self,
        request: &str,
        limit: u64,
        send: impl Fn(&Agent) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Vec<u8>, ClientError> {
        let mut pause = self.connection.pause;
        for left in (0..=self.connection.retries).rev() {
            let (error, asked) = match self.attempt(request, limit, &send) {
                Ok(bytes) => return Ok(bytes),
                Err((error, asked)) => (error, asked),
            };
            if left == 0 || !error.may_pass() {
                return Err(error);
            }
            thread::sleep(asked.unwrap_or(pause).min(LONGEST_PAUSE));
            pause = pause.saturating_mul(2);
        }
        Err(ClientError::Machine)
    }

    /// One try; with the pause that the gateway asks for before the next.
    fn attempt(
        &self,
        request: &str,
        limit: u64,
        send: impl Fn(&Agent) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Vec<u8>, (ClientError, Option<Duration>)> {
        let request = || request.to_owned();
        let broken = |source| (ClientError::Transport { request: request(), source: Box::new(source) }, None);
        let mut answer = send(&self.agent).map_err(broken)?;
        let status = answer.status();
        if status.is_success() {
            return answer.body_mut().with_config().limit(limit).read_to_vec().map_err(broken);
        }
        let said = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if status.is_redirection() {
            let location = said(header::LOCATION).unwrap_or_default();
            return Err((ClientError::Redirect { request: request(), location }, None));
        }
        let asked =
            said(header::RETRY_AFTER).and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let body = answer.body_mut().with_config().limit(PROBLEM_BYTES).read_to_vec().unwrap_or_default();
        let problem: Option<Problem> = serde_json::from_slice(&body).ok();
        let detail = problem.and_then(|problem| problem.detail.or(problem.title)).unwrap_or_default();
        Err((ClientError::Status { request: request(), status: status.as_u16(), detail }, asked))
    }
}

impl ClientError {
    /// Whether another try may do better.
    fn may_pass(&self) -> bool {
        match self {
            Self::Transport { source, .. } => !matches!(
                **source,
                ureq::Error::BodyExceedsLimit(_) | ureq::Error::Rustls(_) | ureq::Error::Tls(_)
            ),
            Self::Status { status, .. } => {
                *status == StatusCode::TOO_MANY_REQUESTS.as_u16() || (500..600).contains(status)
            }
            Self::Url { .. } | Self::Authority | Self::Redirect { .. } | Self::Token(_) | Self::Machine => {
                false
            }
        }
    }
}

impl fmt::Debug for GatewayClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatewayClient({} at {}, token not shown)", self.connection.client, self.connection.url)
    }
}

fn authorities(pem: &[u8]) -> Result<Vec<Certificate<'static>>, ClientError> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        Ok(_) | Err(_) => None,
    };
    let found: Vec<_> = parse_pem(pem).filter_map(certificate).collect();
    if found.is_empty() { Err(ClientError::Authority) } else { Ok(found) }
}
