//! From structures to features: fingerprints, scaffold keys and the digest that sites compare.
//!
//! [`Fingerprint`] is RDKit's Morgan fingerprint of radius 2 with 2,048 bits (ECFP4), bit for bit, computed in Rust.
//! [`ScaffoldKey`] groups molecules by ring framework for splitting. [`reference_digest`] lets sites check that
//! they compute the same features before a job starts.
//!
//! Not here: standardisation of structures (salts, charges, tautomers): the standard format's parent structure is
//! taken as it is written.

mod fingerprint;
mod reference;
mod scaffold;
mod structure;

pub use fingerprint::{FINGERPRINT_BITS, Fingerprint};
pub use reference::{REFERENCE_STRUCTURES, reference_digest};
pub use scaffold::ScaffoldKey;
pub use structure::{Structure, StructureError};
