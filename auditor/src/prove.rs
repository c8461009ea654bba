//! Making a receipt for one entry from files alone (C2SP tlog-proof).

use konclave_ledger::enrolment::published_log_key;
use konclave_ledger::proof::Subtrees;
use konclave_ledger::tiles::{TILE_WIDTH, TileKind, TilePath, decode_hashes};
use konclave_ledger::tlog_proof::TlogProof;
use konclave_ledger::tree::root_of;
use konclave_ledger::{Hash, InclusionProof, VerifierKey};

use crate::folder::{AuditError, Folder};
use crate::show::{head, show};

/// Makes the receipt for entry `index` and checks it with `key`, or with the key that the log itself publishes. The
/// second value says whether it holds; if not, the files were changed.
///
/// # Errors
/// [`AuditError`] if there is no such entry, no key or no readable file.
pub fn prove(folder: &Folder, index: u64, key: Option<VerifierKey>) -> Result<(TlogProof, bool), AuditError> {
    let (checkpoint, note) = head(folder)?.ok_or(AuditError::NoEntry { index, size: 0 })?;
    let size = checkpoint.size;
    if index >= size {
        return Err(AuditError::NoEntry { index, size });
    }
    let stored = show(folder, index)?.stored;
    let key = match key {
        Some(key) => key,
        None => show(folder, 0)?.leaf.as_ref().and_then(published_log_key).ok_or(AuditError::NoKey)?,
    };
    let hashes = InclusionProof::build(&TileFiles { folder, size }, index, size)?.hashes;
    let receipt = TlogProof { index, hashes, checkpoint: note };
    let holds = receipt.verify(&stored, &key).is_ok();
    Ok((receipt, holds))
}

struct TileFiles<'a> {
    folder: &'a Folder,
    size: u64,
}

impl Subtrees for TileFiles<'_> {
    type Error = AuditError;

    fn subtree(&self, level: u32, index: u64) -> Result<Hash, AuditError> {
        let missing = || AuditError::NoEntry { index: index << level, size: self.size };
        let kind = TileKind::Hashes { level: u8::try_from(level / 8).map_err(|_| missing())? };
        let first = index << (level % 8);
        let path = TilePath::in_log(kind, first / TILE_WIDTH, self.size).ok_or_else(missing)?;
        let bytes = self.folder.read(&path.to_string())?.ok_or_else(missing)?;
        let start = usize::try_from(first % TILE_WIDTH).map_err(|_| missing())?;
        let hashes = decode_hashes(&bytes).ok_or_else(missing)?;
        Ok(root_of(hashes.get(start..start + (1 << (level % 8))).ok_or_else(missing)?))
    }
}
