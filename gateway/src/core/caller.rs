//! On whose behalf a command runs: what the ledger entry says of the actor and of the request.

use konclave_crypto::{Digest, SiteId};
use serde::{Deserialize, Serialize};

/// The actor of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The principal's id.
    pub actor: String,
    /// The role it acts in, kebab-case.
    pub role: String,
    /// The site, where the principal is one.
    pub site: Option<SiteId>,
    /// The request's id.
    pub request_id: String,
    /// The idempotency key, where the request had one.
    pub idempotency: Option<IdempotencyKey>,
}

/// An idempotency key with the body it came with. Both parts go into the ledger entry's request id, so that "was this
/// done before?" is answered by the same durable write that does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdempotencyKey {
    /// SHA-256 over principal, route and key.
    pub key: Digest,
    /// SHA-256 of the request body.
    pub body: Digest,
}

const PREFIX: &str = "idempotency/";

impl IdempotencyKey {
    /// The key of one principal at one route: keys of different principals or routes never meet.
    #[must_use]
    pub fn new(principal: &str, route: &str, key: &str, body: &[u8]) -> Self {
        let scoped = format!("{principal}\n{route}\n{key}");
        Self { key: Digest::of(scoped.as_bytes()), body: Digest::of(body) }
    }

    /// Reads what [`Caller::ledger_request_id`] wrote.
    #[must_use]
    pub fn parse(request_id: &str) -> Option<Self> {
        let (key, body) = request_id.strip_prefix(PREFIX)?.split_once('/')?;
        Some(Self { key: key.parse().ok()?, body: body.parse().ok()? })
    }
}

impl Caller {
    /// The gateway itself, doing a task of its own such as `open-round`.
    #[must_use]
    pub fn gateway(task: &str) -> Self {
        Self {
            actor: "gateway".to_owned(),
            role: "gateway".to_owned(),
            site: None,
            request_id: format!("task/{task}"),
            idempotency: None,
        }
    }

    /// The `request_id` of this caller's ledger entries.
    #[must_use]
    pub fn ledger_request_id(&self) -> String {
        match &self.idempotency {
            Some(key) => format!("{PREFIX}{}/{}", key.key, key.body),
            None => self.request_id.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotency_key_survives_the_ledger() {
        let key = IdempotencyKey::new("acme", "POST /v1/jobs", "k1", b"{}");
        let caller = Caller { idempotency: Some(key), ..Caller::gateway("x") };
        assert_eq!(IdempotencyKey::parse(&caller.ledger_request_id()), Some(key));
        assert_eq!(IdempotencyKey::parse("task/open-round"), None);
        assert_ne!(key.key, IdempotencyKey::new("other", "POST /v1/jobs", "k1", b"{}").key);
    }
}
