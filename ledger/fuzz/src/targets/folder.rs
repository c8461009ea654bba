//! A whole ledger with a few of its bytes changed: it opens with what was acknowledged, or not at all.

use konclave_ledger::Ledger;
use konclave_ledger::note::SignedNote;
use konclave_ledger::storage::Storage as _;

use super::fixture::{Fixture, fixture};
use super::input::Input;
use crate::support::faulty::{FaultyStorage, Loss};
use crate::support::{at, draft, log_key, options};

/// Changes: which file, what, where.
pub fn folder(bytes: &[u8]) {
    let Fixture { leaves, heads, storage, .. } = fixture();
    let storage = storage.after(Loss::Nothing);
    let paths = storage.paths();
    let mut input = Input(bytes);
    while !input.is_empty() {
        let path = input.one_of(&paths).unwrap();
        let other = input.one_of(&paths).unwrap();
        let mut file = read(&storage, path);
        let place = usize::try_from(input.short()).unwrap() % (file.len() + 1);
        match input.byte() % 8 {
            0 => file.insert(place, input.byte()),
            1 => file.truncate(place),
            2 => drop(file.splice(place.., read(&storage, other))),
            3 => {
                storage.replace(path, None);
                continue;
            }
            _ => {
                if let Some(byte) = file.get_mut(place) {
                    *byte ^= input.byte();
                }
            }
        }
        storage.replace(path, Some(file));
    }
    let of_a_ledger = |path: &String| path == "head.note" || path == "checkpoint" || path.contains('/');
    if !storage.paths().iter().any(of_a_ledger) {
        return;
    }
    let Ok(mut ledger) = Ledger::open_on(Box::new(storage.clone()), options(false)) else { return };
    assert_eq!(Some(&ledger.head()), heads.last());
    let note = SignedNote::parse(ledger.checkpoint_note().as_bytes()).unwrap();
    for line in note.signatures.iter().filter(|line| !log_key().claims(line)) {
        let checked = ledger.enrolled_keys().check_cosignature(line, &ledger.head());
        assert!(matches!(checked, Some(Ok(_))), "published as a cosignature: {line}");
    }
    for (index, leaf) in (0..).zip(leaves) {
        assert_eq!(ledger.leaf_bytes(index).unwrap().as_ref(), Some(leaf));
        ledger.receipt(index).unwrap();
    }
    ledger.append(vec![draft(99)], at(99)).unwrap();
    let again = Ledger::open_on(Box::new(storage.after(Loss::Unsynced)), options(false)).unwrap();
    assert_eq!(again.head(), ledger.head());
}

fn read(storage: &FaultyStorage, path: &str) -> Vec<u8> {
    storage.read(path).unwrap().unwrap_or_default()
}

pub fn seeds() -> Vec<Vec<u8>> {
    let paths = u8::try_from(fixture().storage.paths().len()).unwrap();
    let flips = (0..paths).map(|path| vec![path, 0, 0, 20, 7, 1]);
    let removals = (0..paths).map(|path| vec![path, 0, 0, 0, 3]);
    let swaps = (0..paths).map(|path| vec![path, (path + 1) % paths, 0, 0, 2]);
    flips.chain(removals).chain(swaps).chain([vec![]]).collect()
}
