//! Reading a folder of policies and refusing it unless all of it is sound.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cedar_policy::{PolicyId, PolicySet, Schema, ValidationMode, Validator};
use konclave_crypto::Digest;
use miette::Diagnostic;

use super::vocabulary::{Action, Decision};

/// One file of a set of policies.
pub(super) struct SourceFile {
    pub(super) name: String,
    pub(super) text: String,
}

/// A sound set of policies: parsed, named, and validated strictly against its schema.
pub(super) struct PolicyFolder {
    pub(super) schema: Schema,
    pub(super) policies: PolicySet,
    pub(super) digest: Digest,
}

/// Why a set of authorisation policies was refused. Its author must change it; nothing of it is used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or the folder cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There must be one schema.
    #[error("expected exactly one .cedarschema file, found {}", if found.is_empty() { "none".to_owned() } else { found.join(", ") })]
    SchemaCount {
        /// The schema files found.
        found: Vec<String>,
    },
    /// There is no policy, which would deny everything to everyone.
    #[error("no .cedar file holds a policy")]
    NoPolicies,
    /// The schema is not a Cedar schema.
    #[error("{file}:{line}: not a valid schema: {message}")]
    Schema {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// Cedar's words.
        message: String,
    },
    /// The schema lacks an action of the gateway, or gives it to another kind of resource.
    #[error("the schema does not let a Konclave::Member do \"{action}\": {message}")]
    SchemaLacks {
        /// The action.
        action: Action,
        /// Cedar's words.
        message: String,
    },
    /// A policy file is not Cedar.
    #[error("{file}:{line}: not a valid policy: {message}")]
    Syntax {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// Cedar's words.
        message: String,
    },
    /// A policy has no `@id`, so no decision could name it.
    #[error("{file}: policy number {position} has no @id(\"...\") annotation, or one that is reserved")]
    MissingId {
        /// The file.
        file: String,
        /// The policy's place in the file, from 1.
        position: usize,
    },
    /// Two policies have one `@id`.
    #[error("{file}: @id(\"{id}\") is already used in {first}")]
    DuplicateId {
        /// The file of the second.
        file: String,
        /// The id.
        id: String,
        /// The file of the first.
        first: String,
    },
    /// Policy templates have no meaning here.
    #[error("{file}: holds a policy template; write it as policies")]
    Template {
        /// The file.
        file: String,
    },
    /// Policies do not fit the schema.
    #[error("policies do not fit the schema:\n{}", faults.join("\n"))]
    Invalid {
        /// One line per fault, with file and policy id.
        faults: Vec<String>,
    },
}

/// Reads the `.cedar` and `.cedarschema` files of a folder, sorted by name.
pub(super) fn read_folder(folder: &Path) -> Result<Vec<SourceFile>, LoadError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| LoadError::Unreadable { path, source }
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.ends_with(".cedar") || name.ends_with(SCHEMA_SUFFIX) {
            let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
            files.push(SourceFile { name, text });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

const SCHEMA_SUFFIX: &str = ".cedarschema";

/// Parses and validates a set of files, which must be sorted by name.
pub(super) fn load(files: &[SourceFile]) -> Result<PolicyFolder, LoadError> {
    let schema = parse_schema(files)?;
    let mut policies = PolicySet::new();
    let mut file_of = BTreeMap::new();
    for file in files.iter().filter(|file| !file.name.ends_with(SCHEMA_SUFFIX)) {
        add_file(file, &mut policies, &mut file_of)?;
    }
    if policies.is_empty() {
        return Err(LoadError::NoPolicies);
    }
    let validation = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
    // Warnings count too: a condition that can never hold is a mistake in an access policy.
    let placed = |id: &PolicyId, fault: String| {
        let file = file_of.get(id.to_string().as_str()).cloned().unwrap_or_default();
        // Cedar names the policy in some of its messages only.
        if fault.contains(&format!("`{id}`")) {
            format!("{file}: {fault}")
        } else {
            format!("{file}: `{id}`: {fault}")
        }
    };
    let errors = validation.validation_errors().map(|fault| placed(fault.policy_id(), fault.to_string()));
    let warnings = validation.validation_warnings().map(|fault| placed(fault.policy_id(), fault.to_string()));
    let faults: Vec<_> = errors.chain(warnings).collect();
    if !faults.is_empty() {
        return Err(LoadError::Invalid { faults });
    }
    Ok(PolicyFolder { schema, policies, digest: digest(files) })
}

fn parse_schema(files: &[SourceFile]) -> Result<Schema, LoadError> {
    let schemas: Vec<_> = files.iter().filter(|file| file.name.ends_with(SCHEMA_SUFFIX)).collect();
    let [file] = schemas.as_slice() else {
        return Err(LoadError::SchemaCount { found: schemas.iter().map(|file| file.name.clone()).collect() });
    };
    let (schema, warnings) = Schema::from_cedarschema_str(&file.text).map_err(|error| LoadError::Schema {
        file: file.name.clone(),
        line: line_of(&file.text, &error),
        message: whole_message(&error),
    })?;
    let warnings = Vec::from_iter(warnings.map(|warning| warning.to_string()));
    if !warnings.is_empty() {
        return Err(LoadError::Schema { file: file.name.clone(), line: 1, message: warnings.join("; ") });
    }
    Ok(schema)
}

/// Adds a file's policies under their `@id`s.
fn add_file(
    file: &SourceFile,
    policies: &mut PolicySet,
    file_of: &mut BTreeMap<String, String>,
) -> Result<(), LoadError> {
    let parsed: PolicySet =
        file.text.parse().map_err(|errors: cedar_policy::ParseErrors| LoadError::Syntax {
            file: file.name.clone(),
            line: line_of(&file.text, &errors),
            message: whole_message(&errors),
        })?;
    if parsed.templates().next().is_some() {
        return Err(LoadError::Template { file: file.name.clone() });
    }
    // Cedar numbers a file's policies policy0, policy1, ...; sort by number for stable messages.
    let mut in_file: Vec<_> = parsed.policies().collect();
    in_file.sort_by_key(|policy| {
        let id = policy.id().to_string();
        (id.len(), id)
    });
    for (index, policy) in in_file.into_iter().enumerate() {
        let missing = || LoadError::MissingId { file: file.name.clone(), position: index + 1 };
        let reserved = [Decision::DEFAULT_DENY, Decision::EVALUATION_ERROR];
        let id = policy.annotation("id").filter(|id| !id.trim().is_empty() && !reserved.contains(id));
        let id = id.ok_or_else(missing)?;
        if let Some(first) = file_of.insert(id.to_owned(), file.name.clone()) {
            return Err(LoadError::DuplicateId { file: file.name.clone(), id: id.to_owned(), first });
        }
        policies.add(policy.new_id(PolicyId::new(id))).map_err(|error| LoadError::Syntax {
            file: file.name.clone(),
            line: 1,
            message: error.to_string(),
        })?;
    }
    Ok(())
}

/// The line of the first place a Cedar error points at; 1 if it points nowhere.
fn line_of(text: &str, error: &impl Diagnostic) -> usize {
    let offset = error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// An error with its causes and its advice.
fn whole_message(error: &impl Diagnostic) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        let text = deeper.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = deeper.source();
    }
    if let Some(help) = error.help() {
        message.push_str(&format!(" ({help})"));
    }
    message
}

/// The digest of what `sha256sum * | sha256sum` sees of the files, in the order of their names.
fn digest(files: &[SourceFile]) -> Digest {
    let lines: String =
        files.iter().map(|file| format!("{}  {}\n", Digest::of(file.text.as_bytes()), file.name)).collect();
    Digest::of(lines.as_bytes())
}
