//! The growing end of a log: the partial tile of each level, the tree's right edge and the last entry's hash.
//!
//! Both the writer and every verifier walk a log with this: feed entries in order, take the tiles that become full.

use crate::hash::Hash;
use crate::tiles::{TILE_WIDTH, TileKind, TilePath, encode_hashes};
use crate::tree::{Edge, leaf_hash, root_of};

/// The growing end of a log. Its size is bounded: 256 hashes for each of 8 levels at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontier {
    edge: Edge,
    levels: Vec<Vec<Hash>>,
    last_entry: Hash,
}

/// A hash tile with its hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashTile {
    /// Which tile.
    pub path: TilePath,
    /// Its hashes.
    pub hashes: Vec<Hash>,
}

impl Default for Frontier {
    fn default() -> Self {
        Self { edge: Edge::default(), levels: Vec::new(), last_entry: Hash::ZERO }
    }
}

impl Frontier {
    /// Number of entries so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The tree's root.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.edge.root()
    }

    /// SHA-256 of the last entry's bytes: what the next entry must carry as `prev`.
    #[must_use]
    pub const fn last_entry(&self) -> Hash {
        self.last_entry
    }

    /// Takes the next entry's stored bytes and returns the hash tiles that it fills, lowest level first.
    pub fn push(&mut self, stored: &[u8]) -> Vec<HashTile> {
        self.push_hashes(leaf_hash(stored), Hash::of(stored))
    }

    /// The same for an entry that was hashed before: by [`leaf_hash`], and by [`Hash::of`] for the chain.
    pub fn push_hashes(&mut self, leaf: Hash, entry: Hash) -> Vec<HashTile> {
        let mut hash = leaf;
        self.last_entry = entry;
        self.edge.push(hash);
        let mut filled = Vec::new();
        let mut items = self.edge.size();
        for level in 0_u8.. {
            let at = usize::from(level);
            if self.levels.len() <= at {
                self.levels.push(Vec::new());
            }
            let Some(tile) = self.levels.get_mut(at) else { break };
            tile.push(hash);
            if !items.is_multiple_of(TILE_WIDTH) {
                break;
            }
            items /= TILE_WIDTH;
            let hashes = std::mem::take(tile);
            hash = root_of(&hashes);
            filled.push(HashTile { path: TilePath::full(TileKind::Hashes { level }, items - 1), hashes });
        }
        filled
    }

    /// The hashes of a level's partial tile; empty if the level ends with a full tile or does not exist.
    #[must_use]
    pub fn partial_hashes(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// The partial hash tiles, lowest level first; levels that end with a full tile have none.
    #[must_use]
    pub fn partial_tiles(&self) -> Vec<HashTile> {
        let tile = |(level, hashes): (u8, &Vec<Hash>)| {
            let kind = TileKind::Hashes { level };
            let index = self.size() >> (8 * (u32::from(level) + 1));
            let path = TilePath::in_log(kind, index, self.size())?;
            Some(HashTile { path, hashes: hashes.clone() })
        };
        (0_u8..).zip(&self.levels).filter_map(tile).collect()
    }
}

impl HashTile {
    /// The tile's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode_hashes(&self.hashes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiles::tiles_of;
    use std::collections::BTreeMap;

    #[test]
    fn gives_exactly_the_tiles_of_every_size() {
        let mut frontier = Frontier::default();
        let mut full = BTreeMap::new();
        for size in 1..=66_000_u64 {
            let entry = size.to_be_bytes();
            full.extend(frontier.push(&entry).into_iter().map(|tile| (tile.path, tile.hashes)));
            if size.is_multiple_of(251) || (size + 1) % 256 < 3 {
                let mut tiles = full.clone();
                tiles.extend(frontier.partial_tiles().into_iter().map(|tile| (tile.path, tile.hashes)));
                let mut expected: Vec<_> = tiles_of(size).filter(|t| t.kind() != TileKind::Entries).collect();
                expected.sort();
                assert_eq!(tiles.keys().copied().collect::<Vec<_>>(), expected, "size {size}");
                assert!(tiles.iter().all(|(path, hashes)| hashes.len() == usize::from(path.width())));
            }
        }
        assert_eq!(full[&TilePath::full(TileKind::Hashes { level: 1 }, 0)][3], {
            let mut quarter = Edge::default();
            (769..=1024_u64).for_each(|entry| quarter.push(leaf_hash(&entry.to_be_bytes())));
            quarter.root()
        });
        assert_eq!(frontier.last_entry(), Hash::of(&66_000_u64.to_be_bytes()));
    }
}
