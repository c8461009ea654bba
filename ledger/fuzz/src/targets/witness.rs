//! A witness against a log that signs whatever it likes: two histories that part after some entries.

use std::sync::OnceLock;

use konclave_ledger::note::SignedNote;
use konclave_ledger::tree::{Edge, leaf_hash, root_of};
use konclave_ledger::witness::{AddCheckpoint, WitnessState};
use konclave_ledger::{Checkpoint, ConsistencyProof, Hash, SigningKey};

use super::fixture::fixture;
use super::input::Input;
use crate::support::{LOG_SEED, origin};

/// Entries of each history.
const SIZE: u64 = 40;
/// Entries that both have in common.
const COMMON: u64 = 13;

struct History {
    leaves: Vec<Hash>,
    /// The head of every size, signed.
    notes: Vec<(Checkpoint, Vec<u8>)>,
}

impl konclave_ledger::proof::Subtrees for History {
    type Error = std::convert::Infallible;

    fn subtree(&self, level: u32, index: u64) -> Result<Hash, Self::Error> {
        let first = usize::try_from(index << level).unwrap();
        Ok(root_of(&self.leaves[first..first + (1 << level)]))
    }
}

impl History {
    fn new(name: &str) -> Self {
        let leaf =
            |index: u64| leaf_hash(format!("{} {index}", if index < COMMON { "" } else { name }).as_bytes());
        let leaves: Vec<Hash> = (0..SIZE).map(leaf).collect();
        let (mut edge, mut notes) = (Edge::default(), Vec::new());
        for leaf in leaves.iter().map(Some).chain([None]) {
            let head = Checkpoint { origin: origin(), size: edge.size(), root: edge.root() };
            let note = head.sign(&SigningKey::from_seed(&LOG_SEED)).to_string().into_bytes();
            notes.push((head, note));
            leaf.into_iter().for_each(|leaf| edge.push(*leaf));
        }
        Self { leaves, notes }
    }
}

fn histories() -> &'static [History; 2] {
    static MADE: OnceLock<[History; 2]> = OnceLock::new();
    MADE.get_or_init(|| ["a", "b"].map(History::new))
}

/// Heads of both histories with proofs of both, changed a little: never is one taken that contradicts an earlier one.
pub fn witness(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut state = WitnessState::new(origin());
    while !input.is_empty() {
        let [shown, proved] = [input.byte(), input.byte()].map(|byte| &histories()[usize::from(byte % 2)]);
        let (head, note) = &shown.notes[usize::from(input.byte()) % shown.notes.len()];
        let seen = state.head().size;
        let old = if input.byte() < 192 { seen } else { input.short() % (SIZE + 1) };
        let mut proof = ConsistencyProof::build(proved, old.min(head.size), head.size).unwrap();
        if input.byte() > 192 {
            let stray = histories()[usize::from(input.byte() % 2)].leaves[usize::from(input.byte()) % 40];
            let at = usize::from(input.byte()) % (proof.hashes.len() + 1);
            match input.byte() % 3 {
                0 => proof.hashes.insert(at, stray),
                1 if at < proof.hashes.len() => drop(proof.hashes.remove(at)),
                _ if at < proof.hashes.len() => proof.hashes[at] = stray,
                _ => {}
            }
        }
        let genuine = |one: &History| {
            let at = |size: u64| usize::try_from(size).ok().map(|size| &one.notes[size].0);
            at(seen) == Some(state.head()) && at(head.size) == Some(head)
        };
        let honest = histories().iter().any(genuine)
            && seen <= head.size
            && histories()
                .iter()
                .filter(|one| genuine(one))
                .any(|one| ConsistencyProof::build(one, seen, head.size).unwrap() == proof);
        match state.advance(note, &fixture().log_key, &proof) {
            Ok(next) => {
                assert!(honest, "{seen} to {head:?}");
                assert_eq!(next.head(), head);
                assert_eq!(WitnessState::from_bytes(&next.to_bytes()).as_ref(), Ok(&next));
                state = next;
            }
            Err(error) => assert!(!honest, "{error}"),
        }
    }
}

fn halfway() -> &'static WitnessState {
    static MADE: OnceLock<WitnessState> = OnceLock::new();
    MADE.get_or_init(|| {
        let note = &histories()[0].notes[usize::try_from(COMMON).unwrap()].1;
        let proof = ConsistencyProof { old_size: 0, new_size: COMMON, hashes: Vec::new() };
        WitnessState::new(origin()).advance(note, &fixture().log_key, &proof).unwrap()
    })
}

/// An `add-checkpoint` body prints back to the same text, and brings a witness that has seen the entries both histories
/// have in common only to a head that one of them has.
pub fn add_checkpoint(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(request) = text.parse::<AddCheckpoint>() else { return };
    assert_eq!(request.to_string(), text);
    match halfway().add_checkpoint(&request, &fixture().log_key) {
        Ok(next) => {
            let heads = histories().iter().flat_map(|one| &one.notes).map(|(head, _)| head);
            assert!(heads.into_iter().any(|head| head == next.head()), "signed by nobody");
            assert!(next.head().size >= COMMON && request.old_size == COMMON);
        }
        Err(refusal) => assert!((400..500).contains(&refusal.status())),
    }
}

/// What the log would ask of it.
pub fn requests() -> Vec<Vec<u8>> {
    let request = |(old, new, which): (u64, usize, usize)| {
        let one = &histories()[which];
        let (head, note) = &one.notes[new];
        let hashes = ConsistencyProof::build(one, old, head.size).unwrap().hashes;
        let checkpoint = SignedNote::parse(note).unwrap();
        AddCheckpoint { old_size: old, hashes, checkpoint }.to_string().into_bytes()
    };
    [(13, 40, 0), (13, 21, 1), (13, 13, 0), (0, 5, 0), (8, 40, 1)].map(request).into()
}

/// A stored state prints back to the same bytes: a damaged one is not half read.
pub fn witness_state(bytes: &[u8]) {
    if let Ok(state) = WitnessState::from_bytes(bytes) {
        assert_eq!(state.to_bytes(), bytes);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let steps = |sizes: &[u8]| sizes.iter().flat_map(|size| [0, 0, *size, 0, 0]).collect::<Vec<u8>>();
    let fork = [steps(&[5, 20]), vec![1, 1, 20, 0, 0, 1, 1, 30, 0, 0, 0, 0, 40, 0, 0]].concat();
    vec![
        steps(&[1, 2, 3, 8, 13, 40]),
        steps(&[16, 16, 9]),
        fork,
        vec![0, 0, 9, 0, 0, 0, 0, 20, 200, 0, 3, 255, 0, 7, 1, 2],
    ]
}
