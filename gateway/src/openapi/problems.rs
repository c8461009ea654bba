//! The answers that are no success: one response for each status code, shared by all operations.

use std::collections::{BTreeMap, BTreeSet};

use konclave_openapi::problem::{MEDIA_TYPE, Problem, ProblemType};
use serde_json::json;
use utoipa::ToSchema as _;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response};

use super::headers;

/// The responses as components.
pub(super) fn components() -> BTreeMap<String, RefOr<Response>> {
    let statuses: BTreeSet<u16> = ProblemType::ALL.iter().map(|kind| kind.status()).collect();
    statuses.into_iter().map(|status| (name(status), RefOr::T(response(status)))).collect()
}

/// The response of a status code: the shared one, but where an operation's problems have headers of their own.
pub(super) fn of(id: &str, status: u16) -> RefOr<Response> {
    if headers::are_own(id, &status.to_string()) {
        return RefOr::T(response(status));
    }
    RefOr::Ref(Ref::from_response_name(name(status)))
}

fn name(status: u16) -> String {
    format!("Problem{status}")
}

/// All problems that are sent with a status code, as one response.
pub(super) fn response(status: u16) -> Response {
    let kinds = || ProblemType::ALL.iter().filter(|kind| kind.status() == status);
    let description =
        kinds().map(|kind| format!("{} (`/problems/{}`)", kind.title(), kind.slug())).collect::<Vec<_>>();
    let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name())));
    if let Some(kind) = kinds().next() {
        content =
            content.example(Some(json!(Problem::new(*kind, detail(*kind), "5f0c2c6a9d1be07a3c4e8b21"))));
    }
    let mut response = ResponseBuilder::new()
        .description(description.join("; "))
        .content(MEDIA_TYPE, content.build())
        .build();
    headers::add(&mut response, &status.to_string(), "", false);
    response
}

/// What an occurrence of a problem says, for the example.
fn detail(kind: ProblemType) -> &'static str {
    match kind {
        ProblemType::InvalidRequest => "limit: 0 is not 1 to 500",
        ProblemType::Unauthenticated => {
            "send `Authorization: Bearer TOKEN` (see POST /oauth/token), or connect with a client certificate"
        }
        ProblemType::TokenExpired => "the access token expired; ask POST /oauth/token for a new one",
        ProblemType::UnknownCertificate => "the client certificate is not that of an enrolled member",
        ProblemType::Forbidden => "acme may not read-job job job-7: denied by policy default-deny",
        ProblemType::NotFound => "there is no job job-7, or none that you may see",
        ProblemType::MethodNotAllowed => "DELETE is not offered here",
        ProblemType::Conflict => "entry 12 says so already",
        ProblemType::WrongRound => "job-7 is in phase consent, not in advertise-keys",
        ProblemType::AlreadySent => "site-1 sent another manifest in round 4 of job-7",
        ProblemType::TooLarge => "the body is larger than the 1048576 bytes allowed here",
        ProblemType::UnsupportedMediaType => "send the body as application/json",
        ProblemType::RangeNotSatisfiable => "the range starts behind the resource's 11 bytes",
        ProblemType::Rejected => "site-9 is not invited to job-7",
        ProblemType::IdempotencyMismatch => {
            "this Idempotency-Key was used for another request; use a new key for a new request"
        }
        ProblemType::DigestMismatch => "the bytes that came have another SHA-256 than announced",
        ProblemType::UploadOffset => "the upload goes on at byte 134217728",
        ProblemType::UploadQuota => "your organisation has 16 uploads open, as many as it may",
        ProblemType::UploadIncomplete => "1024 bytes were announced and 1000 came",
        ProblemType::TooManyRequests => "too many requests; try again in 5 s",
        ProblemType::Internal => "the gateway failed; it is recorded under the request id",
        ProblemType::Unavailable => "the gateway is stopping; read the state again later",
    }
}
