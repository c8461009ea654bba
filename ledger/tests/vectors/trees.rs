//! Hashes, proofs, tiles and bundles.

use konclave_ledger::proof::ProofError;
use konclave_ledger::tiles::{TileKind, TilePath, tiles_of};
use konclave_ledger::tree::{Edge, leaf_hash, node_hash};
use konclave_ledger::{ConsistencyProof, Hash, InclusionProof, bundle};
use serde_json::Value;

use super::{Vectors, bytes, bytes_of, hash, hashes, number, text, vectors};

/// The roots of the trees of every size up to the largest in the vectors; leaf `i` is the text `leaf i`.
fn roots() -> Vec<Hash> {
    let mut edge = Edge::default();
    let mut roots = vec![edge.root()];
    for index in 0..65_537 {
        edge.push(leaf_hash(format!("leaf {index}").as_bytes()));
        roots.push(edge.root());
    }
    roots
}

#[test]
fn leaf_node_and_root_hashes() {
    let Vectors { positive, negative } = vectors("tree");
    let roots = roots();
    let computed = |case: &Value| match text(case, "kind") {
        "leaf" => leaf_hash(&bytes(case, "content")),
        "node" => node_hash(&hash(case, "left"), &hash(case, "right")),
        "root" => roots[usize::try_from(number(case, "size")).unwrap()],
        other => panic!("{other}"),
    };
    for case in &positive {
        assert_eq!(computed(case), hash(case, "hash"), "{case}");
    }
    for case in &negative {
        assert_ne!(computed(case), hash(case, "hash"), "{case}");
    }
}

#[test]
fn inclusion_proofs() {
    let Vectors { positive, negative } = vectors("inclusion");
    let verify = |case: &Value| -> Result<(), ProofError> {
        let proof =
            InclusionProof { index: number(case, "index"), size: number(case, "size"), hashes: hashes(case) };
        proof.verify(&hash(case, "leaf"), &hash(case, "root"))
    };
    for case in &positive {
        assert_eq!(verify(case), Ok(()), "{case}");
    }
    for case in &negative {
        assert!(verify(case).is_err(), "{case}");
    }
}

#[test]
fn consistency_proofs() {
    let Vectors { positive, negative } = vectors("consistency");
    let verify = |case: &Value| -> Result<(), ProofError> {
        let proof = ConsistencyProof {
            old_size: number(case, "old_size"),
            new_size: number(case, "new_size"),
            hashes: hashes(case),
        };
        proof.verify(&hash(case, "old_root"), &hash(case, "new_root"))
    };
    for case in &positive {
        assert_eq!(verify(case), Ok(()), "{case}");
    }
    for case in &negative {
        assert!(verify(case).is_err(), "{case}");
    }
}

#[test]
fn tile_paths_and_the_files_of_a_log() {
    let Vectors { positive, negative } = vectors("tiles");
    let level = |kind: TileKind| match kind {
        TileKind::Entries => "entries".to_owned(),
        TileKind::Hashes { level } => level.to_string(),
    };
    for case in &positive {
        if text(case, "kind") == "path" {
            let tile: TilePath = text(case, "path").parse().unwrap();
            let found = (level(tile.kind()), tile.index(), u64::from(tile.width()));
            assert_eq!(found, (text(case, "level").to_owned(), number(case, "index"), number(case, "width")));
            assert_eq!(tile.to_string(), text(case, "path"));
            continue;
        }
        let (full, partial): (Vec<_>, Vec<_>) =
            tiles_of(number(case, "size")).partition(|tile: &TilePath| tile.is_full());
        let partial: Vec<Value> = partial.iter().map(|tile| tile.to_string().into()).collect();
        assert_eq!(case["partial"], Value::Array(partial), "{case}");
        let counted = case["full"].as_object().unwrap();
        assert_eq!(counted.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), full.len() as u64);
        for (name, count) in counted {
            let of_level = full.iter().filter(|tile| level(tile.kind()) == *name).count();
            assert_eq!(count.as_u64(), Some(of_level as u64), "{case}");
        }
    }
    for case in &negative {
        assert!(text(case, "path").parse::<TilePath>().is_err(), "{case}");
    }
}

#[test]
fn entry_bundles() {
    let Vectors { positive, negative } = vectors("bundles");
    for case in &positive {
        let entries: Vec<Vec<u8>> = case["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| bytes_of(entry.as_str().unwrap()))
            .collect();
        let stored = bytes(case, "bundle");
        let read: Vec<&[u8]> = bundle::entries(&stored).map(Result::unwrap).collect();
        assert_eq!(read, entries);
        let mut again = Vec::new();
        entries.iter().for_each(|entry| bundle::push(&mut again, entry));
        assert_eq!(again, stored);
    }
    for case in &negative {
        let stored = bytes(case, "bundle");
        let cut = bundle::entries(&stored).find_map(Result::err).unwrap();
        assert_eq!(cut.position as u64, number(case, "position"), "{case}");
    }
}
