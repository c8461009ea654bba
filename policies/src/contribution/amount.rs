//! Money, in millionths of the policy's currency unit.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in micro-units, never negative. On the wire it is a string of decimal digits, so that no
/// JSON reader rounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(value_type = String, pattern = "^(0|[1-9][0-9]{0,19})$", example = "1500000"))]
pub struct Amount(u64);

/// A string that is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount: decimal digits without a leading zero, at most {max}", max = u64::MAX)]
pub struct NotAnAmount(String);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many micro-units.
    pub fn from_micro(micro: u64) -> Self {
        Self(micro)
    }

    /// The number of micro-units.
    pub fn micro(self) -> u64 {
        self.0
    }
}

/// Whole units with six decimal places and thousands separators, as a reader of a statement expects.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = (self.0 / 1_000_000).to_string();
        for (position, digit) in units.chars().enumerate() {
            if position > 0 && (units.len() - position).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        write!(f, ".{:06}", self.0 % 1_000_000)
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.0.to_string()
    }
}

impl TryFrom<String> for Amount {
    type Error = NotAnAmount;

    fn try_from(text: String) -> Result<Self, NotAnAmount> {
        match text.parse::<u64>() {
            // One spelling per amount: statements are compared byte for byte.
            Ok(micro) if micro.to_string() == text => Ok(Self(micro)),
            Ok(_) | Err(_) => Err(NotAnAmount(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_money() {
        assert_eq!(Amount(0).to_string(), "0.000000");
        assert_eq!(Amount(999_999_999).to_string(), "999.999999");
        assert_eq!(Amount(1_000_000_000_000_001).to_string(), "1,000,000,000.000001");
    }

    #[test]
    fn one_spelling_each() {
        assert_eq!(serde_json::to_string(&Amount(u64::MAX)).unwrap(), "\"18446744073709551615\"");
        assert_eq!(serde_json::from_str::<Amount>("\"42\"").unwrap(), Amount(42));
        for bad in ["\"042\"", "\"+42\"", "\"-1\"", "\"\"", "\"4 2\"", "\"18446744073709551616\"", "42"] {
            assert!(serde_json::from_str::<Amount>(bad).is_err(), "{bad}");
        }
    }
}
