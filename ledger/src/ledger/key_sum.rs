//! Whether the query index holds exactly the keys that the entries give.
//!
//! sled takes a damaged record for the end of what was written before a crash: after one flipped bit it opens, with the
//! newest head and without some older keys. So the keys are added up when the ledger is opened, the ones that the
//! entries give and the ones that are there; the order does not matter.

use super::index::indexed_keys;
use crate::hash::Hash;
use crate::leaf::Leaf;

/// Number and sum of the hashes of keys with their values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KeySum {
    keys: u64,
    sum: u128,
}

impl KeySum {
    /// Adds a key with its value.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        let length = (key.len() as u64).to_be_bytes();
        let hash = Hash::of_parts(&[&length, key, value]);
        let [high, ..] = hash.0.as_chunks::<16>().0 else { return };
        self.keys += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(*high));
    }

    /// Adds the keys of an entry.
    pub(super) fn take(&mut self, leaf: &Leaf) {
        // An entry without keys fails the rebuild, too.
        for (key, value) in indexed_keys(leaf).unwrap_or_default() {
            self.add(&key, &value);
        }
    }
}
