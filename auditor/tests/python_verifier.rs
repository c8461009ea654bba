//! The Python verifier, which shares no code with this one, finds the same first bad index in the same copies.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests stop at the first surprise"
)]

mod consortium;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use consortium::{
    EVALUATOR, at, certificate, consent, consented, created, deposit, draft, enrolled, enrolled_with, entry,
    evaluation, log_key, options, root, witness,
};
use konclave_audit::{Folder, VerifyOptions, verify};
use konclave_crypto::MemberRole;
use konclave_ledger::records::{DepositLine, Record};
use konclave_ledger::rotation::{ChangeReason, KeyChange};
use konclave_ledger::witness::WitnessState;
use konclave_ledger::{Hash, Ledger, SigningKey, VerifierKey, statements};
use tempfile::TempDir;

const SITES: [&str; 3] = ["site-a", "site-b", "site-c"];
const SIZE: u64 = 300;
/// The seed of the consortium root in `consortium`.
const ROOT_SEED: [u8; 32] = [42; 32];

fn python(arguments: &[&str]) -> Output {
    let verifier = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ledger/verifier/verify_ledger.py");
    let program = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    Command::new(program)
        .env("PYTHONPYCACHEPREFIX", env!("CARGO_TARGET_TMPDIR"))
        .arg(verifier)
        .args(arguments)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A ledger with keys, enrolments, one statement of each kind, three cosignatures, and entries in two bundles.
fn ledger(live: &Path) -> Ledger {
    let mut ledger = Ledger::open(live, options(true)).unwrap();
    let mut drafts = vec![created()];
    drafts.extend(SITES.map(enrolled));
    drafts.push(enrolled_with(EVALUATOR, &certificate(EVALUATOR, MemberRole::Evaluator)));
    for site in ["site-a", "site-c"] {
        let statement = ledger.put_statement(&consent(site, "job-1")).unwrap();
        drafts.push(consented(site, "job-1", statement));
    }
    let statement = ledger.put_statement(&deposit("site-b")).unwrap();
    let line = DepositLine { task: "logD".into(), records: 9, unique_structures: 8, scaffolds: 7 };
    let record = Record::DepositRegistered {
        site: "site-b".into(),
        statement,
        data_class: "training".into(),
        lines: vec![line],
    };
    drafts.push(entry(Some("site-b"), Some(statement), &record));
    drafts.extend((drafts.len() as u64..SIZE).map(draft));
    ledger.append(drafts, at(0)).unwrap();
    cosign(&mut ledger);
    ledger
}

fn cosign(ledger: &mut Ledger) {
    cosign_with(ledger, &log_key());
}

fn cosign_with(ledger: &mut Ledger, key: &VerifierKey) {
    let head = ledger.head();
    let proof = ledger.consistency_proof(0, head.size).unwrap();
    let seen =
        WitnessState::new(head.origin).advance(ledger.checkpoint_note().as_bytes(), key, &proof).unwrap();
    for site in SITES {
        ledger.add_cosignature(&seen.cosign(&witness(site), at(60)).line().to_string()).unwrap();
    }
}

fn export(ledger: &Ledger) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    ledger.export(folder.path()).unwrap();
    folder
}

fn pinned() -> VerifyOptions {
    VerifyOptions {
        key: Some(log_key()),
        origin: Some(log_key().name().clone()),
        root: Some(root()),
        quorum: 3,
        ..VerifyOptions::default()
    }
}

/// What the Python side says of each folder: whether it is sound, and the first bad index.
fn second_opinions(folders: &[&Path], more: &[&str]) -> Vec<(bool, Option<u64>)> {
    let (key, root) = (log_key(), root().0.to_string());
    let (vkey, origin) = (key.to_string(), key.name().as_str());
    let mut arguments = more.to_vec();
    arguments.extend(["verify", "--json", "--key", &vkey, "--root", &root, "--origin", origin]);
    arguments.extend(["--quorum", "3"]);
    arguments.extend(folders.iter().map(|folder| folder.to_str().unwrap()));
    let output = python(&arguments);
    let reports: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
    let reports = reports.as_array().cloned().unwrap_or_else(|| vec![reports]);
    assert_eq!(reports.len(), folders.len());
    let said: Vec<(bool, Option<u64>)> = reports
        .iter()
        .map(|report| (report["ok"].as_bool().unwrap(), report["first_bad_index"].as_u64()))
        .collect();
    let code = if said.iter().all(|(ok, _)| *ok) { 0 } else { 2 };
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    said
}

fn second_opinion(folder: &Path, more: &[&str]) -> (bool, Option<u64>) {
    second_opinions(&[folder], more)[0]
}

fn first_opinion(folder: &Path) -> (bool, Option<u64>) {
    let report = verify(&Folder::open(folder).unwrap(), &pinned(), &mut |_, _| {}).unwrap();
    (report.ok, report.first_bad_index)
}

fn replace(file: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(file).unwrap();
    let offset = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    bytes[offset..offset + to.len()].copy_from_slice(to.as_bytes());
    fs::write(file, bytes).unwrap();
}

fn flip(file: &Path, offset: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// Exchanges two entries of the same bundle.
fn exchange(file: &Path, first: usize) {
    let bytes = fs::read(file).unwrap();
    let mut entries: Vec<&[u8]> = konclave_ledger::bundle::entries(&bytes).map(Result::unwrap).collect();
    entries.swap(first, first + 1);
    let mut again = Vec::new();
    entries.iter().for_each(|entry| konclave_ledger::bundle::push(&mut again, entry));
    fs::write(file, again).unwrap();
}

fn statement_file(folder: &Path) -> PathBuf {
    let digest = Hash::of(&consent("site-c", "job-1").to_bytes());
    folder.join(format!("statements/{digest}.json"))
}

#[test]
fn both_name_the_same_first_bad_entry() {
    let live = tempfile::tempdir().unwrap();
    let folder = export(&ledger(live.path()));
    let good = folder.path();
    assert_eq!(first_opinion(good), (true, None));
    assert_eq!(second_opinion(good, &["--pure"]), (true, None), "without the package `cryptography`");

    type Tampering = (&'static str, u64, fn(&Path));
    let kinds: [Tampering; 13] = [
        ("an entry's reason", 290, |at| {
            replace(&at.join("tile/entries/001.p/44"), "because of 290", "because of 291");
        }),
        ("two entries exchanged", 100, |at| exchange(&at.join("tile/entries/000"), 100)),
        ("a bundle cut", 299, |at| {
            let file = at.join("tile/entries/001.p/44");
            let bytes = fs::read(&file).unwrap();
            fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("a bundle removed", 256, |at| fs::remove_file(at.join("tile/entries/001.p/44")).unwrap()),
        ("a hash in a tile", 7, |at| flip(&at.join("tile/0/000"), 32 * 7 + 3)),
        ("a hash over 256 entries", 0, |at| flip(&at.join("tile/1/000.p/1"), 5)),
        ("a tile removed", 256, |at| fs::remove_file(at.join("tile/0/001.p/44")).unwrap()),
        ("the size in the checkpoint", 0, |at| replace(&at.join("checkpoint"), "\n300\n", "\n301\n")),
        ("a statement altered", 6, |at| flip(&statement_file(at), 40)),
        ("a statement removed", 6, |at| fs::remove_file(statement_file(at)).unwrap()),
        ("a cosignature removed", 0, |at| {
            let note = fs::read_to_string(at.join("checkpoint")).unwrap();
            let kept: Vec<&str> = note.lines().filter(|line| !line.contains("site-b")).collect();
            fs::write(at.join("checkpoint"), kept.join("\n") + "\n").unwrap();
        }),
        ("the log's signature altered", 0, |at| {
            let note = fs::read_to_string(at.join("checkpoint")).unwrap();
            let (before, line) = note.split_once("\u{2014} ").unwrap();
            let changed = line.replacen(['a', 'e'], "b", 2);
            fs::write(at.join("checkpoint"), format!("{before}\u{2014} {changed}")).unwrap();
        }),
        ("a file added", 0, |at| fs::write(at.join("statements/note.txt"), "added").unwrap()),
    ];
    let copies: Vec<TempDir> = kinds
        .iter()
        .map(|(_, _, tamper)| {
            let copy = tempfile::tempdir().unwrap();
            copy_folder(good, copy.path());
            tamper(copy.path());
            copy
        })
        .collect();
    let mut folders: Vec<&Path> = copies.iter().map(TempDir::path).collect();
    // With one that is not altered, in the same run.
    folders.push(good);
    let mut second = second_opinions(&folders, &[]);
    assert_eq!(second.pop(), Some((true, None)));
    for (((what, first_bad, _), folder), second) in kinds.iter().zip(folders).zip(second) {
        assert_eq!(first_opinion(folder), (false, Some(*first_bad)), "{what}");
        assert_eq!(second, (false, Some(*first_bad)), "{what}");
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Entries that a dishonest operator signs: everything fits, but the members did not say it.
#[test]
fn both_refuse_what_members_did_not_sign() {
    let site = |site: &str, statement| consented(site, "job-1", statement);
    let other_job = |site: &str, statement| consented(site, "job-2", statement);
    let scored = |evaluator: &str, statement| {
        let record = Record::EvaluationRecorded {
            evaluator: evaluator.into(),
            job: "job-1".into(),
            round: 2,
            parameters: Hash::of(b"model"),
            coalition: vec!["site-a".into(), "site-b".into()],
            benchmark: Hash::of(b"benchmark"),
            score_micro: 750_000,
            statement,
        };
        entry(Some(evaluator), Some(statement), &record)
    };
    let cases = [
        ("another site's statement", consent("site-b", "job-1"), "site-a", site as Draft, true),
        ("another job", consent("site-a", "job-1"), "site-a", other_job as Draft, true),
        ("a site that scores", evaluation("site-a"), "site-a", scored as Draft, true),
        ("an evaluator that scores", evaluation(EVALUATOR), EVALUATOR, scored as Draft, false),
        ("somebody who was not enrolled", consent("site-z", "job-1"), "site-z", site as Draft, true),
    ];
    let (mut folders, mut wanted) = (Vec::new(), Vec::new());
    for (what, statement, member, draft, bad) in cases {
        let live = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(live.path(), options(false)).unwrap();
        let statement = ledger.put_statement(&statement).unwrap();
        let mut drafts = vec![created()];
        drafts.extend(SITES.map(enrolled));
        drafts.push(enrolled_with(EVALUATOR, &certificate(EVALUATOR, MemberRole::Evaluator)));
        drafts.push(draft(member, statement));
        ledger.append(drafts, at(0)).unwrap();
        cosign(&mut ledger);
        let folder = export(&ledger);
        let expected = if bad { (false, Some(5)) } else { (true, None) };
        assert_eq!(first_opinion(folder.path()), expected, "{what}");
        folders.push(folder);
        wanted.push(expected);
    }
    let folders: Vec<&Path> = folders.iter().map(TempDir::path).collect();
    assert_eq!(second_opinions(&folders, &[]), wanted);
}

type Draft = fn(&str, Hash) -> konclave_ledger::EntryDraft;

/// A change of the log's key: whoever knows the old key and the root gets to the new one.
#[test]
fn the_python_side_follows_a_change_of_the_logs_key() {
    let live = tempfile::tempdir().unwrap();
    let mut ledger = ledger(live.path());
    let next = SigningKey::from_seed(&[77; 32]);
    let next_key = konclave_ledger::checkpoint::log_key(log_key().name().clone(), &next);
    let trusted = ledger.head();
    let change = KeyChange {
        origin: trusted.origin,
        old_vkey: log_key().to_string(),
        new_vkey: next_key.to_string(),
        reason: ChangeReason::Scheduled,
        trusted_size: trusted.size,
        trusted_root: trusted.root,
        made_at: at(90).unix_seconds(),
    };
    let authorised = statements::sign(&ROOT_SEED, &change).unwrap();
    ledger.rotate_key(Box::new(next), &authorised, draft(SIZE), at(100)).unwrap();
    cosign_with(&mut ledger, &next_key);
    let over_the_change = export(&ledger);
    ledger.append(vec![draft(SIZE + 1)], at(110)).unwrap();
    cosign_with(&mut ledger, &next_key);
    let later = export(&ledger);
    let folders = [over_the_change.path(), later.path()];
    assert_eq!(second_opinions(&folders, &[]), [(true, None); 2], "known: the old key");
    let (new_vkey, root) = (next_key.to_string(), root().0.to_string());
    let folders = folders.map(|folder| folder.to_str().unwrap());
    let output = python(&[&["verify", "--key", &new_vkey, "--root", &root][..], &folders].concat());
    assert_eq!(output.status.code(), Some(0), "known: the new key: {}", text(&output));

    // Who knows the old key and not the root cannot tell a change from a forgery, which could name a root of its own.
    let output = python(&["verify", folders[1], "--key", &log_key().to_string()]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("the key given was replaced"), "{}", text(&output));

    // Without the old key's signature the first head under the new key proves nothing to who knows the old one.
    let file = over_the_change.path().join("checkpoint");
    let note = fs::read_to_string(&file).unwrap();
    let old_line = format!("\u{2014} {} ", log_key().name());
    let cut = note.find(&old_line).unwrap();
    let end = cut + note[cut..].find('\n').unwrap() + 1;
    fs::write(&file, format!("{}{}", &note[..cut], &note[end..])).unwrap();
    assert_eq!(second_opinion(over_the_change.path(), &[]), (false, Some(0)));
}

#[test]
fn receipts_and_consistency_are_checked_from_files() {
    let live = tempfile::tempdir().unwrap();
    let mut ledger = ledger(live.path());
    let old = export(&ledger);
    ledger.append((SIZE..600).map(draft).collect(), at(120)).unwrap();
    let new = export(&ledger);
    let key = log_key().to_string();
    let file = |folder: &TempDir, name: &str| folder.path().join(name).to_str().unwrap().to_owned();

    let witness_key = witness("site-b").verifier_key().to_string();
    let receipt = file(&old, "receipt");
    // The newer head has no cosignatures yet; the receipt is made from the older copy.
    let (proof, holds) = konclave_audit::prove(&Folder::open(old.path()).unwrap(), 288, None).unwrap();
    assert!(holds);
    fs::write(&receipt, proof.to_string()).unwrap();
    let folder = old.path().to_str().unwrap();
    let ask = |quorum: &str, file: &str| {
        let arguments = ["receipt", file, "--folder", folder, "--key", &key, "--witness", &witness_key];
        python(&[&arguments[..], &["--quorum", quorum]].concat())
    };
    let output = ask("1", &receipt);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(
        text(&output).contains("entry 288 of 300") && text(&output).contains("site-b"),
        "{}",
        text(&output)
    );
    assert_eq!(ask("2", &receipt).status.code(), Some(2), "one witness is not two");
    replace(Path::new(&receipt), "index 288", "index 289");
    assert_eq!(ask("0", &receipt).status.code(), Some(2), "a receipt for another entry");

    let compare =
        |old: &str, new: &TempDir| python(&["consistency", old, new.path().to_str().unwrap(), "--key", &key]);
    let output = compare(&file(&old, "checkpoint"), &new);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("the 600 entries extend the 300"), "{}", text(&output));
    let output = compare(&file(&new, "checkpoint"), &old);
    assert!(output.status.code() == Some(2) && text(&output).contains("rollback"), "{}", text(&output));

    // Another history under the same key.
    let live = tempfile::tempdir().unwrap();
    let mut forked = Ledger::open(live.path(), options(false)).unwrap();
    forked.append(std::iter::once(created()).chain((1..600).map(draft)).collect(), at(0)).unwrap();
    let output = compare(&file(&old, "checkpoint"), &export(&forked));
    assert!(output.status.code() == Some(2) && text(&output).contains("do not extend"), "{}", text(&output));
}

#[test]
fn what_cannot_be_done_exits_1() {
    let empty = tempfile::tempdir().unwrap();
    let folder = empty.path().to_str().unwrap();
    assert_eq!(python(&["verify", folder]).status.code(), Some(1));
    assert_eq!(python(&["verify", folder, "--key", "nonsense"]).status.code(), Some(1));
    assert_eq!(python(&["reticulate"]).status.code(), Some(1));
    // A log that publishes no key can't be checked without one.
    let live = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(live.path(), options(false)).unwrap();
    ledger.append(vec![draft(0)], at(0)).unwrap();
    let live = live.path().to_str().unwrap();
    assert_eq!(python(&["verify", live]).status.code(), Some(1));
    assert_eq!(python(&["verify", live, "--key", &log_key().to_string()]).status.code(), Some(0));
}
