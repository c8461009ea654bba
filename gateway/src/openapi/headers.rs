//! The headers of answers: which there are, and which answer has which.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Required, Response};

/// A header that answers have, as a component of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answers {
    RequestId,
    Location,
    ETag,
    CacheControl,
    Vary,
    AcceptRanges,
    ContentRange,
    Length,
    Challenge,
    Allow,
    RetryAfter,
    UploadOffset,
    UploadComplete,
    UploadLength,
    UploadLimit,
    WantedOffset,
}

use Answers::{
    AcceptRanges, Allow, CacheControl, Challenge, ContentRange, ETag, Length, Location, RequestId,
    RetryAfter, UploadComplete, UploadLength, UploadLimit, UploadOffset, Vary, WantedOffset,
};

const ALL: [Answers; 16] = [
    RequestId,
    Location,
    ETag,
    CacheControl,
    Vary,
    AcceptRanges,
    ContentRange,
    Length,
    Challenge,
    Allow,
    RetryAfter,
    UploadOffset,
    UploadComplete,
    UploadLength,
    UploadLimit,
    WantedOffset,
];

/// What is said of a header: its component, its name, what it means, its pattern and an example.
struct Said {
    component: &'static str,
    name: &'static str,
    description: &'static str,
    pattern: Option<&'static str>,
    example: Value,
}

impl Answers {
    fn said(self) -> Said {
        let said = |component, name, description, pattern, example: &str| Said {
            component,
            name,
            description,
            pattern,
            example: json!(example),
        };
        match self {
            RequestId => said(
                "RequestId",
                "x-request-id",
                "The request's id, also in problems, in the log and in ledger entries; quote it to the operator",
                Some("^[0-9a-f]{24}$"),
                "5f0c2c6a9d1be07a3c4e8b21",
            ),
            Location => {
                said("Location", "Location", "Where the answer's resource is", None, "/v1/jobs/job-1")
            }
            ETag => said(
                "ETag",
                "ETag",
                "Strong, the SHA-256 of the bytes; for `If-None-Match`",
                Some("^\"[0-9a-f]{64}\"$"),
                "\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"",
            ),
            CacheControl => said(
                "CacheControl",
                "Cache-Control",
                "How long it may be kept, and by whom",
                None,
                "private, no-cache",
            ),
            Vary => said("Vary", "Vary", "The request header that the answer depends on", None, "accept"),
            AcceptRanges => said(
                "AcceptRanges",
                "Accept-Ranges",
                "Byte ranges can be asked for",
                Some("^bytes$"),
                "bytes",
            ),
            ContentRange => said(
                "ContentRange",
                "Content-Range",
                "First and last byte sent, and how many there are",
                Some("^bytes [0-9]+-[0-9]+/[0-9]+$"),
                "bytes 6-10/11",
            ),
            Length => said(
                "UnsatisfiedRange",
                "Content-Range",
                "How many bytes there are",
                Some("^bytes [*]/[0-9]+$"),
                "bytes */11",
            ),
            Challenge => said(
                "WwwAuthenticate",
                "WWW-Authenticate",
                "How to show who you are (RFC 6750)",
                Some("^Bearer "),
                "Bearer realm=\"konclave\"",
            ),
            Allow => said("Allow", "Allow", "The methods offered at this path", None, "GET, HEAD"),
            UploadComplete => said(
                "UploadComplete",
                "Upload-Complete",
                "`?1` once all bytes came and have the digest, else `?0`",
                Some("^[?][01]$"),
                "?0",
            ),
            UploadLimit => said(
                "UploadLimit",
                "Upload-Limit",
                "`max-size`: the most bytes of a blob; `max-age`: seconds without a byte after which it is forgotten",
                None,
                "max-size=4294967296, max-age=604800",
            ),
            UploadOffset => Said {
                component: "UploadOffset",
                name: "Upload-Offset",
                description: "The next byte wanted",
                pattern: None,
                example: json!(134_217_728),
            },
            UploadLength => Said {
                component: "UploadLength",
                name: "Upload-Length",
                description: "The announced length",
                pattern: None,
                example: json!(2_147_483_648_u64),
            },
            WantedOffset => Said {
                component: "WantedOffset",
                name: "Upload-Offset",
                description: "Of `/problems/upload-offset`: where the upload goes on",
                pattern: None,
                example: json!(134_217_728),
            },
            RetryAfter => Said {
                component: "RetryAfter",
                name: "Retry-After",
                description: "Seconds to wait before the next try",
                pattern: None,
                example: json!(5),
            },
        }
    }

    fn component(self) -> Header {
        let Said { description, pattern, example, .. } = self.said();
        let kind = if example.is_number() { Type::Integer } else { Type::String };
        let schema = ObjectBuilder::new().schema_type(kind).pattern(pattern);
        HeaderBuilder::new()
            .description(Some(description))
            .schema(Some(schema))
            .example(Some(example))
            // The builder knows no `required`; every header here but one is in every such answer.
            .extensions(Some(Extensions::from_iter([("required", self != WantedOffset)])))
            .build()
    }
}

/// The headers as components.
pub(super) fn components() -> BTreeMap<String, RefOr<Header>> {
    ALL.iter().map(|header| (header.said().component.to_owned(), RefOr::T(header.component()))).collect()
}

/// Adds what an answer has because of its status, the operation, and whether the operation's answers can be kept.
pub(super) fn add(response: &mut Response, status: &str, id: &str, kept: bool) {
    let mut headers = vec![RequestId];
    match status {
        "201" => headers.push(Location),
        "206" => headers.push(ContentRange),
        "401" => headers.push(Challenge),
        "405" => headers.push(Allow),
        "416" => headers.push(Length),
        "429" | "503" => headers.push(RetryAfter),
        _ => {}
    }
    if kept && (status == "200" || status == "304") {
        headers.extend([ETag, CacheControl]);
    }
    match (id, status) {
        ("read_blob", "200" | "206") => headers.extend([AcceptRanges, ETag]),
        ("issue_token" | "read_jwks" | "read_authorization_server" | "export_entries", "200") => {
            headers.push(CacheControl)
        }
        ("announce_upload", "201")
        | ("read_blob_upload" | "append_to_upload", "200")
        | ("head_blob_upload", "204") => {
            headers.extend([UploadOffset, UploadComplete, UploadLength, UploadLimit, CacheControl]);
        }
        ("append_to_upload", "409") => headers.push(WantedOffset),
        ("read_receipt", "200") => headers.extend([CacheControl, Vary]),
        _ if are_own(id, status) => headers.push(CacheControl),
        _ => {}
    }
    for header in headers {
        let Said { component, name, .. } = header.said();
        let reference = Ref::new(format!("#/components/headers/{component}"));
        response.headers.entry(name.to_owned()).or_insert(RefOr::Ref(reference));
    }
}

/// Whether an operation's problem has headers that others of the status have not: no refusal of a token is kept, and an
/// upload says where it goes on.
pub(super) fn are_own(id: &str, status: &str) -> bool {
    match id {
        "issue_token" => matches!(status, "400" | "401" | "413" | "415" | "429"),
        "append_to_upload" => status == "409",
        _ => false,
    }
}

/// The header that every POST below `/v1` takes.
pub(super) fn idempotency_key() -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(128))
        .pattern(Some("^[!-~]+$"));
    request_header(
        "Idempotency-Key",
        "Makes repeating safe: the same key with the same body gives the first answer, with another body 422",
        schema,
    )
}

/// The header by which what is known is not sent again.
pub(super) fn if_none_match() -> Parameter {
    request_header(
        "If-None-Match",
        "The `ETag` of what you have: 304 if it is still the same",
        ObjectBuilder::new().schema_type(Type::String),
    )
}

fn request_header(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}
