//! Morgan fingerprints that agree with RDKit's.

use std::fmt;

use chematic_fp::{RdkitMorganError, rdkit_morgan_ecfp4_bitvec};
use chematic_smiles::parser::Molecule;

/// Bits of a fingerprint: the models' input width.
pub const FINGERPRINT_BITS: usize = 2_048;

/// Bytes of a fingerprint.
const BYTES: usize = FINGERPRINT_BITS / 8;

/// A folded Morgan fingerprint (radius 2, 2,048 bits, no chirality), equal to RDKit's
/// `GetMorganFingerprintAsBitVect(molecule, 2, 2048)`.
///
/// Source: Rogers and Hahn, J. Chem. Inf. Model. 50 (2010) 742. Debug output shows only the number of bits: a
/// fingerprint tells a lot about its molecule.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; BYTES]);

impl Fingerprint {
    pub(super) fn of(molecule: &Molecule) -> Result<Self, RdkitMorganError> {
        Ok(Self(rdkit_morgan_ecfp4_bitvec(molecule)?.to_le_bytes()))
    }

    /// The bits in bytes, lowest bit first.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// The positions of the bits that are set, ascending.
    pub fn set_bits(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(index, byte)| {
            (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| index * 8 + bit)
        })
    }

    /// Writes 1 for each set bit into a row of zeros.
    pub fn write_row(&self, row: &mut [f32; FINGERPRINT_BITS]) {
        for bit in self.set_bits() {
            if let Some(cell) = row.get_mut(bit) {
                *cell = 1.0;
            }
        }
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({} bits set)", self.set_bits().count())
    }
}
