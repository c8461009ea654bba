//! Ring frameworks, to split molecules so that near relatives stay together.

use std::collections::{BTreeMap, BTreeSet};

use chematic_smiles::parser::Molecule;
use sha2::{Digest as _, Sha256};

/// A key that molecules with the same ring framework share.
///
/// The framework follows Bemis and Murcko (J. Med. Chem. 39 (1996) 2887): rings and the chains between them, found by
/// removing end atoms until none is left. Atoms are compared by element and bonds are not typed, so that Kekulé and
/// aromatic spellings and tautomers of a compound share a key; the key is therefore coarser than RDKit's Murcko
/// scaffold and never finer. A molecule without rings has no framework; its key is that of its whole graph.
///
/// Equality is decided by Weisfeiler-Lehman refinement: different frameworks may share a key in rare cases, which only
/// puts them into one group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScaffoldKey([u8; 16]);

impl ScaffoldKey {
    pub(super) fn of(molecule: &Molecule) -> Self {
        let graph = Graph::of(molecule);
        let core = graph.core();
        let kept = if core.is_empty() { graph.elements.keys().copied().collect() } else { core };
        Self(graph.refined(&kept))
    }
}

/// Heavy atoms and their neighbours.
struct Graph {
    elements: BTreeMap<u32, u8>,
    neighbours: BTreeMap<u32, BTreeSet<u32>>,
}

impl Graph {
    fn of(molecule: &Molecule) -> Self {
        let elements: BTreeMap<u32, u8> = molecule
            .atoms()
            .map(|(index, atom)| (index.0, atom.element.atomic_number()))
            .filter(|(_, element)| *element != 1)
            .collect();
        let mut neighbours: BTreeMap<u32, BTreeSet<u32>> =
            elements.keys().map(|index| (*index, BTreeSet::new())).collect();
        for (_, bond) in molecule.bonds() {
            let (one, other) = (bond.atom1.0, bond.atom2.0);
            if elements.contains_key(&one) && elements.contains_key(&other) {
                neighbours.entry(one).or_default().insert(other);
                neighbours.entry(other).or_default().insert(one);
            }
        }
        Self { elements, neighbours }
    }

    /// The atoms left after removing end atoms until none is left.
    fn core(&self) -> BTreeSet<u32> {
        let mut degrees: BTreeMap<u32, usize> =
            self.neighbours.iter().map(|(atom, around)| (*atom, around.len())).collect();
        let mut ends: Vec<u32> =
            degrees.iter().filter(|(_, degree)| **degree < 2).map(|(atom, _)| *atom).collect();
        while let Some(end) = ends.pop() {
            if degrees.remove(&end).is_none() {
                continue;
            }
            for neighbour in self.neighbours.get(&end).into_iter().flatten() {
                if let Some(degree) = degrees.get_mut(neighbour) {
                    *degree = degree.saturating_sub(1);
                    if *degree < 2 {
                        ends.push(*neighbour);
                    }
                }
            }
        }
        degrees.into_keys().collect()
    }

    /// A digest of the kept subgraph that does not depend on the atoms' order: each atom's label is replaced by the
    /// digest of itself and its neighbours' labels, as often as a path through the largest fused system is long.
    fn refined(&self, kept: &BTreeSet<u32>) -> [u8; 16] {
        const ROUNDS: usize = 12;
        let mut labels: BTreeMap<u32, [u8; 16]> = kept
            .iter()
            .map(|atom| (*atom, digest([[self.elements.get(atom).copied().unwrap_or(0)].as_slice()])))
            .collect();
        for _ in 0..ROUNDS {
            labels = labels
                .iter()
                .map(|(atom, own)| {
                    let mut around: Vec<[u8; 16]> = self
                        .neighbours
                        .get(atom)
                        .into_iter()
                        .flatten()
                        .filter_map(|neighbour| labels.get(neighbour).copied())
                        .collect();
                    around.sort_unstable();
                    let parts =
                        std::iter::once(own.as_slice()).chain(around.iter().map(<[u8; 16]>::as_slice));
                    (*atom, digest(parts))
                })
                .collect();
        }
        let mut all: Vec<[u8; 16]> = labels.into_values().collect();
        all.sort_unstable();
        digest(all.iter().map(<[u8; 16]>::as_slice))
    }
}

/// The first half of SHA-256 over the parts.
fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let whole: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
    half
}

#[cfg(test)]
mod tests {
    use crate::features::{ScaffoldKey, Structure};

    fn key(smiles: &str) -> ScaffoldKey {
        Structure::read(smiles).unwrap().scaffold()
    }

    #[test]
    fn substituents_and_spelling_do_not_change_the_key() {
        let benzene = key("c1ccccc1");
        for same in
            ["Cc1ccccc1", "C1=CC=CC=C1O", "OC(=O)c1ccccc1Cl", "[Na+].[O-]C(=O)c1ccccc1", "[H]c1ccccc1"]
        {
            assert_eq!(key(same), benzene, "{same}");
        }
        assert_eq!(key("CC(=O)Nc1ccc2ccccc2c1"), key("C1=CC2=CC=CC=C2C=C1"));
    }

    #[test]
    fn other_frameworks_have_other_keys() {
        let keys = [
            "c1ccccc1",
            "c1ccncc1",
            "c1ccc2ccccc2c1",
            "c1ccc(cc1)c1ccccc1",
            "c1ccc(cc1)Cc1ccccc1",
            "C1CCCC1",
            "c1ccc(cc1)CCc1ccccc1",
        ];
        let distinct: std::collections::BTreeSet<_> = keys.iter().map(|smiles| key(smiles)).collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn molecules_without_rings_are_keyed_by_their_graph() {
        assert_eq!(key("CCCO"), key("OCCC"));
        assert_ne!(key("CCCO"), key("CCCCO"));
        assert_eq!(key("[H]OCC"), key("CCO"));
    }
}
