//! Problems: RFC 9457 documents, one type for each thing that can go wrong.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a problem document (RFC 9457, section 3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An RFC 9457 problem document: the body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "type": "/problems/wrong-round", "title": "The round is not in the phase this message belongs to",
    "status": 409, "detail": "round 4 of job-7 is in phase agreeing; uploads closed at 2026-11-23T10:00:00Z",
    "request_id": "0192f0c1a7b3"
}))]
pub struct Problem {
    /// Which problem: a path on this gateway that explains it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The problem type in one line; the same for every occurrence.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// What happened this time, whose fault it is and what to do.
    pub detail: String,
    /// The request's id, to quote to the operator.
    pub request_id: String,
    /// The fields or parties at fault, where they can be named.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub errors: Vec<FieldError>,
    /// From `POST /oauth/token` alone, the error code of OAuth (RFC 6749, section 5.2).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Beside `error`: the detail, as OAuth clients look for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_description: Option<String>,
}

/// One field, row or party at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// A JSON pointer into the request body, a parameter's name, or a site id.
    pub at: String,
    /// What is wrong with it.
    pub detail: String,
}

macro_rules! problem_types {
    ($($(#[doc = $doc:literal])+ $variant:ident = $slug:literal, $status:literal, $title:literal;)+) => {
        /// Every type of problem this API answers with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ProblemType { $($(#[doc = $doc])+ $variant,)+ }

        impl ProblemType {
            /// All of them, for the documentation pages.
            pub const ALL: &'static [ProblemType] = &[$(ProblemType::$variant,)+];

            /// The last segment of the type's path, `/problems/<slug>`.
            #[must_use]
            pub fn slug(self) -> &'static str { match self { $(ProblemType::$variant => $slug,)+ } }

            /// The HTTP status code it is sent with.
            #[must_use]
            pub fn status(self) -> u16 { match self { $(ProblemType::$variant => $status,)+ } }

            /// The type in one line.
            #[must_use]
            pub fn title(self) -> &'static str { match self { $(ProblemType::$variant => $title,)+ } }

            /// What it means and what to do, for its page.
            #[must_use]
            pub fn explanation(self) -> &'static str { match self { $(ProblemType::$variant => concat!($($doc),+),)+ } }
        }
    };
}

problem_types! {
    /// The request's body or a parameter could not be read. `errors` names the field. Correct it and send again.
    InvalidRequest = "invalid-request", 400, "The request is malformed";
    /// There is no valid credential. Partner systems send `Authorization: Bearer TOKEN` (see POST /oauth/token); sites connect with their client certificate.
    Unauthenticated = "unauthenticated", 401, "Credentials are missing or not valid";
    /// The access token's time is over. Ask for a new one.
    TokenExpired = "token-expired", 401, "The access token has expired";
    /// The client certificate is unknown here, has expired or was revoked. Enrol again.
    UnknownCertificate = "unknown-certificate", 401, "The client certificate is not one of an enrolled site";
    /// A policy denies it; the detail names the policy. Ask the operator for the role, or the owner for access.
    Forbidden = "forbidden", 403, "Not allowed by policy";
    /// There is no such resource, or none that you may see.
    NotFound = "not-found", 404, "No such resource";
    /// The method is not offered at this path.
    MethodNotAllowed = "method-not-allowed", 405, "The method is not offered here";
    /// The resource is in a state that does not allow it. Read it again and decide anew.
    Conflict = "conflict", 409, "The resource is in another state";
    /// The message is for a round or phase that is over or has not begun. Ask for your work again.
    WrongRound = "wrong-round", 409, "The round is not in the phase this message belongs to";
    /// A different message of the same kind was already accepted from you in this round; the first one stands.
    AlreadySent = "already-sent", 409, "Another message was already accepted";
    /// The bytes do not continue where the upload stands. `Upload-Offset` in this answer states the next byte wanted: go on from there.
    UploadOffset = "upload-offset", 409, "The bytes do not continue the upload";
    /// Your organisation has as many uploads open, or as many bytes announced in open ones, as it may. Finish one, or delete one that is no longer wanted.
    UploadQuota = "upload-quota", 409, "Too many uploads are open";
    /// The body is larger than allowed here. The detail states the limit.
    TooLarge = "too-large", 413, "The body is too large";
    /// The body has a media type that is not read here.
    UnsupportedMediaType = "unsupported-media-type", 415, "The media type is not supported";
    /// The requested range starts behind the end. `Content-Range` states the length; ask for less.
    RangeNotSatisfiable = "range-not-satisfiable", 416, "The range lies outside the resource";
    /// The message was read but breaks a rule of the protocol or of the policy. The detail names the rule.
    Rejected = "rejected", 422, "The message breaks a rule";
    /// The same idempotency key came before with another body. Use a new key for a new request.
    IdempotencyMismatch = "idempotency-mismatch", 422, "The idempotency key was used with another body";
    /// The bytes do not have the digest or length that was announced. Send them again.
    DigestMismatch = "digest-mismatch", 422, "The bytes do not match their digest";
    /// The request said that the upload is complete, but bytes are missing. What came is kept: go on from `Upload-Offset`.
    UploadIncomplete = "upload-incomplete", 422, "The upload is not complete";
    /// Too many requests. Wait as `Retry-After` says.
    TooManyRequests = "too-many-requests", 429, "Too many requests";
    /// Something failed here; it is recorded under the request id. Nothing of yours was half done: send the same request again.
    Internal = "internal", 500, "The gateway failed";
    /// The gateway is starting, stopping, or its disk is full. Try again later.
    Unavailable = "unavailable", 503, "The gateway cannot serve this now";
}

impl Problem {
    /// A problem of a type with the detail of this occurrence.
    #[must_use]
    pub fn new(kind: ProblemType, detail: impl Into<String>, request_id: impl Into<String>) -> Self {
        Self {
            kind: format!("/problems/{}", kind.slug()),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            request_id: request_id.into(),
            errors: Vec::new(),
            error: None,
            error_description: None,
        }
    }
}
