//! Everything that is done with copies beside `verify`: over the program itself where an exit code or a text matters.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests stop at the first surprise"
)]

#[path = "../consortium/mod.rs"]
mod consortium;

mod about_entries;
mod comparing;
mod exporting;
mod key_changes;
mod querying;
mod reviewing;
mod witnessing;

use std::path::Path;
use std::process::{Command, Output};

use consortium::{at, created, draft, entry, options, root};
use konclave_audit::{Folder, Report, VerifyOptions, verify};
use konclave_ledger::records::Record;
use konclave_ledger::{EntryDraft, Ledger};
use tempfile::TempDir;

/// Runs the program; the arguments are given as one list of texts and paths.
fn run(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let program = env!("CARGO_BIN_EXE_konclave-audit");
    let arguments = arguments.iter().map(|argument| (*argument).as_ref());
    Command::new(program).args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn open() -> (TempDir, Ledger) {
    let live = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(live.path(), options(false)).unwrap();
    (live, ledger)
}

fn export(ledger: &Ledger) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    ledger.export(folder.path()).unwrap();
    folder
}

/// A ledger with the first entry and `size - 1` more.
fn grown(size: u64) -> (TempDir, Ledger) {
    let (live, mut ledger) = open();
    ledger.append(std::iter::once(created()).chain((1..size).map(draft)).collect(), at(0)).unwrap();
    (live, ledger)
}

/// A copy of these entries after the first.
fn copy_of(drafts: Vec<EntryDraft>) -> TempDir {
    let (_live, mut ledger) = open();
    ledger.append(std::iter::once(created()).chain(drafts).collect(), at(0)).unwrap();
    export(&ledger)
}

fn audit(folder: &Path) -> Report {
    let options = VerifyOptions { root: Some(root()), ..VerifyOptions::default() };
    verify(&Folder::open(folder).unwrap(), &options, &mut |_, _| {}).unwrap()
}

fn said(record: &Record) -> EntryDraft {
    entry(None, None, record)
}

/// Changes one text in a file into another of the same length.
fn replace(path: &Path, from: &str, to: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    std::fs::write(path, bytes).unwrap();
}
