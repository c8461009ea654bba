//! Who may call an operation, worked out from the authorisation policies: members by certificate, partner systems by the
//! roles of their tokens.

use konclave_policies::authorization::{Action, Authorizer, Principal, Role};
use utoipa::openapi::security::SecurityRequirement;

/// The name of the security scheme of members.
pub(super) const MTLS: &str = "mtls";
/// The name of the security scheme of partner clients.
pub(super) const OAUTH: &str = "oauth2";

/// Who is let in to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everyone, without a credential.
    Open,
    /// Whoever the policies let do all of these, with something of their own at least.
    Roles(&'static [Action]),
    /// Members of whom the policies say that, by their certificate alone: they speak for their own site.
    Members(&'static [Action]),
}

/// Sites and evaluators prove who they are by certificates; every other role is given to clients that bring tokens.
pub(super) fn is_held_by_clients(role: Role) -> bool {
    match role {
        Role::Site | Role::Evaluator => false,
        Role::Operator | Role::DataOwner | Role::ModelDeveloper | Role::Council | Role::Auditor => true,
    }
}

/// The alternatives of an operation's `security`, one for each way to be let in; none is needed where there are none.
///
/// Scopes of one alternative are asked for together, so that each role is an alternative of its own.
pub(super) fn requirements(authorizer: &Authorizer, access: Access) -> Vec<SecurityRequirement> {
    let (actions, tokens) = match access {
        Access::Open => return Vec::new(),
        Access::Roles(actions) => (actions, true),
        Access::Members(actions) => (actions, false),
    };
    let allowed = |role: &Role| actions.iter().all(|action| may(authorizer, *role, *action));
    let (clients, members): (Vec<Role>, Vec<Role>) =
        Role::ALL.iter().filter(|role| allowed(role)).partition(|role| is_held_by_clients(**role));
    let none: [&str; 0] = [];
    let mut alternatives = Vec::new();
    if !members.is_empty() {
        alternatives.push(SecurityRequirement::new(MTLS, none));
    }
    if tokens {
        alternatives.extend(clients.iter().map(|role| SecurityRequirement::new(OAUTH, [role.name()])));
    }
    alternatives
}

/// Whether a role may do it with what is its own, or with what is nobody's.
fn may(authorizer: &Authorizer, role: Role, action: Action) -> bool {
    let organisation = "somebody";
    let principal =
        Principal { id: "anyone".to_owned(), roles: vec![role], organisation: organisation.to_owned() };
    [Some(organisation), None]
        .into_iter()
        .any(|owner| authorizer.decide(&principal, action, &action.on("it", owner)).allow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(access: Access) -> Vec<String> {
        let authorizer = Authorizer::embedded().unwrap();
        let alternatives = requirements(&authorizer, access);
        alternatives.iter().map(|one| serde_json::to_string(one).unwrap()).collect()
    }

    #[test]
    fn every_role_that_the_policies_let_in_is_an_alternative() {
        assert!(named(Access::Open).is_empty());
        assert_eq!(
            named(Access::Roles(&[Action::CorrectEntry])),
            [r#"{"oauth2":["operator"]}"#, r#"{"oauth2":["council"]}"#]
        );
        assert_eq!(
            named(Access::Roles(&[Action::ReadBlob])),
            [r#"{"mtls":[]}"#, r#"{"oauth2":["model-developer"]}"#]
        );
        assert_eq!(named(Access::Members(&[Action::CreateDeposit])), [r#"{"mtls":[]}"#]);
    }
}
