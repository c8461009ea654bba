//! The OpenAPI document: its frame, and what every operation has in common.
//!
//! Operations document what they take and what they give. Who may call them and with which problems they answer is in
//! one table (`contract.rs`), so that neither is forgotten nor guessed; headers follow from status and operation, and
//! examples lie beside the wire types.

mod access;
mod contract;
mod examples;
mod frame;
mod headers;
mod paths;
mod problems;
mod schemas;

use std::collections::BTreeMap;

use konclave_policies::authorization::{Authorizer, LoadError};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Components, OpenApi, RefOr};

pub use frame::frame;
pub use paths::offered;

/// Why there is no document. A fault of this program.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The embedded authorisation policies do not load.
    #[error(transparent)]
    Policies(#[from] LoadError),
    /// It cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// An example is no example.
    #[error("openapi/src/examples/{id}.json cannot be read: {source}")]
    Example {
        /// Of which operation.
        id: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// The whole document.
///
/// # Errors
/// [`DocumentError`].
pub fn document() -> Result<OpenApi, DocumentError> {
    let authorizer = Authorizer::embedded()?;
    let mut document = crate::router::operations().into_openapi();
    for (path, item) in &mut document.paths.paths {
        if let Some(post) = item.post.as_mut().filter(|_| path.starts_with("/v1/")) {
            post.parameters.get_or_insert_default().push(RefOr::T(headers::idempotency_key()));
        }
        for operation in paths::of_mut(item) {
            complete(operation, &authorizer)?;
        }
    }
    paths::add_heads(&mut document);
    paths::name_catch_alls(&mut document);
    let components = document.components.get_or_insert_with(Components::default);
    components.headers.extend(headers::components());
    components.responses.extend(problems::components());
    schemas::refer_to_items(components);
    schemas::name_cases(components);
    schemas::drop_unused(&mut document)?;
    Ok(document)
}

/// The document as the JSON text that is committed and served.
///
/// # Errors
/// [`DocumentError`].
pub fn json() -> Result<String, DocumentError> {
    Ok(document()?.to_pretty_json()? + "\n")
}

/// Adds what an operation has in common with others.
fn complete(operation: &mut Operation, authorizer: &Authorizer) -> Result<(), DocumentError> {
    let id = operation.operation_id.clone().unwrap_or_default();
    if let Some(row) = contract::row_of(&id) {
        operation.security = Some(access::requirements(authorizer, row.access));
        for status in row.statuses() {
            let answers = &mut operation.responses.responses;
            answers.entry(status.to_string()).or_insert_with(|| problems::of(&id, status));
        }
    }
    let kept = operation.responses.responses.contains_key("304");
    if kept {
        operation.parameters.get_or_insert_default().push(RefOr::T(headers::if_none_match()));
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            headers::add(response, status, &id, kept);
        }
    }
    if let Some(example) = konclave_openapi::examples::of(&id) {
        let example = example.map_err(|source| DocumentError::Example { id, source })?;
        examples::attach(operation, &example);
    }
    Ok(())
}

/// Operation ids with their paths, for tests.
#[must_use]
pub fn operation_ids(document: &OpenApi) -> BTreeMap<String, Vec<String>> {
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, item) in &document.paths.paths {
        for (_, operation) in paths::of(item) {
            ids.entry(operation.operation_id.clone().unwrap_or_default()).or_default().push(path.clone());
        }
    }
    ids
}

#[cfg(test)]
mod tests;
