//! `make bench-ledger`: appending, verifying and proving against the floors of this machine, and the memory they take.
//!
//! Floors are measured in the same run and take turns with what they are floors of, so that load by others hits both
//! alike. `docs/performance.md` says what the columns are. Settings: `BENCH=full` takes 10^6 entries instead of 10^5,
//! `BENCH=profile` shows only where the time of verifying goes, `AUDIT` names a `konclave-audit` to time beside it.

#![allow(missing_docs, reason = "a benchmark has no interface")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a benchmark may panic, and chooses its numbers"
)]

mod appending;
mod clock;
mod entries;
mod memory;
mod profile;
mod proving;
mod verifying;
mod watched;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--memory") {
        memory::child(&arguments[at + 1], Path::new(&arguments[at + 2]), arguments[at + 3].parse().unwrap());
        return;
    }
    let setting = std::env::var("BENCH").unwrap_or_default();
    if setting == "profile" {
        profile::run(2_000);
        return;
    }
    let entries: u64 = if setting == "full" { 1_000_000 } else { 100_000 };
    let folder = PathBuf::from(std::env::var("BENCH_OUT").unwrap_or_else(|_| "target/bench".into()));
    fs::create_dir_all(&folder).unwrap();

    let appending = appending::run(&folder);
    let (small, large) = (folder.join("ledger-small"), folder.join("ledger-large"));
    let memory = memory::run(&[(&small, entries / 10), (&large, entries)]);
    let verifying = verifying::run(&large);
    let profile = profile::run(2_000);
    let proving = proving::run(&large);
    for made in [small, large] {
        fs::remove_dir_all(made).unwrap();
    }
    let report = json!({
        "entries": entries, "appending": appending, "verifying": verifying, "profile": profile,
        "proving": proving, "memory": memory,
    });
    fs::write(folder.join("ledger.json"), serde_json::to_string_pretty(&report).unwrap()).unwrap();
}
