//! Copying from a live server: incremental, interrupted anywhere, and lied to.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests stop at the first surprise"
)]

#[path = "../consortium/mod.rs"]
mod consortium;
mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use consortium::{at, consent, consented, created, draft, enrolled, options};
use konclave_audit::{Folder, VerifyOptions, verify};
use konclave_ledger::checkpoint::log_key;
use konclave_ledger::rotation::{ChangeReason, KeyChange};
use konclave_ledger::statements::sign;
use konclave_ledger::{Ledger, SigningKey};
use server::{Answer, Server, State};
use tempfile::TempDir;

const SEED: [u8; 32] = [88; 32];

struct Desk {
    server: Server,
    work: TempDir,
    live: TempDir,
    exports: Vec<TempDir>,
}

impl Desk {
    fn new() -> Self {
        let server = Server::start(SigningKey::from_seed(&SEED).public());
        let work = tempfile::tempdir().unwrap();
        let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let body = STANDARD.encode([&head[..], &SEED].concat());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        std::fs::write(work.path().join("key"), pem).unwrap();
        std::fs::write(work.path().join("ca"), &server.ca).unwrap();
        Self { server, work, live: tempfile::tempdir().unwrap(), exports: Vec::new() }
    }

    fn copy(&self) -> PathBuf {
        self.work.path().join("copy")
    }

    /// Lets the server give out this ledger, without any lie.
    fn serve(&mut self, ledger: &Ledger) {
        let folder = tempfile::tempdir().unwrap();
        ledger.export(folder.path()).unwrap();
        let path = folder.path().to_path_buf();
        self.exports.push(folder);
        self.server.set(|state| {
            state.folder = path;
            state.answers.clear();
            state.break_after = None;
            state.asked.clear();
        });
    }

    fn served(&self) -> PathBuf {
        self.server.state.lock().unwrap().folder.clone()
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.server.state.lock().unwrap().asked)
    }

    fn run(&self, rest: &[&str]) -> (i32, String) {
        let (key, ca) = (self.work.path().join("key"), self.work.path().join("ca"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_konclave-audit"));
        command.arg("mirror").arg(&self.server.url).arg(self.copy());
        command.args(["--client", "qa", "--key"]).arg(key).arg("--ca").arg(ca).args(rest);
        said(command.output().unwrap())
    }
}

fn said(output: Output) -> (i32, String) {
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// Every file of a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![folder.to_path_buf()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_path_buf(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn is_sound(folder: &Path) -> bool {
    verify(&Folder::open(folder).unwrap(), &VerifyOptions::default(), &mut |_, _| {}).unwrap().ok
}

/// A ledger of `size` entries, of which some rest on statements.
fn ledger(desk: &Desk, size: u64) -> Ledger {
    let mut ledger = Ledger::open(&desk.live.path().join(size.to_string()), options(false)).unwrap();
    let statement = ledger.put_statement(&consent("site-a", "job-1")).unwrap();
    let mut drafts = vec![created(), enrolled("site-a"), consented("site-a", "job-1", statement)];
    drafts.extend((3..size).map(draft));
    ledger.append(drafts, at(0)).unwrap();
    ledger
}

fn grow(ledger: &mut Ledger, size: u64) {
    let job = format!("job-{size}");
    let statement = ledger.put_statement(&consent("site-a", &job)).unwrap();
    let first = ledger.head().size + 1;
    let drafts = std::iter::once(consented("site-a", &job, statement)).chain((first..size).map(draft));
    ledger.append(drafts.collect(), at(60)).unwrap();
}

#[test]
fn only_what_is_new_is_fetched() {
    let mut desk = Desk::new();
    let mut ledger = ledger(&desk, 300);
    desk.serve(&ledger);
    let (code, text) = desk.run(&["--log-key", &consortium::log_key().to_string()]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("300 entries, 300 new"), "{text}");
    assert_eq!(files(&desk.copy()), files(&desk.served()));
    assert!(is_sound(&desk.copy()));
    desk.asked();
    assert_eq!(desk.run(&[]).0, 0);
    assert_eq!(desk.asked(), ["checkpoint", "witnessed"]);

    for size in [301, 511, 512, 513, 900] {
        grow(&mut ledger, size);
        desk.serve(&ledger);
        let (code, text) = desk.run(&[]);
        assert_eq!(code, 0, "{size}: {text}");
        assert_eq!(files(&desk.copy()), files(&desk.served()), "{size}");
        assert!(!desk.asked().iter().any(|path| path.ends_with("/000")), "{size}");
    }
    assert!(is_sound(&desk.copy()));
    assert!(!desk.work.path().join("copy.incoming").exists());
}

#[test]
fn an_interruption_at_any_file_is_continued() {
    let mut desk = Desk::new();
    let mut ledger = ledger(&desk, 300);
    desk.serve(&ledger);
    assert_eq!(desk.run(&[]).0, 0);
    let old = files(&desk.copy());
    grow(&mut ledger, 800);
    desk.serve(&ledger);
    let mut runs = 0;
    loop {
        // One file more than the run before got: each file is once the one that breaks off.
        desk.server.set(|state| {
            state.asked.clear();
            state.break_after = Some(runs);
        });
        let (code, text) = desk.run(&["--retries", "0"]);
        if code == 0 {
            break;
        }
        assert_eq!(code, 1, "{text}");
        assert_eq!(files(&desk.copy()), old, "after {runs} files");
        runs += 1;
        assert!(runs < 40, "{text}");
    }
    assert!(runs >= 4, "{runs}");
    assert_eq!(files(&desk.copy()), files(&desk.served()));
    assert!(is_sound(&desk.copy()));
}

#[test]
fn what_was_fetched_for_an_older_head_does_not_get_into_the_copy() {
    let mut desk = Desk::new();
    let mut ledger = ledger(&desk, 700);
    desk.serve(&ledger);
    desk.server.set(|state| state.break_after = Some(6));
    assert_eq!(desk.run(&["--retries", "0"]).0, 1);
    let incoming = files(&desk.work.path().join("copy.incoming"));
    assert!(incoming.contains_key(Path::new("tile/0/002.p/188")), "{:?}", incoming.keys());
    grow(&mut ledger, 701);
    desk.serve(&ledger);
    assert_eq!(desk.run(&[]).0, 0);
    let asked = desk.asked();
    assert!(!asked.iter().any(|path| path == "tile/0/000"), "fetched before: {asked:?}");
    assert_eq!(files(&desk.copy()), files(&desk.served()));
}

/// Lets the server lie, and expects the copy to stay as it is.
fn lie(desk: &Desk, change: impl FnOnce(&mut State), expected: i32, word: &str) {
    let before = files(&desk.copy());
    desk.server.set(change);
    let (code, text) = desk.run(&["--retries", "0"]);
    assert!(code == expected && text.contains(word), "{word}: {code} {text}");
    assert_eq!(files(&desk.copy()), before, "{word}");
    let evidence: Vec<_> = std::fs::read_dir(desk.work.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "note"))
        .collect();
    assert_eq!(evidence.len(), usize::from(expected == 2), "{word}: {evidence:?}");
    for path in evidence {
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_lying_server_changes_nothing() {
    let mut desk = Desk::new();
    let short = ledger(&desk, 280);
    let mut ledger = ledger(&desk, 300);
    desk.serve(&ledger);
    assert_eq!(desk.run(&[]).0, 0);
    desk.serve(&short);
    lie(&desk, |_| {}, 2, "ROLLBACK: the gateway shows 280 entries, this copy has 300");

    grow(&mut ledger, 900);
    desk.serve(&ledger);
    let bytes = |path: &str| std::fs::read(desk.served().join(path)).unwrap();
    let flipped = |path: &str| {
        let mut bytes = bytes(path);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Answer::Bytes(bytes)
    };
    let statement = format!("statements/{}.json", consent("site-a", "job-900").digest());
    for path in [
        "tile/0/001",
        "tile/0/003.p/132",
        "tile/1/000.p/3",
        "tile/entries/002",
        "tile/entries/003.p/132",
        &statement,
    ] {
        for answer in [flipped(path), Answer::Missing, Answer::Bytes(bytes(path)[1..].to_vec())] {
            let word =
                if path == statement { "does not give the statement" } else { "does not fit the checkpoint" };
            let change = |state: &mut State| drop(state.answers.insert(path.to_owned(), answer));
            lie(&desk, change, 2, word);
            desk.server.set(|state| state.answers.clear());
        }
    }
    for path in ["checkpoint", "tile/0/001", "tile/entries/001"] {
        lie(
            &desk,
            |state| drop(state.answers.insert(path.into(), Answer::Redirect)),
            1,
            "redirects are not followed",
        );
        lie(&desk, |state| drop(state.answers.insert(path.into(), Answer::Endless)), 1, path);
        desk.server.set(|state| state.answers.clear());
    }
    let note = String::from_utf8(bytes("checkpoint")).unwrap();
    let unsigned = note.replace("konclave.example/ledger ", "konclave.example/other ");
    lie(
        &desk,
        |state| drop(state.answers.insert("checkpoint".into(), Answer::Bytes(unsigned.into()))),
        2,
        "not signed",
    );
    lie(
        &desk,
        |state| drop(state.answers.insert("checkpoint".into(), Answer::Bytes(b"x".to_vec()))),
        2,
        "can't be read",
    );
    desk.server.set(|state| state.answers.clear());
    assert_eq!(desk.run(&[]).0, 0);
    assert_eq!(files(&desk.copy()), files(&desk.served()));
}

#[test]
fn a_fork_is_kept_as_evidence() {
    let mut desk = Desk::new();
    let ledger = ledger(&desk, 300);
    desk.serve(&ledger);
    assert_eq!(desk.run(&[]).0, 0);
    for size in [300, 301, 900] {
        let mut other =
            Ledger::open(&desk.live.path().join(format!("other-{size}")), options(false)).unwrap();
        other.append(std::iter::once(created()).chain((1..size).map(draft)).collect(), at(0)).unwrap();
        desk.serve(&other);
        lie(&desk, |_| {}, 2, "FORK");
        let asked = desk.asked();
        assert!(!asked.iter().any(|path| path.contains("entries")), "{asked:?}");
    }
    assert!(is_sound(&desk.copy()));
}

#[test]
fn a_head_by_a_stolen_key_is_refused_and_is_no_rollback_and_no_fork_by_the_operator() {
    let mut desk = Desk::new();
    let mut ledger = ledger(&desk, 300);
    let trusted = ledger.head();
    let (old, next) =
        (SigningKey::from_seed(&consortium::support_log_seed()), SigningKey::from_seed(&[77; 32]));
    let change = KeyChange {
        origin: trusted.origin.clone(),
        old_vkey: consortium::log_key().to_string(),
        new_vkey: log_key(trusted.origin.clone(), &next).to_string(),
        reason: ChangeReason::Compromised,
        trusted_size: trusted.size,
        trusted_root: trusted.root,
        made_at: at(0).unix_seconds(),
    };
    let authorised = sign(&[42; 32], &change).unwrap();
    ledger.rotate_key(Box::new(next), &authorised, draft(300), at(50)).unwrap();
    grow(&mut ledger, 320);
    desk.serve(&ledger);
    assert_eq!(desk.run(&[]).0, 0);
    let have = ledger.head().size;
    // A smaller one, also one dated back; another of the same size; a larger one of another history.
    for size in [290, 310, have, 900] {
        let mut other =
            Ledger::open(&desk.live.path().join(format!("other-{size}")), options(false)).unwrap();
        other.append(std::iter::once(created()).chain((1..size).map(draft)).collect(), at(0)).unwrap();
        desk.serve(&other);
        lie(&desk, |_| {}, 2, "STOLEN KEY");
    }
    // One that extends the copy is not accepted either.
    grow(&mut ledger, 400);
    desk.serve(&ledger);
    let stolen = Answer::Bytes(ledger.head().sign(&old).to_string().into_bytes());
    lie(&desk, |state| drop(state.answers.insert("checkpoint".into(), stolen)), 2, "STOLEN KEY");
    desk.server.set(|state| state.answers.clear());
    assert_eq!(desk.run(&[]).0, 0);
    assert!(is_sound(&desk.copy()));
}

#[test]
fn a_busy_server_is_asked_again_and_a_token_renewed() {
    let mut desk = Desk::new();
    let ledger = ledger(&desk, 20);
    desk.serve(&ledger);
    desk.server.set(|state| {
        state.answers.insert("checkpoint".into(), Answer::Once(429));
        state.answers.insert("tile/0/000.p/20".into(), Answer::Once(503));
        state.answers.insert("tile/entries/000.p/20".into(), Answer::Once(401));
    });
    let (code, text) = desk.run(&["--retries", "1"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(files(&desk.copy()), files(&desk.served()));

    desk.server.set(|state| drop(state.answers.insert("checkpoint".into(), Answer::Once(429))));
    let (code, text) = desk.run(&["--retries", "0"]);
    assert!(code == 1 && text.contains("429 busy"), "{text}");
    std::fs::write(desk.work.path().join("ca"), Server::start(SigningKey::from_seed(&SEED).public()).ca)
        .unwrap();
    assert_eq!(desk.run(&["--retries", "0"]).0, 1, "another authority");
    let mut command = Command::new(env!("CARGO_BIN_EXE_konclave-audit"));
    command
        .args(["mirror", "http://localhost:1", "x", "--client", "qa", "--key"])
        .arg(desk.work.path().join("key"));
    let (code, text) = said(command.output().unwrap());
    assert!(code == 1 && text.contains("must be https://"), "{text}");
}

#[test]
fn a_review_is_sent() {
    let mut desk = Desk::new();
    let ledger = ledger(&desk, 20);
    desk.serve(&ledger);
    let out = desk.work.path().join("review.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_konclave-audit"));
    command.arg("review").arg(desk.served()).args([
        "--reviewer",
        "qa",
        "--submit",
        &desk.server.url,
        "--key",
    ]);
    command
        .arg(desk.work.path().join("key"))
        .arg("--ca")
        .arg(desk.work.path().join("ca"))
        .arg("--out")
        .arg(&out);
    let (code, text) = said(command.output().unwrap());
    assert_eq!(code, 0, "{text}");
    assert_eq!(desk.server.state.lock().unwrap().posted, [std::fs::read(&out).unwrap()]);
}
