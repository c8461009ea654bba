//! JSON Schemas (2020-12) of the records and of the leaf around them, for readers in other languages.
//!
//! They say what a record looks like; what the entries of a log mean together, `konclave-audit` checks.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Record;

/// One schema for each action: that of a whole leaf with this action and its record.
///
/// Each stands by itself: what it refers to is in its own `$defs`.
#[must_use]
pub fn schemas() -> BTreeMap<&'static str, Value> {
    let generated =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Record>().to_value();
    let definitions = generated.get("$defs").cloned().unwrap_or_default();
    let variants = generated.get("oneOf").and_then(Value::as_array).cloned().unwrap_or_default();
    let of = |action: &&'static str| {
        let variant = variants.iter().find(|variant| {
            variant.pointer("/properties/action/const").and_then(Value::as_str) == Some(*action)
        })?;
        Some((*action, leaf(action, variant, &definitions)))
    };
    Record::ACTIONS.iter().filter_map(of).collect()
}

/// The schema of a leaf that carries this variant of the records.
fn leaf(action: &str, variant: &Value, definitions: &Value) -> Value {
    let record = variant.pointer("/properties/record").cloned().unwrap_or_default();
    let digest = |description: &str| json!({ "anyOf": [{ "$ref": "#/$defs/Hash" }, { "type": "null" }], "description": description });
    let text = |description: &str| json!({ "type": "string", "minLength": 1, "description": description });
    let properties = json!({
        "v": { "const": crate::LEAF_VERSION, "description": "Format version." },
        "origin": text("The log's name."),
        "seq": { "type": "integer", "minimum": 0, "description": "Number of the entry, from 0." },
        "prev": { "$ref": "#/$defs/Hash", "description": "SHA-256 of the previous entry's bytes; zeros in the first." },
        "time": { "type": "string", "format": "date-time", "description": "When the ledger took the entry: RFC 3339, UTC, milliseconds." },
        "clock": { "enum": ["system", "synchronised", "simulated"], "description": "The clock that `time` was read from." },
        "software": text("What wrote the entry, with version."),
        "actor": text("Who caused it."),
        "role": text("The role in which the actor did it."),
        "site": { "type": ["string", "null"], "description": "Pseudonym of the site it concerns." },
        "action": { "const": action },
        "object": text("What it happened to."),
        "old": digest("Digest of the value before; null where there was none."),
        "new": digest("Digest of the value after: of what `object` names, else of the record's canonical JSON. Null only in entries of early versions, where the record is the value."),
        "reason": text("Why."),
        "request_id": text("Identifier of the request that caused it."),
        "policy": digest("Digest of the policy under which it was allowed."),
        "commitments": { "type": "array", "items": { "$ref": "#/$defs/Hash" }, "description": "Salted commitments to values outside the ledger." },
        "statement": digest("Digest of the signed statement behind it."),
        "record": record,
    });
    let names: Vec<&String> = properties.as_object().map(|all| all.keys().collect()).unwrap_or_default();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:konclave:ledger:v1:{action}"),
        "title": action,
        "description": variant.get("description"),
        "type": "object",
        "required": names,
        "additionalProperties": false,
        "$defs": used(&record, definitions),
        "properties": properties,
    })
}

/// The definitions that a record refers to, directly or through others, and that of a digest.
fn used(record: &Value, definitions: &Value) -> Map<String, Value> {
    let mut found = Map::new();
    let mut pending = vec!["Hash".to_owned()];
    references(record, &mut pending);
    while let Some(name) = pending.pop() {
        if found.contains_key(&name) {
            continue;
        }
        if let Some(definition) = definitions.get(&name) {
            references(definition, &mut pending);
            found.insert(name, definition.clone());
        }
    }
    found
}

fn references(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            let name =
                members.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
            names.extend(name.map(str::to_owned));
            members.values().for_each(|member| references(member, names));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
