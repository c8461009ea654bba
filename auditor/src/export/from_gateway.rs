//! The first line of an export that a gateway gave (`GET /v1/ledger/export.ndjson`): the same entries and proofs in the
//! gateway's own words.

use konclave_ledger::Filter;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The first line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GatewayHead {
    pub(super) origin: String,
    pub(super) checkpoint: String,
    pub(super) filter: GatewayFilter,
}

/// What was asked for; moments are RFC 3339.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GatewayFilter {
    site: Option<String>,
    actor: Option<String>,
    action: Option<String>,
    object: Option<String>,
    job: Option<String>,
    round: Option<u32>,
    since: Option<String>,
    until: Option<String>,
}

impl GatewayFilter {
    /// The same conditions; none if a moment is not one.
    pub(super) fn conditions(self) -> Option<Filter> {
        let Self { site, actor, action, object, job, round, since, until } = self;
        let moment = |text: Option<String>| match text {
            Some(text) => milliseconds(&text).map(Some),
            None => Some(None),
        };
        Some(Filter { site, actor, action, object, job, round, since: moment(since)?, until: moment(until)? })
    }
}

/// Milliseconds since 1970, as the gateway reads a moment.
fn milliseconds(text: &str) -> Option<u64> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(moment.unix_timestamp_nanos()).ok().map(|nanos| nanos / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_what_is_none_is_not() {
        let filter = |since: &str| {
            let text = format!(r#"{{"job":"job-1","since":"{since}"}}"#);
            serde_json::from_str::<GatewayFilter>(&text).unwrap().conditions()
        };
        let read = filter("1970-01-01T00:00:01.0005Z").unwrap();
        assert_eq!((read.job.as_deref(), read.since), (Some("job-1"), Some(1000)));
        assert!(filter("yesterday").is_none() && filter("1969-01-01T00:00:00Z").is_none());
    }
}
