//! The committed OpenAPI document is the one that the gateway's routes make.

use konclave_tests::consortium::{Programs, call};

#[test]
fn the_committed_document_is_what_the_gateway_prints() {
    let programs = Programs::find().unwrap();
    let printed = call(&programs.gateway, &["openapi"]).unwrap();
    let committed = konclave_openapi::OPENAPI_JSON;
    if printed.trim() != committed.trim() {
        let differing = printed.lines().zip(committed.lines()).position(|(new, old)| new != old);
        panic!(
            "openapi/openapi.json is out of date (first differing line: {differing:?}); run `make openapi`"
        );
    }
}

#[test]
fn every_operation_can_be_understood_from_the_document() {
    let document: serde_json::Value = serde_json::from_str(konclave_openapi::OPENAPI_JSON).unwrap();
    assert_eq!(document["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
    let mut names = std::collections::BTreeSet::new();
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "delete", "patch"] {
            let Some(operation) = item.get(method) else { continue };
            operations += 1;
            let name = operation["operationId"]
                .as_str()
                .unwrap_or_else(|| panic!("{method} {path} has no operationId"));
            assert!(names.insert(name.to_owned()), "operationId {name} is used twice");
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert!(
                operation["tags"].as_array().is_some_and(|tags| !tags.is_empty()),
                "{method} {path} has no tag"
            );
            for (status, response) in operation["responses"].as_object().unwrap() {
                let shared = response["$ref"].as_str().and_then(|place| document.pointer(&place[1..]));
                let response = shared.unwrap_or(response);
                assert!(response["description"].is_string(), "{method} {path}: {status} has no description");
            }
        }
    }
    assert!(operations >= 30, "the document has only {operations} operations");
}
