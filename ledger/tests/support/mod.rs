//! What the ledger's tests share: keys from fixed seeds, drafts, and a storage that can be made to fail.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

pub mod chance;
pub mod faulty;
pub mod oracle;
pub mod power;

use konclave_ledger::note::SignatureType;
use konclave_ledger::statements::{self, ConsentDecision, ConsentStatement};
use konclave_ledger::witness::{WitnessSigner, WitnessState};
use konclave_ledger::{
    ClockSource, EntryDraft, Envelope, Hash, Ledger, LedgerOptions, Origin, SigningKey, Timestamp,
    VerifierKey,
};
use serde_json::json;

pub const LOG_SEED: [u8; 32] = [11; 32];

pub fn origin() -> Origin {
    "konclave.example/ledger".parse().unwrap()
}

pub fn options(index: bool) -> LedgerOptions {
    let signer = SigningKey::from_seed(&LOG_SEED);
    LedgerOptions {
        origin: origin(),
        signer: Box::new(signer),
        software: "konclave/0.1.0".into(),
        index,
        reserve_bytes: 0,
        seen: None,
    }
}

pub fn log_key() -> VerifierKey {
    VerifierKey::new(origin(), SignatureType::Log, SigningKey::from_seed(&LOG_SEED).public())
}

pub fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_767_225_600 + seconds).unwrap().with_clock(ClockSource::Simulated)
}

pub fn created() -> EntryDraft {
    EntryDraft::ledger_created("gateway", "gateway", "request-0", &log_key())
}

/// An entry that can be told from every other by `number`.
pub fn draft(number: u64) -> EntryDraft {
    EntryDraft {
        actor: format!("actor-{}", number % 3),
        role: "operator".into(),
        site: (!number.is_multiple_of(4)).then(|| format!("site-{}", number % 4)),
        action: format!("action.{}", number % 5),
        object: format!("object/{}", number % 7),
        old: number.is_multiple_of(2).then(|| Hash::of(b"old")),
        new: Some(Hash::of(&number.to_be_bytes())),
        reason: format!("because of {number}"),
        request_id: format!("request-{number}"),
        record: json!({ "number": number, "job": format!("job-{}", number % 3), "round": number % 2 }),
        ..EntryDraft::default()
    }
}

pub fn identity_seed(site: &str) -> [u8; 32] {
    *Hash::of(site.as_bytes()).as_bytes()
}

pub fn witness(site: &str) -> WitnessSigner {
    let key = SigningKey::from_seed(Hash::of(format!("witness {site}").as_bytes()).as_bytes());
    WitnessSigner { name: format!("konclave.example/{site}").parse().unwrap(), key }
}

pub fn enrolled(site: &str) -> EntryDraft {
    EntryDraft {
        actor: "operator".into(),
        role: "operator".into(),
        site: Some(site.into()),
        action: "site.enrolled".into(),
        object: format!("site/{site}"),
        reason: "joins the consortium".into(),
        request_id: format!("enrol-{site}"),
        record: json!({
            "site": site, "legal_entity": "Example Pharma", "role": "site",
            "identity_key": SigningKey::from_seed(&identity_seed(site)).public(),
            "witness_vkey": witness(site).verifier_key().to_string(),
        }),
        ..EntryDraft::default()
    }
}

pub fn consent(site: &str, job: &str) -> Envelope {
    let statement = ConsentStatement {
        job: job.into(),
        site: site.into(),
        decision: ConsentDecision::Accept,
        rule: "auto".into(),
        detail: String::new(),
        policy: Hash::of(b"policy"),
        made_at: 1_767_225_600,
    };
    statements::sign(&identity_seed(site), &statement).unwrap()
}

pub fn consented(site: &str, job: &str, statement: Hash) -> EntryDraft {
    EntryDraft {
        actor: site.into(),
        role: "site".into(),
        site: Some(site.into()),
        action: "consent.given".into(),
        object: format!("job/{job}"),
        reason: "policy accepts".into(),
        request_id: format!("consent-{site}-{job}"),
        statement: Some(statement),
        record: json!({ "job": job }),
        ..EntryDraft::default()
    }
}

/// A witness's signature line for the ledger's current head.
pub fn cosign_line(ledger: &Ledger, site: &str, seconds: u64) -> String {
    let head = ledger.head();
    let proof = ledger.consistency_proof(0, head.size).unwrap();
    let seen = WitnessState::new(head.origin);
    let seen = seen.advance(ledger.checkpoint_note().as_bytes(), &log_key(), &proof).unwrap();
    seen.cosign(&witness(site), at(seconds)).line().to_string()
}
