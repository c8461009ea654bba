//! Making a receipt for one entry from files alone (C2SP tlog-proof).

use konclave_ledger::tlog_proof::TlogProof;
use konclave_ledger::{InclusionProof, VerifierKey};

use crate::folder::{AuditError, Folder};
use crate::log_keys::LogIdentity;
use crate::show::{head, show};
use crate::subtrees::TileFiles;

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
        None => {
            LogIdentity::read(folder, size, None, None)?.key_at(size, &note)?.ok_or(AuditError::NoKey)?.key
        }
    };
    let hashes = InclusionProof::build(&TileFiles::new(folder, size), index, size)?.hashes;
    let receipt = TlogProof { index, hashes, checkpoint: note };
    let holds = receipt.verify(&stored, &key).is_ok();
    Ok((receipt, holds))
}
