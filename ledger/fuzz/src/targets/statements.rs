//! DSSE envelopes, and the statements signed in them.

use std::fmt::Debug;

use konclave_ledger::dsse::DsseError;
use konclave_ledger::rotation::KeyChange;
use konclave_ledger::statements::{
    self, ConsentStatement, DepositStatement, EvaluationStatement, ParticipationStatement, ReviewStatement,
    Statement,
};
use konclave_ledger::{Envelope, SigningKey, dsse};
use serde_json::json;

use super::fixture::fixture;
use crate::support::{consent, identity_seed};

/// An envelope prints back to the same bytes, and verifies only for what its key signed.
pub fn envelope(bytes: &[u8]) {
    let Ok(envelope) = Envelope::parse(bytes) else { return };
    assert_eq!(envelope.to_bytes(), bytes);
    let key = SigningKey::from_seed(&identity_seed("site-a")).public();
    match envelope.verify(&key) {
        Ok(payload) => {
            let signed = fixture().envelopes.iter().any(|signed| {
                signed.payload_type == envelope.payload_type
                    && signed.unverified_payload() == Ok(payload.clone())
            });
            assert!(signed, "signed by nobody: {envelope:?}");
            assert_eq!(envelope.unverified_payload(), Ok(payload));
        }
        Err(DsseError::BadPayload) => assert_eq!(envelope.unverified_payload(), Err(DsseError::BadPayload)),
        Err(error) => assert_eq!(error, DsseError::BadSignature { key }),
    }
}

/// A payload that a site signs as each kind of statement: read as what it says, or not at all.
pub fn statement(bytes: &[u8]) {
    read::<ConsentStatement>(bytes);
    read::<DepositStatement>(bytes);
    read::<EvaluationStatement>(bytes);
    read::<KeyChange>(bytes);
    read::<ParticipationStatement>(bytes);
    read::<ReviewStatement>(bytes);
}

fn read<S: Statement + Debug + PartialEq>(payload: &[u8]) {
    let Ok(said) = serde_json::from_slice::<S>(payload) else { return };
    let seed = identity_seed("site-a");
    let key = SigningKey::from_seed(&seed).public();
    let envelope = dsse::sign(&seed, S::PAYLOAD_TYPE, payload);
    assert_eq!(statements::verify::<S>(&envelope, &key).unwrap(), said);
    // Written in the one canonical way it says the same.
    let again = statements::sign(&seed, &said).unwrap();
    assert_eq!(statements::verify::<S>(&again, &key).unwrap(), said);
    let other = dsse::sign(&seed, "application/x", payload);
    assert!(statements::verify::<S>(&other, &key).is_err());
    let stranger = SigningKey::from_seed(&identity_seed("site-b")).public();
    assert!(statements::verify::<S>(&envelope, &stranger).is_err());
}

pub fn seeds() -> Vec<Vec<u8>> {
    let hash = konclave_ledger::Hash::of(b"x");
    let made = [
        json!({"site": "site-a", "legal_entity": null, "data_class": "benchmark", "catalogue_tasks": [
            {"task": "logD", "records": 10, "unique_structures": 9, "scaffolds": 4, "censored": 1},
        ], "files": [{"commitment": hash, "rows": 10}], "row_commitment": hash, "made_at": 1}),
        json!({"job": "job-1", "round": 0, "model": hash, "coalition": [], "benchmark": hash, "metrics": [
            {"task": "logD", "metric": "rmse", "value_micro": -1, "count": 9},
        ], "utility_micro": -250_000, "made_at": 1}),
        json!({"origin": "konclave.example/ledger", "old_vkey": "a", "new_vkey": "b", "reason": "lost", "trusted_size": 1,
            "trusted_root": hash, "made_at": 1}),
        json!({"reviewer": "auditor-1", "origin": "konclave.example/ledger", "from": 0, "size": 5, "root": hash,
            "result": "sound", "entries_checked": 5, "statements_checked": 1, "witnesses": ["w"], "findings": [],
            "remarks": "", "made_at": 1}),
        json!({"job": "job-1", "round": 3, "site": "site-a", "context": hash, "manifest": hash, "records": 12,
            "made_at": 1}),
    ];
    let consent = consent("site-a", "job-1").unverified_payload().unwrap();
    made.into_iter().map(|statement| statement.to_string().into_bytes()).chain([consent]).collect()
}
