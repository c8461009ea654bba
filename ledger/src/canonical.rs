//! RFC 8785 canonical JSON, with every number that a canonicaliser could silently change refused first.

use serde_json::Value;

mod scan;
mod text;

pub use scan::is_canonical;
pub(crate) use scan::{Scan, canonical_text};
pub use text::CanonicalText;
pub(crate) use text::{Items, Members, unescaped, unquoted};

/// 2^53: from here on, JSON numbers of different value share one IEEE double, and RFC 8785 would round them.
pub const FIRST_UNSAFE_INTEGER: u64 = 1 << 53;

/// A value that has no exact canonical form.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// A floating-point number; write it in micro-units as an integer or as a decimal string.
    #[error(
        "the floating-point number {number} can't be recorded; write micro-units as an integer or a decimal string"
    )]
    Float {
        /// The refused number.
        number: serde_json::Number,
    },
    /// An integer whose magnitude is 2^53 or more; write it as a decimal string.
    #[error("the integer {number} is 2^53 or more; write it as a decimal string")]
    UnsafeInteger {
        /// The refused number.
        number: serde_json::Number,
    },
    /// The encoder failed; only a value nested too deeply or an allocation failure leads here.
    #[error("the value can't be written as JSON")]
    Encode(#[source] serde_json::Error),
}

/// The canonical bytes of `value`.
///
/// # Errors
/// [`CanonicalError`] for floats and for integers of 2^53 or more, anywhere in the value.
pub fn canonical_json(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    refuse_inexact_numbers(value)?;
    serde_json_canonicalizer::to_vec(value).map_err(CanonicalError::Encode)
}

fn refuse_inexact_numbers(value: &Value) -> Result<(), CanonicalError> {
    match value {
        Value::Number(number) => {
            let magnitude = match (number.as_u64(), number.as_i64()) {
                (Some(unsigned), _) => unsigned,
                (None, Some(signed)) => signed.unsigned_abs(),
                (None, None) => return Err(CanonicalError::Float { number: number.clone() }),
            };
            if magnitude < FIRST_UNSAFE_INTEGER {
                Ok(())
            } else {
                Err(CanonicalError::UnsafeInteger { number: number.clone() })
            }
        }
        Value::Array(items) => items.iter().try_for_each(refuse_inexact_numbers),
        Value::Object(members) => members.values().try_for_each(refuse_inexact_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sorts_by_utf16_and_escapes_as_rfc_8785_says() {
        let value = json!({"\u{20ac}": "Euro", "\r": "CR", "\u{fb33}": "Dalet", "1": "One", "\u{1f600}": "Smile",
            "\u{80}": "Control", "\u{f6}": "o"});
        let text = String::from_utf8(canonical_json(&value).unwrap()).unwrap();
        let order: Vec<usize> = ["CR", "One", "Control", "\"o\"", "Euro", "Smile", "Dalet"]
            .iter()
            .map(|s| text.find(s).unwrap())
            .collect();
        assert!(order.is_sorted(), "{text}");
    }

    #[test]
    fn refuses_numbers_that_would_be_rounded() {
        for good in [json!(0), json!(-1), json!(9_007_199_254_740_991_u64), json!(-9_007_199_254_740_991_i64)]
        {
            assert!(canonical_json(&json!({ "deep": [good] })).is_ok());
        }
        for bad in [
            json!(9_007_199_254_740_992_u64),
            json!(-9_007_199_254_740_992_i64),
            json!(u64::MAX),
            json!(i64::MIN),
        ] {
            let refused = canonical_json(&json!({ "deep": [{ "x": bad }] }));
            assert!(matches!(refused, Err(CanonicalError::UnsafeInteger { .. })), "{refused:?}");
        }
        for bad in [json!(0.5), json!(1.0), json!(1e300)] {
            assert!(matches!(canonical_json(&json!([bad])), Err(CanonicalError::Float { .. })));
        }
    }
}
