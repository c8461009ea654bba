//! The committed JSON Schemas are those of the code, one for each action.

#![cfg(feature = "schema")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use konclave_ledger::records::Record;
use konclave_ledger::records::schema::schemas;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

fn files() -> BTreeMap<String, String> {
    let text = |schema: Value| serde_json::to_string_pretty(&schema).unwrap() + "\n";
    schemas().into_iter().map(|(action, schema)| (format!("{action}.json"), text(schema))).collect()
}

#[test]
fn every_action_has_a_schema_that_stands_by_itself() {
    let schemas = schemas();
    assert_eq!(schemas.keys().copied().collect::<Vec<_>>(), {
        let mut actions = Record::ACTIONS.to_vec();
        actions.sort_unstable();
        actions
    });
    for (action, schema) in schemas {
        assert_eq!(schema["properties"]["action"]["const"], action);
        assert_eq!(schema["properties"]["record"]["additionalProperties"], false, "{action}");
        let text = schema.to_string();
        for part in text.split("#/$defs/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(schema["$defs"].get(name).is_some(), "{action}: {name}");
        }
    }
}

#[test]
fn the_committed_schemas_are_these() {
    let committed: BTreeMap<String, String> = fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(committed == files(), "ledger/schemas/ is out of date: run `make schemas`");
}

#[test]
#[ignore = "writes the files: make schemas"]
fn write() {
    let _ = fs::remove_dir_all(folder());
    fs::create_dir(folder()).unwrap();
    files().into_iter().for_each(|(name, text)| fs::write(folder().join(name), text).unwrap());
}
