//! Hashes of subtrees out of a folder's tiles: what proofs, roots of earlier sizes and comparisons are made of.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use konclave_ledger::Hash;
use konclave_ledger::proof::{Subtrees, root_at};
use konclave_ledger::tiles::{TILE_WIDTH, TileKind, TilePath, decode_hashes};
use konclave_ledger::tree::root_of;

use crate::folder::{AuditError, Folder};

/// Tiles kept of each level, and hashes kept of each height. Proofs of neighbours use the same ones.
const KEPT_TILES: usize = 2;
const KEPT_HASHES: usize = 4;

/// The tiles of a ledger of `size` entries, unverified. Memory is bounded: a few tiles for each level.
pub(crate) struct TileFiles<'a> {
    folder: &'a Folder,
    size: u64,
    kept: RefCell<Kept>,
}

#[derive(Default)]
struct Kept {
    tiles: BTreeMap<u8, VecDeque<(TilePath, Vec<Hash>)>>,
    hashes: BTreeMap<u32, VecDeque<(u64, Hash)>>,
}

impl<'a> TileFiles<'a> {
    pub(crate) fn new(folder: &'a Folder, size: u64) -> Self {
        Self { folder, size, kept: RefCell::new(Kept::default()) }
    }

    /// The root of the tree over the first `size` entries, by the tiles.
    pub(crate) fn root_at(&self, size: u64) -> Result<Hash, AuditError> {
        root_at(self, size)
    }

    /// The first entry below `size` whose hash is another in `other`, by the tiles of both; `None` if they agree.
    pub(crate) fn first_difference(&self, other: &Self, size: u64) -> Result<Option<u64>, AuditError> {
        let differs =
            |level, index| Ok::<_, AuditError>(self.subtree(level, index)? != other.subtree(level, index)?);
        let mut start = 0_u64;
        for level in (0..64_u32).rev().filter(|level| size >> level & 1 == 1) {
            if differs(level, start >> level)? {
                let mut index = start >> level;
                for below in (0..level).rev() {
                    index = if differs(below, index * 2)? { index * 2 } else { index * 2 + 1 };
                }
                return Ok(Some(index));
            }
            start += 1 << level;
        }
        Ok(None)
    }

    fn read(&self, path: TilePath) -> Result<Vec<Hash>, AuditError> {
        let name = path.to_string();
        let bytes = self.folder.read(&name)?.unwrap_or_default();
        decode_hashes(&bytes)
            .filter(|hashes| hashes.len() == usize::from(path.width()))
            .ok_or(AuditError::BrokenTile { path: name })
    }

    fn run(&self, kept: &mut Kept, level: u32, index: u64) -> Result<Hash, AuditError> {
        let missing =
            || AuditError::NoEntry { index: index.checked_shl(level).unwrap_or(u64::MAX), size: self.size };
        let tile_level = u8::try_from(level / 8).map_err(|_| missing())?;
        let first = index << (level % 8);
        let kind = TileKind::Hashes { level: tile_level };
        let path = TilePath::in_log(kind, first / TILE_WIDTH, self.size).ok_or_else(missing)?;
        let tiles = kept.tiles.entry(tile_level).or_default();
        if !tiles.iter().any(|(known, _)| *known == path) {
            tiles.push_front((path, self.read(path)?));
            tiles.truncate(KEPT_TILES);
        }
        let hashes = tiles.iter().find(|(known, _)| *known == path).map(|(_, hashes)| hashes.as_slice());
        let start = usize::try_from(first % TILE_WIDTH).map_err(|_| missing())?;
        let run = hashes.and_then(|hashes| hashes.get(start..start + (1 << (level % 8))));
        Ok(root_of(run.ok_or_else(missing)?))
    }
}

impl Subtrees for TileFiles<'_> {
    type Error = AuditError;

    fn subtree(&self, level: u32, index: u64) -> Result<Hash, AuditError> {
        let kept = &mut *self.kept.borrow_mut();
        let known = kept.hashes.get(&level).and_then(|known| known.iter().find(|(at, _)| *at == index));
        if let Some((_, hash)) = known {
            return Ok(*hash);
        }
        let hash = self.run(kept, level, index)?;
        let known = kept.hashes.entry(level).or_default();
        known.push_front((index, hash));
        known.truncate(KEPT_HASHES);
        Ok(hash)
    }
}
