//! An older copy of the folder, or another history under the same key, does not open where a newer head was seen.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests stop at the first surprise"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use konclave_ledger::{Checkpoint, Ledger, LedgerOptions, OpenError};
use support::chance::quick_folder;
use support::{at, created, draft, options};

struct State {
    folder: tempfile::TempDir,
}

impl State {
    fn new() -> Self {
        Self { folder: quick_folder() }
    }

    fn ledger(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }

    fn seen(&self) -> PathBuf {
        self.folder.path().join("ledger-head.seen")
    }

    fn options(&self) -> LedgerOptions {
        LedgerOptions { seen: Some(self.seen()), ..options(false) }
    }

    fn open(&self) -> Result<Ledger, OpenError> {
        Ledger::open(&self.ledger(), self.options())
    }

    /// Appends until there are `size` entries.
    fn grow(&self, size: u64) {
        let mut ledger = self.open().unwrap();
        let from = ledger.head().size;
        ledger.append((from..size).map(draft).collect(), at(from)).unwrap();
    }

    fn seen_size(&self) -> u64 {
        Checkpoint::parse_text(&fs::read_to_string(self.seen()).unwrap()).unwrap().size
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn an_older_copy_of_the_folder_does_not_open() {
    let state = State::new();
    state.open().unwrap().append(vec![created()], at(0)).unwrap();
    state.grow(300);
    let backup = state.folder.path().join("backup");
    copy(&state.ledger(), &backup);
    state.grow(301);
    assert_eq!(state.seen_size(), 301);
    fs::remove_dir_all(state.ledger()).unwrap();
    copy(&backup, &state.ledger());
    match state.open() {
        Err(OpenError::RolledBack { seen: 301, found: 300, path }) => {
            assert_eq!(Path::new(&path), state.seen());
        }
        other => panic!("{other:?}"),
    }
    // Nothing was changed, neither there nor in the memory of it.
    assert_eq!(state.seen_size(), 301);
    assert!(Ledger::open(&state.ledger(), options(false)).is_ok());
    // A folder that is lost altogether is the oldest copy of all.
    fs::remove_dir_all(state.ledger()).unwrap();
    assert!(matches!(state.open(), Err(OpenError::RolledBack { seen: 301, found: 0, .. })));
    assert!(!state.ledger().join("head.note").exists());
    // The operator accepts the loss.
    copy(&backup, &state.ledger());
    fs::remove_file(state.seen()).unwrap();
    assert_eq!(state.open().unwrap().head().size, 300);
    assert_eq!(state.seen_size(), 300);
}

#[test]
fn another_history_does_not_open() {
    for (seen, other) in [(300, 300), (300, 301), (256, 700), (5, 6), (1, 1)] {
        let state = State::new();
        state.open().unwrap().append(vec![created()], at(0)).unwrap();
        if seen > 1 {
            state.grow(seen);
        }
        fs::remove_dir_all(state.ledger()).unwrap();
        let forked = (0..other).map(|number| if number + 1 == seen { draft(9999) } else { draft(number) });
        Ledger::open(&state.ledger(), options(false)).unwrap().append(forked.collect(), at(0)).unwrap();
        match state.open() {
            Err(OpenError::Forked { seen: named, .. }) => assert_eq!(named, seen),
            opened => panic!("{seen} {other}: {opened:?}"),
        }
    }
}

#[test]
fn a_head_seen_earlier_is_no_obstacle() {
    let state = State::new();
    state.open().unwrap().append(vec![created()], at(0)).unwrap();
    state.grow(5);
    let earlier = fs::read(state.seen()).unwrap();
    state.grow(600);
    // What a power cut may leave of a file that is not synced: the one before, nothing, or no bytes.
    for left in [Some(earlier.clone()), Some(Vec::new()), Some(vec![0; earlier.len()]), None] {
        match &left {
            Some(bytes) => fs::write(state.seen(), bytes).unwrap(),
            None => fs::remove_file(state.seen()).unwrap(),
        }
        assert_eq!(state.open().unwrap().head().size, 600);
        assert_eq!(state.seen_size(), 600);
    }
    let mut ledger = state.open().unwrap();
    for size in 601..605 {
        ledger.append(vec![draft(size)], at(size)).unwrap();
        assert_eq!(state.seen_size(), size);
    }
}

#[test]
fn what_is_no_head_of_this_log_is_refused() {
    let state = State::new();
    state.open().unwrap().append(vec![created()], at(0)).unwrap();
    let text = fs::read_to_string(state.seen()).unwrap();
    let other = text.replace("konclave.example/ledger", "konclave.example/other");
    fs::write(state.seen(), other).unwrap();
    assert!(matches!(state.open(), Err(OpenError::SeenOfOtherLog { .. })));
    for malformed in ["?", "konclave.example/ledger\n1\n", &text[1..], &text.replace('\n', " ")] {
        fs::write(state.seen(), malformed).unwrap();
        let opened = state.open();
        let refused =
            matches!(&opened, Err(OpenError::SeenMalformed { .. } | OpenError::SeenOfOtherLog { .. }));
        assert!(refused, "{malformed:?}: {opened:?}");
    }
    fs::remove_file(state.seen()).unwrap();
    fs::create_dir(state.seen()).unwrap();
    assert!(matches!(state.open(), Err(OpenError::Storage(_))));
}

#[test]
fn entries_are_acknowledged_while_it_cannot_be_written() {
    let state = State::new();
    let elsewhere = state.folder.path().join("state");
    fs::create_dir(&elsewhere).unwrap();
    let seen = elsewhere.join("seen");
    let mut ledger =
        Ledger::open(&state.ledger(), LedgerOptions { seen: Some(seen.clone()), ..options(false) }).unwrap();
    fs::remove_dir_all(&elsewhere).unwrap();
    assert_eq!(ledger.append(vec![created()], at(0)).unwrap(), [0]);
    assert!(ledger.seen_lags());
    fs::create_dir(&elsewhere).unwrap();
    assert_eq!(ledger.append(vec![draft(1)], at(1)).unwrap(), [1]);
    assert!(!ledger.seen_lags());
    assert!(fs::read_to_string(&seen).unwrap().contains("\n2\n"));
}
