//! The one map from everything that can go wrong to a problem document (RFC 9457).
//!
//! Handlers return [`ApiError`]; the outermost layer ([`crate::request`]) adds the request's id. What failed
//! inside the gateway is logged under that id and never told to the client.

use std::error::Error;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use konclave_openapi::problem::{FieldError, MEDIA_TYPE, Problem, ProblemType};

/// The next byte that an upload wants (draft-ietf-httpbis-resumable-upload, section 5.1).
pub const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// Why a request was not answered as asked. Each variant is one [`ProblemType`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The body or a parameter could not be read: the client's fault.
    #[error("{detail}")]
    InvalidRequest {
        /// What is wrong.
        detail: String,
        /// Where.
        errors: Vec<FieldError>,
    },
    /// There is no valid credential.
    #[error("{detail}")]
    Unauthenticated {
        /// What was missing or wrong.
        detail: String,
    },
    /// The access token's time is over.
    #[error("the access token expired; ask POST /oauth/token for a new one")]
    TokenExpired,
    /// The client certificate is not one of an enrolled, unexpired member.
    #[error("{detail}")]
    UnknownCertificate {
        /// What did not match.
        detail: String,
    },
    /// A policy denies it.
    #[error("{principal} may not {action} {resource}: denied by policy {}", .policy_ids.join(", "))]
    Forbidden {
        /// Who asked.
        principal: String,
        /// What for.
        action: String,
        /// On what.
        resource: String,
        /// The policies that decided.
        policy_ids: Vec<String>,
    },
    /// There is no such resource, or none this principal may see.
    #[error("there is no {what}, or none that you may see")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// The path exists, the method does not.
    #[error("{method} is not offered here")]
    MethodNotAllowed {
        /// The method.
        method: String,
    },
    /// The resource is in another state.
    #[error("{detail}")]
    Conflict {
        /// Which state, and what to do.
        detail: String,
    },
    /// The message belongs to a round or phase that is over or has not begun.
    #[error("{detail}")]
    WrongRound {
        /// Where the round stands.
        detail: String,
    },
    /// Another message of the same kind was accepted before.
    #[error("{detail}")]
    AlreadySent {
        /// Which.
        detail: String,
    },
    /// The bytes do not continue where the upload stands.
    #[error("the next byte wanted is {wanted}, these begin at {offered}")]
    UploadOffset {
        /// The next byte wanted.
        wanted: u64,
        /// Where the bytes begin.
        offered: u64,
    },
    /// The organisation may open no further upload.
    #[error("{detail}")]
    UploadQuota {
        /// Which bound is reached.
        detail: String,
    },
    /// The upload was said to be complete, but bytes are missing.
    #[error("the upload has {offset} of the announced {expected} bytes; go on from there")]
    UploadIncomplete {
        /// How many bytes came.
        offset: u64,
        /// How many were announced.
        expected: u64,
    },
    /// The body is larger than allowed.
    #[error("the body is larger than the {limit} bytes allowed here")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The body's media type is not read here.
    #[error("send the body as {expected}")]
    UnsupportedMediaType {
        /// The media type to use.
        expected: &'static str,
    },
    /// The byte range lies outside the resource.
    #[error("the range starts behind the resource's {bytes} bytes")]
    RangeNotSatisfiable {
        /// The resource's length in bytes.
        bytes: u64,
    },
    /// The message was read but breaks a rule of the protocol or of a policy.
    #[error("{detail}")]
    Rejected {
        /// The rule, and how it was broken.
        detail: String,
        /// The fields or parties at fault.
        errors: Vec<FieldError>,
    },
    /// The idempotency key came before with another body.
    #[error("this Idempotency-Key was used for another request; use a new key for a new request")]
    IdempotencyMismatch,
    /// The bytes do not have the announced digest or length.
    #[error("{detail}")]
    DigestMismatch {
        /// What was announced and what was found.
        detail: String,
    },
    /// The client sends too much.
    #[error("too many requests; try again in {retry_after} s")]
    TooManyRequests {
        /// Seconds to wait.
        retry_after: u32,
    },
    /// Something failed in the gateway.
    #[error("the gateway failed; it is recorded under the request id")]
    Internal {
        /// What failed, for the log only.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The gateway is starting, stopping, overloaded or out of disk.
    #[error("{detail}")]
    Unavailable {
        /// Which of these.
        detail: String,
        /// Seconds to wait.
        retry_after: u32,
    },
}

impl ApiError {
    /// 400 without a field to name.
    pub fn invalid_request(detail: impl Into<String>) -> Self {
        Self::InvalidRequest { detail: detail.into(), errors: Vec::new() }
    }

    /// 400 naming the field (a JSON pointer or a parameter's name).
    pub fn invalid_field(at: impl Into<String>, detail: impl Into<String>) -> Self {
        let (at, detail) = (at.into(), detail.into());
        let place = if at.is_empty() { "the body" } else { at.as_str() };
        Self::InvalidRequest {
            detail: format!("{place}: {detail}"),
            errors: vec![FieldError { at: at.clone(), detail }],
        }
    }

    /// 401.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::Unauthenticated { detail: detail.into() }
    }

    /// 401 for a client certificate that is not a member's.
    pub fn unknown_certificate(detail: impl Into<String>) -> Self {
        Self::UnknownCertificate { detail: detail.into() }
    }

    /// 404.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }

    /// 409.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::Conflict { detail: detail.into() }
    }

    /// 409 for a message of another round or phase.
    pub fn wrong_round(detail: impl Into<String>) -> Self {
        Self::WrongRound { detail: detail.into() }
    }

    /// 409 for a second, different message.
    pub fn already_sent(detail: impl Into<String>) -> Self {
        Self::AlreadySent { detail: detail.into() }
    }

    /// 413.
    pub fn too_large(limit: u64) -> Self {
        Self::TooLarge { limit }
    }

    /// 422.
    pub fn rejected(detail: impl Into<String>) -> Self {
        Self::Rejected { detail: detail.into(), errors: Vec::new() }
    }

    /// 422 naming the fields or parties at fault.
    pub fn rejected_at(detail: impl Into<String>, errors: Vec<FieldError>) -> Self {
        Self::Rejected { detail: detail.into(), errors }
    }

    /// 422.
    pub fn digest_mismatch(detail: impl Into<String>) -> Self {
        Self::DigestMismatch { detail: detail.into() }
    }

    /// 500. The source goes to the log, never to the client.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal { source: source.into() }
    }

    /// 503 with the seconds to wait.
    pub fn unavailable(detail: impl Into<String>, retry_after: u32) -> Self {
        Self::Unavailable { detail: detail.into(), retry_after }
    }

    /// 503 for want of disk space; the client keeps its message and sends it again.
    pub fn full_disk() -> Self {
        Self::unavailable("the gateway's disk is full; the operator was told", 60)
    }

    /// The problem type it is told as.
    #[must_use]
    pub fn kind(&self) -> ProblemType {
        match self {
            Self::InvalidRequest { .. } => ProblemType::InvalidRequest,
            Self::Unauthenticated { .. } => ProblemType::Unauthenticated,
            Self::TokenExpired => ProblemType::TokenExpired,
            Self::UnknownCertificate { .. } => ProblemType::UnknownCertificate,
            Self::Forbidden { .. } => ProblemType::Forbidden,
            Self::NotFound { .. } => ProblemType::NotFound,
            Self::MethodNotAllowed { .. } => ProblemType::MethodNotAllowed,
            Self::Conflict { .. } => ProblemType::Conflict,
            Self::WrongRound { .. } => ProblemType::WrongRound,
            Self::AlreadySent { .. } => ProblemType::AlreadySent,
            Self::UploadOffset { .. } => ProblemType::UploadOffset,
            Self::UploadQuota { .. } => ProblemType::UploadQuota,
            Self::UploadIncomplete { .. } => ProblemType::UploadIncomplete,
            Self::TooLarge { .. } => ProblemType::TooLarge,
            Self::UnsupportedMediaType { .. } => ProblemType::UnsupportedMediaType,
            Self::RangeNotSatisfiable { .. } => ProblemType::RangeNotSatisfiable,
            Self::Rejected { .. } => ProblemType::Rejected,
            Self::IdempotencyMismatch => ProblemType::IdempotencyMismatch,
            Self::DigestMismatch { .. } => ProblemType::DigestMismatch,
            Self::TooManyRequests { .. } => ProblemType::TooManyRequests,
            Self::Internal { .. } => ProblemType::Internal,
            Self::Unavailable { .. } => ProblemType::Unavailable,
        }
    }

    /// The problem document, without the request id.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let mut problem = Problem::new(self.kind(), self.to_string(), String::new());
        match self {
            Self::InvalidRequest { errors, .. } | Self::Rejected { errors, .. } => {
                problem.errors.clone_from(errors);
            }
            Self::Forbidden { policy_ids, .. } => {
                problem.errors = policy_ids
                    .iter()
                    .map(|id| FieldError { at: format!("policy:{id}"), detail: "denies this".into() })
                    .collect();
            }
            Self::Unauthenticated { .. }
            | Self::TokenExpired
            | Self::UnknownCertificate { .. }
            | Self::NotFound { .. }
            | Self::MethodNotAllowed { .. }
            | Self::Conflict { .. }
            | Self::WrongRound { .. }
            | Self::AlreadySent { .. }
            | Self::UploadOffset { .. }
            | Self::UploadQuota { .. }
            | Self::UploadIncomplete { .. }
            | Self::TooLarge { .. }
            | Self::UnsupportedMediaType { .. }
            | Self::RangeNotSatisfiable { .. }
            | Self::IdempotencyMismatch
            | Self::DigestMismatch { .. }
            | Self::TooManyRequests { .. }
            | Self::Internal { .. }
            | Self::Unavailable { .. } => {}
        }
        problem
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let bearer = "Bearer realm=\"konclave\"";
        let (name, text) = match self {
            Self::Unauthenticated { .. } | Self::UnknownCertificate { .. } => {
                (header::WWW_AUTHENTICATE, bearer.to_owned())
            }
            Self::TokenExpired => (header::WWW_AUTHENTICATE, format!("{bearer}, error=\"invalid_token\"")),
            Self::TooManyRequests { retry_after } | Self::Unavailable { retry_after, .. } => {
                (header::RETRY_AFTER, retry_after.to_string())
            }
            Self::UploadOffset { wanted: offset, .. } | Self::UploadIncomplete { offset, .. } => {
                (UPLOAD_OFFSET, offset.to_string())
            }
            Self::RangeNotSatisfiable { bytes } => (header::CONTENT_RANGE, format!("bytes */{bytes}")),
            Self::InvalidRequest { .. }
            | Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::MethodNotAllowed { .. }
            | Self::Conflict { .. }
            | Self::WrongRound { .. }
            | Self::AlreadySent { .. }
            | Self::UploadQuota { .. }
            | Self::TooLarge { .. }
            | Self::UnsupportedMediaType { .. }
            | Self::Rejected { .. }
            | Self::IdempotencyMismatch
            | Self::DigestMismatch { .. }
            | Self::Internal { .. } => return None,
        };
        HeaderValue::from_str(&text).ok().map(|value| (name, value))
    }
}

/// A full disk is told as 503, so that the client keeps its message and sends it again; the rest as 500.
impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded) {
            tracing::error!(%error, "the disk is full");
            Self::full_disk()
        } else {
            Self::internal(error)
        }
    }
}

/// The problem document of a type for an answer, with its media type.
pub(crate) fn problem_response(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Internal { source } = &self {
            tracing::error!(error = %chain(source.as_ref()), "the request failed inside the gateway");
        }
        let problem = self.problem();
        let mut response = problem_response(&problem);
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        // The outermost layer knows the request id and writes the document anew with it.
        response.extensions_mut().insert(problem);
        response
    }
}

/// An error and what caused it, in one line for the log.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_error_tells_the_client_nothing() {
        let error = ApiError::internal(std::io::Error::other("secret path /var/lib/x"));
        let problem = error.problem();
        assert_eq!(problem.status, 500);
        assert!(!serde_json::to_string(&problem).unwrap().contains("secret"));
    }

    #[test]
    fn a_full_disk_is_unavailable_with_retry_after() {
        let error = ApiError::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        let response = error.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "60");
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
    }

    #[test]
    fn a_denial_names_the_policies() {
        let problem = ApiError::Forbidden {
            principal: "acme".into(),
            action: "create-job".into(),
            resource: "job job-1".into(),
            policy_ids: vec!["default-deny".into()],
        }
        .problem();
        assert!(problem.detail.contains("default-deny"), "{}", problem.detail);
        assert_eq!(problem.errors[0].at, "policy:default-deny");
    }
}
