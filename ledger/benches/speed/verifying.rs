//! Opening a ledger, which verifies all of it, beside SHA-256 over the same entries.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use konclave_ledger::storage::FileStorage;
use konclave_ledger::tiles::{TileKind, tiles_of};
use konclave_ledger::{Hash, Ledger, bundle, tree};
use serde_json::{Value, json};

use crate::clock::{seconds, wall_seconds};
use crate::entries::options;

const TURNS: usize = 3;

/// Each the shortest of several runs.
struct Times {
    /// `Ledger::open_on`, processor and wall-clock time.
    open: f64,
    open_wall: f64,
    /// SHA-256 of the bundles as they are.
    raw: f64,
    /// The leaf hashes: SHA-256 of 0x00 and each entry.
    leaves: f64,
    /// Both hashes of each entry that the format asks for: the tree's and the chain's.
    both: f64,
    /// Reading the bundles.
    read: f64,
}

pub(crate) fn run(folder: &Path) -> Value {
    let size = open(folder).head().size;
    let bundles: Vec<_> = tiles_of(size)
        .take_while(|path| path.kind() == TileKind::Entries)
        .map(|path| folder.join(path.to_string()))
        .collect();
    let bytes: u64 = bundles.iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>() - 2 * size;
    let mut times = Times {
        open: f64::MAX,
        open_wall: f64::MAX,
        raw: f64::MAX,
        leaves: f64::MAX,
        both: f64::MAX,
        read: f64::MAX,
    };
    for _ in 0..TURNS {
        let (mut raw, mut leaves, mut both, mut read) = (0.0, 0.0, 0.0, 0.0);
        for path in &bundles {
            let mut stored = Vec::new();
            read += seconds(|| stored = fs::read(path).unwrap());
            let entries: Vec<&[u8]> = bundle::entries(&stored).map(Result::unwrap).collect();
            raw += seconds(|| {
                black_box(Hash::of(&stored));
            });
            leaves += seconds(|| {
                for entry in &entries {
                    black_box(tree::leaf_hash(entry));
                }
            });
            both += seconds(|| {
                for entry in &entries {
                    black_box((tree::leaf_hash(entry), Hash::of(entry)));
                }
            });
        }
        times.raw = times.raw.min(raw);
        times.leaves = times.leaves.min(leaves);
        times.both = times.both.min(both);
        times.read = times.read.min(read);
        let mut took = 0.0;
        let wall = wall_seconds(|| took = seconds(|| drop(black_box(open(folder)))));
        times.open = times.open.min(took);
        times.open_wall = times.open_wall.min(wall);
    }
    let megabytes = bytes as f64 / 1e6;
    println!("verifying {size} entries, {megabytes:.1} MB of them ({} B each); one thread", bytes / size);
    println!("{:<44} {:>8} {:>8} {:>10} {:>8}", "", "MB/s", "seconds", "entries/s", "x floor");
    let show = |what: &str, took: f64| {
        println!(
            "{what:<44} {:>8.1} {took:>8.3} {:>10.0} {:>8.2}",
            megabytes / took,
            size as f64 / took,
            took / times.both
        );
    };
    show("opening the ledger", times.open);
    show("  by the clock on the wall", times.open_wall);
    show("floor: both hashes of each entry", times.both);
    show("  leaf hashes alone (0x00 before each entry)", times.leaves);
    show("  SHA-256 of the bundles as they are", times.raw);
    show("  reading the bundles", times.read);
    let audit = std::env::var("AUDIT").ok().filter(|program| !program.is_empty()).map(|program| {
        let key = open(folder).verifier_key().to_string();
        let run = || {
            let output = Command::new(&program).args(["verify", "--key", &key]).arg(folder).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        };
        let took = (0..TURNS).map(|_| wall_seconds(run)).fold(f64::MAX, f64::min);
        show("konclave-audit verify, wall clock", took);
        took
    });
    json!({
        "entries": size, "bytes": bytes, "open_s": times.open, "open_wall_s": times.open_wall,
        "both_hashes_s": times.both, "leaf_hashes_s": times.leaves, "raw_sha256_s": times.raw,
        "read_s": times.read, "audit_wall_s": audit,
    })
}

fn open(folder: &Path) -> Ledger {
    Ledger::open_on(Box::new(FileStorage::new(folder).unwrap()), options(false)).unwrap()
}
