//! Reading of the known-answer files in `vectors/`, which `vectors/generate.py` makes without this crate.

use serde_json::Value;

use crate::text::from_hex;

/// Parses a file and insists that at least a third of its cases are negative.
pub(crate) fn load(text: &str) -> Value {
    let file: Value = serde_json::from_str(text).unwrap();
    let count = |kind| cases(&file, kind).len();
    assert!(count("positive") > 0 && count("negative") * 3 >= count("positive") + count("negative"));
    file
}

/// The cases of a kind.
pub(crate) fn cases(file: &Value, kind: &str) -> Vec<Value> {
    file[kind].as_array().unwrap().clone()
}

/// A hexadecimal string of known length.
pub(crate) fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    from_hex(value.as_str().unwrap()).unwrap()
}

/// A hexadecimal string of any length.
pub(crate) fn list(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}
