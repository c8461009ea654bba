//! A small ledger with all that is made from it, from fixed keys.

use std::sync::OnceLock;

use konclave_ledger::tiles::tiles_of;
use konclave_ledger::witness::WitnessState;
use konclave_ledger::{Checkpoint, EntryDraft, Envelope, Hash, Ledger, VerifierKey, dsse};
use serde_json::json;

use crate::support::faulty::FaultyStorage;
use crate::support::{
    at, consent, consented, created, draft, enrolled, identity_seed, log_key, options, witness,
};

/// The ledger's entries and heads, and what was signed over them.
pub struct Fixture {
    /// Every entry's stored bytes.
    pub leaves: Vec<Vec<u8>>,
    /// Every head that the log signed.
    pub heads: Vec<Checkpoint>,
    /// The head that `site-a` cosigned.
    pub cosigned: Checkpoint,
    /// Its cosignatures.
    pub lines: Vec<String>,
    /// The log's key and that of the witness `site-a`.
    pub log_key: VerifierKey,
    pub witness_key: VerifierKey,
    /// Envelopes that sites signed.
    pub envelopes: Vec<Envelope>,
    /// The files at the end.
    pub storage: FaultyStorage,
    notes: Vec<String>,
    receipts: Vec<String>,
    states: Vec<WitnessState>,
}

pub fn fixture() -> &'static Fixture {
    static MADE: OnceLock<Fixture> = OnceLock::new();
    MADE.get_or_init(make)
}

fn make() -> Fixture {
    let storage = FaultyStorage::default();
    let mut ledger = Ledger::open_on(Box::new(storage.clone()), options(false)).unwrap();
    let mut heads = vec![ledger.head()];
    let mut notes = vec![ledger.checkpoint_note()];
    let statement = ledger.put_statement(&consent("site-a", "job-1")).unwrap();
    let awkward = EntryDraft {
        reason: "\u{1f600} \u{fb33} \"\\ \u{2028}".into(),
        record: json!({"\u{fb33}": -9_007_199_254_740_991_i64, "\u{1f600}": [[], {}, null, true], "": "\0\n\u{1f}\u{7f}"}),
        ..draft(5)
    };
    let batches = [
        vec![created()],
        vec![enrolled("site-a"), enrolled("site-b"), consented("site-a", "job-1", statement)],
        vec![awkward],
        (6..12).map(draft).collect(),
    ];
    for (batch, second) in batches.into_iter().zip(0..) {
        ledger.append(batch, at(second)).unwrap();
        heads.push(ledger.head());
        notes.push(ledger.checkpoint_note());
    }
    let fresh = WitnessState::new(ledger.head().origin);
    let proof = ledger.consistency_proof(0, ledger.head().size).unwrap();
    let state = fresh.advance(ledger.checkpoint_note().as_bytes(), &log_key(), &proof).unwrap();
    let cosign = |site: &str, second| state.cosign(&witness(site), at(second)).line().to_string();
    let lines = vec![cosign("site-a", 9), cosign("site-a", 10)];
    for line in lines.iter().chain([&cosign("site-b", 9)]) {
        ledger.add_cosignature(line).unwrap();
        notes.push(ledger.checkpoint_note());
    }
    let size = ledger.head().size;
    Fixture {
        leaves: (0..size).map(|index| ledger.leaf_bytes(index).unwrap().unwrap()).collect(),
        cosigned: ledger.head(),
        receipts: (0..size).map(|index| ledger.receipt(index).unwrap().to_string()).collect(),
        states: vec![fresh, state],
        log_key: log_key(),
        witness_key: witness("site-a").verifier_key(),
        envelopes: signed_envelopes(),
        heads,
        lines,
        storage,
        notes,
    }
}

fn bytes(texts: &[String]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub fn leaves() -> Vec<Vec<u8>> {
    fixture().leaves.clone()
}

pub fn notes() -> Vec<Vec<u8>> {
    bytes(&fixture().notes)
}

pub fn receipts() -> Vec<Vec<u8>> {
    bytes(&fixture().receipts)
}

pub fn cosignatures() -> Vec<Vec<u8>> {
    bytes(&fixture().lines)
}

pub fn witness_states() -> Vec<Vec<u8>> {
    fixture().states.iter().map(WitnessState::to_bytes).collect()
}

pub fn bundles() -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    fixture().leaves.iter().for_each(|leaf| konclave_ledger::bundle::push(&mut whole, leaf));
    vec![whole, vec![0, 1, b'a', 0, 0, 0, 2, b'b', b'c'], vec![0, 1, b'a', 0, 2, b'b']]
}

pub fn tiles() -> Vec<Vec<u8>> {
    let hashes = konclave_ledger::tiles::encode_hashes(&[Hash::of(b"a"), Hash::of(b"b")]);
    let large = tiles_of(300_000_000).step_by(99_991).map(|tile| tile.to_string().into_bytes());
    tiles_of(70_000)
        .step_by(91)
        .map(|tile| tile.to_string().into_bytes())
        .chain(large)
        .chain([hashes])
        .collect()
}

pub fn envelopes() -> Vec<Vec<u8>> {
    fixture().envelopes.iter().map(Envelope::to_bytes).collect()
}

fn signed_envelopes() -> Vec<Envelope> {
    let seed = identity_seed("site-a");
    let mut twice = dsse::sign(&seed, "application/x", b"payload");
    twice.signatures.extend(dsse::sign(&identity_seed("site-b"), "application/x", b"payload").signatures);
    vec![consent("site-a", "job-1"), dsse::sign(&seed, "", b""), twice]
}

pub fn texts() -> Vec<Vec<u8>> {
    bytes(&[
        fixture().lines[0].clone(),
        fixture().notes[1].lines().last().unwrap_or_default().to_owned(),
        log_key().to_string(),
        witness("site-a").verifier_key().to_string(),
        "konclave.example/ledger".to_owned(),
        Hash::of(b"x").to_string(),
        "2026-01-31T09:30:00.000Z".to_owned(),
    ])
}

/// A record of every action that has none but plain fields, and a few others.
pub fn records() -> Vec<Vec<u8>> {
    let hash = Hash::of(b"x");
    let records = [
        ("job.started", json!({"job": "job-1"})),
        ("job.aborted", json!({"job": "job-1", "reason": "late", "culprits": ["site-a"]})),
        ("consent.given", json!({"job": "job-1", "site": "site-a", "statement": hash})),
        ("ledger.created", json!({"vkey": log_key().to_string(), "root": hash, "gateway": {"a": [1]}})),
        ("policy.set", json!({"policy": hash, "text": "a = 1\n"})),
        (
            "deposit.registered",
            json!({"site": "site-a", "statement": hash, "data_class": "training", "lines": [
                {"task": "a/b", "records": 1, "unique_structures": 1, "scaffolds": 1},
            ]}),
        ),
        (
            "round.context",
            json!({"job": "job-1", "round": 1, "context": hash, "signed": {"digest": hash, "inline": {"a": 1}},
                "scoring": true, "parameters": hash, "deadline": 1, "privacy_cost": 5}),
        ),
        (
            "round.opened",
            json!({"job": "job-1", "round": 1, "context": hash,
                "batches": [{"sites": ["site-a", "site-b"], "sum": hash, "weight": 2}],
                "total": {"sum": hash, "weight": 2}, "announcement": hash, "tag_deadline": 1,
                "parameters_before": hash, "parameters_after": hash, "coalitions": {"digest": hash},
                "evaluation_deadline": 1}),
        ),
        (
            "round.verified",
            json!({"job": "job-1", "round": 1, "announcement": hash, "result": "verified", "accepted": ["site-a"],
                "rejected": [], "evidence": hash}),
        ),
        (
            "participation.recorded",
            json!({"job": "job-1", "round": 1, "site": "site-a", "uploaded": true, "agreed": true, "signed": true,
                "unmasked": true, "manifest": hash}),
        ),
        (
            "evaluation.recorded",
            json!({"evaluator": "e", "job": "job-1", "round": 1, "parameters": hash, "coalition": [],
                "benchmark": hash, "score_micro": -250_000, "statement": hash}),
        ),
        ("ledger.exported", json!({"by": "auditor", "size": 9})),
    ];
    records.map(|(action, record)| format!("{action}\n{record}").into_bytes()).into()
}
