//! Who asks, and may they: client certificates of members, access tokens of partner clients, Cedar policies.

pub mod assertion;
pub mod certificate;
pub mod clients;
pub mod jwt;
pub mod key_watch;
pub mod principal;
pub mod replay;
pub(crate) mod standing;
pub mod token_keys;
pub mod tokens;

use std::fmt;

use konclave_policies::authorization::{Action, Authorizer, Resource};

pub use principal::{MemberPrincipal, Principal};

use crate::error::ApiError;

/// Asks the policies. A deny names the policies that decided it, and is logged.
///
/// # Errors
/// [`ApiError::Forbidden`].
pub fn authorize(
    authorizer: &Authorizer,
    principal: &Principal,
    action: Action,
    resource: &Resource,
) -> Result<(), ApiError> {
    let decision = authorizer.decide(&principal.asking(), action, resource);
    if decision.allow {
        tracing::debug!(principal = %principal, %action, policies = ?decision.policy_ids, "allowed");
        return Ok(());
    }
    tracing::info!(principal = %principal, %action, resource = %resource.id, policies = ?decision.policy_ids, "denied");
    Err(ApiError::Forbidden {
        principal: principal.id.clone(),
        action: action.to_string(),
        resource: format!("{} {}", resource.kind, resource.id),
        policy_ids: decision.policy_ids,
    })
}

/// Whether the policies allow it: for leaving out of an answer what a principal may not see.
#[must_use]
pub fn may(authorizer: &Authorizer, principal: &Principal, action: Action, resource: &Resource) -> bool {
    authorizer.decide(&principal.asking(), action, resource).allow
}

impl Principal {
    /// The principal in the policies' terms.
    fn asking(&self) -> konclave_policies::authorization::Principal {
        konclave_policies::authorization::Principal {
            id: self.id.clone(),
            roles: self.roles.clone(),
            organisation: self.organisation.clone(),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id, self.organisation)
    }
}
