//! `ledger rotate-key`: what it takes for trusted, when it refuses, and a key that is gone.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use konclave_gateway::config::{Config, Overrides};
use konclave_gateway::folder::{Folder, read_seed};
use konclave_ledger::checkpoint::log_key;
use konclave_ledger::rotation::{ChangeReason, KeyChange};
use konclave_ledger::{
    Checkpoint, EntryDraft, Envelope, Ledger, LedgerOptions, Origin, SigningKey, Timestamp, VerifierKey,
};

use crate::deployment::{Folders, fail, succeed};

fn origin(folders: &Folders) -> Origin {
    let config = Config::load(Folder::new(folders.dir()), &Overrides::default()).unwrap();
    config.settings.origin.parse().unwrap()
}

fn signer(folders: &Folders) -> SigningKey {
    SigningKey::from_seed(&read_seed(&Folder::new(folders.dir()).ledger_key()).unwrap())
}

fn vkey(folders: &Folders) -> VerifierKey {
    log_key(origin(folders), &signer(folders))
}

fn options(folders: &Folders) -> LedgerOptions {
    LedgerOptions {
        origin: origin(folders),
        signer: Box::new(signer(folders)),
        software: "test".to_owned(),
        index: false,
        reserve_bytes: 0,
        seen: None,
    }
}

fn entry(number: usize) -> EntryDraft {
    EntryDraft {
        actor: "operator".to_owned(),
        role: "operator".to_owned(),
        action: "something.else".to_owned(),
        object: format!("object/{number}"),
        reason: "because".to_owned(),
        request_id: format!("request-{number}"),
        ..EntryDraft::default()
    }
}

/// Begins a ledger in the deployment's folder, or elsewhere under its key, with as many entries after the first.
fn begun(folders: &Folders, place: &Path, entries: std::ops::Range<usize>) -> Ledger {
    let mut ledger = Ledger::open(place, options(folders)).unwrap();
    let first = EntryDraft::ledger_created("gateway", "gateway", "request", &vkey(folders));
    let now = Timestamp::from_unix_seconds(1_767_225_600).unwrap();
    ledger.append(vec![first], now).unwrap();
    for number in entries {
        ledger.append(vec![entry(number)], now).unwrap();
    }
    ledger
}

/// The arguments of a change of key.
fn rotate<'a>(dir: &'a str, reason: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["ledger", "rotate-key", "--dir", dir, "--reason", reason][..], rest].concat()
}

fn laid_out(folders: &Folders) -> Option<KeyChange> {
    let folder = Folder::new(folders.dir());
    if !folder.next_ledger_key().exists() {
        return None;
    }
    let envelope = Envelope::parse(&std::fs::read(folder.ledger_key_change()).unwrap()).unwrap();
    Some(serde_json::from_slice(&envelope.unverified_payload().unwrap()).unwrap())
}

#[test]
fn after_a_theft_only_a_head_of_this_history_that_is_shown_from_elsewhere_is_trusted() {
    let folders = Folders::new();
    let dir = folders.dir();
    let ledger_folder = Folder::new(&dir).ledger();
    let mut ledger = begun(&folders, &ledger_folder, 1..4);
    let kept = folders.path("kept.note");
    std::fs::write(&kept, ledger.checkpoint_note()).unwrap();
    let trusted = ledger.head();
    let now = Timestamp::from_unix_seconds(1_767_225_601).unwrap();
    ledger.append(vec![entry(9)], now).unwrap();
    drop(ledger);

    let said = fail(&rotate(&dir, "compromised", &[]));
    assert!(said.contains("--trusted"), "{said}");
    // Another history under the same key, as a thief could sign it; a stranger's; something else.
    let forked = folders.path("forked.note");
    let fork = begun(&folders, Path::new(&folders.path("fork")), 11..14);
    std::fs::write(&forked, fork.checkpoint_note()).unwrap();
    let said = fail(&rotate(&dir, "compromised", &["--trusted", &forked]));
    assert!(said.contains("not the beginning of this ledger"), "{said}");
    let strange = folders.path("strange.note");
    std::fs::write(&strange, trusted.sign(&SigningKey::from_seed(&[9; 32])).to_string()).unwrap();
    let larger = folders.path("larger.note");
    let beyond = Checkpoint { size: 99, ..trusted.clone() };
    std::fs::write(&larger, beyond.sign(&signer(&folders)).to_string()).unwrap();
    let nothing = folders.path("nothing.note");
    std::fs::write(&nothing, "nothing").unwrap();
    for (note, word) in [
        (&strange, "no signature by the log's key"),
        (&larger, "not the beginning of this ledger"),
        (&nothing, "not a head of this ledger"),
    ] {
        let said = fail(&rotate(&dir, "compromised", &["--trusted", note]));
        assert!(said.contains(word), "{note}: {said}");
    }
    assert_eq!(laid_out(&folders), None);

    let said = succeed(&rotate(&dir, "compromised", &["--trusted", &kept]));
    assert!(said.contains("has 4 entries and is cosigned by no witness"), "{said}");
    let change = laid_out(&folders).unwrap();
    assert_eq!((change.trusted_size, change.trusted_root), (trusted.size, trusted.root));
    assert_eq!((change.reason, change.old_vkey), (ChangeReason::Compromised, vkey(&folders).to_string()));
}

#[test]
fn no_key_is_laid_out_while_a_gateway_has_the_ledger() {
    let folders = Folders::new();
    let dir = folders.dir();
    let running = begun(&folders, &Folder::new(&dir).ledger(), 1..4);
    let said = fail(&rotate(&dir, "scheduled", &[]));
    assert!(said.contains("in use by another process"), "{said}");
    assert_eq!(laid_out(&folders), None);
    let head = running.head();
    drop(running);
    succeed(&rotate(&dir, "scheduled", &[]));
    // Nothing given, the present head is trusted: nobody else has the key.
    assert_eq!(laid_out(&folders).map(|change| change.trusted_size), Some(head.size));
}

/// The gateway as a process of its own.
struct Running(Child);

impl Running {
    fn start(dir: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_konclave-gateway"))
            .args(["serve", "--dir", dir, "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut announced = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut announced).unwrap();
        assert!(announced.starts_with("listening"), "{announced}");
        Self(process)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_key_that_is_gone_is_replaced_on_the_roots_word() {
    let folders = Folders::new();
    let dir = folders.dir();
    drop(Running::start(&dir));
    let lost = vkey(&folders);
    std::fs::remove_file(Folder::new(&dir).ledger_key()).unwrap();
    let said = fail(&rotate(&dir, "scheduled", &["--old-key", &lost.to_string()]));
    assert!(said.contains("not scheduled"), "{said}");
    let said = fail(&rotate(&dir, "lost", &[]));
    assert!(said.contains("--old-key"), "{said}");
    let other = log_key(origin(&folders), &SigningKey::from_seed(&[9; 32])).to_string();
    let said = fail(&rotate(&dir, "lost", &["--old-key", &other]));
    assert!(said.contains("no signature by the log's key"), "{said}");
    assert_eq!(laid_out(&folders), None);
    succeed(&rotate(&dir, "lost", &["--old-key", &lost.to_string()]));
    // The change is carried out once, and the key is the ledger's from then on.
    for _ in 0..2 {
        drop(Running::start(&dir));
        assert_eq!(laid_out(&folders), None);
        let ledger = Ledger::open(&Folder::new(&dir).ledger(), options(&folders)).unwrap();
        assert_eq!(ledger.log_keys().current(), Some(&vkey(&folders)));
        assert!(ledger.log_keys().contains(&lost) && vkey(&folders) != lost);
        let changes = ledger.query(
            &konclave_ledger::Filter { action: Some("ledger.key-rotated".into()), ..Default::default() },
            None,
            10,
        );
        assert_eq!(changes.unwrap().len(), 1);
    }
}
