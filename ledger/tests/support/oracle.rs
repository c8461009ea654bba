//! The slow, obvious ways of reading canonical JSON and entries, to compare the fast ones with.

use konclave_ledger::canonical::canonical_json;
use konclave_ledger::{LEAF_VERSION, Leaf, MAX_LEAF_BYTES, Timestamp};
use serde_json::Value;

/// What `serde_json` makes something else than objects of, if they stand first.
pub const RESERVED: [&str; 2] = ["$serde_json::private::Number", "$serde_json::private::RawValue"];

/// Reads, writes again and compares.
pub fn is_canonical_by_writing_again(bytes: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return false };
    canonical_json(&value).is_ok_and(|again| again == bytes) && !begins_with_a_reserved_name(&value)
}

fn begins_with_a_reserved_name(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            let first = members.keys().min_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
            first.is_some_and(|first| RESERVED.contains(&first.as_str()))
                || members.values().any(begins_with_a_reserved_name)
        }
        Value::Array(items) => items.iter().any(begins_with_a_reserved_name),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Reads an entry by way of a JSON value, and takes it only if writing the entry gives the same bytes.
pub fn leaf_by_writing_again(bytes: &[u8]) -> Option<Leaf> {
    if bytes.len() > MAX_LEAF_BYTES || !is_canonical_by_writing_again(bytes) {
        return None;
    }
    let leaf: Leaf = serde_json::from_value(serde_json::from_slice(bytes).ok()?).ok()?;
    let again = canonical_json(&serde_json::to_value(&leaf).ok()?).ok()?;
    let sound = again == bytes && leaf.v == LEAF_VERSION && Timestamp::parse(&leaf.time).is_ok();
    sound.then_some(leaf)
}
