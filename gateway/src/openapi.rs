//! The OpenAPI document: its frame, and what every operation has in common.
//!
//! Operations document what they take and give; who may call them and which problems they answer with follows from
//! their shape and is added here, so that none is forgotten.

use std::collections::BTreeMap;

use konclave_openapi::problem::{FieldError, MEDIA_TYPE, Problem, ProblemType};
use konclave_policies::authorization::Role;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{
    ClientCredentials, Flow, OAuth2, Scopes, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, ContentBuilder, OpenApi, PathItem, Ref, RefOr, Required};
use utoipa::{OpenApi as _, ToSchema as _};

/// The name of the security scheme of members.
const MTLS: &str = "mtls";
/// The name of the security scheme of partner clients.
const OAUTH: &str = "oauth2";

/// Operations that need no credential.
const OPEN_TO_ALL: &[&str] = &[
    "/oauth/token",
    "/.well-known/jwks.json",
    "/livez",
    "/readyz",
    "/openapi.json",
    "/problems/{slug}",
    "/v1/status",
];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Konclave",
        description = "Secure federated learning for a consortium: sites train one model on data that never leaves \
                       them, the gateway opens only sums, the ledger proves it.\n\nSites connect with client \
                       certificates (mTLS), partner systems with OAuth 2.0 access tokens. Every answer that is not a \
                       success is a problem document (RFC 9457) whose `type` leads to an explanation. Nothing attests \
                       which code a gateway runs unless GET /v1/status says otherwise.",
        contact(name = "The gateway's operator"),
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/", description = "This gateway")),
    tags(
        (name = "tokens", description = "Access tokens for partner systems"),
        (name = "status", description = "What the gateway says of itself"),
        (name = "sites", description = "Enrolled sites and evaluators"),
        (name = "blobs", description = "Models, parameter vectors and opened sums by digest"),
        (name = "uploads", description = "Uploads of large blobs that go on where they broke off"),
        (name = "models", description = "Baseline models"),
        (name = "jobs", description = "Requests for federated learning, and their set-up"),
        (name = "rounds", description = "Rounds of secure aggregation"),
        (name = "work", description = "What the gateway waits for from a member"),
        (name = "evaluations", description = "Benchmark evaluations"),
        (name = "contributions", description = "Contribution scores and reward statements"),
        (name = "deposits", description = "Declarations of data"),
        (name = "ledger", description = "Entries, checkpoints and proofs"),
        (name = "documentation", description = "This document and the problem types"),
        (name = "health", description = "For load balancers and process managers")
    ),
    components(schemas(Problem, FieldError))
)]
struct Frame;

/// The document without operations.
#[must_use]
pub fn frame() -> OpenApi {
    let mut document = Frame::openapi();
    let components = document.components.get_or_insert_with(Components::default);
    components.add_security_scheme(
        MTLS,
        SecurityScheme::MutualTls {
            description: Some("A member's client certificate, issued at enrolment".to_owned()),
            deprecated: None,
            extensions: None,
        },
    );
    let scopes = Role::ALL.iter().map(|role| (role.name().to_owned(), format!("Act as {role}")));
    let flow = Flow::ClientCredentials(ClientCredentials::new("/oauth/token", Scopes::from_iter(scopes)));
    let scheme = OAuth2::with_description(
        [flow],
        "Client credentials with private_key_jwt (RFC 7523): a JWT signed with the client's Ed25519 key",
    );
    components.add_security_scheme(OAUTH, SecurityScheme::OAuth2(scheme));
    document
}

/// The whole document.
#[must_use]
pub fn document() -> OpenApi {
    let mut document = crate::router::operations().into_openapi();
    for (path, item) in &mut document.paths.paths {
        if let Some(post) = item.post.as_mut().filter(|_| path.starts_with("/v1/")) {
            post.parameters.get_or_insert_default().push(RefOr::T(idempotency_key()));
        }
        for operation in operations(item) {
            complete(path, operation);
        }
    }
    document
}

/// The header that every POST below `/v1` takes.
fn idempotency_key() -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(128));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Makes repeating safe: the same key with the same body gives the first answer, with another body 422",
        ))
        .schema(Some(schema))
        .build()
}

/// The document as the JSON text that is committed and served.
///
/// # Errors
/// If it cannot be written as JSON, which would be a fault of this program.
pub fn json() -> Result<String, serde_json::Error> {
    document().to_pretty_json().map(|text| text + "\n")
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.head, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch]
        .into_iter()
        .flatten()
}

fn complete(path: &str, operation: &mut Operation) {
    let open = OPEN_TO_ALL.contains(&path);
    if operation.security.is_none() {
        operation.security = Some(if open {
            Vec::new()
        } else {
            let none: [&str; 0] = [];
            vec![SecurityRequirement::new(MTLS, none), SecurityRequirement::new(OAUTH, none)]
        });
    }
    let mut statuses = vec![500, 503];
    if !open {
        statuses.extend([401, 403]);
    }
    let has_body = operation.request_body.is_some();
    let has_parameters = operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty());
    if has_body || has_parameters {
        statuses.push(400);
    }
    if path.contains('{') {
        statuses.push(404);
    }
    if has_body {
        statuses.extend([413, 415]);
        if path == "/oauth/token" {
            statuses.extend([401, 429]);
        } else {
            statuses.extend([404, 409, 422]);
        }
    }
    if path == "/v1/ledger/export.ndjson" {
        statuses.extend([422, 429]);
    }
    if path == "/witnessed" {
        statuses.push(404);
    }
    if operation.responses.responses.contains_key("206") {
        statuses.push(416);
    }
    for status in statuses {
        operation.responses.responses.entry(status.to_string()).or_insert_with(|| problem_response(status));
    }
}

/// The problems of a status code, as one documented response.
fn problem_response(status: u16) -> RefOr<utoipa::openapi::Response> {
    let kinds = ProblemType::ALL.iter().filter(|kind| kind.status() == status);
    let description = kinds
        .map(|kind| format!("{} (`/problems/{}`)", kind.title(), kind.slug()))
        .collect::<Vec<_>>()
        .join("; ");
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
    RefOr::T(ResponseBuilder::new().description(description).content(MEDIA_TYPE, content).build())
}

/// Operation ids with their method and path, for tests.
#[must_use]
pub fn operation_ids(document: &OpenApi) -> BTreeMap<String, Vec<String>> {
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, item) in &document.paths.paths {
        for operation in operations(&mut item.clone()) {
            ids.entry(operation.operation_id.clone().unwrap_or_default()).or_default().push(path.clone());
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_documented_in_full() {
        let mut document = document();
        for (path, item) in &mut document.paths.paths {
            for operation in operations(item) {
                let id = operation.operation_id.clone().unwrap_or_default();
                assert!(!id.is_empty(), "{path} has no operationId");
                assert!(
                    operation.summary.as_ref().is_some_and(|text| !text.is_empty()),
                    "{id} has no summary"
                );
                assert_eq!(operation.tags.as_ref().map_or(0, Vec::len), 1, "{id} needs one tag");
                assert!(operation.security.is_some(), "{id} has no security");
                let success = operation.responses.responses.keys().any(|status| status.starts_with('2'));
                assert!(success, "{id} documents no success");
                for (status, response) in &operation.responses.responses {
                    let RefOr::T(response) = response else { panic!("{id} {status} is a reference") };
                    assert!(!response.description.is_empty(), "{id} {status} has no description");
                    if !status.starts_with('2') && status != "304" {
                        assert!(response.content.contains_key(MEDIA_TYPE), "{id} {status} is no problem");
                    }
                }
            }
        }
    }

    #[test]
    fn operation_ids_are_unique_and_tags_declared() {
        let document = document();
        for (id, paths) in operation_ids(&document) {
            assert_eq!(paths.len(), 1, "{id} names {paths:?}");
        }
        let declared: Vec<_> = document.tags.iter().flatten().map(|tag| tag.name.clone()).collect();
        for item in document.paths.paths.values() {
            for operation in operations(&mut item.clone()) {
                for tag in operation.tags.iter().flatten() {
                    assert!(declared.contains(tag), "{tag} is not declared");
                }
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
}
