//! `verify` against SHA-256 alone on the same files: what share of the time is the hashing that nobody can leave out.
//!
//! `ENTRIES=1000000 cargo bench -p konclave-audit --bench verify`; with KEEP=FOLDER the copy is made there and stays.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a bench stops at the first surprise"
)]

#[path = "../../tests/consortium/mod.rs"]
mod consortium;
mod folder;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use konclave_audit::{Folder, VerifyOptions, verify};
use konclave_ledger::tiles::{TileKind, TilePath};
use konclave_ledger::tree::leaf_hash;
use konclave_ledger::{Hash, bundle};

fn main() {
    let size = std::env::var("ENTRIES").ok().and_then(|entries| entries.parse().ok()).unwrap_or(1_000_000);
    let temporary = tempfile::tempdir().unwrap();
    let copy = std::env::var_os("KEEP").map_or_else(|| temporary.path().to_path_buf(), PathBuf::from);
    let started = Instant::now();
    let bytes = folder::write(&copy, size);
    let millions = bytes as f64 / 1e6;
    println!(
        "{size} entries, {millions:.0} MB of leaves, {:.0} bytes each; made in {:.1} s",
        bytes as f64 / size as f64,
        started.elapsed().as_secs_f64()
    );

    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (raw, raw_cpu) = time(|| hash_twice(&copy, size, threads));
    println!(
        "SHA-256, twice over every entry, {threads} threads: {raw:.2} s, {:.0} MB/s of leaves; {raw_cpu:.2} s of processor \
         time",
        millions / raw
    );
    let before = peak_memory();
    let options = VerifyOptions { root: Some(consortium::root()), ..VerifyOptions::default() };
    let (taken, taken_cpu) = time(|| {
        let report = verify(&Folder::open(&copy).unwrap(), &options, &mut |_, _| {}).unwrap();
        assert!(report.ok && report.entries_checked == size, "{report}");
    });
    println!(
        "verify: {taken:.2} s, {:.0} MB/s of leaves, {:.0} entries/s",
        millions / taken,
        size as f64 / taken
    );
    println!(
        "verify takes {:.1} times as long as the hashing, and {:.1} times its processor time ({taken_cpu:.2} s, {:.0} MB/s of \
         leaves for each thread)",
        taken / raw,
        taken_cpu / raw_cpu,
        millions / taken_cpu
    );
    println!("peak memory: {before} MiB before, {} MiB after", peak_memory());
}

/// Seconds that went by, and seconds of processor time, which other work on the machine hardly changes.
fn time(work: impl FnOnce()) -> (f64, f64) {
    let (started, before) = (Instant::now(), processor_time());
    work();
    (started.elapsed().as_secs_f64(), processor_time() - before)
}

/// This process's processor time in seconds, of all its threads, in steps of 0.01.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // Fields 14 and 15 of proc(5), user and system; the first two are gone with the name.
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The least that any verifier does: a hash for the tree and one for the chain.
fn hash_twice(copy: &Path, size: u64, threads: usize) {
    thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                let paths = (first as u64..).step_by(threads);
                for path in paths.map_while(|number| TilePath::in_log(TileKind::Entries, number, size)) {
                    let bytes = std::fs::read(copy.join(path.to_string())).unwrap();
                    for stored in bundle::entries(&bytes).flatten() {
                        std::hint::black_box((leaf_hash(stored), Hash::of(stored)));
                    }
                }
            });
        }
    });
}

/// The largest resident memory so far, in MiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}
