//! The one-pass check of canonical JSON against reading, writing again and comparing.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

mod support;

use konclave_ledger::canonical::{canonical_json, is_canonical};
use konclave_ledger::{Hash, Leaf};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use support::oracle::{RESERVED, is_canonical_by_writing_again, leaf_by_writing_again};

#[track_caller]
fn both_ways(bytes: &[u8]) -> bool {
    let answer = is_canonical(bytes);
    assert_eq!(answer, is_canonical_by_writing_again(bytes), "{:?}", String::from_utf8_lossy(bytes));
    answer
}

/// Every text up to five pieces long: all the ways in which the pieces of JSON can go wrong together.
#[test]
fn agrees_on_every_short_text() {
    const PIECES: [&str; 20] = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "\\",
        "0",
        "1",
        "-",
        ".",
        "n",
        "u000",
        "true",
        " ",
        "\"a\":",
        "\"b\"",
        "9007199254740991",
        "\u{1f}",
    ];
    let mut canonical = 0;
    let mut texts = vec![String::new()];
    for _ in 0..4 {
        texts = texts.iter().flat_map(|text| PIECES.map(|piece| format!("{text}{piece}"))).collect();
        canonical += texts.iter().filter(|text| both_ways(text.as_bytes())).count();
    }
    assert!(canonical > 200, "{canonical}");
}

/// Every single character as a string and as two names of an object, in both orders, escaped and not.
#[test]
fn agrees_on_every_character() {
    let others = ['\0', '\u{1f}', '"', '\\', 'u', '\u{7f}', '\u{d7ff}', '\u{e000}', '\u{ffff}', '\u{10000}'];
    let mut orders = [0, 0];
    for character in (0..=0x10_ffff_u32).filter_map(char::from_u32) {
        let code = u32::from(character);
        if code > 0x300 && !code.is_multiple_of(97) && !(0xd7f0..0xe010).contains(&code) {
            continue;
        }
        let written = serde_json::to_string(&character).unwrap();
        assert!(both_ways(written.as_bytes()), "{written}");
        both_ways(format!("\"{character}\"").as_bytes());
        both_ways(format!("\"\\u{code:04x}\"").as_bytes());
        both_ways(format!("\"\\u{code:04X}\"").as_bytes());
        both_ways(format!("\"\\{character}\"").as_bytes());
        for other in others {
            let other = serde_json::to_string(&other).unwrap();
            for (first, second) in [(&written, &other), (&other, &written)] {
                let answer = both_ways(format!("{{{first}:0,{second}:0}}").as_bytes());
                orders[usize::from(answer)] += 1;
            }
        }
    }
    assert!(orders[0] > 1000 && orders[1] > 1000, "{orders:?}");
}

#[test]
fn agrees_on_every_depth_and_on_numbers_at_the_edges() {
    for depth in 120..135 {
        for (open, close, inner) in [("[", "]", ""), ("{\"a\":", "}", "{}"), ("[{\"\":", "}]", "[]")] {
            both_ways(format!("{}{inner}{}", open.repeat(depth), close.repeat(depth)).as_bytes());
            both_ways(format!("{}{inner}{}", open.repeat(depth / 2), close.repeat(depth / 2)).as_bytes());
        }
    }
    for power in 0..70_u32 {
        for off in -2..3_i128 {
            for sign in [1, -1] {
                both_ways((sign * ((1_i128 << power) + off)).to_string().as_bytes());
                both_ways((sign * (10_i128.pow(power.min(36)) + off)).to_string().as_bytes());
            }
        }
    }
}

fn texts() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        any::<char>(),
        proptest::char::range('\0', '\u{7f}'),
        proptest::sample::select(vec!['a', 'b', '"', '\\', '\n', '\u{e000}', '\u{10000}', '\u{ffff}']),
    ];
    proptest::collection::vec(character, 0..12).prop_map(String::from_iter)
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 54)..1 << 54).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        texts().prop_map(Value::from),
        proptest::sample::select(RESERVED.to_vec()).prop_map(Value::from),
    ];
    let names =
        prop_oneof![9 => texts(), 1 => proptest::sample::select(RESERVED.to_vec()).prop_map(String::from)];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((names.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

/// An entry with this record and text, and with one of its fields as another value.
fn entry(record: &Value, text: &str, field: Option<(usize, Value)>) -> Value {
    let hash = Hash::of(text.as_bytes());
    let mut entry = json!({
        "action": "job.started", "actor": text, "clock": "synchronised", "commitments": [hash, hash], "new": hash,
        "object": text, "old": null, "origin": "konclave.example/ledger", "policy": null, "prev": hash, "reason": text,
        "record": record, "request_id": "r-1", "role": "operator", "seq": 7, "site": text, "software": "konclave/0.1.0",
        "statement": hash, "time": "2026-01-01T00:00:00.123Z", "v": 1,
    });
    let fields = entry.as_object_mut().unwrap();
    if let Some((at, value)) = field {
        let name = fields.keys().nth(at % fields.len()).unwrap().clone();
        fields.insert(name, value);
    }
    entry
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_on_values_and_on_what_is_nearly_canonical(
        value in values(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..4),
    ) {
        let plain = serde_json::to_vec(&value).unwrap();
        both_ways(&plain);
        both_ways(&serde_json::to_vec_pretty(&value).unwrap());
        let mut bytes = canonical_json(&value).unwrap_or(plain);
        both_ways(&bytes);
        for (at, byte, edit) in edits {
            if bytes.is_empty() { break }
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => { bytes.remove(at); }
                _ => bytes.truncate(at),
            }
            both_ways(&bytes);
        }
    }

    #[test]
    fn agrees_on_entries_and_on_what_is_nearly_one(
        record in values(),
        text in texts(),
        field in proptest::option::of((any::<usize>(), values())),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..3),
    ) {
        let Ok(mut bytes) = canonical_json(&entry(&record, &text, field)) else { return Ok(()) };
        prop_assert_eq!(Leaf::parse(&bytes).ok(), leaf_by_writing_again(&bytes));
        for (at, byte, edit) in edits {
            if bytes.is_empty() { break }
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
            prop_assert_eq!(Leaf::parse(&bytes).ok(), leaf_by_writing_again(&bytes));
        }
    }
}
