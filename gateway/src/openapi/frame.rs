//! The frame of the document: what it says of the service as a whole, and how callers show who they are.

use konclave_openapi::problem::{FieldError, Problem};
use konclave_policies::authorization::Role;
use utoipa::OpenApi as _;
use utoipa::openapi::security::{ClientCredentials, Flow, OAuth2, Scopes, SecurityScheme};
use utoipa::openapi::{Components, OpenApi};

use super::access::{MTLS, OAUTH, is_held_by_clients};
use crate::routes::docs::DocsFile;
use crate::routes::problems::ProblemSlug;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Konclave",
        description = "Secure federated learning for a consortium: sites train one model on data that never leaves \
                       them, the gateway opens only sums, the ledger proves it.\n\nSites connect with client \
                       certificates (mTLS), partner systems with OAuth 2.0 access tokens. Every answer that is not a \
                       success is a problem document (RFC 9457) whose `type` leads to an explanation. Nothing attests \
                       which code a gateway runs unless GET /v1/status says otherwise.\n\nThis document names \
                       everything that the gateway answers: any other path is 404, any other method 405.",
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
    // Schemas of parameters alone are not found by themselves.
    components(schemas(Problem, FieldError, ProblemSlug, DocsFile))
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
    let roles = Role::ALL.iter().filter(|role| is_held_by_clients(**role));
    let scopes = roles.map(|role| (role.name().to_owned(), format!("Act as {role}")));
    let flow = Flow::ClientCredentials(ClientCredentials::new("/oauth/token", Scopes::from_iter(scopes)));
    let scheme = OAuth2::with_description(
        [flow],
        "Client credentials with private_key_jwt (RFC 7523): a JWT signed with the client's Ed25519 key. A scope is a \
         role; an operation names those of which one is enough",
    );
    components.add_security_scheme(OAUTH, SecurityScheme::OAuth2(scheme));
    document
}
