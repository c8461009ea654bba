//! Reading a SMILES text into a molecule, without trusting it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chematic_smiles::parser::Molecule;
use chematic_smiles::{SmilesParseLimits, parse_with_limits, rdkit_detect_chemistry_problems};

use super::{Fingerprint, ScaffoldKey};

/// Longest SMILES text that is read, in bytes: room for a peptide of 150 residues.
const MAX_SMILES_BYTES: usize = 8_192;

/// Most atoms of a molecule.
const MAX_ATOMS: usize = 2_000;

/// A molecule read from a SMILES text.
pub struct Structure(Molecule);

/// Shows the size only: structures must not end up in logs.
impl std::fmt::Debug for Structure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Structure({} atoms)", self.0.atom_count())
    }
}

/// Why a structure cannot be used. The text itself is not repeated: it is the site's secret and the row number
/// identifies it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StructureError {
    /// No text.
    #[error("the structure is empty")]
    Empty,
    /// Too long to be a small molecule.
    #[error("the structure is {bytes} bytes long, at most {MAX_SMILES_BYTES} are read")]
    TooLong {
        /// The text's length.
        bytes: usize,
    },
    /// Not SMILES.
    #[error("the structure is not valid SMILES: {0}")]
    Smiles(String),
    /// SMILES, but of a molecule that RDKit refuses: an impossible valence or aromatic system.
    #[error("the structure is chemically impossible: {0}")]
    Chemistry(String),
    /// No fingerprint.
    #[error("no fingerprint can be computed: {0}")]
    Fingerprint(String),
    /// A defect of the chemistry library, contained here.
    #[error("the chemistry library failed on this structure: please report it")]
    Library,
}

impl Structure {
    /// Reads a SMILES text.
    ///
    /// # Errors
    /// [`StructureError`] for texts that are not a molecule; never panics.
    pub fn read(smiles: &str) -> Result<Self, StructureError> {
        let smiles = smiles.trim();
        if smiles.is_empty() {
            return Err(StructureError::Empty);
        }
        if smiles.len() > MAX_SMILES_BYTES {
            return Err(StructureError::TooLong { bytes: smiles.len() });
        }
        let limits = SmilesParseLimits {
            max_input_bytes: MAX_SMILES_BYTES,
            max_atoms: MAX_ATOMS,
            max_bonds: 2 * MAX_ATOMS,
        };
        let molecule = contained(|| parse_with_limits(smiles, &limits))?
            .map_err(|error| StructureError::Smiles(error.to_string()))?;
        let problems = contained(|| rdkit_detect_chemistry_problems(&molecule))?
            .map_err(|error| StructureError::Chemistry(error.to_string()))?;
        match problems.first() {
            Some(problem) => Err(StructureError::Chemistry(problem.message.clone())),
            None => Ok(Self(molecule)),
        }
    }

    /// The fingerprint.
    ///
    /// # Errors
    /// [`StructureError::Fingerprint`] where RDKit's preparation of the molecule has no answer.
    pub fn fingerprint(&self) -> Result<Fingerprint, StructureError> {
        contained(|| Fingerprint::of(&self.0))?
            .map_err(|error| StructureError::Fingerprint(error.to_string()))
    }

    /// The ring framework by which molecules are split into groups.
    #[must_use]
    pub fn scaffold(&self) -> ScaffoldKey {
        ScaffoldKey::of(&self.0)
    }
}

/// Runs the chemistry library so that a defect in it spoils one row and not the process.
fn contained<T>(work: impl FnOnce() -> T) -> Result<T, StructureError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| StructureError::Library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_not_molecules_are_refused() {
        assert_eq!(Structure::read("  ").unwrap_err(), StructureError::Empty);
        assert_eq!(
            Structure::read(&"C".repeat(9_000)).unwrap_err(),
            StructureError::TooLong { bytes: 9_000 }
        );
        for text in ["C1CC", "C(", "[Xx]", "not a molecule", "c1ccccc1)", "\u{0}", "C=1=C", "%%%", "[", "]"] {
            assert!(matches!(Structure::read(text), Err(StructureError::Smiles(_))), "{text:?} was read");
        }
        for text in ["c1cccc1", "C(C)(C)(C)(C)C", "CN(C)(C)(C)C"] {
            assert!(matches!(Structure::read(text), Err(StructureError::Chemistry(_))), "{text:?} was read");
        }
    }

    #[test]
    fn deep_nesting_does_not_exhaust_the_stack() {
        let text = format!("C{}{}", "(C".repeat(2_500), ")".repeat(2_500));
        assert!(Structure::read(&text).is_err());
    }

    #[test]
    fn errors_do_not_repeat_the_structure() {
        let error = Structure::read("CCOC(=O)c1ccccc").unwrap_err().to_string();
        assert!(!error.contains("CCOC"), "{error}");
    }

    #[test]
    fn random_texts_never_panic() {
        use rand_chacha::rand_core::{Rng, SeedableRng};
        let mut random = rand_chacha::ChaCha12Rng::seed_from_u64(7);
        let alphabet: Vec<char> = "CNOcnos()[]=#@+-123%/\\.BrClH*:$".chars().collect();
        for _ in 0..3_000 {
            let length = usize::try_from(random.next_u32() % 40).unwrap();
            let text: String = (0..length)
                .map(|_| alphabet[usize::try_from(random.next_u32()).unwrap() % alphabet.len()])
                .collect();
            if let Ok(structure) = Structure::read(&text) {
                let _ = structure.fingerprint();
                let _ = structure.scaffold();
            }
        }
    }
}
