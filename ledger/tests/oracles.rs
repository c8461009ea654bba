//! The same log, proofs and notes through implementations that are not ours: `ct-merkle`, `tlog_tiles`, `signed_note`.

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

use std::collections::BTreeMap;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use konclave_ledger::tree::leaf_hash;
use konclave_ledger::{Checkpoint, ConsistencyProof, Hash, InclusionProof, Ledger};
use sha2::Sha256;
use signed_note::{Note, StandardVerifier, VerifierList};
use support::faulty::FaultyStorage;
use support::{at, created, draft, options};
use tlog_tiles::{HashReader, Tile, TileHashReader, TileReader};

/// A ledger of `size` entries with the reference tree over the same bytes and every root on the way.
fn grow(size: u64) -> (Ledger, MemoryBackedTree<Sha256, Vec<u8>>, Vec<Hash>) {
    let mut ledger = Ledger::open_on(Box::new(FaultyStorage::default()), options(false)).unwrap();
    let mut reference = MemoryBackedTree::new();
    let mut roots = vec![ledger.head().root];
    for number in 0..size {
        let entry = if number == 0 { created() } else { draft(number) };
        ledger.append(vec![entry], at(number)).unwrap();
        reference.push(ledger.leaf_bytes(number).unwrap().unwrap());
        assert_eq!(
            ledger.head().root.0,
            <[u8; 32]>::from(*reference.root().as_bytes()),
            "size {}",
            number + 1
        );
        roots.push(ledger.head().root);
    }
    (ledger, reference, roots)
}

fn concatenated(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

#[test]
fn proofs_equal_those_of_ct_merkle_and_verify_both_ways() {
    let (ledger, reference, roots) = grow(68);
    for index in 0..68 {
        let ours = ledger.inclusion_proof(index, 68).unwrap();
        let theirs = reference.prove_inclusion(usize::try_from(index).unwrap());
        assert_eq!(concatenated(&ours.hashes), theirs.as_bytes(), "entry {index}");
    }
    for old in 1..68 {
        let ours = ledger.consistency_proof(old, 68).unwrap();
        let theirs = reference.prove_consistency(usize::try_from(68 - old).unwrap());
        assert_eq!(concatenated(&ours.hashes), theirs.as_bytes(), "from {old}");
    }
    for size in 1..=68_u64 {
        let root = roots[usize::try_from(size).unwrap()];
        for index in 0..size {
            let leaf = leaf_hash(&ledger.leaf_bytes(index).unwrap().unwrap());
            let proof = ledger.inclusion_proof(index, size).unwrap();
            assert_eq!(proof.verify(&leaf, &root), Ok(()), "{index} of {size}");
        }
        for old in 0..=size {
            let proof = ledger.consistency_proof(old, size).unwrap();
            let old_root = roots[usize::try_from(old).unwrap()];
            assert_eq!(proof.verify(&old_root, &root), Ok(()), "{old} to {size}");
        }
    }
}

/// Every change of a valid proof must be refused; the kinds of change are those of the Certificate Transparency tests.
#[test]
fn changed_proofs_are_refused() {
    let (ledger, _, roots) = grow(37);
    for size in [1_u64, 2, 3, 7, 8, 9, 31, 32, 33, 37] {
        let root = roots[usize::try_from(size).unwrap()];
        for index in 0..size {
            let leaf = leaf_hash(&ledger.leaf_bytes(index).unwrap().unwrap());
            let good = ledger.inclusion_proof(index, size).unwrap();
            for bad in changed(&good.hashes, &root, &leaf) {
                assert!(
                    InclusionProof { hashes: bad, ..good.clone() }.verify(&leaf, &root).is_err(),
                    "{index}/{size}"
                );
            }
            for other in [index ^ 1, index + 2, index ^ (1 << 40), u64::MAX] {
                let moved = InclusionProof { index: other, ..good.clone() };
                assert!(moved.verify(&leaf, &root).is_err(), "{other} for {index}/{size}");
            }
            assert!(InclusionProof { size: 0, ..good.clone() }.verify(&leaf, &root).is_err());
            assert!(good.verify(&root, &leaf).is_err() || size == 1);
            assert!(good.verify(&Hash::ZERO, &root).is_err());
        }
        for old in 1..size {
            let old_root = roots[usize::try_from(old).unwrap()];
            let good = ledger.consistency_proof(old, size).unwrap();
            for bad in changed(&good.hashes, &root, &old_root) {
                let bad = ConsistencyProof { hashes: bad, ..good.clone() };
                assert!(bad.verify(&old_root, &root).is_err(), "{old}/{size}");
            }
            for (old_size, new_size) in
                [(0, size), (old + 1, size), (size, old), (old, old), (u64::MAX, u64::MAX)]
            {
                let moved = ConsistencyProof { old_size, new_size, hashes: good.hashes.clone() };
                assert!(moved.verify(&old_root, &root).is_err(), "{old_size}..{new_size} for {old}/{size}");
            }
            assert!(good.verify(&root, &old_root).is_err());
        }
    }
}

fn changed(hashes: &[Hash], root: &Hash, other: &Hash) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for extra in [Hash::ZERO, *root, *other] {
        all.push(hashes.iter().copied().chain([extra]).collect());
        all.push([extra].into_iter().chain(hashes.iter().copied()).collect());
    }
    for at in 0..hashes.len() {
        let mut flipped = hashes.to_vec();
        flipped[at].0[at % 32] ^= 1 << (at % 8);
        all.push(flipped);
        let mut shorter = hashes.to_vec();
        shorter.remove(at);
        all.push(shorter);
    }
    all
}

/// Reads our tiles under the paths that `tlog_tiles` asks for: it writes the tile height, C2SP does not.
struct Published<'a>(&'a Ledger);

impl TileReader for Published<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &Tile| {
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            self.0.static_file(&path).unwrap().unwrap_or_else(|| panic!("{path} is not published"))
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

#[test]
fn tlog_tiles_reads_and_authenticates_the_published_files() {
    let mut ledger = Ledger::open_on(Box::new(FaultyStorage::default()), options(false)).unwrap();
    let mut roots = BTreeMap::from([(0, ledger.head().root)]);
    for (from, to) in [(0, 1), (1, 255), (255, 256), (256, 257), (257, 700), (700, 66_000)] {
        ledger.append((from..to).map(draft).collect(), at(to)).unwrap();
        roots.insert(to, ledger.head().root);
    }
    // Also at sizes of the past: their partial tiles stay published.
    for (&size, root) in roots.iter().filter(|(size, _)| **size > 0) {
        let theirs = tlog_tiles::Hash(root.0);
        let published = Published(&ledger);
        let reader = TileHashReader::new(size, theirs, &published);
        assert_eq!(tlog_tiles::tree_hash(size, &reader).unwrap(), theirs);
        for index in [0, size / 3, size / 2, size - 1] {
            let leaf = tlog_tiles::record_hash(&ledger.leaf_bytes(index).unwrap().unwrap());
            let stored = tlog_tiles::stored_hash_index(0, index);
            assert_eq!(reader.read_hashes(&[stored]).unwrap(), [leaf]);
            let proof = tlog_tiles::prove_record(size, index, &reader).unwrap();
            let ours = ledger.inclusion_proof(index, size).unwrap();
            assert_eq!(
                proof.iter().map(|hash| Hash(hash.0)).collect::<Vec<_>>(),
                ours.hashes,
                "{index}/{size}"
            );
            tlog_tiles::check_record(&proof, size, theirs, index, leaf).unwrap();
        }
        for (&old, old_root) in roots.range(1..size) {
            let ours = ledger.consistency_proof(old, size).unwrap();
            let theirs_proof: Vec<_> = ours.hashes.iter().map(|hash| tlog_tiles::Hash(hash.0)).collect();
            tlog_tiles::check_tree(&theirs_proof, size, theirs, old, tlog_tiles::Hash(old_root.0)).unwrap();
        }
    }
    for tile in konclave_ledger::tiles::tiles_of(66_000).map(|tile| tile.to_string()) {
        if let Some(hashes) = tile.strip_prefix("tile/").filter(|rest| !rest.starts_with("entries")) {
            assert_eq!(
                Tile::from_path(&format!("tile/8/{hashes}")).unwrap().path(),
                format!("tile/8/{hashes}")
            );
        }
    }
}

#[test]
fn signed_note_and_tlog_tiles_accept_the_checkpoint() {
    let (ledger, _, _) = grow(5);
    let note = Note::from_bytes(ledger.checkpoint_note().as_bytes()).unwrap();
    let vkey = ledger.verifier_key().to_string();
    let (verified, unverified) =
        note.verify(&VerifierList::new(vec![Box::new(StandardVerifier::new(&vkey).unwrap())])).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 0));
    let theirs = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!(
        (theirs.origin(), theirs.size(), theirs.hash().0),
        ("konclave.example/ledger", 5, ledger.head().root.0)
    );
    assert_eq!(theirs.extension(), "");
    assert_eq!(theirs.to_bytes(), note.text());
}

#[test]
fn a_note_of_signed_note_verifies_here() {
    let text =
        Checkpoint { origin: "elsewhere.example".parse().unwrap(), size: 9, root: Hash::of(b"x") }.text();
    let secret = "PRIVATE+KEY+elsewhere.example+";
    let key = konclave_ledger::SigningKey::from_seed(&[9; 32]);
    let ours = konclave_ledger::checkpoint::log_key("elsewhere.example".parse().unwrap(), &key);
    let material = [&[1_u8][..], &[9; 32]].concat();
    let encoded = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(material)
    };
    let signer = signed_note::StandardSigner::new(&format!("{secret}{}+{encoded}", ours.key_id())).unwrap();
    let mut note = Note::new(text.as_bytes(), &[]).unwrap();
    note.add_sigs(&[&signer]).unwrap();
    let (checkpoint, parsed) = Checkpoint::verify(&note.to_bytes(), &ours).unwrap();
    assert_eq!(checkpoint.size, 9);
    assert_eq!(parsed.to_string().as_bytes(), note.to_bytes());
}
