//! Every example is read into the type that speaks it, and is written again as it was: nothing in it is unknown, and
//! nothing is missing.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy's own exception covers only code inside #[test] functions"
)]

use konclave_crypto::messages::{
    AgreementProposal, AgreementSignature, Manifest, SumTag, SumVerdict, TaggingRequest, UnmaskingRequest,
    UnmaskingResponse,
};
use konclave_crypto::setup::KeyAdvertisement;
use konclave_ledger::dsse::Envelope;
use konclave_openapi::certificates::{CertificateRenewal, RenewedCertificate};
use konclave_openapi::contributions::{Contribution, Statement};
use konclave_openapi::corrections::{Correction, NewCorrection};
use konclave_openapi::deposits::{Deposit, NewDeposit};
use konclave_openapi::evaluations::{Evaluation, NewEvaluation};
use konclave_openapi::examples::{self, Example};
use konclave_openapi::jobs::{Ciphertexts, Job, NewJob, RosterView};
use konclave_openapi::ledger::{
    CheckpointView, ConsistencyProofView, EntryPage, EntryView, ExportEnd, ExportHead, ExportedEntry,
    InclusionProofView, LedgerExport, LedgerStatus, NewCosignature, Receipt, SchemaList,
};
use konclave_openapi::models::{Blob, Model, NewModel};
use konclave_openapi::openings::{NewErasure, OpeningView};
use konclave_openapi::page::Page;
use konclave_openapi::reviews::Review;
use konclave_openapi::rounds::{Round, UploadOffset, UploadReceipt};
use konclave_openapi::sites::Site;
use konclave_openapi::status::Status;
use konclave_openapi::token::{AuthorizationServer, JsonWebKeySet, TokenRequest, TokenResponse};
use konclave_openapi::uploads::{NewUpload, Upload};
use konclave_openapi::witnesses::{LogKeysView, WitnessesView};
use konclave_openapi::work::WorkList;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What an operation takes and gives.
struct Types {
    id: &'static str,
    request: Option<fn(&str, &Value)>,
    answer: Option<fn(&str, &Value)>,
}

/// Reads a value into its type and writes it again.
fn same<T: Serialize + DeserializeOwned>(at: &str, value: &Value) {
    let read: T = serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{at}: {error}"));
    let written = serde_json::to_value(&read).unwrap();
    assert_eq!(&written, value, "{at} has members that its type does not know, or lacks some");
}

/// Any JSON: its own schema is another document.
fn json(_: &str, _: &Value) {}

/// The text of an export: its first line, its entries, its last line.
fn lines(at: &str, value: &Value) {
    let mut lines = value.as_str().unwrap_or_else(|| panic!("{at} is no text")).lines();
    let mut line = || serde_json::from_str::<Value>(lines.next()?).ok();
    let mut rest = Vec::new();
    same::<ExportHead>(at, &line().unwrap());
    while let Some(next) = line() {
        rest.push(next);
    }
    same::<ExportEnd>(at, &rest.pop().unwrap());
    rest.iter().for_each(|entry| same::<ExportedEntry>(at, entry));
}

/// Text or bytes: nothing but that there is something.
fn text(at: &str, value: &Value) {
    assert!(value.as_str().is_some_and(|text| !text.is_empty()), "{at} is no text");
}

macro_rules! check {
    (-) => { None };
    ($($check:tt)+) => { Some($($check)+) };
}

macro_rules! types {
    ($($id:ident: ($($request:tt)+) => ($($answer:tt)+);)+) => {
        &[$(Types { id: stringify!($id), request: check!($($request)+), answer: check!($($answer)+) },)+]
    };
}

/// In the order of the gateway's table of contents.
const TYPES: &[Types] = types! {
    issue_token: (same::<TokenRequest>) => (same::<TokenResponse>);
    read_jwks: (-) => (same::<JsonWebKeySet>);
    read_authorization_server: (-) => (same::<AuthorizationServer>);
    read_status: (-) => (same::<Status>);
    list_sites: (-) => (same::<Page<Site>>);
    read_site: (-) => (same::<Site>);
    put_blob: (text) => (same::<Blob>);
    read_blob: (-) => (text);
    announce_upload: (same::<NewUpload>) => (same::<Upload>);
    list_blob_uploads: (-) => (same::<Page<Upload>>);
    read_blob_upload: (-) => (same::<Upload>);
    append_to_upload: (text) => (same::<Upload>);
    delete_upload: (-) => (-);
    list_models: (-) => (same::<Page<Model>>);
    register_model: (same::<NewModel>) => (same::<Model>);
    read_model: (-) => (same::<Model>);
    list_jobs: (-) => (same::<Page<Job>>);
    request_job: (same::<NewJob>) => (same::<Job>);
    read_job: (-) => (same::<Job>);
    consent: (same::<Envelope>) => (same::<Job>);
    advertise_keys: (same::<KeyAdvertisement>) => (-);
    read_roster: (-) => (same::<RosterView>);
    read_ciphertexts: (-) => (same::<Ciphertexts>);
    send_ciphertexts: (same::<Ciphertexts>) => (-);
    list_rounds: (-) => (same::<Page<Round>>);
    read_round: (-) => (same::<Round>);
    send_manifest: (same::<Manifest>) => (-);
    read_agreement: (-) => (same::<AgreementProposal>);
    sign_agreement: (same::<AgreementSignature>) => (-);
    read_unmasking: (-) => (same::<UnmaskingRequest>);
    answer_unmasking: (same::<UnmaskingResponse>) => (-);
    read_tagging: (-) => (same::<TaggingRequest>);
    send_tag: (same::<SumTag>) => (-);
    send_verdict: (same::<SumVerdict>) => (-);
    read_upload: (-) => (same::<UploadOffset>);
    upload: (text) => (same::<UploadReceipt>);
    read_work: (-) => (same::<WorkList>);
    list_evaluations: (-) => (same::<Page<Evaluation>>);
    renew_certificate: (same::<CertificateRenewal>) => (same::<RenewedCertificate>);
    report_evaluation: (same::<NewEvaluation>) => (same::<Evaluation>);
    list_contributions: (-) => (same::<Page<Contribution>>);
    list_statements: (-) => (same::<Page<Statement>>);
    list_deposits: (-) => (same::<Page<Deposit>>);
    register_deposit: (same::<NewDeposit>) => (same::<Deposit>);
    read_checkpoint: (-) => (same::<CheckpointView>);
    prove_consistency: (-) => (same::<ConsistencyProofView>);
    cosign: (same::<NewCosignature>) => (same::<CheckpointView>);
    list_entries: (-) => (same::<EntryPage>);
    read_entry: (-) => (same::<EntryView>);
    prove_inclusion: (-) => (same::<InclusionProofView>);
    read_receipt: (-) => (same::<Receipt>);
    export: (-) => (same::<LedgerExport>);
    export_entries: (-) => (lines);
    read_ledger_status: (-) => (same::<LedgerStatus>);
    list_schemas: (-) => (same::<SchemaList>);
    read_schema: (-) => (json);
    list_corrections: (-) => (same::<Page<Correction>>);
    correct_entry: (same::<NewCorrection>) => (same::<Correction>);
    list_reviews: (-) => (same::<Page<Review>>);
    record_review: (same::<Envelope>) => (same::<Review>);
    checkpoint_file: (-) => (text);
    witnessed_file: (-) => (text);
    tile_file: (-) => (text);
    statement_file: (-) => (same::<Envelope>);
    read_opening: (-) => (same::<OpeningView>);
    erase_opening: (same::<NewErasure>) => (same::<OpeningView>);
    add_checkpoint: (-) => (text);
    witnesses: (-) => (same::<WitnessesView>);
    keys: (-) => (same::<LogKeysView>);
    read_openapi: (-) => (json);
    read_docs: (-) => (text);
    read_docs_file: (-) => (text);
    explain_problem: (-) => (text);
    read_liveness: (-) => (text);
    read_readiness: (-) => (text);
};

#[test]
fn every_example_is_of_its_type() {
    for Types { id, request, answer } in TYPES {
        let example = examples::of(id);
        let Example { request: sent, responses, .. } =
            example.unwrap_or_else(|| panic!("openapi/src/examples/{id}.json is missing")).unwrap();
        match (request, sent) {
            (Some(check), Some(sent)) => check(&format!("{id}: the request"), &sent),
            (None, None) => {}
            (Some(_), None) => panic!("openapi/src/examples/{id}.json has no request"),
            (None, Some(_)) => panic!("{id} takes no body, but its example has one"),
        }
        let Some(check) = answer else {
            assert!(responses.is_empty(), "{id} gives no body, but its example has one");
            continue;
        };
        assert!(!responses.is_empty(), "openapi/src/examples/{id}.json has no answer");
        for (status, media) in &responses {
            for (media, value) in media {
                // Beside JSON an operation may give plain text.
                let check = if media.ends_with("json") { *check } else { text };
                check(&format!("{id}: {status} as {media}"), value);
            }
        }
    }
}

#[test]
fn every_example_has_its_types_here() {
    for id in examples::ids() {
        assert!(
            TYPES.iter().any(|types| types.id == id),
            "say in openapi/tests/examples.rs which types {id} takes and gives"
        );
    }
}
