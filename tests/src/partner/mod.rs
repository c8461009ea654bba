//! A partner system's client of the public interface, as a model developer or an auditor would write one.

mod calls;
mod export;
mod key;

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use konclave_openapi::problem::Problem;
use konclave_openapi::token::{CLIENT_ASSERTION_TYPE, TokenResponse};
use reqwest::Method;
use reqwest::blocking::{Client, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use export::Exported;
pub use key::ClientKey;

use crate::error::HarnessError;

/// A token is renewed when less than this is left of it.
const RENEW_BEFORE: Duration = Duration::from_secs(30);
/// No request of these takes longer, uploads of a model included.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// A partner system: its key, its connection, its current token.
pub struct PartnerClient {
    url: String,
    http: Client,
    key: ClientKey,
    token: RefCell<Option<(String, Instant)>>,
}

impl PartnerClient {
    /// A client that trusts one CA and nothing else.
    ///
    /// # Errors
    /// If the CA's file cannot be read.
    pub fn new(url: &str, ca_file: &Path, key: ClientKey) -> Result<Self, HarnessError> {
        let ca = fs::read(ca_file).map_err(HarnessError::file("read", ca_file))?;
        let http = http_client(&ca, None)?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), http, key, token: RefCell::new(None) })
    }

    /// The plain connection, without credentials.
    #[must_use]
    pub fn http(&self) -> &Client {
        &self.http
    }

    /// An access token, renewed shortly before its end.
    ///
    /// # Errors
    /// The token endpoint's.
    pub fn token(&self) -> Result<String, HarnessError> {
        if let Some((token, until)) = self.token.borrow().as_ref()
            && *until > Instant::now()
        {
            return Ok(token.clone());
        }
        let answer = self.request_token(&self.key.assertion(&self.url)?)?;
        let good_for = Duration::from_secs(answer.expires_in).saturating_sub(RENEW_BEFORE);
        *self.token.borrow_mut() = Some((answer.access_token.clone(), Instant::now() + good_for));
        Ok(answer.access_token)
    }

    /// Asks for a token with any assertion.
    ///
    /// # Errors
    /// The token endpoint's.
    pub fn request_token(&self, assertion: &str) -> Result<TokenResponse, HarnessError> {
        // A JWT has no character that a form would have to escape.
        let form = format!(
            "grant_type=client_credentials&client_assertion_type={}&client_assertion={assertion}",
            CLIENT_ASSERTION_TYPE.replace(':', "%3A")
        );
        let request = self.http.post(format!("{}/oauth/token", self.url));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        read_json("POST /oauth/token", send("POST /oauth/token", request)?)
    }

    /// The client's key.
    #[must_use]
    pub fn key(&self) -> &ClientKey {
        &self.key
    }

    /// GET with the token, reading JSON.
    ///
    /// # Errors
    /// [`HarnessError::Http`] or [`HarnessError::Problem`].
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, HarnessError> {
        read_json(&format!("GET {path}"), self.exchange(Method::GET, path, |request| request)?)
    }

    /// GET with the token, reading bytes.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn get_bytes(&self, path: &str) -> Result<Vec<u8>, HarnessError> {
        let answer = self.exchange(Method::GET, path, |request| request)?;
        let bytes =
            answer.bytes().map_err(|source| HarnessError::Http { request: format!("GET {path}"), source })?;
        Ok(bytes.to_vec())
    }

    /// POST of JSON with the token and an idempotency key, so that it may be repeated.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &B,
    ) -> Result<T, HarnessError> {
        let answer =
            self.exchange(Method::POST, path, |request| request.header("idempotency-key", key).json(body))?;
        read_json(&format!("POST {path}"), answer)
    }

    /// PUT of bytes with the token.
    ///
    /// # Errors
    /// As [`PartnerClient::get`].
    pub fn put_bytes<T: DeserializeOwned>(&self, path: &str, bytes: Vec<u8>) -> Result<T, HarnessError> {
        let answer = self.exchange(Method::PUT, path, |request| {
            request.header("content-type", "application/octet-stream").body(bytes)
        })?;
        read_json(&format!("PUT {path}"), answer)
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, HarnessError> {
        let name = format!("{method} {path}");
        let request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(self.token()?);
        send(&name, complete(request))
    }
}

/// A connection that trusts one CA (PEM), with a client certificate and its key (PEM) or without.
///
/// # Errors
/// If a PEM text holds nothing usable.
pub fn http_client(ca: &[u8], identity: Option<&str>) -> Result<Client, HarnessError> {
    // An error only says that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let connect = |source| HarnessError::Http { request: "connect".to_owned(), source };
    let ca = reqwest::Certificate::from_pem(ca).map_err(connect)?;
    let mut builder = Client::builder().tls_certs_only([ca]).timeout(REQUEST_LIMIT);
    if let Some(pem) = identity {
        builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).map_err(connect)?);
    }
    builder.build().map_err(connect)
}

/// Sends a request; an answer that is no success becomes its problem document.
///
/// # Errors
/// [`HarnessError::Http`] or [`HarnessError::Problem`].
pub fn send(name: &str, request: RequestBuilder) -> Result<Response, HarnessError> {
    let answer = request.send().map_err(|source| HarnessError::Http { request: name.to_owned(), source })?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let body = answer.text().map_err(|source| HarnessError::Http { request: name.to_owned(), source })?;
    match serde_json::from_str::<Problem>(&body) {
        Ok(problem) => Err(HarnessError::Problem { request: name.to_owned(), problem: Box::new(problem) }),
        Err(error) => Err(HarnessError::unexpected(
            format!("the answer to {name}"),
            format!("{status}, and its body is no problem document ({error}): {body}"),
        )),
    }
}

fn read_json<T: DeserializeOwned>(name: &str, answer: Response) -> Result<T, HarnessError> {
    let body = answer.bytes().map_err(|source| HarnessError::Http { request: name.to_owned(), source })?;
    serde_json::from_slice(&body)
        .map_err(|error| HarnessError::unexpected(format!("the answer to {name}"), error))
}
