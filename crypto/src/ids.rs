//! Names of sites, jobs and rounds, and the time scale of signed messages.
//!
//! Every type here is parsed once, at the edge; a value that exists is valid.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest site or job id in bytes (a DNS label).
pub const MAX_ID_BYTES: usize = 63;

/// Why a name, a round number or a digest was not accepted. The sender wrote it wrongly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is not a lower-case DNS label.
    #[error("`{text}` is not an id: use 1 to 63 of a-z, 0-9 and '-', not starting with '-'")]
    Grammar {
        /// The refused text, cut to 80 characters.
        text: String,
    },
    /// Rounds are counted from 1.
    #[error("round numbers start at 1 and fit in 32 bits")]
    Round,
    /// Not a whole number of seconds.
    #[error("a time is a whole number of seconds since 1970-01-01 UTC")]
    Seconds,
    /// The text is not lower-case hexadecimal of the expected length.
    #[error("expected {bytes} bytes as {} lower-case hexadecimal characters", bytes * 2)]
    Hex {
        /// Number of bytes that were expected.
        bytes: usize,
    },
    /// The text is not canonical standard base64, or decodes to the wrong length.
    #[error("expected standard base64 with padding{}", expected_length(*.bytes))]
    Base64 {
        /// Number of bytes that were expected, when fixed.
        bytes: Option<usize>,
    },
}

fn expected_length(bytes: Option<usize>) -> String {
    bytes.map(|n| format!(" of exactly {n} bytes")).unwrap_or_default()
}

fn is_label(text: &str) -> bool {
    text.len() <= MAX_ID_BYTES
        && !text.starts_with('-')
        && !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

macro_rules! label_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                if is_label(&text) {
                    Ok(Self(text))
                } else {
                    Err(IdError::Grammar { text: text.chars().take(80).collect() })
                }
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        crate::schema::string_schema!($name, "^[a-z0-9][a-z0-9-]{0,62}$", $what);
    };
}

label_id!(
    /// A site's id: `[a-z0-9][a-z0-9-]{0,62}`, unique in its consortium.
    SiteId,
    "Id of a site, unique in its consortium."
);
label_id!(
    /// A training job's id, in the grammar of [`SiteId`].
    JobId,
    "Id of a training job."
);

/// A round of a job, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct RoundNumber(u32);

impl RoundNumber {
    /// The first round of every job.
    pub const FIRST: Self = Self(1);

    /// Takes a round number.
    ///
    /// # Errors
    /// [`IdError::Round`] for 0.
    pub const fn new(number: u32) -> Result<Self, IdError> {
        if number == 0 { Err(IdError::Round) } else { Ok(Self(number)) }
    }

    /// The number, at least 1.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The round after this one; `None` after 2^32 - 1 rounds.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl TryFrom<u32> for RoundNumber {
    type Error = IdError;

    fn try_from(number: u32) -> Result<Self, IdError> {
        Self::new(number)
    }
}

impl From<RoundNumber> for u32 {
    fn from(round: RoundNumber) -> Self {
        round.0
    }
}

impl TryFrom<String> for RoundNumber {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl FromStr for RoundNumber {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        let number = text.parse().map_err(|_| IdError::Round)?;
        if canonical { Self::new(number) } else { Err(IdError::Round) }
    }
}

impl fmt::Display for RoundNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

crate::schema::integer_schema!(RoundNumber, 1, "Round of a job, counted from 1.");

/// Whole seconds since 1970-01-01T00:00:00Z, as signed messages carry time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// The number of seconds.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<String> for UnixSeconds {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl FromStr for UnixSeconds {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self).map_err(|_| IdError::Seconds)
    }
}

impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

crate::schema::integer_schema!(UnixSeconds, 0, "Whole seconds since 1970-01-01T00:00:00Z.");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::messages::SeedBytes;
    use crate::vectors;

    #[test]
    fn known_answers() {
        let file = vectors::load(include_str!("../vectors/text_forms.json"));
        let parses = |case: &serde_json::Value| {
            let text = case["text"].as_str().unwrap();
            match case["kind"].as_str().unwrap() {
                "site" => text.parse::<SiteId>().is_ok(),
                "round" => text.parse::<RoundNumber>().is_ok(),
                "digest" => text.parse::<Digest>().is_ok(),
                "seed" => SeedBytes::try_from(text.to_owned()).is_ok(),
                other => panic!("no such form: {other}"),
            }
        };
        for case in vectors::cases(&file, "positive") {
            assert!(parses(&case), "{case}");
        }
        for case in vectors::cases(&file, "negative") {
            assert!(!parses(&case), "{}", case["why"]);
        }
    }

    #[test]
    fn labels_are_parsed_strictly() {
        for good in ["a", "0", "site-1", &"x".repeat(63)] {
            assert_eq!(good.parse::<SiteId>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "A", "a_b", "a b", "a\n", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<SiteId>().is_err(), "{bad:?}");
            assert!(serde_json::from_value::<JobId>(serde_json::json!(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rounds_start_at_one() {
        assert_eq!("17".parse::<RoundNumber>().unwrap().get(), 17);
        for bad in ["0", "", "-1", "+1", "01", "4294967296", "1.0"] {
            assert!(bad.parse::<RoundNumber>().is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<RoundNumber>("0").is_err());
        assert_eq!(RoundNumber::new(u32::MAX).unwrap().next(), None);
    }
}
