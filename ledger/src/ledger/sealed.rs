//! What reads are checked against: the disk may change its mind after the ledger was verified.

use crate::bundle;
use crate::hash::Hash;
use crate::tiles::{TILE_WIDTH, TileKind, TilePath, decode_hashes};
use crate::tree::{leaf_hash, root_of};

/// The root over each full entry bundle, in memory: 32 bytes for 256 entries. Whatever lies beyond the last full bundle
/// is never read from files.
#[derive(Debug, Default)]
pub(super) struct Sealed(Vec<Hash>);

impl Sealed {
    /// Takes a file that has become part of the ledger; only full tiles of leaf hashes count, in their order.
    pub(super) fn note(&mut self, path: &TilePath, bytes: &[u8]) {
        if path.kind() == (TileKind::Hashes { level: 0 }) && path.is_full() {
            self.0.extend(decode_hashes(bytes).map(|hashes| root_of(&hashes)));
        }
    }

    /// Whether this is the full bundle that was verified.
    pub(super) fn is_bundle(&self, path: &TilePath, bytes: &[u8]) -> bool {
        let leaves: Result<Vec<Hash>, _> = bundle::entries(bytes).map(|entry| entry.map(leaf_hash)).collect();
        leaves.is_ok_and(|leaves| self.is_hash_tile(0, path.index(), &leaves))
    }

    /// Whether this is the full hash tile that was verified.
    pub(super) fn is_hash_tile(&self, level: u8, index: u64, hashes: &[Hash]) -> bool {
        if hashes.len() as u64 != TILE_WIDTH {
            return false;
        }
        if level == 0 {
            return self.run(index, 1).is_some_and(|sealed| sealed == [root_of(hashes)]);
        }
        // Each hash of a higher tile stands over 256^(level - 1) full bundles.
        let Some(span) = TILE_WIDTH.checked_pow(u32::from(level) - 1) else { return false };
        let first = index.saturating_mul(TILE_WIDTH);
        hashes.iter().enumerate().all(|(position, hash)| {
            let at = first.saturating_add(position as u64).saturating_mul(span);
            self.run(at, span).is_some_and(|sealed| root_of(sealed) == *hash)
        })
    }

    fn run(&self, first: u64, count: u64) -> Option<&[Hash]> {
        let first = usize::try_from(first).ok()?;
        self.0.get(first..first.checked_add(usize::try_from(count).ok()?)?)
    }
}

/// Position of the first entry of a bundle whose hash is not the one in the tile beside it.
pub(super) fn first_unlike(bundle: &[u8], hashes: &[Hash]) -> Option<usize> {
    let same = |entry: Result<&[u8], _>, hash: &Hash| entry.is_ok_and(|stored| leaf_hash(stored) == *hash);
    bundle::entries(bundle).zip(hashes).position(|(entry, hash)| !same(entry, hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontier::Frontier;

    #[test]
    fn knows_every_full_tile_and_no_changed_one() {
        let mut frontier = Frontier::default();
        let mut sealed = Sealed::default();
        let (mut full, mut bundle) = (Vec::new(), Vec::new());
        for entry in 0..70_000_u64 {
            let stored = entry.to_be_bytes();
            bundle::push(&mut bundle, &stored);
            for tile in frontier.push(&stored) {
                sealed.note(&tile.path, &tile.to_bytes());
                full.push(tile);
            }
            if (entry + 1).is_multiple_of(256) {
                let path = TilePath::full(TileKind::Entries, entry / 256);
                assert!(sealed.is_bundle(&path, &bundle));
                assert!(!sealed.is_bundle(&TilePath::full(TileKind::Entries, entry / 256 + 1), &bundle));
                bundle[7] ^= 1;
                assert!(!sealed.is_bundle(&path, &bundle));
                bundle.clear();
            }
        }
        assert_eq!(full.len(), 273 + 1);
        for mut tile in full {
            let TileKind::Hashes { level } = tile.path.kind() else { panic!("{tile:?}") };
            assert!(sealed.is_hash_tile(level, tile.path.index(), &tile.hashes));
            assert!(!sealed.is_hash_tile(level, tile.path.index() + 1, &tile.hashes));
            tile.hashes[255].0[31] ^= 1;
            assert!(!sealed.is_hash_tile(level, tile.path.index(), &tile.hashes));
            tile.hashes.pop();
            assert!(!sealed.is_hash_tile(level, tile.path.index(), &tile.hashes));
        }
        // A tile of level 2 that does not exist yet.
        assert!(!sealed.is_hash_tile(2, 0, &[Hash::ZERO; 256]));
        assert!(!sealed.is_hash_tile(7, u64::MAX, &[Hash::ZERO; 256]));
    }

    #[test]
    fn finds_the_entry_that_differs() {
        let (mut stored, mut hashes) = (Vec::new(), Vec::new());
        for entry in 0..5_u8 {
            bundle::push(&mut stored, &[entry; 9]);
            hashes.push(leaf_hash(&[entry; 9]));
        }
        assert_eq!(first_unlike(&stored, &hashes), None);
        stored[3 * 11 + 4] ^= 1;
        assert_eq!(first_unlike(&stored, &hashes), Some(3));
        stored[11] = 0xff;
        assert_eq!(first_unlike(&stored, &hashes), Some(1));
    }
}
