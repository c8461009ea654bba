//! Showing one entry, with a check that it is the one the tree holds.

use konclave_ledger::note::SignedNote;
use konclave_ledger::tiles::{TILE_WIDTH, TileKind, TilePath};
use konclave_ledger::tree::leaf_hash;
use konclave_ledger::{Checkpoint, Leaf, bundle};

use crate::folder::{AuditError, Folder};

/// An entry as it lies on disk.
#[derive(Debug)]
pub struct Shown {
    /// Its stored bytes, which are canonical JSON if nobody changed them.
    pub stored: Vec<u8>,
    /// Its parsed view, if it is an entry.
    pub leaf: Option<Leaf>,
    /// Whether the leaf hash in the tile belongs to the bytes. The whole ledger is checked by `verify` only.
    pub fits_tile: bool,
}

/// Reads the checkpoint without checking it.
pub(crate) fn head(folder: &Folder) -> Result<Option<(Checkpoint, SignedNote)>, AuditError> {
    let note = folder.read("checkpoint")?.and_then(|bytes| SignedNote::parse(&bytes).ok());
    Ok(note.and_then(|note| Some((Checkpoint::parse_text(&note.text).ok()?, note))))
}

/// How many entries there are: by the checkpoint, or by the files where it can't say.
pub(crate) fn size_of(folder: &Folder) -> Result<u64, AuditError> {
    match head(folder)? {
        Some((head, _)) => Ok(head.size),
        None => folder.entries_on_disk(),
    }
}

/// Reads entry `index`.
///
/// # Errors
/// [`AuditError::NoEntry`] beyond the checkpoint or where files are missing.
pub fn show(folder: &Folder, index: u64) -> Result<Shown, AuditError> {
    show_in(folder, index, size_of(folder)?)
}

/// Reads entry `index` of a ledger of `size` entries.
pub(crate) fn show_in(folder: &Folder, index: u64, size: u64) -> Result<Shown, AuditError> {
    let missing = || AuditError::NoEntry { index, size };
    let entries = TilePath::in_log(TileKind::Entries, index / TILE_WIDTH, size).ok_or_else(missing)?;
    let hashes =
        TilePath::in_log(TileKind::Hashes { level: 0 }, index / TILE_WIDTH, size).ok_or_else(missing)?;
    let position = usize::try_from(index % TILE_WIDTH).map_err(|_| missing())?;
    let bytes = folder.read(&entries.to_string())?.ok_or_else(missing)?;
    let stored = bundle::entries(&bytes).nth(position).and_then(Result::ok).ok_or_else(missing)?.to_vec();
    let tile = folder.read(&hashes.to_string())?.unwrap_or_default();
    let fits_tile = tile.as_chunks::<32>().0.get(position) == Some(&leaf_hash(&stored).0);
    Ok(Shown { leaf: Leaf::parse(&stored).ok(), stored, fits_tile })
}
