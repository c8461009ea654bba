//! Moments in time. The ledger never reads a clock: the caller says what time it is and where it has that from.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// Where a time came from. Part 11 and Annex 11 reviewers ask for it, so it stands in every entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ClockSource {
    /// The operating system's clock; how it is disciplined is not known to the process.
    #[default]
    System,
    /// The operating system's clock, and the deployment asserts that it is synchronised (NTP, PTP or similar).
    Synchronised,
    /// A clock made up by a test or a simulation.
    Simulated,
}

/// A moment with millisecond resolution plus the clock it was read from. Text form: RFC 3339, UTC, three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    unix_millis: u64,
    clock: ClockSource,
}

/// A time that the ledger can't write or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// Before 1970 or after 9999: the caller's clock is wrong.
    #[error("the time lies outside the years 1970 to 9999; check the clock it was read from")]
    OutOfRange,
    /// Not of the form `2026-01-31T09:30:00.000Z`.
    #[error("a ledger time is written as YYYY-MM-DDTHH:MM:SS.mmmZ in UTC")]
    Malformed,
}

/// 9999-12-31T23:59:59.999Z, the last moment that RFC 3339 can write.
const LAST_MILLI: u64 = 253_402_300_799_999;

impl Timestamp {
    /// From milliseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`TimestampError::OutOfRange`] after the year 9999.
    pub const fn from_unix_millis(unix_millis: u64) -> Result<Self, TimestampError> {
        if unix_millis > LAST_MILLI {
            return Err(TimestampError::OutOfRange);
        }
        Ok(Self { unix_millis, clock: ClockSource::System })
    }

    /// From seconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`TimestampError::OutOfRange`] after the year 9999.
    pub const fn from_unix_seconds(unix_seconds: u64) -> Result<Self, TimestampError> {
        Self::from_unix_millis(unix_seconds.saturating_mul(1000))
    }

    /// Says which clock the time was read from (the default is [`ClockSource::System`]).
    #[must_use]
    pub const fn with_clock(self, clock: ClockSource) -> Self {
        Self { clock, ..self }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn unix_millis(self) -> u64 {
        self.unix_millis
    }

    /// Whole seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn unix_seconds(self) -> u64 {
        self.unix_millis / 1000
    }

    /// The clock the time was read from.
    #[must_use]
    pub const fn clock(self) -> ClockSource {
        self.clock
    }

    /// Reads the one spelling that [`fmt::Display`] writes, so that equal times have equal bytes.
    ///
    /// # Errors
    /// [`TimestampError::Malformed`] for everything else.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimestampError::Malformed)?;
        let millis = u64::try_from(moment.unix_timestamp_nanos() / 1_000_000);
        let parsed = Self::from_unix_millis(millis.map_err(|_| TimestampError::Malformed)?)?;
        if parsed.to_string() == text { Ok(parsed) } else { Err(TimestampError::Malformed) }
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = TimestampError;

    fn try_from(time: SystemTime) -> Result<Self, Self::Error> {
        let elapsed = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| TimestampError::OutOfRange)?;
        Self::from_unix_millis(u64::try_from(elapsed.as_millis()).map_err(|_| TimestampError::OutOfRange)?)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout =
            format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.unix_millis) * 1_000_000)
            .map_err(|_| fmt::Error)?
            .to_offset(UtcOffset::UTC);
        f.write_str(&moment.format(layout).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_one_spelling() {
        let time = Timestamp::from_unix_millis(1_767_225_600_123).unwrap();
        assert_eq!(time.to_string(), "2026-01-01T00:00:00.123Z");
        assert_eq!(Timestamp::parse("2026-01-01T00:00:00.123Z"), Ok(time));
        assert_eq!(Timestamp::from_unix_millis(LAST_MILLI).unwrap().to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn refuses_other_spellings_and_times_without_a_year() {
        for bad in [
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.123+00:00",
            "2026-01-01T01:00:00.123+01:00",
            "2026-01-01t00:00:00.123z",
            "1969-12-31T23:59:59.000Z",
            "2026-02-30T00:00:00.000Z",
            "",
        ] {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Timestamp::from_unix_millis(LAST_MILLI + 1), Err(TimestampError::OutOfRange));
        assert_eq!(Timestamp::from_unix_seconds(u64::MAX), Err(TimestampError::OutOfRange));
    }
}
