//! Comparing the hash tiles on disk, item by item, with the hashes recomputed from the entries.

use std::collections::BTreeMap;

use konclave_ledger::Hash;
use konclave_ledger::tiles::{TILE_WIDTH, TileKind, TilePath};

use crate::folder::{AuditError, Folder};
use crate::report::{Defect, Report};

/// One open tile for each level: 8 KiB each, whatever the log's size.
pub(crate) struct TileCheck<'a> {
    folder: &'a Folder,
    size: u64,
    open: BTreeMap<u8, OpenTile>,
}

struct OpenTile {
    path: TilePath,
    bytes: Vec<u8>,
    /// Missing or of the wrong length, which has been reported.
    broken: bool,
}

impl<'a> TileCheck<'a> {
    pub(crate) const fn new(folder: &'a Folder, size: u64) -> Self {
        Self { folder, size, open: BTreeMap::new() }
    }

    /// Checks item `index` of `level`: the hash over 256^level entries.
    pub(crate) fn item(
        &mut self,
        level: u8,
        index: u64,
        hash: &Hash,
        report: &mut Report,
    ) -> Result<(), AuditError> {
        let kind = TileKind::Hashes { level };
        let Some(path) = TilePath::in_log(kind, index / TILE_WIDTH, self.size) else { return Ok(()) };
        if self.open.get(&level).is_none_or(|open| open.path != path) {
            let opened = self.read(path, report)?;
            self.open.insert(level, opened);
        }
        let Some(open) = self.open.get(&level).filter(|open| !open.broken) else { return Ok(()) };
        let (hashes, _) = open.bytes.as_chunks::<32>();
        let position = usize::try_from(index % TILE_WIDTH).ok();
        if position.and_then(|at| hashes.get(at)) != Some(&hash.0) {
            let span = 1_u64 << (8 * u32::from(level));
            let what = if level == 0 { "this entry" } else { "these entries" };
            let detail =
                format!("the hash in the tile does not belong to {what}: one of the two was changed");
            let covered = index.saturating_mul(span)..(index + 1).saturating_mul(span);
            report.add(Defect::Tile, &path.to_string(), covered, detail);
        }
        Ok(())
    }

    fn read(&self, path: TilePath, report: &mut Report) -> Result<OpenTile, AuditError> {
        let name = path.to_string();
        report.tiles_checked += 1;
        let bytes = self.folder.read(&name)?;
        let wanted = 32 * usize::from(path.width());
        let broken = match &bytes {
            Some(bytes) if bytes.len() == wanted => None,
            Some(bytes) => Some(format!("the tile has {} bytes instead of {wanted}", bytes.len())),
            None => Some("the tile is missing".to_owned()),
        };
        if let Some(detail) = &broken {
            report.add(Defect::Tile, &name, path.covers(), detail.clone());
        }
        Ok(OpenTile { path, bytes: bytes.unwrap_or_default(), broken: broken.is_some() })
    }
}
