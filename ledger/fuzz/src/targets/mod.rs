//! What each target does with its bytes. A panic is a finding: of the crate, or of an assertion here.

mod fixture;
mod folder;
mod input;
mod json;
mod notes;
mod proofs;
mod statements;
mod tiles;
mod witness;

pub use folder::folder;
pub use json::{canonical, leaf, record};
pub use notes::{checkpoint, cosignature, note, texts};
pub use proofs::{consistency, inclusion, tlog_proof};
pub use statements::{envelope, statement};
pub use tiles::{bundle, tiles};
pub use witness::{add_checkpoint, witness, witness_state};

/// A target: its name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: [Target; 18] = [
    ("add_checkpoint", add_checkpoint),
    ("bundle", bundle),
    ("canonical", canonical),
    ("checkpoint", checkpoint),
    ("consistency", consistency),
    ("cosignature", cosignature),
    ("envelope", envelope),
    ("folder", folder),
    ("inclusion", inclusion),
    ("leaf", leaf),
    ("note", note),
    ("record", record),
    ("statement", statement),
    ("texts", texts),
    ("tiles", tiles),
    ("tlog_proof", tlog_proof),
    ("witness", witness),
    ("witness_state", witness_state),
];

/// Inputs made of real messages, from which mutation starts.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "add_checkpoint" => witness::requests(),
        "bundle" => fixture::bundles(),
        "canonical" => [fixture::leaves(), fixture::records(), json::seeds()].concat(),
        "checkpoint" | "note" => fixture::notes(),
        "consistency" | "inclusion" => proofs::seeds(),
        "cosignature" => fixture::cosignatures(),
        "envelope" => fixture::envelopes(),
        "folder" => folder::seeds(),
        "leaf" => fixture::leaves(),
        "record" => fixture::records(),
        "statement" => statements::seeds(),
        "texts" => fixture::texts(),
        "tiles" => fixture::tiles(),
        "tlog_proof" => fixture::receipts(),
        "witness" => witness::seeds(),
        "witness_state" => fixture::witness_states(),
        _ => Vec::new(),
    }
}
