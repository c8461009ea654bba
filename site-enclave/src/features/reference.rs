//! The reference set: structures every site fingerprints to compare its preprocessing with the others'.

use sha2::{Digest as _, Sha256};

use super::{Structure, StructureError};

/// The reference structures, one SMILES per line: public drugs and small molecules chosen for their spread over
/// rings, charges, salts, stereo centres, halogens and unusual elements.
pub const REFERENCE_STRUCTURES: &str = include_str!("reference.smi");

/// Separates this digest from any other use of SHA-256.
const LABEL: &[u8] = b"konclave/v1/reference-features\n";

/// The SHA-256 over the reference structures and their fingerprints.
///
/// Sites whose digests differ would train on different features: another version of the chemistry library or another
/// reference set. MELLODDY partners compared such a hash before each run.
///
/// # Errors
/// [`StructureError`] if a reference structure cannot be fingerprinted, which means that the library is defective.
pub fn reference_digest() -> Result<[u8; 32], StructureError> {
    let mut hash = Sha256::new();
    hash.update(LABEL);
    for smiles in REFERENCE_STRUCTURES.lines().filter(|line| !line.is_empty()) {
        hash.update(smiles.as_bytes());
        hash.update(b"\n");
        hash.update(Structure::read(smiles)?.fingerprint()?.as_bytes());
    }
    Ok(hash.finalize().into())
}
