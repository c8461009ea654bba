//! Fingerprints against RDKit's own answers, made with `tests/vectors/make_ecfp4.py`.

#![expect(clippy::expect_used, reason = "a test stops at the first surprise")]

use konclave_site::features::{FINGERPRINT_BITS, REFERENCE_STRUCTURES, Structure, reference_digest};
use serde::Deserialize;

/// The reference digest of this version; a change means that no site of the previous version can take part with this one.
const REFERENCE_DIGEST: &str = "3b64c27ccf45fbaf6fd7b8f110dc673320ca54b336607988394493557d9df527";

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
    refused: Vec<String>,
}

#[derive(Deserialize)]
struct Vector {
    smiles: String,
    bits: Vec<usize>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors/ecfp4.json")).expect("the committed vectors are valid")
}

#[test]
fn fingerprints_equal_those_of_rdkit() {
    let vectors = vectors().vectors;
    assert!(vectors.len() > 90);
    for Vector { smiles, bits } in vectors {
        let fingerprint = Structure::read(&smiles).and_then(|structure| structure.fingerprint());
        let fingerprint = fingerprint.unwrap_or_else(|error| panic!("{smiles}: {error}"));
        assert_eq!(fingerprint.set_bits().collect::<Vec<_>>(), bits, "{smiles}");
    }
}

#[test]
fn the_reference_set_is_among_the_vectors() {
    let known: Vec<String> = vectors().vectors.into_iter().map(|vector| vector.smiles).collect();
    for smiles in REFERENCE_STRUCTURES.lines() {
        assert!(known.iter().any(|vector| vector == smiles), "{smiles} has no vector: make them anew");
    }
}

#[test]
fn what_rdkit_refuses_has_no_fingerprint() {
    for smiles in vectors().refused {
        let result = Structure::read(&smiles).and_then(|structure| structure.fingerprint());
        assert!(result.is_err(), "{smiles} got a fingerprint, RDKit refuses it");
    }
}

#[test]
fn rows_for_models_hold_ones_at_the_set_bits() {
    let fingerprint = Structure::read("CCO").unwrap().fingerprint().unwrap();
    let mut row = [0.0; FINGERPRINT_BITS];
    fingerprint.write_row(&mut row);
    let ones: Vec<usize> =
        row.iter().enumerate().filter(|(_, cell)| **cell == 1.0).map(|(index, _)| index).collect();
    assert_eq!(ones, fingerprint.set_bits().collect::<Vec<_>>());
    assert_eq!(row.iter().filter(|cell| **cell == 0.0).count(), FINGERPRINT_BITS - ones.len());
}

#[test]
fn the_reference_digest_has_not_changed_by_accident() {
    assert_eq!(reference_digest().unwrap().to_string(), REFERENCE_DIGEST);
}
