//! Paths and methods: which the gateway offers, and how those are documented that OpenAPI has no words for.

use std::collections::BTreeMap;

use axum::http::Method;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{OpenApi, PathItem, RefOr};

use super::problems;

/// Where HEAD is offered, and the id of that operation. It is answered as GET is, without the body.
const HEADS: &[(&str, &str)] =
    &[("/v1/blobs/{digest}", "check_blob"), ("/livez", "check_liveness"), ("/readyz", "check_readiness")];

/// Whether an operation is a HEAD that is added beside its GET.
#[cfg(test)]
pub(super) fn is_added_head(id: &str) -> bool {
    HEADS.iter().any(|(_, head)| *head == id)
}

/// Every path template as the router has it, with the methods that are answered there.
#[must_use]
pub fn offered(document: &OpenApi) -> BTreeMap<String, Vec<Method>> {
    let mut offered = BTreeMap::new();
    for (path, item) in &document.paths.paths {
        let mut methods: Vec<Method> = of(item).into_iter().map(|(method, _)| method).collect();
        if HEADS.iter().any(|(head, _)| head == path) && !methods.contains(&Method::HEAD) {
            methods.push(Method::HEAD);
        }
        methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        offered.insert(path.clone(), methods);
    }
    offered
}

/// The operations of a path.
pub(super) fn of(item: &PathItem) -> Vec<(Method, &Operation)> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
    let methods = [
        (Method::GET, get),
        (Method::PUT, put),
        (Method::POST, post),
        (Method::DELETE, delete),
        (Method::OPTIONS, options),
        (Method::HEAD, head),
        (Method::PATCH, patch),
        (Method::TRACE, trace),
    ];
    methods.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?))).collect()
}

/// The same, to be changed.
pub(super) fn of_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
    [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
}

/// Adds the HEAD operations beside their GET, once those are complete.
pub(super) fn add_heads(document: &mut OpenApi) {
    for (path, id) in HEADS {
        let Some(item) = document.paths.paths.get_mut(*path) else { continue };
        let Some(get) = &item.get else { continue };
        let mut head = get.clone();
        head.operation_id = Some((*id).to_owned());
        head.summary = head.summary.map(|summary| format!("{summary} (headers only)"));
        head.description = Some("Answers as GET does, without the body.".to_owned());
        // A range is for GET alone (RFC 9110, section 14.2).
        head.responses.responses.retain(|status, _| !matches!(status.as_str(), "206" | "416"));
        if let Some(parameters) = &mut head.parameters {
            parameters.retain(|one| !matches!(one, RefOr::T(one) if one.name == "range"));
        }
        for (status, response) in &mut head.responses.responses {
            if let RefOr::Ref(_) = response {
                *response = RefOr::T(problems::response(status.parse().unwrap_or(500)));
            }
            if let RefOr::T(response) = response {
                response.content.clear();
            }
        }
        item.head = Some(head);
    }
}

/// Writes `{*rest}`, a parameter that takes slashes, as OpenAPI writes parameters, and says so.
pub(super) fn name_catch_alls(document: &mut OpenApi) {
    let paths = &mut document.paths.paths;
    let catch_alls: Vec<String> = paths.keys().filter(|path| path.contains("{*")).cloned().collect();
    for path in catch_alls {
        let Some(mut item) = paths.remove(&path) else { continue };
        item.extensions = Some(Extensions::from_iter([("x-konclave-slashes", true)]));
        paths.insert(path.replace("{*", "{"), item);
    }
}
