//! A ledger as a gateway writes it: members certified under a consortium root, what they stated, and filler.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses a part"
)]

#[path = "../../../ledger/tests/support/mod.rs"]
mod support;

use konclave_crypto::{
    ConsortiumRoot, ConsortiumRootKey, IdentityKey, MemberRole, Membership, MembershipCertificate,
    UnixSeconds,
};
use konclave_ledger::records::Record;
use konclave_ledger::statements::{self, DataClass, DepositStatement, EvaluationStatement, TaskCount};
use konclave_ledger::{EntryDraft, Envelope, Hash};
use zeroize::Zeroizing;

pub use support::{at, consent, cosign_line, draft, identity_seed, log_key, options, witness};

pub const fn support_log_seed() -> [u8; 32] {
    support::LOG_SEED
}

pub const EVALUATOR: &str = "evaluator";

fn root_key() -> ConsortiumRootKey {
    ConsortiumRootKey::from_seed(Zeroizing::new([42; 32]))
}

pub fn root() -> ConsortiumRoot {
    root_key().root()
}

pub fn entry(site: Option<&str>, statement: Option<Hash>, record: &Record) -> EntryDraft {
    EntryDraft {
        actor: site.unwrap_or("gateway").into(),
        role: "gateway".into(),
        site: site.map(Into::into),
        action: record.action().into(),
        object: "object".into(),
        reason: "because".into(),
        request_id: "request".into(),
        statement,
        record: record.to_value().unwrap(),
        ..EntryDraft::default()
    }
}

pub fn certificate_under(root: &ConsortiumRootKey, member: &str, role: MemberRole) -> MembershipCertificate {
    root.issue(Membership {
        site: member.parse().unwrap(),
        legal_entity: format!("The owner of {member}"),
        role,
        identity_key: IdentityKey::from_seed(Zeroizing::new(identity_seed(member))).public(),
        witness_vkey: witness(member).verifier_key().to_string(),
        serial: 1,
        not_before: UnixSeconds(at(0).unix_seconds() - 60),
        not_after: UnixSeconds(at(0).unix_seconds() + 86_400),
    })
}

pub fn certificate(member: &str, role: MemberRole) -> MembershipCertificate {
    certificate_under(&root_key(), member, role)
}

pub fn created() -> EntryDraft {
    let gateway = serde_json::to_value(certificate("gateway", MemberRole::Gateway)).unwrap();
    let record = Record::LedgerCreated { vkey: log_key().to_string(), root: root().0.to_string(), gateway };
    entry(None, None, &record)
}

pub fn enrolled_with(member: &str, certificate: &MembershipCertificate) -> EntryDraft {
    let membership = &certificate.membership;
    let record = Record::SiteEnrolled {
        site: member.into(),
        legal_entity: membership.legal_entity.clone(),
        role: membership.role.as_str().into(),
        identity_key: membership.identity_key.to_string(),
        witness_vkey: witness(member).verifier_key().to_string(),
        tls_spki: Hash::of(b"spki"),
        certificate: serde_json::to_value(certificate).unwrap(),
    };
    entry(Some(member), None, &record)
}

pub fn enrolled(site: &str) -> EntryDraft {
    enrolled_with(site, &certificate(site, MemberRole::Site))
}

pub fn consented(site: &str, job: &str, statement: Hash) -> EntryDraft {
    let record = Record::ConsentGiven { job: job.into(), site: site.into(), statement };
    entry(Some(site), Some(statement), &record)
}

pub fn deposit(site: &str) -> Envelope {
    let count =
        TaskCount { task: "logD".into(), records: 9, unique_structures: 8, scaffolds: 7, censored: 0 };
    let statement = DepositStatement {
        site: site.into(),
        legal_entity: None,
        data_class: DataClass::Training,
        catalogue_tasks: vec![count],
        files: Vec::new(),
        row_commitment: Hash::of(b"rows"),
        made_at: at(0).unix_seconds(),
    };
    statements::sign(&identity_seed(site), &statement).unwrap()
}

pub fn evaluation(evaluator: &str) -> Envelope {
    let statement = EvaluationStatement {
        job: "job-1".into(),
        round: 2,
        model: Hash::of(b"model"),
        coalition: vec!["site-b".into(), "site-a".into()],
        benchmark: Hash::of(b"benchmark"),
        metrics: Vec::new(),
        utility_micro: 750_000,
        made_at: at(0).unix_seconds(),
    };
    statements::sign(&identity_seed(evaluator), &statement).unwrap()
}
