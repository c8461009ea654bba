//! Many entries and proofs at once, for pages and exports: each bundle and each tile is read once.

use super::Ledger;
use super::errors::ReadError;
use crate::proof::InclusionProof;
use crate::tiles::TILE_WIDTH;

impl Ledger {
    /// The stored bytes of the entries with these ascending indexes.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] if an index is beyond the head or not larger than the one before it; otherwise if a file
    /// can't be read or is damaged.
    pub fn stored_entries(&self, indexes: &[u64]) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut found = Vec::with_capacity(indexes.len());
        for group in indexes.chunk_by(|one, next| one / TILE_WIDTH == next / TILE_WIDTH) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
            let mut entries = (*first..).zip(std::iter::from_fn({
                let mut leaves = self.leaves(*first..last.saturating_add(1));
                move || leaves.next_stored()
            }));
            for index in group {
                let entry = entries.find(|(at, _)| at == index).map(|(_, stored)| stored);
                found.push(entry.ok_or(ReadError::OutOfRange { asked: *index, size: self.tail.size() })??);
            }
        }
        Ok(found)
    }

    /// The proofs that the entries with these indexes are in the tree of the first `size` entries.
    ///
    /// # Errors
    /// As for [`Ledger::inclusion_proof`].
    pub fn inclusion_proofs(&self, indexes: &[u64], size: u64) -> Result<Vec<InclusionProof>, ReadError> {
        self.has_size(size)?;
        let hashes = self.tile_hashes();
        let proof = |index: &u64| {
            if *index >= size {
                return Err(ReadError::OutOfRange { asked: *index, size });
            }
            InclusionProof::build(&hashes, *index, size)
        };
        indexes.iter().map(proof).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::EntryDraft;
    use crate::keys::SigningKey;
    use crate::ledger::LedgerOptions;
    use crate::timestamp::Timestamp;
    use crate::tree::leaf_hash;

    fn filled(folder: &std::path::Path, entries: u64) -> Ledger {
        let options = LedgerOptions {
            origin: "konclave.example/ledger".parse().unwrap(),
            signer: Box::new(SigningKey::from_seed(&[1; 32])),
            software: "konclave/0".into(),
            index: false,
            reserve_bytes: 0,
            seen: None,
        };
        let mut ledger = Ledger::open(folder, options).unwrap();
        let draft = |number: u64| EntryDraft {
            actor: "a".into(),
            role: "r".into(),
            action: "x".into(),
            object: format!("o/{number}"),
            reason: "because".into(),
            request_id: "q".into(),
            record: serde_json::json!({}),
            ..EntryDraft::default()
        };
        ledger.append((0..entries).map(draft).collect(), Timestamp::from_unix_seconds(1).unwrap()).unwrap();
        ledger
    }

    #[test]
    fn gives_what_single_reads_give() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = filled(folder.path(), 600);
        let indexes = [0, 1, 7, 255, 256, 300, 512, 598, 599];
        let stored = ledger.stored_entries(&indexes).unwrap();
        let proofs = ledger.inclusion_proofs(&indexes, 599 + 1).unwrap();
        let root = ledger.head().root;
        for ((index, stored), proof) in indexes.iter().zip(stored).zip(proofs) {
            assert_eq!(Some(&stored), ledger.leaf_bytes(*index).unwrap().as_ref());
            proof.verify(&leaf_hash(&stored), &root).unwrap();
        }
        assert!(ledger.stored_entries(&[]).unwrap().is_empty());
        for bad in [&[600][..], &[3, 3], &[4, 3], &[599, 600]] {
            let refused = ledger.stored_entries(bad).unwrap_err();
            assert!(matches!(refused, ReadError::OutOfRange { .. }), "{bad:?}: {refused}");
        }
        assert!(ledger.inclusion_proofs(&[300], 300).is_err() && ledger.inclusion_proofs(&[0], 601).is_err());
    }
}
