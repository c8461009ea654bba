//! Konclave's audit ledger: an append-only log that its readers can verify without trusting whoever runs it.
//!
//! Entries are canonical JSON with the hash of their predecessor inside ([`Leaf`]); over them stands an RFC 6962 tree,
//! published in the C2SP formats (tlog-tiles, tlog-checkpoint, tlog-cosignature, tlog-proof), so that foreign
//! verifiers work. Files are the truth ([`Ledger`]); the query index is a cache that may be deleted at any time.
//!
//! What it is not: no HTTP, no async runtime, no clock and no random numbers (times are arguments). It doesn't decide
//! who may append what, and holds no bulk or erasable content, only digests and commitments.

pub mod bundle;
pub mod canonical;
pub mod checkpoint;
pub mod cosignature;
mod draft;
pub mod dsse;
pub mod enrolment;
pub mod frontier;
mod hash;
mod keys;
mod leaf;
mod ledger;
pub mod note;
pub mod openings;
mod origin;
pub mod proof;
pub mod records;
pub mod rotation;
mod signer;
pub mod statements;
pub mod storage;
pub mod tiles;
mod timestamp;
pub mod tlog_proof;
pub mod tree;
pub mod witness;

pub use checkpoint::Checkpoint;
pub use cosignature::Cosignature;
pub use draft::{DraftError, EntryDraft, LEDGER_CREATED};
pub use dsse::Envelope;
pub use hash::{Hash, HashParseError};
pub use keys::{BadSignature, PublicKey, PublicKeyParseError, SigningKey};
pub use leaf::{LEAF_VERSION, Leaf, LeafError, LinkError, MAX_LEAF_BYTES};
pub use ledger::{
    AppendError, CosignError, Damage, ExportError, Exported, Filter, IndexState, KeylessLedger, Leaves,
    Ledger, LedgerOptions, OpenError, Quorum, ReadError, ReserveState, StatementFileError, StorageFailure,
};
pub use note::VerifierKey;
pub use origin::{Origin, OriginError};
pub use proof::{ConsistencyProof, InclusionProof};
pub use signer::{LogSigner, SignerError};
pub use timestamp::{ClockSource, Timestamp, TimestampError};
