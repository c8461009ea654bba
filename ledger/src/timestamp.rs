//! Moments in time. The ledger never reads a clock: the caller says what time it is and where it has that from.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::macros::format_description;
use time::{Date, Month, OffsetDateTime, Time, UtcOffset};

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
        let moment = moment(text).ok_or(TimestampError::Malformed)?;
        let seconds = u64::try_from(moment.unix_timestamp()).map_err(|_| TimestampError::Malformed)?;
        Self::from_unix_millis(seconds * 1000 + u64::from(moment.millisecond()))
    }
}

/// Reads `YYYY-MM-DDTHH:MM:SS.mmmZ` and nothing else. By hand, because every entry of a log is read this way.
fn moment(text: &str) -> Option<OffsetDateTime> {
    let [
        y1,
        y2,
        y3,
        y4,
        b'-',
        m1,
        m2,
        b'-',
        d1,
        d2,
        b'T',
        h1,
        h2,
        b':',
        i1,
        i2,
        b':',
        s1,
        s2,
        b'.',
        f1,
        f2,
        f3,
        b'Z',
    ] = text.as_bytes()
    else {
        return None;
    };
    let year = 100 * i32::from(two(y1, y2)?) + i32::from(two(y3, y4)?);
    let month = Month::try_from(two(m1, m2)?).ok()?;
    let date = Date::from_calendar_date(year, month, two(d1, d2)?).ok()?;
    let millis = 10 * u16::from(two(f1, f2)?) + u16::from(two(&b'0', f3)?);
    let time = Time::from_hms_milli(two(h1, h2)?, two(i1, i2)?, two(s1, s2)?, millis).ok()?;
    Some(date.with_time(time).assume_utc())
}

/// Two decimal digits.
fn two(tens: &u8, ones: &u8) -> Option<u8> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| 10 * (tens - b'0') + (ones - b'0'))
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
    fn reads_back_every_kind_of_day() {
        // A step that is no multiple of anything in a calendar.
        for millis in (0..LAST_MILLI).step_by(7_919_000_003) {
            let time = Timestamp::from_unix_millis(millis).unwrap();
            assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
        }
        assert_eq!(
            Timestamp::parse("2024-02-29T23:59:59.999Z").map(Timestamp::unix_seconds),
            Ok(1_709_251_199)
        );
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
            "2026-00-01T00:00:00.000Z",
            "2026-13-01T00:00:00.000Z",
            "2025-02-29T00:00:00.000Z",
            "2026-01-01T24:00:00.000Z",
            "2026-01-01T00:60:00.000Z",
            "2026-12-31T23:59:60.000Z",
            "2026-01-01T00:00:00.00Z",
            "2026-01-01T00:00:00.0000Z",
            "2026-01-01T00:00:00,000Z",
            "2026-01-01 00:00:00.000Z",
            "+026-01-01T00:00:00.000Z",
            "2026-1 -01T00:00:00.000Z",
            "2026-01-01T00:00:00.-01Z",
            "",
        ] {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Timestamp::from_unix_millis(LAST_MILLI + 1), Err(TimestampError::OutOfRange));
        assert_eq!(Timestamp::from_unix_seconds(u64::MAX), Err(TimestampError::OutOfRange));
    }
}
