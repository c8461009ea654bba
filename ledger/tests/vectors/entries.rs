//! Entries, canonical JSON, envelopes, and changes of the log's key.

use konclave_ledger::canonical::canonical_json;
use konclave_ledger::dsse::pre_authentication_encoding;
use konclave_ledger::rotation::LogKeys;
use konclave_ledger::{Checkpoint, Envelope, Hash, Leaf, PublicKey};
use serde_json::Value;

use super::{Vectors, bytes, hash, number, text, vectors};

/// Whole small logs whose key was replaced.
#[test]
fn changes_of_the_logs_key() {
    let Vectors { positive, negative } = vectors("rotations");
    // The first bad entry, or the key that signs in the end.
    let read = |case: &Value| -> Result<String, u64> {
        let mut keys = LogKeys::default();
        let mut bad = Vec::new();
        for stored in case["entries"].as_array().unwrap() {
            let leaf = Leaf::parse(stored.as_str().unwrap().as_bytes()).unwrap();
            if keys.note(&leaf).is_err() {
                bad.push(leaf.seq);
            }
        }
        if let Some(first) = bad.first() {
            return Err(*first);
        }
        let size = case["entries"].as_array().unwrap().len() as u64;
        for key in [keys.at_size(size), keys.at_size(size - 1).filter(|_| planned_by(case, size - 1))] {
            if key.is_some_and(|key| Checkpoint::verify(text(case, "checkpoint").as_bytes(), key).is_err()) {
                return Err(0);
            }
        }
        Ok(keys.current().unwrap().to_string())
    };
    for case in &positive {
        assert_eq!(read(case), Ok(text(case, "key").to_owned()), "{case}");
    }
    // Whether the log extends the head that the root trusts, only a reader of the tree can tell.
    let of_the_tree = |case: &&Value| text(case, "why").starts_with("a head that the log ");
    assert_eq!(negative.iter().filter(of_the_tree).count(), 2);
    for case in negative.iter().filter(|case| !of_the_tree(case)) {
        assert_eq!(read(case), Err(number(case, "first_bad_index")), "{case}");
    }
}

/// Whether the entry with this number changes the key as planned, so that the head over it carries both.
fn planned_by(case: &Value, entry: u64) -> bool {
    let stored = case["entries"][usize::try_from(entry).unwrap()].as_str().unwrap();
    let leaf = Leaf::parse(stored.as_bytes()).unwrap();
    leaf.action == "ledger.key-rotated" && {
        let authorisation: Envelope =
            serde_json::from_value(leaf.record.to_value()["authorisation"].clone()).unwrap();
        let change: Value = serde_json::from_slice(&authorisation.unverified_payload().unwrap()).unwrap();
        change["reason"] == "scheduled"
    }
}

#[test]
fn canonical_texts() {
    let Vectors { positive, negative } = vectors("canonical");
    for case in &positive {
        let value: Value = serde_json::from_str(text(case, "input")).unwrap();
        let canonical = String::from_utf8(canonical_json(&value).unwrap()).unwrap();
        assert_eq!(canonical, text(case, "canonical"));
    }
    for case in &negative {
        let input = text(case, "input");
        let canonical = serde_json::from_str(input).ok().and_then(|value: Value| canonical_json(&value).ok());
        assert_ne!(canonical.as_deref(), Some(input.as_bytes()), "{case}");
    }
}

#[test]
fn leaves() {
    let Vectors { positive, negative } = vectors("leaves");
    for case in &positive {
        let stored = text(case, "stored").as_bytes();
        let leaf = Leaf::parse(stored).unwrap();
        assert_eq!((leaf.seq, leaf.action.as_str()), (number(case, "seq"), text(case, "action")));
        assert_eq!(Hash::of(stored), hash(case, "sha256"));
    }
    for case in &negative {
        assert!(Leaf::parse(text(case, "stored").as_bytes()).is_err(), "{case}");
    }
}

#[test]
fn envelopes() {
    let Vectors { positive, negative } = vectors("envelopes");
    for case in &positive {
        let payload = bytes(case, "payload");
        if text(case, "kind") == "pae" {
            assert_eq!(pre_authentication_encoding(text(case, "type"), &payload), bytes(case, "encoding"));
            continue;
        }
        let envelope = Envelope::parse(text(case, "envelope").as_bytes()).unwrap();
        assert_eq!(envelope.digest(), hash(case, "digest"));
        assert_eq!(envelope.verify(&text(case, "key").parse().unwrap()), Ok(payload));
    }
    for case in &negative {
        let key: PublicKey = text(case, "key").parse().unwrap();
        let read = Envelope::parse(text(case, "envelope").as_bytes());
        assert!(read.and_then(|envelope| envelope.verify(&key)).is_err(), "{case}");
    }
}
