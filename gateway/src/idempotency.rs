//! Commands: who asks, under which idempotency key, with which body.
//!
//! The key and the body's digest go into the ledger entry that the command makes, so that "was this done before?" is
//! answered by the very write that does it: no crash can come between the two.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, HeaderName, Method};
use konclave_policies::authorization::Role;
use serde::de::DeserializeOwned;

use crate::auth::Principal;
use crate::core::{App, Caller, IdempotencyKey};
use crate::error::ApiError;
use crate::extract::{limit_of, parse_json, read_json_body};
use crate::request::RequestId;

/// The header that carries an idempotency key.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 128;

/// A JSON command with its sender: the extractor of every POST that changes something.
#[derive(Debug, Clone)]
pub struct Command<T> {
    /// Who asks.
    pub principal: Principal,
    /// What the ledger says of who asks, with the idempotency key.
    pub caller: Caller,
    /// What is asked.
    pub body: T,
}

impl<T: DeserializeOwned> FromRequest<App> for Command<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let principal = Principal::from_request_parts(&mut parts, app).await?;
        let id = RequestId::from_request_parts(&mut parts, app).await?;
        let key = idempotency_key(&parts.headers)?.map(str::to_owned);
        let bytes = read_json_body(&parts, body, limit_of(&parts.extensions)).await?;
        let mut caller = caller(&principal, &id);
        caller.idempotency = key.map(|key| {
            IdempotencyKey::new(&principal.id, &route(&parts.method, parts.uri.path()), &key, &bytes)
        });
        Ok(Self { principal, caller, body: parse_json(&bytes)? })
    }
}

/// What the ledger says of who sent a request without an idempotency key.
#[must_use]
pub fn caller(principal: &Principal, id: &RequestId) -> Caller {
    Caller {
        actor: principal.id.clone(),
        role: principal.roles.iter().map(|role: &Role| role.name()).collect::<Vec<_>>().join(" "),
        site: principal.member.as_ref().map(|member| member.site.clone()),
        request_id: id.to_string(),
        idempotency: None,
    }
}

fn route(method: &Method, path: &str) -> String {
    format!("{method} {path}")
}

/// The request's idempotency key, if it has one.
///
/// # Errors
/// [`ApiError::InvalidRequest`] for more than one, or one that is not 1 to 128 visible ASCII characters.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let wrong =
        || ApiError::invalid_field("Idempotency-Key", "must be one key of 1 to 128 visible ASCII characters");
    let key = value.to_str().map_err(|_| wrong())?;
    let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if values.next().is_some() || !visible || !(1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Err(wrong());
    }
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_key_is_taken_or_refused() {
        assert_eq!(idempotency_key(&headers(&[])).unwrap(), None);
        assert_eq!(idempotency_key(&headers(&["order-7"])).unwrap(), Some("order-7"));
        for bad in [&["a", "b"][..], &[""], &["a b"], &[&"k".repeat(129)]] {
            assert!(idempotency_key(&headers(bad)).is_err(), "{bad:?}");
        }
    }
}
