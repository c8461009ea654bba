//! The ledger.

mod errors;
mod filter;

use std::ops::Range;
use std::path::Path;

pub use errors::{AppendError, CosignError, OpenError, ReadError};
pub use filter::Filter;

use crate::checkpoint::Checkpoint;
use crate::draft::EntryDraft;
use crate::dsse::Envelope;
use crate::hash::Hash;
use crate::keys::SigningKey;
use crate::leaf::Leaf;
use crate::note::VerifierKey;
use crate::origin::Origin;
use crate::proof::{ConsistencyProof, InclusionProof};
use crate::timestamp::Timestamp;

/// What a ledger needs to know besides its folder.
#[derive(Debug)]
pub struct LedgerOptions {
    /// The log's name.
    pub origin: Origin,
    /// The key that signs checkpoints.
    pub signer: SigningKey,
    /// Name and version of the software, written into every entry.
    pub software: String,
    /// Whether to keep a query index; without one, queries read the entries.
    pub index: bool,
}

/// An open ledger: the single writer of its folder.
#[derive(Debug)]
pub struct Ledger {
    head: Checkpoint,
}

/// Entries in order; see [`Ledger::leaves`].
#[derive(Debug)]
pub struct Leaves<'a> {
    ledger: &'a Ledger,
    range: Range<u64>,
}

impl Iterator for Leaves<'_> {
    type Item = Result<Leaf, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = &self.ledger;
        self.range.next().map(|_| todo!())
    }
}

impl Ledger {
    /// Opens or creates.
    pub fn open(_dir: &Path, _options: LedgerOptions) -> Result<Self, OpenError> {
        todo!()
    }
    /// Appends; durable on return.
    pub fn append(&mut self, _drafts: Vec<EntryDraft>, _now: Timestamp) -> Result<Vec<u64>, AppendError> {
        todo!()
    }
    /// Head.
    pub fn head(&self) -> Checkpoint {
        self.head.clone()
    }
    /// Note.
    pub fn checkpoint_note(&self) -> String {
        todo!()
    }
    /// Key.
    pub fn verifier_key(&self) -> VerifierKey {
        todo!()
    }
    /// One entry.
    pub fn leaf(&self, _index: u64) -> Result<Option<Leaf>, ReadError> {
        todo!()
    }
    /// Stored bytes.
    pub fn leaf_bytes(&self, _index: u64) -> Result<Option<Vec<u8>>, ReadError> {
        todo!()
    }
    /// Entries.
    pub fn leaves(&self, range: Range<u64>) -> Leaves<'_> {
        Leaves { ledger: self, range }
    }
    /// Inclusion.
    pub fn inclusion_proof(&self, _index: u64, _size: u64) -> Result<InclusionProof, ReadError> {
        todo!()
    }
    /// Consistency.
    pub fn consistency_proof(&self, _old: u64, _new: u64) -> Result<ConsistencyProof, ReadError> {
        todo!()
    }
    /// C2SP tlog-proof text.
    pub fn receipt(&self, _index: u64) -> Result<String, ReadError> {
        todo!()
    }
    /// Adds a cosignature line.
    pub fn add_cosignature(&mut self, _line: &str) -> Result<Origin, CosignError> {
        todo!()
    }
    /// Query.
    pub fn query(&self, _filter: &Filter, _after: Option<u64>, _limit: usize) -> Result<Vec<u64>, ReadError> {
        todo!()
    }
    /// Static.
    pub fn static_file(&self, _path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        todo!()
    }
    /// Statement.
    pub fn put_statement(&mut self, _statement: &Envelope) -> Result<Hash, AppendError> {
        todo!()
    }
    /// Statement.
    pub fn get_statement(&self, _digest: &Hash) -> Result<Option<Envelope>, ReadError> {
        todo!()
    }
    /// Export.
    pub fn export(&self, _dest: &Path) -> Result<(), ReadError> {
        todo!()
    }
}
