//! The log's name, which is also the name of its signing key (C2SP tlog-checkpoint, "origin").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A log origin or witness name: a schema-less URL such as `konclave.example/ledger`; 1 to 255 bytes, no white space, no
/// control characters, no `+` (it also names keys in signed notes, where those separate fields).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(value_type = String, example = "konclave.example/ledger"))]
pub struct Origin(String);

/// Text that can't name a log or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a log or key name has 1 to 255 bytes and no white space, control characters or '+'")]
pub struct OriginError;

impl Origin {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if text.is_empty() || text.len() > 255 || text.contains(bad) {
            return Err(OriginError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Origin {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<&str> for Origin {
    type Error = OriginError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_names_and_refuses_separators() {
        assert!("konclave.example/ledger".parse::<Origin>().is_ok());
        for bad in ["", "a b", "a+b", "a\nb", "a\u{2003}b", "a\0b", &"x".repeat(256)] {
            assert_eq!(bad.parse::<Origin>(), Err(OriginError), "{bad:?}");
        }
    }
}
