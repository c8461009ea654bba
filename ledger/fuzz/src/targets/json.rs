//! Canonical JSON, entries and their records: what is read one way is read the same way by every other reader.

use konclave_ledger::Leaf;
use konclave_ledger::canonical::{CanonicalText, canonical_json, is_canonical};
use konclave_ledger::enrolment::{Enrolment, published_log_key};
use konclave_ledger::records::Record;
use serde_json::Value;

use crate::support::oracle::{is_canonical_by_writing_again, leaf_by_writing_again};

/// The one-pass check against reading, writing again and comparing.
pub fn canonical(bytes: &[u8]) {
    assert_eq!(is_canonical(bytes), is_canonical_by_writing_again(bytes));
    if let Ok(written) = serde_json::from_slice::<Value>(bytes).map(|value| canonical_json(&value))
        && let Ok(written) = written
    {
        assert_eq!(is_canonical(&written), is_canonical_by_writing_again(&written));
    }
}

/// Entries: the fast reader sees what the slow one sees, which takes only what prints back to the same bytes.
pub fn leaf(bytes: &[u8]) {
    let read = Leaf::parse(bytes).ok();
    assert_eq!(read, leaf_by_writing_again(bytes));
    if let Some(leaf) = read {
        leaf.timestamp().unwrap();
        let _ = Enrolment::from_leaf(&leaf);
        let _ = published_log_key(&leaf);
        print_back(&leaf.action, &leaf.record.to_value());
    }
}

/// An action, a newline and its record as JSON.
pub fn record(bytes: &[u8]) {
    let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let (action, record) = (str::from_utf8(&bytes[..at]), serde_json::from_slice::<Value>(&bytes[at + 1..]));
    if let (Ok(action), Ok(record)) = (action, record) {
        print_back(action, &record);
    }
}

fn print_back(action: &str, value: &Value) {
    let Ok(text) = CanonicalText::try_from(value) else { return };
    let Ok(record) = Record::parse(action, &text) else { return };
    assert_eq!(record.action(), action);
    assert_eq!(record.to_value().unwrap(), *value);
}

/// What the entries of a ledger seldom hold.
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"":-9007199254740991,"\u0000\b\f\n\r\t\"\\":[true,false,null],"é":{},"😀":"\u001f/","דּ":0}"#,
        r#"{"$serde_json::private::RawValue":"1"}"#,
        "[[[[[[[[[[]]]]]]]]]]",
        "9007199254740992",
        "\"\\ud83d\\ude00\"",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}
