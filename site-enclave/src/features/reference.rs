//! The reference set: structures every site fingerprints to compare its preprocessing with the others'.

use konclave_crypto::Digest;

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
pub fn reference_digest() -> Result<Digest, StructureError> {
    let mut bytes = LABEL.to_vec();
    for smiles in REFERENCE_STRUCTURES.lines().filter(|line| !line.is_empty()) {
        bytes.extend_from_slice(smiles.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(Structure::read(smiles)?.fingerprint()?.as_bytes());
    }
    Ok(Digest::of(&bytes))
}
