//! Answers that may be kept, and asked for again by what is known of them (RFC 9110, section 13; RFC 9111).

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use konclave_ledger::Hash;

/// How long an answer stays true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// The same path always has these bytes.
    ForEver,
    /// Until the gateway's software is replaced, which may change it.
    ThisVersion,
    /// It may be another one at the next request.
    Moment,
}

impl Lifetime {
    /// Answers are for whoever asked: between it and the gateway nothing may keep them.
    const fn cache_control(self) -> &'static str {
        match self {
            Self::ForEver => "private, max-age=31536000, immutable",
            Self::ThisVersion => "private, max-age=3600",
            Self::Moment => "private, no-cache",
        }
    }
}

/// Bytes with the strong entity tag that their hash makes; 304 without them if the client names that tag.
pub(super) fn answer(
    request: &HeaderMap,
    media: &'static str,
    bytes: Vec<u8>,
    lifetime: Lifetime,
) -> Response {
    let tag = format!("\"{}\"", Hash::of(&bytes));
    let headers: [(HeaderName, HeaderValue); 2] = [
        (header::CACHE_CONTROL, HeaderValue::from_static(lifetime.cache_control())),
        (header::ETAG, HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))),
    ];
    if names(request, &tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, media)], bytes).into_response()
}

/// Whether `If-None-Match` names the tag. The comparison is the weak one (RFC 9110, section 13.1.2).
fn names(request: &HeaderMap, tag: &str) -> bool {
    let values = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|named| named == "*" || named.strip_prefix("W/").unwrap_or(named) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(conditions: &[&'static str]) -> StatusCode {
        let mut request = HeaderMap::new();
        for condition in conditions {
            request.append(header::IF_NONE_MATCH, HeaderValue::from_static(condition));
        }
        let answer = answer(&request, "text/plain", b"hello".to_vec(), Lifetime::ForEver);
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "private, max-age=31536000, immutable");
        assert_eq!(answer.headers()[header::ETAG], TAG);
        answer.status()
    }

    /// SHA-256 of `hello`.
    const TAG: &str = "\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"";
    const WEAK: &str = "W/\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"";
    const LIST: &str = "\"x\", \"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"";
    const BARE: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn what_is_known_is_not_sent_again() {
        for known in [&[TAG][..], &[WEAK], &[LIST], &["\"x\"", TAG], &["*"]] {
            assert_eq!(asked(known), StatusCode::NOT_MODIFIED, "{known:?}");
        }
        for other in [&[][..], &["\"x\""], &["\"\""], &[BARE]] {
            assert_eq!(asked(other), StatusCode::OK, "{other:?}");
        }
    }
}
