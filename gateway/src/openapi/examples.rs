//! The examples of `openapi/src/examples/` in their places: parameters, request, answers.

use konclave_openapi::examples::Example;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder};
use utoipa::openapi::{Content, RefOr};

/// Puts an operation's example into it.
pub(super) fn attach(operation: &mut Operation, example: &Example) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(known) = parameter else { continue };
        let Some(value) = example.parameters.get(&known.name) else { continue };
        let with = ParameterBuilder::from(std::mem::take::<Parameter>(known)).example(Some(value.clone()));
        *known = with.build();
    }
    if let (Some(RefOr::T(body)), Some(value)) = (&mut operation.request_body, &example.request) {
        for content in body.content.values_mut() {
            put(content, value.clone());
        }
    }
    for (status, answers) in &example.responses {
        let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) else { continue };
        for (media, content) in &mut response.content {
            if let Some(value) = answers.get(media) {
                put(content, value.clone());
            }
        }
    }
}

fn put(content: &mut RefOr<Content>, value: serde_json::Value) {
    if let RefOr::T(content) = content {
        content.example = Some(value);
    }
}
