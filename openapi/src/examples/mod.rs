//! An example of every operation: its parameters, its request, its answers. One file for each `operationId`.
//!
//! They were recorded from a job that was played through the gateway's routes (`make examples`): signatures, digests
//! and proofs in them are real ones, of a consortium that exists for no longer than a test. The document shows them, a
//! test reads each into its type, and the linter checks each against its schema.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The example of one operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Example {
    /// Values of parameters of the path and the query, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Value>,
    /// The body of the request; of a form, its fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Value>,
    /// The bodies of answers, by status code and media type; of other media than JSON, their text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub responses: BTreeMap<String, BTreeMap<String, Value>>,
}

macro_rules! examples {
    ($($id:literal)+) => {
        /// The files by operation.
        const FILES: &[(&str, &str)] = &[$(($id, include_str!(concat!($id, ".json"))),)+];
    };
}

examples! {
    "add_checkpoint"
    "advertise_keys"
    "announce_upload"
    "answer_unmasking"
    "append_to_upload"
    "checkpoint_file"
    "consent"
    "correct_entry"
    "cosign"
    "delete_upload"
    "erase_opening"
    "explain_problem"
    "export"
    "export_entries"
    "issue_token"
    "keys"
    "list_blob_uploads"
    "list_contributions"
    "list_corrections"
    "list_deposits"
    "list_entries"
    "list_evaluations"
    "list_jobs"
    "list_models"
    "list_reviews"
    "list_rounds"
    "list_schemas"
    "list_sites"
    "list_statements"
    "prove_consistency"
    "prove_inclusion"
    "put_blob"
    "read_agreement"
    "read_authorization_server"
    "read_blob"
    "read_blob_upload"
    "read_checkpoint"
    "read_ciphertexts"
    "read_docs"
    "read_docs_file"
    "read_entry"
    "read_job"
    "read_jwks"
    "read_ledger_status"
    "read_liveness"
    "read_model"
    "read_openapi"
    "read_opening"
    "read_readiness"
    "read_receipt"
    "read_roster"
    "read_round"
    "read_schema"
    "read_site"
    "read_status"
    "read_tagging"
    "read_unmasking"
    "read_upload"
    "read_work"
    "record_review"
    "register_deposit"
    "register_model"
    "renew_certificate"
    "report_evaluation"
    "request_job"
    "send_ciphertexts"
    "send_manifest"
    "send_tag"
    "send_verdict"
    "sign_agreement"
    "statement_file"
    "tile_file"
    "upload"
    "witnessed_file"
    "witnesses"
}

/// The example of an operation, if there is one.
#[must_use]
pub fn of(operation: &str) -> Option<Result<Example, serde_json::Error>> {
    let (_, text) = FILES.iter().find(|(id, _)| *id == operation)?;
    Some(serde_json::from_str(text))
}

/// The operations that have an example.
pub fn ids() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_named_and_can_be_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/examples");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| {
                entry.unwrap().file_name().into_string().ok()?.strip_suffix(".json").map(str::to_owned)
            })
            .collect();
        files.sort();
        let mut named: Vec<&str> = ids().collect();
        named.sort_unstable();
        assert_eq!(named, files, "openapi/src/examples/mod.rs names other files than there are");
        for id in ids() {
            let example = of(id).unwrap().unwrap();
            assert!(example != Example::default(), "openapi/src/examples/{id}.json is empty");
        }
    }
}
