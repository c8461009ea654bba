use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use konclave_audit::{ClientKey, Defect, Reviewer, Since, review, sign_review};
use konclave_ledger::records::ReviewResult;
use konclave_ledger::statements::{ReviewStatement, verify as verify_statement};
use konclave_ledger::{Envelope, Hash, SigningKey};

const SEED: [u8; 32] = [88; 32];

fn pem(label: &str, head: &[u8], key: &[u8; 32]) -> String {
    let body = STANDARD.encode([head, key].concat());
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

pub(super) fn private_pem(seed: &[u8; 32]) -> String {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    pem("PRIVATE KEY", &head, seed)
}

fn registered(client: &str, seed: &[u8; 32]) -> EntryDraft {
    let head = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    said(&Record::ClientRegistered {
        client: client.into(),
        organisation: "Quality".into(),
        roles: vec!["auditor".into()],
        public_key: pem("PUBLIC KEY", &head, &SigningKey::from_seed(seed).public().0),
        contact: None,
        certificate_bound: false,
    })
}

/// A ledger of 300 entries in which the client `qa` is registered.
fn ledger() -> (TempDir, Ledger) {
    let (live, mut ledger) = grown(299);
    ledger.append(vec![registered("qa", &SEED)], at(1)).unwrap();
    (live, ledger)
}

fn reviewed(ledger: &Ledger, change: impl FnOnce(&mut ReviewStatement)) -> Envelope {
    let folder = export(ledger);
    let report = audit(folder.path());
    let reviewer =
        Reviewer { id: "qa".into(), since: Since::Entry(0), remarks: String::new(), made_at: at(2) };
    let mut made = review(&Folder::open(folder.path()).unwrap(), &report, &reviewer).unwrap();
    change(&mut made);
    sign_review(&made, &ClientKey::from_pem(private_pem(&SEED).as_bytes()).unwrap()).unwrap()
}

fn recorded(envelope: &Envelope) -> EntryDraft {
    let said: ReviewStatement = serde_json::from_slice(&envelope.unverified_payload().unwrap()).unwrap();
    let ReviewStatement { reviewer, from, size, root, result, .. } = said;
    let statement = envelope.digest();
    entry(None, Some(statement), &Record::ReviewRecorded { reviewer, from, size, root, result, statement })
}

#[test]
fn the_file_is_what_the_reviewer_signed_and_says_what_was_found() {
    let (_live, mut ledger) = ledger();
    let folder = export(&ledger);
    let work = tempfile::tempdir().unwrap();
    let (key, out) = (work.path().join("key"), work.path().join("review.json"));
    std::fs::write(&key, private_pem(&SEED)).unwrap();
    let review = |folder: &Path, rest: &[&dyn AsRef<std::ffi::OsStr>]| {
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
            vec![&"review", &folder, &"--reviewer", &"qa", &"--key", &key, &"--out", &out];
        arguments.extend(rest);
        let output = run(&arguments);
        let public = SigningKey::from_seed(&SEED).public();
        let said = std::fs::read(&out).ok().map(|bytes| {
            verify_statement::<ReviewStatement>(&Envelope::parse(&bytes).unwrap(), &public).unwrap()
        });
        (output, said)
    };
    let (output, said) = review(folder.path(), &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("SOUND  konclave.example/ledger: entries 0 to 300"));
    assert_eq!(text(&output.stderr), "");
    let said = said.unwrap();
    assert_eq!((said.size, said.root, said.result), (300, ledger.head().root, ReviewResult::Sound));
    assert_eq!((said.reviewer.as_str(), said.from, said.entries_checked), ("qa", 0, 300));
    let first = work.path().join("first.json");
    std::fs::rename(&out, &first).unwrap();

    ledger.append((300..400).map(draft).collect(), at(3)).unwrap();
    let later = export(&ledger);
    let (output, said) = review(later.path(), &[&"--since-review", &first, &"--remarks", &"well kept"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let said = said.unwrap();
    assert_eq!((said.from, said.size, said.result), (300, 400, ReviewResult::Remarks));
    assert_eq!(said.remarks, "well kept");
    assert_eq!(code(&review(later.path(), &[&"--from", &"401"]).0), 1);

    replace(&later.path().join("tile/entries/000"), "because of 10\"", "because of 11\"");
    let (output, said) = review(later.path(), &[]);
    assert_eq!(code(&output), 2);
    let said = said.unwrap();
    assert!(said.result == ReviewResult::Findings && !said.findings.is_empty(), "{said:?}");

    // What was reviewed before must be a beginning of what is reviewed now.
    let (_live, other) = grown(500);
    let (output, _) = review(export(&other).path(), &[&"--since-review", &first]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("not a beginning of this ledger"), "{}", text(&output.stderr));
    std::fs::write(&key, "no key").unwrap();
    assert_eq!(code(&review(folder.path(), &[]).0), 1);
}

#[test]
fn a_recorded_review_is_the_clients_and_of_this_history() {
    let audit_of = |envelope: &Envelope, tested: EntryDraft, extra: Vec<EntryDraft>| {
        let (_live, mut ledger) = ledger();
        ledger.put_statement(envelope).unwrap();
        ledger.append(extra.into_iter().chain([tested]).collect(), at(4)).unwrap();
        audit(export(&ledger).path())
    };
    let (_live, reviewed_ledger) = ledger();
    let good = reviewed(&reviewed_ledger, |_| {});
    let report = audit_of(&good, recorded(&good), vec![]);
    assert!(report.ok && report.statements_checked == 1, "{report}");

    let refused = |report: Report, defect: Defect, word: &str| {
        let finding = report.findings.first().unwrap_or_else(|| panic!("{word}: {report}"));
        assert!(finding.defect == defect && finding.detail.contains(word), "{word}: {report}");
    };
    type Change = fn(&mut ReviewStatement);
    let wrong: [(Change, Defect, &str); 3] = [
        (|said| said.root = Hash::of(b"x"), Defect::Review, "another history"),
        (|said| said.size = 299, Defect::Review, "another history"),
        (|said| said.size = 301, Defect::Review, "more than there were"),
    ];
    for (change, defect, word) in wrong {
        let envelope = reviewed(&reviewed_ledger, change);
        refused(audit_of(&envelope, recorded(&envelope), vec![]), defect, word);
    }
    let foreign = reviewed(&reviewed_ledger, |said| said.origin = "elsewhere".into());
    refused(audit_of(&foreign, recorded(&foreign), vec![]), Defect::Statement, "origin");
    let stranger = reviewed(&reviewed_ledger, |said| said.reviewer = "someone".into());
    refused(audit_of(&stranger, recorded(&stranger), vec![]), Defect::Statement, "no registered client");
    let field = |change: fn(&mut Record), word: &str| {
        let mut draft = recorded(&good);
        let mut record = Record::parse("review.recorded", &(&draft.record).try_into().unwrap()).unwrap();
        change(&mut record);
        draft.record = record.to_value().unwrap();
        refused(audit_of(&good, draft, vec![]), Defect::Statement, word);
    };
    field(
        |record| {
            if let Record::ReviewRecorded { from, .. } = record {
                *from = 7
            }
        },
        "from",
    );
    field(
        |record| {
            if let Record::ReviewRecorded { result, .. } = record {
                *result = ReviewResult::Findings
            }
        },
        "result",
    );
    let mut unnamed = recorded(&good);
    unnamed.statement = None;
    refused(audit_of(&good, unnamed, vec![]), Defect::Statement, "said to have stated");
    // A client that was revoked, or that has another key by now.
    let revoked = said(&Record::ClientRevoked { client: "qa".into() });
    refused(audit_of(&good, recorded(&good), vec![revoked]), Defect::Statement, "no registered client");
    let renewed = registered("qa", &[89; 32]);
    refused(audit_of(&good, recorded(&good), vec![renewed]), Defect::Statement, "qa");
    refused(audit_of(&good, recorded(&good), vec![recorded(&good)]), Defect::Statement, "same statement");
}
