//! The end of the log as the writer keeps it in memory: tree frontier plus the last, partial entry bundle.

use std::collections::BTreeMap;

use crate::bundle;
use crate::frontier::Frontier;
use crate::hash::Hash;
use crate::tiles::{TILE_WIDTH, TileKind, TilePath};

/// The end of the log; at most one bundle (4 MiB) and one tile for each level.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail {
    frontier: Frontier,
    bundle: Vec<u8>,
}

impl Tail {
    pub(super) const fn size(&self) -> u64 {
        self.frontier.size()
    }

    pub(super) fn root(&self) -> Hash {
        self.frontier.root()
    }

    pub(super) const fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The partial bundle's bytes; empty if the log ends with a full one.
    pub(super) fn bundle(&self) -> &[u8] {
        &self.bundle
    }

    /// Takes the next entry and gives the files that are now full, by tile.
    pub(super) fn push(&mut self, stored: &[u8]) -> Vec<(TilePath, Vec<u8>)> {
        bundle::push(&mut self.bundle, stored);
        let filled = self.frontier.push(stored);
        let mut files: Vec<_> = filled.iter().map(|tile| (tile.path, tile.to_bytes())).collect();
        if self.size().is_multiple_of(TILE_WIDTH) {
            let path = TilePath::full(TileKind::Entries, self.size() / TILE_WIDTH - 1);
            files.push((path, std::mem::take(&mut self.bundle)));
        }
        files
    }

    /// The partial files at this size.
    pub(super) fn partial_files(&self) -> BTreeMap<TilePath, Vec<u8>> {
        let tiles = self.frontier.partial_tiles();
        let mut files: BTreeMap<_, _> = tiles.iter().map(|tile| (tile.path, tile.to_bytes())).collect();
        let bundle = TilePath::in_log(TileKind::Entries, self.size() / TILE_WIDTH, self.size());
        if let Some(path) = bundle {
            files.insert(path, self.bundle.clone());
        }
        files
    }
}
