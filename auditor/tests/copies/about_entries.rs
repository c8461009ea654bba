use super::*;
use konclave_audit::Defect;
use konclave_ledger::Hash;
use serde_json::{Value, json};

fn committed() -> EntryDraft {
    EntryDraft { commitments: vec![Hash::of(b"one"), Hash::of(b"two")], ..draft(1) }
}

fn corrected(entry: u64, field: &str, was: Value, is: Value) -> EntryDraft {
    said(&Record::EntryCorrected { entry, field: field.into(), was, is })
}

fn erased(entry: u64, value: &[u8]) -> EntryDraft {
    said(&Record::OpeningErased { commitment: Hash::of(value), entry, ground: "asked for".into() })
}

#[test]
fn corrections_and_erasures_fit_the_entries_they_are_about() {
    let folder = copy_of(vec![
        committed(),
        corrected(1, "/reason", json!("because of 1"), json!("because of 2")),
        corrected(1, "/record/number", json!(1), json!(2)),
        erased(1, b"one"),
        erased(1, b"two"),
    ]);
    let report = audit(folder.path());
    assert!(report.ok, "{report}");
}

#[test]
fn a_correction_or_erasure_of_what_is_not_there_is_found() {
    let cases = [
        (corrected(2, "/reason", json!("because"), json!("x")), "does not come before it"),
        (corrected(u64::from(u32::MAX), "/reason", json!("because"), json!("x")), "does not come before it"),
        (corrected(1, "/nonsense", json!(null), json!("x")), "there is no such field"),
        (corrected(1, "", json!({}), json!("x")), "there is no such field"),
        (corrected(1, "/reason", json!("because of 7"), json!("x")), "another value than it is"),
        (corrected(1, "/reason", json!("because of 1"), json!("because of 1")), "what it says already"),
        (erased(1, b"three"), "does not carry"),
        (erased(2, b"one"), "does not come before it"),
    ];
    for (tested, word) in cases {
        let report = audit(copy_of(vec![committed(), tested]).path());
        let finding = report.findings.first().unwrap_or_else(|| panic!("{word}"));
        assert_eq!((finding.defect, finding.first_index), (Defect::Amendment, 2), "{report}");
        assert!(finding.detail.contains(word), "{word}: {report}");
    }
    let report = audit(copy_of(vec![committed(), erased(1, b"one"), erased(1, b"one")]).path());
    assert!(
        report.findings[0].first_index == 3 && report.findings[0].detail.contains("erased before"),
        "{report}"
    );
}
