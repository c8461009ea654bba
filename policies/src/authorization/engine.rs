//! Asking Cedar.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use cedar_policy::{
    AuthorizationError, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request,
    RestrictedExpression,
};
use konclave_crypto::Digest;

use super::loading::{LoadError, PolicyFolder, SourceFile, load, read_folder};
use super::vocabulary::{Action, Decision, Principal, Resource, ResourceKind, Role};

/// Decides by a set of policies that was validated when it was loaded. Cheap to share, never changes.
pub struct Authorizer {
    folder: PolicyFolder,
    names: EntityNames,
    cedar: cedar_policy::Authorizer,
}

/// Cedar's names of our entity types, parsed once.
struct EntityNames {
    action: EntityTypeName,
    member: EntityTypeName,
    role: EntityTypeName,
    resources: HashMap<ResourceKind, EntityTypeName>,
}

/// The files built in, sorted by name.
const EMBEDDED: &[(&str, &str)] = &[
    ("contribution.cedar", include_str!("../../authorization/contribution.cedar")),
    ("isolation.cedar", include_str!("../../authorization/isolation.cedar")),
    ("jobs.cedar", include_str!("../../authorization/jobs.cedar")),
    ("konclave.cedarschema", include_str!("../../authorization/konclave.cedarschema")),
    ("ledger.cedar", include_str!("../../authorization/ledger.cedar")),
    ("platform.cedar", include_str!("../../authorization/platform.cedar")),
];

impl Authorizer {
    /// Loads the `.cedar` and `.cedarschema` files of a folder.
    ///
    /// # Errors
    /// The first reason why the set is not sound; see [`LoadError`].
    pub fn load(folder: &Path) -> Result<Self, LoadError> {
        Self::from_files(&read_folder(folder)?)
    }

    /// The policies built in: those of `policies/authorization/`.
    ///
    /// # Errors
    /// Only if the built-in files are at fault, which this crate's tests exclude.
    pub fn embedded() -> Result<Self, LoadError> {
        let files: Vec<_> = EMBEDDED
            .iter()
            .map(|(name, text)| SourceFile { name: (*name).to_owned(), text: (*text).to_owned() })
            .collect();
        Self::from_files(&files)
    }

    fn from_files(files: &[SourceFile]) -> Result<Self, LoadError> {
        let folder = load(files)?;
        let names = EntityNames::parse().map_err(|message| LoadError::Schema {
            file: "konclave.cedarschema".to_owned(),
            line: 1,
            message,
        })?;
        let authorizer = Self { folder, names, cedar: cedar_policy::Authorizer::new() };
        authorizer.check_vocabulary()?;
        Ok(authorizer)
    }

    /// SHA-256 of the listing `sha256sum` makes of the files, for ledger entries and logs.
    pub fn digest(&self) -> Digest {
        self.folder.digest
    }

    /// The `@id`s of all policies, sorted.
    pub fn policy_ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.folder.policies.policies().map(|policy| policy.id().to_string()).collect();
        ids.sort();
        ids
    }

    /// Whether the principal may do the action to the resource. Anything that is not plainly permitted
    /// is denied: no permit, a forbid, an action asked about another kind of resource than its own, or
    /// a policy that fails.
    pub fn decide(&self, principal: &Principal, action: Action, resource: &Resource) -> Decision {
        let Ok((request, entities)) = self.question(principal, action, resource) else {
            return Decision { allow: false, policy_ids: vec![Decision::EVALUATION_ERROR.to_owned()] };
        };
        let response = self.cedar.is_authorized(&request, &self.folder.policies, &entities);
        let failed = sorted(response.diagnostics().errors().map(|error| match error {
            AuthorizationError::PolicyEvaluationError(error) => error.policy_id().to_string(),
        }));
        if !failed.is_empty() {
            let policy_ids = std::iter::once(Decision::EVALUATION_ERROR.to_owned()).chain(failed).collect();
            return Decision { allow: false, policy_ids };
        }
        let allow = response.decision() == cedar_policy::Decision::Allow;
        let mut policy_ids = sorted(response.diagnostics().reason().map(ToString::to_string));
        if policy_ids.is_empty() {
            policy_ids.push(Decision::DEFAULT_DENY.to_owned());
        }
        Decision { allow, policy_ids }
    }

    /// The question in Cedar's terms, validated against the schema.
    fn question(
        &self,
        principal: &Principal,
        action: Action,
        resource: &Resource,
    ) -> Result<(Request, Entities), String> {
        let schema = Some(&self.folder.schema);
        let member = self.member(principal)?;
        let target = self.target(resource)?;
        let request =
            Request::new(member.uid(), self.names.action(action), target.uid(), Context::empty(), schema)
                .map_err(|error| error.to_string())?;
        let entities =
            Entities::from_entities([member, target], schema).map_err(|error| error.to_string())?;
        Ok((request, entities))
    }

    fn member(&self, principal: &Principal) -> Result<Entity, String> {
        let uid = named(&self.names.member, &principal.id);
        let organisation = RestrictedExpression::new_string(principal.organisation.clone());
        let roles = principal.roles.iter().map(|role| self.names.role(*role)).collect();
        Entity::new(uid, HashMap::from([("organisation".to_owned(), organisation)]), roles)
            .map_err(|error| error.to_string())
    }

    fn target(&self, resource: &Resource) -> Result<Entity, String> {
        let kind = self.names.resources.get(&resource.kind).ok_or("a resource kind without a Cedar name")?;
        let owner = resource.owner.clone().map(RestrictedExpression::new_string);
        let attributes = owner.into_iter().map(|owner| ("owner".to_owned(), owner)).collect();
        Entity::new(named(kind, &resource.id), attributes, HashSet::new()).map_err(|error| error.to_string())
    }

    /// The schema must know every action, role and kind of resource that can be asked about.
    fn check_vocabulary(&self) -> Result<(), LoadError> {
        let member = Principal {
            id: "schema".to_owned(),
            roles: Role::ALL.to_vec(),
            organisation: "schema".to_owned(),
        };
        for action in Action::ALL {
            self.question(&member, *action, &action.on("schema", Some("schema")))
                .map_err(|message| LoadError::SchemaLacks { action: *action, message })?;
        }
        Ok(())
    }
}

impl EntityNames {
    fn parse() -> Result<Self, String> {
        let name =
            |text: &str| format!("Konclave::{text}").parse().map_err(|error| format!("{text}: {error}"));
        let mut resources = HashMap::new();
        for kind in ResourceKind::ALL {
            resources.insert(*kind, name(cedar_kind(*kind))?);
        }
        Ok(Self { action: name("Action")?, member: name("Member")?, role: name("Role")?, resources })
    }

    fn action(&self, action: Action) -> EntityUid {
        named(&self.action, action.name())
    }

    fn role(&self, role: Role) -> EntityUid {
        named(&self.role, role.name())
    }
}

fn cedar_kind(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Platform => "Platform",
        ResourceKind::Catalogue => "Catalogue",
        ResourceKind::Model => "Model",
        ResourceKind::Blob => "Blob",
        ResourceKind::Job => "Job",
        ResourceKind::Seat => "Seat",
        ResourceKind::Round => "Round",
        ResourceKind::Evaluation => "Evaluation",
        ResourceKind::Contribution => "Contribution",
        ResourceKind::Statement => "Statement",
        ResourceKind::Deposit => "Deposit",
        ResourceKind::Ledger => "Ledger",
    }
}

fn named(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn sorted(ids: impl Iterator<Item = String>) -> Vec<String> {
    let mut ids: Vec<_> = ids.collect();
    ids.sort();
    ids
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer").field("policies", &self.policy_ids()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_policies_are_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("authorization");
        let loaded = Authorizer::load(&folder).unwrap();
        let embedded = Authorizer::embedded().unwrap();
        assert_eq!(loaded.digest(), embedded.digest());
        assert_eq!(loaded.policy_ids(), embedded.policy_ids());
    }
}
