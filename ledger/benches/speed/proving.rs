//! Proofs from the tiles of a large ledger, and the files they read.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use konclave_ledger::tiles::{TileKind, tiles_of};
use konclave_ledger::tree::leaf_hash;
use konclave_ledger::{ConsistencyProof, InclusionProof, Ledger};
use serde_json::{Value, json};

use crate::clock::seconds;
use crate::entries::options;
use crate::watched::{Watched, count};

const PROOFS: u64 = 2_000;

/// The same spread of numbers below `limit` in every run (a Weyl sequence).
fn spread(limit: u64) -> impl Iterator<Item = u64> {
    let place = |step: u64| u128::from(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (1..=PROOFS).map(move |step| ((place(step) * u128::from(limit)) >> 64) as u64)
}

pub(crate) fn run(folder: &Path) -> Vec<Value> {
    let (storage, counts) = Watched::new(folder, false);
    let ledger = Ledger::open_on(Box::new(storage), options(false)).unwrap();
    let (size, root) = (ledger.head().size, ledger.head().root);
    let tiles: Vec<_> = tiles_of(size)
        .filter(|path| path.kind() == TileKind::Hashes { level: 0 } && path.is_full())
        .map(|path| folder.join(path.to_string()))
        .collect();
    let one_file = seconds(|| {
        for at in spread(tiles.len() as u64) {
            black_box(fs::read(&tiles[at as usize]).unwrap());
        }
    }) / PROOFS as f64;

    println!("{PROOFS} proofs in a tree of {size} entries; one thread; files are in the page cache");
    println!(
        "{:<12} | {:>9} {:>9} | {:>5} {:>4} | {:>9} {:>6} | {:>6} {:>9}",
        "", "proofs/s", "us", "files", "most", "files us", "ratio", "hashes", "check us"
    );
    let reads = || count(&counts.reads);
    let report = |what: &str, took: f64, files: u64, most: u64, hashes: usize, checking: f64| {
        let each = |total: f64| total / PROOFS as f64;
        let (files, hashes) = (each(files as f64), each(hashes as f64));
        println!(
            "{what:<12} | {:>9.0} {:>9.1} | {files:>5.2} {most:>4} | {:>9.1} {:>6.2} | {hashes:>6.1} {:>9.1}",
            PROOFS as f64 / took,
            each(took) * 1e6,
            files * one_file * 1e6,
            each(took) / (files * one_file),
            each(checking) * 1e6,
        );
        json!({
            "what": what, "entries": size, "proof_s": each(took), "files": files, "most_files": most,
            "file_s": one_file, "hashes": hashes, "check_s": each(checking),
        })
    };

    let (mut took, mut checking, mut files, mut most, mut hashes) = (0.0, 0.0, 0, 0, 0);
    for index in spread(size) {
        let leaf = leaf_hash(&ledger.leaf_bytes(index).unwrap().unwrap());
        let before = reads();
        let mut proof = InclusionProof { index, size, hashes: Vec::new() };
        took += seconds(|| proof = ledger.inclusion_proof(index, size).unwrap());
        files += reads() - before;
        most = most.max(reads() - before);
        hashes += proof.hashes.len();
        checking += seconds(|| proof.verify(&leaf, &root).unwrap());
    }
    let inclusion = report("inclusion", took, files, most, hashes, checking);

    let (mut took, mut checking, mut files, mut most, mut hashes) = (0.0, 0.0, 0, 0, 0);
    let mut proofs = Vec::new();
    for old in spread(size) {
        let before = reads();
        let mut proof = ConsistencyProof { old_size: old, new_size: size, hashes: Vec::new() };
        took += seconds(|| proof = ledger.consistency_proof(old, size).unwrap());
        files += reads() - before;
        most = most.max(reads() - before);
        hashes += proof.hashes.len();
        proofs.push(proof);
    }
    // The old roots come from one walk over all leaf hashes.
    proofs.sort_by_key(|proof| proof.old_size);
    let mut edge = konclave_ledger::tree::Edge::default();
    let mut leaves = ledger.leaves(0..size);
    for proof in &proofs {
        while edge.size() < proof.old_size {
            edge.push(leaf_hash(&leaves.next_stored().unwrap().unwrap()));
        }
        let old_root = edge.root();
        checking += seconds(|| proof.verify(&old_root, &root).unwrap());
    }
    vec![inclusion, report("consistency", took, files, most, hashes, checking)]
}
