//! What every operation must have; each failure says what to add, and where.

use std::collections::BTreeSet;

use axum::http::Method;
use konclave_openapi::problem::MEDIA_TYPE;
use utoipa::openapi::{Ref, Response};

use super::*;

/// Every operation with its path, method and id.
fn operations(document: &OpenApi) -> Vec<(String, Method, String, &Operation)> {
    let paths = document.paths.paths.iter();
    paths
        .flat_map(|(path, item)| {
            let of = paths::of(item).into_iter();
            of.map(move |(method, operation)| {
                (path.clone(), method, operation.operation_id.clone().unwrap_or_default(), operation)
            })
        })
        .collect()
}

/// The response itself, be it in place or a component.
fn resolved<'a>(document: &'a OpenApi, response: &'a RefOr<Response>) -> &'a Response {
    match response {
        RefOr::T(response) => response,
        RefOr::Ref(Ref { ref_location, .. }) => {
            let name = ref_location.rsplit('/').next().unwrap();
            match &document.components.as_ref().unwrap().responses[name] {
                RefOr::T(response) => response,
                RefOr::Ref(_) => panic!("{name} is a reference to a reference"),
            }
        }
    }
}

#[test]
fn every_operation_has_its_row_in_the_contract() {
    let document = document().unwrap();
    let mut rows: BTreeSet<&str> = contract::ids().into_iter().collect();
    assert_eq!(rows.len(), contract::ids().len(), "an operation has two rows");
    for (path, method, id, _) in operations(&document) {
        if !paths::is_added_head(&id) {
            assert!(
                rows.remove(id.as_str()),
                "{method} {path} ({id}) has no row in gateway/src/openapi/contract.rs: \
                 say there who may call it and with which problems it answers"
            );
        }
    }
    assert!(rows.is_empty(), "rows in gateway/src/openapi/contract.rs without an operation: {rows:?}");
}

#[test]
fn every_operation_is_documented_in_full() {
    let document = document().unwrap();
    for (path, method, id, operation) in operations(&document) {
        assert!(!id.is_empty(), "{method} {path} has no operationId");
        assert!(operation.summary.as_ref().is_some_and(|text| !text.is_empty()), "{id} has no summary");
        assert_eq!(operation.tags.as_ref().map_or(0, Vec::len), 1, "{id} needs one tag");
        assert!(operation.security.is_some(), "{id} has no security");
        let answers = &operation.responses.responses;
        assert!(answers.keys().any(|status| status.starts_with('2')), "{id} documents no success");
        for (status, response) in answers {
            let response = resolved(&document, response);
            assert!(!response.description.is_empty(), "{id} {status} has no description");
            assert!(response.headers.contains_key("x-request-id"), "{id} {status} has no x-request-id");
            if method != Method::HEAD && (status.starts_with('4') || status.starts_with('5')) {
                assert!(response.content.contains_key(MEDIA_TYPE), "{id} {status} is no problem");
            }
        }
        for parameter in operation.parameters.iter().flatten() {
            let RefOr::T(parameter) = parameter else { panic!("{id} has a parameter by reference") };
            assert!(
                parameter.description.as_ref().is_some_and(|text| !text.is_empty()),
                "{id}: parameter {} has no description",
                parameter.name
            );
        }
    }
}

#[test]
fn headers_that_a_status_calls_for_are_documented() {
    let document = document().unwrap();
    for (_, _, id, operation) in operations(&document) {
        for (status, response) in &operation.responses.responses {
            let called_for: &[&str] = match status.as_str() {
                "201" => &["Location"],
                "206" => &["Content-Range", "Accept-Ranges", "ETag"],
                "304" => &["ETag", "Cache-Control"],
                "401" => &["WWW-Authenticate"],
                "405" => &["Allow"],
                "416" => &["Content-Range"],
                "429" | "503" => &["Retry-After"],
                _ => &[],
            };
            for header in called_for {
                let known = resolved(&document, response).headers.contains_key(*header);
                assert!(known, "{id} {status} needs {header}: gateway/src/openapi/headers.rs");
            }
        }
    }
}

/// A new route is found here without its example.
#[test]
fn every_operation_has_its_example() {
    let document = document().unwrap();
    let mut missing = Vec::new();
    for (path, method, id, operation) in operations(&document) {
        if method == Method::HEAD {
            continue;
        }
        let place = format!(
            "{method} {path}: openapi/src/examples/{id}.json, named in openapi/src/examples/mod.rs \
             (`make examples` writes it if gateway/tests/rounds/examples.rs sends such a request)"
        );
        if konclave_openapi::examples::of(&id).is_none() {
            missing.push(place);
            continue;
        }
        if let Some(RefOr::T(body)) = &operation.request_body {
            let has = |content: &RefOr<utoipa::openapi::Content>| match content {
                RefOr::T(content) => content.example.is_some(),
                RefOr::Ref(_) => false,
            };
            if !body.content.values().all(has) {
                missing.push(format!("{place}: the request"));
            }
        }
        for (status, response) in &operation.responses.responses {
            let RefOr::T(response) = response else { continue };
            if !status.starts_with('2') {
                continue;
            }
            for (media, content) in &response.content {
                if !matches!(content, RefOr::T(content) if content.example.is_some()) {
                    missing.push(format!("{place}: answer {status} as {media}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "examples are missing:\n{}", missing.join("\n"));
}

#[test]
fn every_example_is_of_an_operation() {
    let document = document().unwrap();
    let ids = operation_ids(&document);
    for id in konclave_openapi::examples::ids() {
        assert!(ids.contains_key(id), "openapi/src/examples/{id}.json is of no operation");
    }
}

#[test]
fn operation_ids_are_unique_and_tags_declared() {
    let document = document().unwrap();
    for (id, paths) in operation_ids(&document) {
        assert_eq!(paths.len(), 1, "{id} names {paths:?}");
    }
    let declared: Vec<_> = document.tags.iter().flatten().map(|tag| tag.name.clone()).collect();
    for (_, _, _, operation) in operations(&document) {
        for tag in operation.tags.iter().flatten() {
            assert!(declared.contains(tag), "{tag} is not declared");
        }
    }
}

/// The schemas of the document as it is written.
fn component_schemas() -> serde_json::Map<String, serde_json::Value> {
    let document = serde_json::to_value(document().unwrap()).unwrap();
    document["components"]["schemas"].as_object().unwrap().clone()
}

#[test]
fn pages_refer_to_the_schema_of_their_items() {
    let pages: Vec<_> =
        component_schemas().into_iter().filter(|(name, _)| name.starts_with("Page_")).collect();
    assert!(pages.len() > 10, "{} pages", pages.len());
    for (name, page) in pages {
        let item = name.trim_start_matches("Page_");
        let refers = &page["properties"]["items"]["items"]["$ref"];
        assert_eq!(
            *refers,
            format!("#/components/schemas/{item}"),
            "{name}: a client gets a second type for its items"
        );
    }
}

#[test]
fn cases_of_unions_have_names() {
    let schemas = component_schemas();
    let titles = |name: &str| -> Vec<String> {
        let cases = schemas[name]["oneOf"].as_array().unwrap();
        cases.iter().map(|case| case["title"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(titles("MaskGraph"), ["MaskGraphComplete", "MaskGraphRegular"]);
    assert_eq!(titles("JobPhase")[1], "JobPhaseAdvertiseKeys");
    for (name, schema) in &schemas {
        for case in schema["oneOf"].as_array().into_iter().flatten() {
            let named = case["title"].is_string() || case["$ref"].is_string();
            assert!(named, "{name}: a case without a name: {case}");
        }
    }
}

#[test]
fn the_committed_document_is_the_generated_one() {
    assert!(
        konclave_openapi::OPENAPI_JSON == json().unwrap(),
        "openapi/openapi.json is out of date; run: make openapi"
    );
}
