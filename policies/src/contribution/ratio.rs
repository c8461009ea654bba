//! Exact fractions, as far as contribution values need them.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A fraction in lowest terms with a positive denominator. On the wire both parts are strings of
/// decimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "RatioText", try_from = "RatioText")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Ratio {
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    numerator: i128,
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    denominator: i128,
}

/// How a [`Ratio`] is written in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatioText {
    /// The numerator's decimal digits, with `-` before a negative one.
    pub numerator: String,
    /// The denominator's decimal digits; above zero.
    pub denominator: String,
}

/// Two strings that are not a fraction in lowest terms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{numerator}/{denominator}` is not a fraction of integers in lowest terms with a positive denominator"
)]
pub struct NotARatio {
    numerator: String,
    denominator: String,
}

impl Ratio {
    /// Zero.
    pub const ZERO: Self = Self { numerator: 0, denominator: 1 };

    /// The fraction in lowest terms; none if the denominator is zero or a part leaves i128 on the way.
    pub fn new(numerator: i128, denominator: i128) -> Option<Self> {
        let divisor = i128::try_from(gcd(numerator.unsigned_abs(), denominator.unsigned_abs())).ok()?;
        let sign = denominator.signum();
        Some(Self {
            numerator: numerator.checked_div(divisor)?.checked_mul(sign)?,
            denominator: denominator.checked_div(divisor)?.checked_mul(sign)?,
        })
        .filter(|ratio| ratio.denominator > 0)
    }

    /// The part above the line.
    pub fn numerator(self) -> i128 {
        self.numerator
    }

    /// The part below the line; above zero.
    pub fn denominator(self) -> i128 {
        self.denominator
    }

    /// The sum; none if it leaves i128.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        Self::new(left.checked_add(right)?, self.denominator.checked_mul(other.denominator)?)
    }

    /// The nearest integer, halves away from zero; none if it does not fit.
    pub fn round(self) -> Option<i64> {
        round_quotient(self.numerator, self.denominator)
    }
}

/// `numerator / denominator` as the nearest integer, halves away from zero; none if the denominator
/// is not positive or a step does not fit.
pub(super) fn round_quotient(numerator: i128, denominator: i128) -> Option<i64> {
    if denominator <= 0 {
        return None;
    }
    let (whole, rest) = (numerator.checked_div(denominator)?, numerator.checked_rem(denominator)?);
    let twice = rest.unsigned_abs().checked_mul(2)?;
    let step = if twice >= denominator.unsigned_abs() { numerator.signum() } else { 0 };
    i64::try_from(whole.checked_add(step)?).ok()
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl From<i64> for Ratio {
    fn from(whole: i64) -> Self {
        Self { numerator: i128::from(whole), denominator: 1 }
    }
}

/// `numerator/denominator`, or the integer alone.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denominator.cmp(&1) {
            Ordering::Greater => write!(f, "{}/{}", self.numerator, self.denominator),
            Ordering::Less | Ordering::Equal => write!(f, "{}", self.numerator),
        }
    }
}

impl fmt::Debug for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Ratio> for RatioText {
    fn from(ratio: Ratio) -> Self {
        Self { numerator: ratio.numerator.to_string(), denominator: ratio.denominator.to_string() }
    }
}

impl TryFrom<RatioText> for Ratio {
    type Error = NotARatio;

    fn try_from(text: RatioText) -> Result<Self, NotARatio> {
        let parsed = text
            .numerator
            .parse()
            .ok()
            .zip(text.denominator.parse().ok())
            .and_then(|(above, below)| Self::new(above, below));
        match parsed {
            // One spelling per fraction: statements are compared byte for byte.
            Some(ratio)
                if ratio.numerator.to_string() == text.numerator
                    && ratio.denominator.to_string() == text.denominator =>
            {
                Ok(ratio)
            }
            Some(_) | None => Err(NotARatio { numerator: text.numerator, denominator: text.denominator }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_terms_and_positive_denominator() {
        assert_eq!(Ratio::new(6, -4), Ratio::new(-3, 2));
        assert_eq!(Ratio::new(0, -7), Some(Ratio::ZERO));
        assert_eq!(Ratio::new(1, 0), None);
        assert_eq!(Ratio::new(0, 0), None);
        assert_eq!(Ratio::new(i128::MIN, -1), None);
    }

    #[test]
    fn rounds_halves_away_from_zero() {
        let rounded = |above, below| Ratio::new(above, below).unwrap().round().unwrap();
        assert_eq!(
            [rounded(1, 3), rounded(1, 2), rounded(2, 3), rounded(-1, 2), rounded(-1, 3)],
            [0, 1, 1, -1, 0]
        );
        assert_eq!(Ratio::new(1 << 70, 1).unwrap().round(), None);
    }

    #[test]
    fn json_has_one_spelling() {
        let text = serde_json::to_string(&Ratio::new(-3, 2).unwrap()).unwrap();
        assert_eq!(text, r#"{"numerator":"-3","denominator":"2"}"#);
        assert_eq!(serde_json::from_str::<Ratio>(&text).unwrap(), Ratio::new(-3, 2).unwrap());
        for bad in [("6", "4"), ("1", "0"), ("1", "-2"), ("+1", "2"), ("01", "2"), ("", "1"), ("x", "1")] {
            let text = format!(r#"{{"numerator":"{}","denominator":"{}"}}"#, bad.0, bad.1);
            assert!(serde_json::from_str::<Ratio>(&text).is_err(), "{text}");
        }
    }
}
