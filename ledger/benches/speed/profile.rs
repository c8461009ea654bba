//! Where the time of verifying an entry goes, each part by itself; and the slow way of checking canonical JSON beside the
//! one in use.

use std::hint::black_box;

use konclave_ledger::canonical::{canonical_json, is_canonical};
use konclave_ledger::frontier::Frontier;
use konclave_ledger::storage::FileStorage;
use konclave_ledger::{Hash, Leaf, Ledger, Timestamp, tree};
use serde_json::{Value, json};

use crate::clock::best;
use crate::entries::{at, drafts, options};

const TURNS: usize = 15;

pub(crate) fn run(count: u64) -> Value {
    let folder = std::env::temp_dir().join(format!("konclave-bench-{}", std::process::id()));
    let mut ledger = Ledger::open_on(Box::new(FileStorage::new(&folder).unwrap()), options(false)).unwrap();
    ledger.append(drafts(0..count), at(0)).unwrap();
    let stored: Vec<Vec<u8>> = (0..count).map(|index| ledger.leaf_bytes(index).unwrap().unwrap()).collect();
    drop(ledger);
    std::fs::remove_dir_all(&folder).unwrap();

    let each = |run: &dyn Fn(&[u8])| best(TURNS, || stored.iter().for_each(|entry| run(entry)));
    let both = each(&|entry| {
        black_box((tree::leaf_hash(entry), Hash::of(entry)));
    });
    let parts = [
        ("Leaf::parse", each(&|entry| drop(black_box(Leaf::parse(entry).unwrap())))),
        ("  is_canonical", each(&|entry| assert!(black_box(is_canonical(entry))))),
        (
            "  serde_json into a Leaf",
            each(&|entry| {
                drop(black_box(serde_json::from_slice::<Leaf>(entry).unwrap()));
            }),
        ),
        (
            "  Timestamp::parse",
            each(&|_| {
                black_box(Timestamp::parse("2026-01-01T00:00:00.123Z").unwrap());
            }),
        ),
        ("both hashes", both),
        (
            "Frontier::push, hashes included",
            best(TURNS, || {
                let mut frontier = Frontier::default();
                stored.iter().for_each(|entry| drop(black_box(frontier.push(entry))));
            }),
        ),
        (
            "the slow canonical check, all of it",
            each(&|entry| {
                let value: Value = serde_json::from_slice(entry).unwrap();
                assert!(black_box(canonical_json(&value).unwrap() == entry));
            }),
        ),
        (
            "  serde_json into a Value",
            each(&|entry| {
                drop(black_box(serde_json::from_slice::<Value>(entry).unwrap()));
            }),
        ),
    ];
    let bytes: usize = stored.iter().map(Vec::len).sum();
    println!("where the time goes, by entry of {} bytes", bytes as u64 / count);
    for (part, took) in parts {
        println!(
            "{part:<44} {:>8.0} ns {:>8.1} MB/s {:>6.2} x both hashes",
            took / count as f64 * 1e9,
            bytes as f64 / took / 1e6,
            took / both
        );
    }
    let of_part = |(part, took): (&str, f64)| json!({ "part": part.trim(), "ns": took / count as f64 * 1e9 });
    json!(parts.map(of_part))
}
