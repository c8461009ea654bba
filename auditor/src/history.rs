//! How an older head stands to a ledger: its beginning, the same, or another history.

use konclave_ledger::frontier::Frontier;
use konclave_ledger::tiles::TilePath;
use konclave_ledger::tiles::{TileKind, tiles_of};
use konclave_ledger::{Checkpoint, ConsistencyProof, Hash, bundle};

use crate::folder::{AuditError, Folder};
use crate::subtrees::TileFiles;

/// How an older head stands to a folder whose head is `newer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    /// The same size and root.
    Same,
    /// It is a beginning of the folder's ledger.
    Extended,
    /// It counts more entries than the folder holds.
    Longer,
    /// The folder's entries lead to the newer head, and not to the older one.
    Forked,
    /// The folder's files do not lead to the folder's own head: they were changed, and prove nothing.
    Damaged,
}

/// Finds how `older` stands to the ledger in `folder`, whose checkpoint says `newer`.
pub(crate) fn relate(
    folder: &Folder,
    newer: &Checkpoint,
    older: &Checkpoint,
) -> Result<Relation, AuditError> {
    if older.size > newer.size {
        return Ok(Relation::Longer);
    }
    if older.size == newer.size {
        return Ok(if older.root == newer.root { Relation::Same } else { Relation::Forked });
    }
    let tiles = TileFiles::new(folder, newer.size);
    let proven = match ConsistencyProof::build(&tiles, older.size, newer.size) {
        Ok(proof) => proof.verify(&older.root, &newer.root).is_ok(),
        Err(AuditError::BrokenTile { .. } | AuditError::NoEntry { .. }) => false,
        Err(error) => return Err(error),
    };
    if proven {
        return Ok(Relation::Extended);
    }
    // Either history differs or a tile was changed: only the entries themselves can tell.
    Ok(match roots_of_entries(folder, older.size, newer.size)? {
        Some((_, last)) if last != newer.root => Relation::Damaged,
        Some((early, _)) if early != older.root => Relation::Forked,
        Some(_) | None => Relation::Damaged,
    })
}

/// The roots at two sizes, recomputed from the entries; `None` if some are missing.
fn roots_of_entries(folder: &Folder, early: u64, size: u64) -> Result<Option<(Hash, Hash)>, AuditError> {
    let mut frontier = Frontier::default();
    let mut at_early = (early == 0).then(|| frontier.root());
    for path in tiles_of(size).take_while(|path| path.kind() == TileKind::Entries) {
        let bytes = folder.read(&path.to_string())?.unwrap_or_default();
        if !take_bundle(&bytes, &path, &mut frontier, early, &mut at_early) {
            return Ok(None);
        }
    }
    Ok(at_early.map(|root| (root, frontier.root())))
}

fn take_bundle(
    bytes: &[u8],
    path: &TilePath,
    frontier: &mut Frontier,
    early: u64,
    at_early: &mut Option<Hash>,
) -> bool {
    for entry in bundle::entries(bytes).take(usize::from(path.width())) {
        let Ok(stored) = entry else { return false };
        frontier.push(stored);
        if frontier.size() == early {
            *at_early = Some(frontier.root());
        }
    }
    frontier.size() == path.covers().end
}
