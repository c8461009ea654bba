//! The one place where the service reads the system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use konclave_crypto::UnixSeconds;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds since 1970, as signed messages carry time; 0 for a clock set before that, which no certificate survives.
#[must_use]
pub(crate) fn now() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// The time as logs and the API write it (RFC 3339, UTC).
#[must_use]
pub(crate) fn now_rfc3339() -> String {
    rfc3339(now())
}

/// A moment as logs and the API write it.
#[must_use]
pub(crate) fn rfc3339(moment: UnixSeconds) -> String {
    i64::try_from(moment.get())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{moment} s after 1970"))
}
