//! The program itself: exit codes, what it prints, and a gateway's own folder as input.

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
use std::path::Path;
use std::process::{Command, Output};

use consortium::{at, created, draft, log_key, options, root};
use konclave_ledger::Ledger;
use konclave_ledger::tlog_proof::TlogProof;
use tempfile::TempDir;

fn run(arguments: &[&str], folder: &Path, rest: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_konclave-audit");
    Command::new(program).args(arguments).arg(folder).args(rest).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn exported(size: u64) -> (TempDir, TempDir, Ledger) {
    let live = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(live.path(), options(true)).unwrap();
    ledger.append(std::iter::once(created()).chain((1..size).map(draft)).collect(), at(0)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    ledger.export(folder.path()).unwrap();
    (live, folder, ledger)
}

#[test]
fn verify_says_where_the_key_came_from() {
    let (_live, folder, _ledger) = exported(20);
    let trusting = run(&["verify"], folder.path(), &[]);
    assert_eq!(trusting.status.code(), Some(0));
    assert!(text(&trusting.stdout).contains("TAKEN FROM THE LOG ITSELF"), "{}", text(&trusting.stdout));

    let key = log_key().to_string();
    let pinned = run(
        &["verify"],
        folder.path(),
        &["--key", &key, "--origin", "konclave.example/ledger", "--root", &root().0.to_string()],
    );
    assert_eq!(pinned.status.code(), Some(0));
    assert!(!text(&pinned.stdout).contains("TAKEN"), "{}", text(&pinned.stdout));
    assert!(text(&pinned.stdout).starts_with("OK  konclave.example/ledger: 20 entries"));

    let quiet = run(&["verify", "--quiet"], folder.path(), &[]);
    assert_eq!((quiet.status.code(), text(&quiet.stdout), text(&quiet.stderr)), (Some(0), "", ""));
}

#[test]
fn tampering_exits_2_and_names_the_entry_in_text_and_json() {
    let (_live, folder, _ledger) = exported(300);
    let path = folder.path().join("tile/entries/001.p/44");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(14).position(|window| window == b"because of 280").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();

    let plain = run(&["verify", "--quiet"], folder.path(), &[]);
    assert_eq!(plain.status.code(), Some(2));
    assert!(text(&plain.stdout).starts_with("TAMPERED  konclave.example/ledger: first bad index 280\n"));
    let json = run(&["verify", "--json"], folder.path(), &[]);
    assert_eq!(json.status.code(), Some(2));
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&report["ok"], &report["first_bad_index"]), (&false.into(), &280.into()));
    assert_eq!(report["findings"][0]["file"], "tile/0/001.p/44");
}

#[test]
fn unusable_input_exits_1() {
    let empty = tempfile::tempdir().unwrap();
    let not_a_ledger = run(&["verify"], empty.path(), &[]);
    assert_eq!(not_a_ledger.status.code(), Some(1));
    assert!(text(&not_a_ledger.stderr).contains("is not a ledger"));
    assert_eq!(run(&["verify"], &empty.path().join("nowhere"), &[]).status.code(), Some(1));
    assert_eq!(run(&["verify"], empty.path(), &["--key", "nonsense"]).status.code(), Some(1));
    assert_eq!(run(&["reticulate"], empty.path(), &[]).status.code(), Some(1));
    assert_eq!(run(&["--help"], Path::new("x"), &[]).status.code(), Some(0));

    // A log that publishes no key can't be checked without one.
    let live = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(live.path(), options(false)).unwrap();
    ledger.append(vec![draft(0)], at(0)).unwrap();
    assert_eq!(run(&["verify"], live.path(), &[]).status.code(), Some(1));
    assert_eq!(run(&["verify"], live.path(), &["--key", &log_key().to_string()]).status.code(), Some(0));
}

#[test]
fn a_gateways_own_folder_verifies_while_it_is_open() {
    let (live, _folder, mut ledger) = exported(260);
    ledger.append((260..270).map(draft).collect(), at(1)).unwrap();
    fs::write(live.path().join("tile/entries/001.p/99"), b"staged").unwrap();
    let output = run(&["verify"], live.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("staged or superseded"));
    fs::write(live.path().join("surprise"), b"x").unwrap();
    assert_eq!(run(&["verify"], live.path(), &[]).status.code(), Some(2));
}

#[test]
fn an_empty_ledger_verifies() {
    let live = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(live.path(), options(false)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    ledger.export(folder.path()).unwrap();
    let output = run(&["verify"], folder.path(), &["--key", &log_key().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[test]
fn show_and_prove_work_from_files_alone() {
    let (_live, folder, ledger) = exported(600);
    for index in [0, 255, 256, 511, 599] {
        let index_text = index.to_string();
        let shown = run(&["show"], folder.path(), &[&index_text]);
        assert_eq!(shown.status.code(), Some(0));
        let leaf: konclave_ledger::Leaf = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(Some(leaf), ledger.leaf(index).unwrap());

        let proved = run(&["prove"], folder.path(), &[&index_text]);
        assert_eq!(proved.status.code(), Some(0));
        let receipt: TlogProof = text(&proved.stdout).parse().unwrap();
        assert_eq!(receipt, ledger.receipt(index).unwrap());
        let stored = ledger.leaf_bytes(index).unwrap().unwrap();
        assert_eq!(receipt.verify(&stored, &log_key()).unwrap(), ledger.head());
    }
    assert_eq!(run(&["show"], folder.path(), &["600"]).status.code(), Some(1));
    assert_eq!(run(&["prove"], folder.path(), &["600"]).status.code(), Some(1));
    let path = folder.path().join("tile/0/000");
    let mut bytes = fs::read(&path).unwrap();
    bytes[32 * 7] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(run(&["show"], folder.path(), &["7"]).status.code(), Some(2));
    assert_eq!(run(&["prove"], folder.path(), &["5"]).status.code(), Some(2));
    assert_eq!(run(&["show"], folder.path(), &["8"]).status.code(), Some(0));
}
