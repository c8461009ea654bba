//! The known answers of `ledger/vectors/`, which the Python verifier makes: every positive one is right here too, and
//! every negative one is refused.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

mod entries;
mod texts;
mod trees;

use std::fs;
use std::path::Path;
use std::process::Command;

use konclave_ledger::{Hash, VerifierKey};
use serde_json::Value;

struct Vectors {
    positive: Vec<Value>,
    negative: Vec<Value>,
}

fn vectors(name: &str) -> Vectors {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name).with_extension("json");
    let mut cases: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let mut list =
        |key: &str| cases[key].as_array_mut().map(std::mem::take).unwrap_or_else(|| panic!("{name}: {key}"));
    let (positive, negative) = (list("positive"), list("negative"));
    assert!(!positive.is_empty() && negative.len() * 3 >= positive.len() + negative.len(), "{name}");
    Vectors { positive, negative }
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("{field} of {case}"))
}

fn number(case: &Value, field: &str) -> u64 {
    case[field].as_u64().unwrap_or_else(|| panic!("{field} of {case}"))
}

fn bytes_of(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    bytes_of(text(case, field))
}

fn hash(case: &Value, field: &str) -> Hash {
    text(case, field).parse().unwrap()
}

fn hashes(case: &Value) -> Vec<Hash> {
    case["hashes"].as_array().unwrap().iter().map(|hash| hash.as_str().unwrap().parse().unwrap()).collect()
}

fn key(case: &Value, field: &str) -> VerifierKey {
    text(case, field).parse().unwrap()
}

/// The files are the ones that the Python side makes: nobody edited them to fit the Rust code.
#[test]
fn the_files_are_those_that_the_python_side_makes() {
    let generator = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/generate.py");
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let made = Command::new(python).arg(generator).arg("--check").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
