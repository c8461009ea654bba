//! The header fields of resumable uploads, as structured fields (RFC 9651; draft-ietf-httpbis-resumable-upload,
//! section 5).

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::ApiError;
pub(super) use crate::error::UPLOAD_OFFSET;

/// Whether the bytes end the upload.
pub(super) const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
/// The announced length.
pub(super) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
/// What the gateway takes.
pub(super) const UPLOAD_LIMIT: HeaderName = HeaderName::from_static("upload-limit");

/// The digits that an integer may have (RFC 9651, section 3.3.1).
const MAX_DIGITS: usize = 15;

/// `Upload-Offset` of a request.
///
/// # Errors
/// [`ApiError::InvalidRequest`] if it is missing, there are several, or it is no integer.
pub(super) fn offset(headers: &HeaderMap) -> Result<u64, ApiError> {
    let number = |text: &str| {
        let digits = (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    item(headers, &UPLOAD_OFFSET).and_then(number).ok_or_else(|| {
        ApiError::invalid_field(
            "Upload-Offset",
            "must say once where the bytes begin, such as `Upload-Offset: 0`",
        )
    })
}

/// `Upload-Complete` of a request.
///
/// # Errors
/// [`ApiError::InvalidRequest`] if it is missing, there are several, or it is no boolean.
pub(super) fn complete(headers: &HeaderMap) -> Result<bool, ApiError> {
    match item(headers, &UPLOAD_COMPLETE) {
        Some("?1") => Ok(true),
        Some("?0") => Ok(false),
        Some(_) | None => {
            let rule = "must say once whether the bytes end the upload: `?1`, or `?0` if more will come";
            Err(ApiError::invalid_field("Upload-Complete", rule))
        }
    }
}

/// A boolean as a structured field.
pub(super) fn boolean(value: bool) -> HeaderValue {
    HeaderValue::from_static(if value { "?1" } else { "?0" })
}

/// The one item of a field, without its parameters, which nobody has to know.
fn item<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()?.split(';').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn offsets_are_integers() {
        let read = |values: &[&str]| offset(&headers(&UPLOAD_OFFSET, values)).ok();
        assert_eq!(read(&["0"]), Some(0));
        assert_eq!(read(&[" 134217728 "]), Some(134_217_728));
        assert_eq!(read(&["7;a=1"]), Some(7));
        for bad in [
            &[][..],
            &["1", "1"],
            &[""],
            &["-1"],
            &["+1"],
            &["1.0"],
            &["0x1"],
            &["1, 1"],
            &["1234567890123456"],
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn booleans_are_what_structured_fields_call_so() {
        let read = |values: &[&str]| complete(&headers(&UPLOAD_COMPLETE, values)).ok();
        assert_eq!((read(&["?1"]), read(&["?0"])), (Some(true), Some(false)));
        for bad in [&[][..], &["?1", "?1"], &["1"], &["true"], &["?2"], &[""]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
