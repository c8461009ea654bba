//! An operator who holds the log's key and writes what no member said: every such entry is named.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests stop at the first surprise"
)]

mod consortium;

use consortium::{
    EVALUATOR, at, certificate, certificate_under, consent, consented, created, deposit, enrolled,
    enrolled_with, entry, evaluation, options, root, witness,
};
use konclave_audit::{Defect, Folder, KeySource, Report, VerifyOptions, verify};
use konclave_crypto::{ConsortiumRootKey, MemberRole};
use konclave_ledger::records::{DepositLine, Record};
use konclave_ledger::{EntryDraft, Envelope, Hash, Ledger};
use zeroize::Zeroizing;

/// Two sites and an evaluator; entry 4 is the one under test.
const TESTED: u64 = 4;

fn audit_with(statements: &[Envelope], tested: EntryDraft, options: &VerifyOptions) -> Report {
    let members = vec![
        created(),
        enrolled("site-a"),
        enrolled("site-b"),
        enrolled_with(EVALUATOR, &certificate(EVALUATOR, MemberRole::Evaluator)),
    ];
    audit_all(statements, members.into_iter().chain([tested]).collect(), options)
}

fn audit_all(statements: &[Envelope], drafts: Vec<EntryDraft>, verify_options: &VerifyOptions) -> Report {
    let live = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(live.path(), options(false)).unwrap();
    for statement in statements {
        ledger.put_statement(statement).unwrap();
    }
    ledger.append(drafts, at(0)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    ledger.export(folder.path()).unwrap();
    verify(&Folder::open(folder.path()).unwrap(), verify_options, &mut |_, _| {}).unwrap()
}

fn refused(report: &Report, defect: Defect, word: &str) {
    let finding = report.findings.first().unwrap_or_else(|| panic!("nothing was found ({word}): {report}"));
    assert_eq!((finding.defect, finding.first_index), (defect, TESTED), "{word}: {report}");
    assert!(finding.detail.contains(word), "{word}: {report}");
}

/// A field's name and how it is changed.
type Change<'a> = (&'a str, &'a dyn Fn(&mut Record));

/// The record as it should be, then one with each field changed: all but the first are found, by that field's name.
fn check_fields(statement: &Envelope, signer: &str, honest: &Record, changes: &[Change<'_>]) {
    let options = VerifyOptions::default();
    let digest = Some(statement.digest());
    let statements = [statement.clone()];
    let fine = audit_with(&statements, entry(Some(signer), digest, honest), &options);
    assert!(fine.ok, "{fine}");
    assert_eq!(fine.statements_checked, 1);
    for (field, change) in changes {
        let mut record = honest.clone();
        change(&mut record);
        assert_ne!(record, *honest, "{field}");
        refused(
            &audit_with(&statements, entry(Some(signer), digest, &record), &options),
            Defect::Statement,
            field,
        );
    }
    // Without its statement, or with the statement beside a leaf that does not name it, it is the operator's word only.
    refused(
        &audit_with(&[], entry(Some(signer), None, honest), &options),
        Defect::Statement,
        "said to have stated",
    );
    refused(
        &audit_with(&statements, entry(None, digest, honest), &options),
        Defect::Statement,
        "said to have stated",
    );
}

#[test]
fn a_deposit_says_what_its_site_signed() {
    let statement = deposit("site-a");
    let line = DepositLine { task: "logD".into(), records: 9, unique_structures: 8, scaffolds: 7 };
    let honest = Record::DepositRegistered {
        site: "site-a".into(),
        statement: statement.digest(),
        data_class: "training".into(),
        lines: vec![line],
    };
    check_fields(
        &statement,
        "site-a",
        &honest,
        &[
            ("lines", &|record| match record {
                Record::DepositRegistered { lines, .. } => lines[0].records += 1,
                _ => panic!(),
            }),
            ("lines", &|record| match record {
                Record::DepositRegistered { lines, .. } => lines.clear(),
                _ => panic!(),
            }),
            ("data_class", &|record| match record {
                Record::DepositRegistered { data_class, .. } => *data_class = "benchmark".into(),
                _ => panic!(),
            }),
        ],
    );
}

#[test]
fn a_consent_says_what_its_site_signed() {
    let statement = consent("site-a", "job-1");
    let honest =
        Record::ConsentGiven { job: "job-1".into(), site: "site-a".into(), statement: statement.digest() };
    check_fields(
        &statement,
        "site-a",
        &honest,
        &[
            ("job", &|record| match record {
                Record::ConsentGiven { job, .. } => *job = "job-2".into(),
                _ => panic!(),
            }),
            ("decision", &|record| match record {
                Record::ConsentGiven { job, site, statement } => {
                    let (job, site, statement) = (job.clone(), site.clone(), *statement);
                    *record = Record::ConsentRefused { job, site, rule: "auto".into(), statement };
                }
                _ => panic!(),
            }),
        ],
    );
    // A genuine consent of site-a under the name of site-b.
    let record =
        Record::ConsentGiven { job: "job-1".into(), site: "site-b".into(), statement: statement.digest() };
    let tested = entry(Some("site-b"), Some(statement.digest()), &record);
    refused(&audit_with(&[statement], tested, &VerifyOptions::default()), Defect::Statement, "site-b");
}

#[test]
fn an_evaluation_says_what_a_certified_evaluator_signed() {
    let recorded = |statement: &Envelope, evaluator: &str| Record::EvaluationRecorded {
        evaluator: evaluator.into(),
        job: "job-1".into(),
        round: 2,
        parameters: Hash::of(b"model"),
        coalition: vec!["site-a".into(), "site-b".into()],
        benchmark: Hash::of(b"benchmark"),
        score_micro: 750_000,
        statement: statement.digest(),
    };
    let statement = evaluation(EVALUATOR);
    macro_rules! change {
        ($field:ident, $value:expr) => {
            &|record: &mut Record| match record {
                Record::EvaluationRecorded { $field, .. } => *$field = $value,
                _ => panic!(),
            }
        };
    }
    check_fields(
        &statement,
        EVALUATOR,
        &recorded(&statement, EVALUATOR),
        &[
            ("job", change!(job, "job-2".into())),
            ("round", change!(round, 3)),
            ("parameters", change!(parameters, Hash::of(b"other"))),
            ("coalition", change!(coalition, vec!["site-a".into()])),
            ("benchmark", change!(benchmark, Hash::of(b"other"))),
            ("score_micro", change!(score_micro, 750_001)),
        ],
    );
    // A site that scores is no evaluator.
    let statement = evaluation("site-a");
    let tested = entry(Some("site-a"), Some(statement.digest()), &recorded(&statement, "site-a"));
    refused(
        &audit_with(&[statement], tested, &VerifyOptions::default()),
        Defect::Statement,
        "no certified evaluator",
    );
}

#[test]
fn members_are_certified_by_the_consortium_root_and_not_by_the_operator() {
    let operators_own = ConsortiumRootKey::from_seed(Zeroizing::new([9; 32]));
    let invented = enrolled_with("site-x", &certificate_under(&operators_own, "site-x", MemberRole::Site));
    refused(&audit_with(&[], invented, &VerifyOptions::default()), Defect::Membership, "not accepted");

    // A genuine certificate with the operator's key in the entry: statements would be checked under that key.
    let mut swapped = enrolled("site-c");
    swapped.record["identity_key"] = "00".repeat(32).into();
    refused(&audit_with(&[], swapped, &VerifyOptions::default()), Defect::Membership, "identity_key");
    // A genuine member with a witness key of the operator's: it would cosign whatever the operator writes.
    let mut witnessed = enrolled("site-c");
    witnessed.record["witness_vkey"] = witness("site-x").verifier_key().to_string().into();
    refused(&audit_with(&[], witnessed, &VerifyOptions::default()), Defect::Membership, "witness_vkey");
    let mut promoted = enrolled("site-c");
    promoted.record["role"] = "evaluator".into();
    refused(&audit_with(&[], promoted, &VerifyOptions::default()), Defect::Membership, "not accepted");
    let mut renamed = enrolled("site-c");
    renamed.record["legal_entity"] = "Somebody else".into();
    refused(&audit_with(&[], renamed, &VerifyOptions::default()), Defect::Membership, "legal_entity");

    // A whole log under a root of the operator's own is sound in itself; whoever knows the root sees through it.
    let report = audit_all(&[], vec![created()], &VerifyOptions::default());
    assert_eq!((report.ok, report.consortium_root_source), (true, KeySource::FromTheLogItself), "{report}");
    let pinned = VerifyOptions { root: Some(root()), ..VerifyOptions::default() };
    assert!(audit_all(&[], vec![created()], &pinned).ok);
    let other = VerifyOptions { root: Some(operators_own.root()), ..VerifyOptions::default() };
    let report = audit_all(&[], vec![created()], &other);
    assert_eq!(
        (report.findings[0].defect, report.first_bad_index),
        (Defect::Membership, Some(0)),
        "{report}"
    );
}

#[test]
fn a_statement_stands_behind_one_entry() {
    let statement = consent("site-a", "job-1");
    let mut drafts = vec![created(), enrolled("site-a")];
    drafts.extend([0, 1].map(|_| consented("site-a", "job-1", statement.digest())));
    let report = audit_all(&[statement], drafts, &VerifyOptions::default());
    assert_eq!((report.findings[0].defect, report.first_bad_index), (Defect::Statement, Some(3)), "{report}");
}

#[test]
fn an_entry_dated_before_an_earlier_one_is_told() {
    let live = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(live.path(), options(false)).unwrap();
    ledger.append(vec![created()], at(100)).unwrap();
    ledger.append(vec![enrolled("site-a")], at(40)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    ledger.export(folder.path()).unwrap();
    let report =
        verify(&Folder::open(folder.path()).unwrap(), &VerifyOptions::default(), &mut |_, _| {}).unwrap();
    assert!(report.ok, "{report}");
    assert!(report.notes.iter().any(|note| note.contains("entry 1 is dated 60 s before")), "{report}");
}

#[test]
fn a_record_without_what_its_action_promises_is_found() {
    let mut tested = consented("site-a", "job-1", Hash::of(b"x"));
    tested.record = serde_json::json!({ "job": "job-1" });
    tested.statement = None;
    refused(&audit_with(&[], tested, &VerifyOptions::default()), Defect::Record, "malformed");
}
