//! Walking the stored entries of a folder in order: one bundle and one tile in memory. Nothing is verified but that an
//! entry is the one that its tile names; the rest is for [`crate::verify`].

use std::ops::{ControlFlow, Range};

use konclave_ledger::tiles::{TILE_WIDTH, TileKind, TilePath};
use konclave_ledger::tree::leaf_hash;
use konclave_ledger::{Hash, LeafError, bundle};

use crate::folder::{AuditError, Folder};

/// Flaws kept in full; more are only counted.
const MAX_FLAWS: usize = 100;

/// An entry as it lies on disk.
pub(crate) struct StoredEntry<'a> {
    /// Its index, by its place in the bundles.
    pub(crate) index: u64,
    /// Its bytes.
    pub(crate) stored: &'a [u8],
    named: Option<&'a [u8; 32]>,
}

impl StoredEntry<'_> {
    /// Its leaf hash, if its tile names the same.
    pub(crate) fn hash(&self) -> Option<Hash> {
        let hash = leaf_hash(self.stored);
        (self.named == Some(&hash.0)).then_some(hash)
    }
}

/// An entry that is not what the ledger promises. Somebody changed the files.
#[derive(Debug, thiserror::Error)]
pub enum EntryFlaw {
    /// A bundle is missing or ends too early.
    #[error("{file}: the entries from {first} on are missing or cut short")]
    Missing {
        /// The bundle.
        file: String,
        /// The first missing entry.
        first: u64,
    },
    /// The tile names another entry.
    #[error("entry {index} does not fit its tile: one of the two was changed")]
    Misfit {
        /// Which.
        index: u64,
    },
    /// Not an entry.
    #[error("entry {index} is unreadable: {source}")]
    Unreadable {
        /// Which.
        index: u64,
        /// Why.
        source: LeafError,
    },
}

/// The flaws met on a walk; at most 100 are kept.
#[derive(Debug, Default)]
pub struct Flaws {
    /// Those that are kept.
    pub kept: Vec<EntryFlaw>,
    /// How many more there were.
    pub left_out: u64,
}

impl Flaws {
    pub(crate) fn add(&mut self, flaw: EntryFlaw) {
        if self.kept.len() < MAX_FLAWS { self.kept.push(flaw) } else { self.left_out += 1 }
    }

    /// Whether there was none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

/// Calls `visit` for each entry of `range` in a ledger of `size` entries until it breaks off. What is missing goes to
/// `flaws`, and the walk goes on behind it.
pub(crate) fn each<E: From<AuditError>>(
    folder: &Folder,
    range: Range<u64>,
    size: u64,
    flaws: &mut Flaws,
    mut visit: impl FnMut(&StoredEntry<'_>, &mut Flaws) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let end = range.end.min(size);
    if range.start >= end {
        return Ok(());
    }
    for number in range.start / TILE_WIDTH..=(end - 1) / TILE_WIDTH {
        let Some(path) = TilePath::in_log(TileKind::Entries, number, size) else { break };
        let hashes = TilePath::in_log(TileKind::Hashes { level: 0 }, number, size);
        let bytes = folder.read(&path.to_string())?.unwrap_or_default();
        let tile = hashes.map(|path| folder.read(&path.to_string())).transpose()?.flatten();
        let (named, _) = tile.as_deref().unwrap_or_default().as_chunks::<32>();
        let mut next = path.covers().start;
        for (at, entry) in bundle::entries(&bytes).take(usize::from(path.width())).enumerate() {
            let Ok(stored) = entry else { break };
            let index = next;
            next += 1;
            if index < range.start {
                continue;
            }
            if index >= end {
                return Ok(());
            }
            if visit(&StoredEntry { index, stored, named: named.get(at) }, flaws)?.is_break() {
                return Ok(());
            }
        }
        let wanted = path.covers().end.min(end);
        if next < wanted {
            flaws.add(EntryFlaw::Missing { file: path.to_string(), first: next.max(range.start) });
        }
    }
    Ok(())
}
