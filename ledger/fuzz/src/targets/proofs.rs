//! Proofs over small trees, changed as the input says: one is accepted exactly if it is the one that the tree gives.

use std::convert::Infallible;

use konclave_ledger::proof::Subtrees;
use konclave_ledger::tlog_proof::TlogProof;
use konclave_ledger::tree::{leaf_hash, root_of};
use konclave_ledger::{ConsistencyProof, Hash, InclusionProof};

use super::fixture::fixture;
use super::input::Input;

/// Entries of the largest tree: more than a tile holds.
const MOST: u64 = 300;

struct Tree(Vec<Hash>);

impl Tree {
    fn new(size: u64) -> Self {
        Self((0..size).map(|index| leaf_hash(&index.to_be_bytes())).collect())
    }

    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn root(&self, size: u64) -> Option<Hash> {
        Some(root_of(self.0.get(..usize::try_from(size).ok()?)?))
    }

    fn inclusion(&self, index: u64) -> Option<InclusionProof> {
        (index < self.size()).then(|| InclusionProof::build(self, index, self.size()).unwrap())
    }

    fn consistency(&self, old: u64) -> Option<ConsistencyProof> {
        (old <= self.size()).then(|| ConsistencyProof::build(self, old, self.size()).unwrap())
    }
}

impl Subtrees for Tree {
    type Error = Infallible;

    fn subtree(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
        let first = usize::try_from(index << level).unwrap();
        Ok(root_of(&self.0[first..first + (1 << level)]))
    }
}

/// Size of the tree, index, then changes.
pub fn inclusion(bytes: &[u8]) {
    let mut input = Input(bytes);
    let tree = Tree::new(1 + input.short() % MOST);
    let (size, index) = (tree.size(), input.short() % tree.size());
    let root = tree.root(size).unwrap();
    let mut proof = tree.inclusion(index).unwrap();
    let mut leaf = tree.0[usize::try_from(index).unwrap()];
    while !input.is_empty() {
        match input.byte() % 8 {
            0 => proof.index = input.short() % (MOST + 2),
            1 => proof.size = input.short() % (MOST + 2),
            2 => leaf = some_hash(&mut input, &tree, &proof.hashes, &root),
            _ => change(&mut input, &tree, &root, &mut proof.hashes),
        }
    }
    let accepted = proof.verify(&leaf, &root).is_ok();
    let theirs = tlog_tiles::check_record(
        &foreign(&proof.hashes),
        proof.size,
        tlog_tiles::Hash(root.0),
        proof.index,
        tlog_tiles::Hash(leaf.0),
    );
    assert_eq!(accepted, theirs.is_ok(), "{proof:?}");
    // The root alone does not tell the tree's size; the checkpoint, which is signed, does.
    if proof.size == size {
        let in_tree = usize::try_from(proof.index).ok().and_then(|index| tree.0.get(index));
        let genuine = in_tree == Some(&leaf) && tree.inclusion(proof.index).as_ref() == Some(&proof);
        assert_eq!(accepted, genuine, "{proof:?}");
    }
}

/// Size of the tree, an older size, then changes.
pub fn consistency(bytes: &[u8]) {
    let mut input = Input(bytes);
    let tree = Tree::new(1 + input.short() % MOST);
    let (size, old) = (tree.size(), input.short() % (tree.size() + 1));
    let root = tree.root(size).unwrap();
    let mut proof = tree.consistency(old).unwrap();
    let mut old_root = tree.root(old).unwrap();
    while !input.is_empty() {
        match input.byte() % 8 {
            0 => proof.old_size = input.short() % (MOST + 2),
            1 => proof.new_size = input.short() % (MOST + 2),
            2 => old_root = some_hash(&mut input, &tree, &proof.hashes, &root),
            _ => change(&mut input, &tree, &root, &mut proof.hashes),
        }
    }
    let accepted = proof.verify(&old_root, &root).is_ok();
    // They have no proofs from an empty tree.
    if proof.old_size > 0 {
        let theirs = tlog_tiles::check_tree(
            &foreign(&proof.hashes),
            proof.new_size,
            tlog_tiles::Hash(root.0),
            proof.old_size,
            tlog_tiles::Hash(old_root.0),
        );
        assert_eq!(accepted, theirs.is_ok(), "{proof:?}");
    }
    if proof.new_size == size {
        let genuine = tree.root(proof.old_size) == Some(old_root)
            && tree.consistency(proof.old_size).as_ref() == Some(&proof);
        assert_eq!(accepted, genuine, "{proof:?}");
    }
}

fn foreign(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().map(|hash| tlog_tiles::Hash(hash.0)).collect()
}

/// A hash that an attacker would try: of a leaf, of an inner node, of the proof itself, the root, or one with a bit changed.
fn some_hash(input: &mut Input, tree: &Tree, hashes: &[Hash], root: &Hash) -> Hash {
    match input.byte() % 5 {
        0 => tree.0[usize::try_from(input.short() % tree.size()).unwrap()],
        1 => {
            let level = u32::from(input.byte()) % (tree.size().ilog2() + 1);
            tree.subtree(level, input.short() % (tree.size() >> level)).unwrap()
        }
        2 => input.one_of(hashes).copied().unwrap_or(*root),
        3 => *root,
        _ => {
            let mut hash = input.one_of(hashes).copied().unwrap_or(*root);
            hash.0[usize::from(input.byte()) % 32] ^= input.byte();
            hash
        }
    }
}

fn change(input: &mut Input, tree: &Tree, root: &Hash, hashes: &mut Vec<Hash>) {
    let hash = some_hash(input, tree, hashes, root);
    let at = usize::from(input.byte()) % (hashes.len() + 1);
    match input.byte() % 4 {
        0 => hashes.insert(at, hash),
        1 if at < hashes.len() => drop(hashes.remove(at)),
        2 if at < hashes.len() => hashes[at] = hash,
        3 if at + 1 < hashes.len() => hashes.swap(at, at + 1),
        _ => {}
    }
}

/// A receipt prints back to the same text, and convinces only of an entry that is where it says.
pub fn tlog_proof(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(receipt) = text.parse::<TlogProof>() else { return };
    assert_eq!(receipt.to_string(), text);
    let fixture = fixture();
    for (index, stored) in (0..).zip(&fixture.leaves) {
        if let Ok(head) = receipt.verify(stored, &fixture.log_key) {
            assert!(fixture.heads.contains(&head), "signed by nobody");
            assert_eq!(receipt.index, index);
            let tree = Tree(fixture.leaves.iter().map(|stored| leaf_hash(stored)).collect());
            let genuine = InclusionProof::build(&tree, index, head.size).unwrap();
            assert_eq!(receipt.hashes, genuine.hashes);
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let sizes = [(0_u16, 0_u16), (1, 1), (6, 3), (7, 7), (254, 100), (255, 255), (256, 256), (299, 77)];
    let unchanged = sizes.map(|(size, at)| [size.to_be_bytes(), at.to_be_bytes()].concat());
    let changes: [&[u8]; 4] = [&[0, 0, 5], &[1, 0, 9], &[2, 1, 2, 0, 0], &[3, 4, 1, 2, 1, 0, 2]];
    let changed = unchanged.iter().flat_map(|start| changes.map(|change| [start, change].concat()));
    unchanged.iter().cloned().chain(changed).collect()
}
