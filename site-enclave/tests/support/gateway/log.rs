//! The gateway's ledger in memory: real leaves, real heads, real proofs.

use std::convert::Infallible;

use konclave_ledger::canonical::canonical_json;
use konclave_ledger::checkpoint::Checkpoint;
use konclave_ledger::proof::{ConsistencyProof, InclusionProof, Subtrees};
use konclave_ledger::records::Record;
use konclave_ledger::tree::{leaf_hash, root_of};
use konclave_ledger::{ClockSource, Hash, Leaf, Origin};
use konclave_openapi::ledger::EntryView;

#[derive(Default)]
pub struct Log {
    leaves: Vec<(Leaf, Vec<u8>)>,
}

impl Log {
    pub fn origin() -> Origin {
        "ledger.example".parse().unwrap()
    }

    pub fn append(&mut self, object: &str, record: &Record) {
        let leaf = Leaf {
            v: 1,
            origin: Self::origin(),
            seq: self.leaves.len() as u64,
            prev: self.leaves.last().map_or(Hash::ZERO, |(_, bytes)| Hash::of(bytes)),
            time: "2026-01-01T00:00:00.000Z".into(),
            clock: ClockSource::Simulated,
            software: "test".into(),
            actor: "gateway".into(),
            role: "gateway".into(),
            site: None,
            action: record.action().into(),
            object: object.into(),
            old: None,
            new: None,
            reason: "a test".into(),
            request_id: "request-1".into(),
            policy: None,
            commitments: Vec::new(),
            statement: None,
            record: (&record.to_value().unwrap()).try_into().unwrap(),
        };
        let bytes = canonical_json(&serde_json::to_value(&leaf).unwrap()).unwrap();
        self.leaves.push((leaf, bytes));
    }

    pub fn head(&self) -> Checkpoint {
        let hashes: Vec<Hash> = self.leaves.iter().map(|(_, bytes)| leaf_hash(bytes)).collect();
        Checkpoint { origin: Self::origin(), size: hashes.len() as u64, root: root_of(&hashes) }
    }

    pub fn entries(&self, object: Option<&String>, action: Option<&String>) -> Vec<EntryView> {
        let wanted = |leaf: &Leaf| {
            object.is_none_or(|object| leaf.object == *object)
                && action.is_none_or(|action| leaf.action == *action)
        };
        let found = self.leaves.iter().filter(|(leaf, _)| wanted(leaf));
        found
            .map(|(leaf, bytes)| EntryView {
                index: leaf.seq,
                leaf_hash: leaf_hash(bytes),
                leaf: String::from_utf8(bytes.clone()).unwrap(),
                corrected_by: Vec::new(),
                proof: None,
            })
            .collect()
    }

    pub fn inclusion(&self, index: u64, size: u64) -> Vec<Hash> {
        let Ok(proof) = InclusionProof::build(self, index, size);
        proof.hashes
    }

    pub fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
        let Ok(proof) = ConsistencyProof::build(self, old, new);
        proof.hashes
    }
}

impl Subtrees for Log {
    type Error = Infallible;

    fn subtree(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
        let (from, count) = (usize::try_from(index << level).unwrap(), 1 << level);
        let hashes: Vec<Hash> =
            self.leaves[from..from + count].iter().map(|(_, bytes)| leaf_hash(bytes)).collect();
        Ok(root_of(&hashes))
    }
}
