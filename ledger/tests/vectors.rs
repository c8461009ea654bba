//! The known answers of `ledger/vectors/`, which the Python verifier makes: every positive one is right here too, and
//! every negative one is refused.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use konclave_ledger::canonical::canonical_json;
use konclave_ledger::checkpoint::CheckpointError;
use konclave_ledger::cosignature::Cosignature;
use konclave_ledger::dsse::pre_authentication_encoding;
use konclave_ledger::note::{SignatureType, SignedNote};
use konclave_ledger::proof::ProofError;
use konclave_ledger::tiles::{TileKind, TilePath, tiles_of};
use konclave_ledger::tlog_proof::{TlogProof, TlogProofError};
use konclave_ledger::tree::{Edge, leaf_hash, node_hash};
use konclave_ledger::witness::verify_cosignature;
use konclave_ledger::{
    Checkpoint, ConsistencyProof, Envelope, Hash, InclusionProof, Leaf, PublicKey, VerifierKey, bundle,
};
use serde_json::Value;

struct Vectors {
    positive: Vec<Value>,
    negative: Vec<Value>,
}

fn vectors(name: &str) -> Vectors {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name).with_extension("json");
    let mut cases: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let mut list = |key: &str| match cases[key].take() {
        Value::Array(cases) => cases,
        other => panic!("{key} is {other}"),
    };
    let (positive, negative) = (list("positive"), list("negative"));
    assert!(!positive.is_empty() && negative.len() * 3 >= positive.len() + negative.len(), "{name}");
    Vectors { positive, negative }
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("{field} of {case}"))
}

fn number(case: &Value, field: &str) -> u64 {
    case[field].as_u64().unwrap_or_else(|| panic!("{field} of {case}"))
}

fn bytes_of(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    bytes_of(text(case, field))
}

fn hash(case: &Value, field: &str) -> Hash {
    text(case, field).parse().unwrap()
}

fn hashes(case: &Value) -> Vec<Hash> {
    case["hashes"].as_array().unwrap().iter().map(|hash| hash.as_str().unwrap().parse().unwrap()).collect()
}

fn key(case: &Value, field: &str) -> VerifierKey {
    text(case, field).parse().unwrap()
}

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

#[test]
fn ed25519_signatures() {
    let Vectors { positive, negative } = vectors("signatures");
    let verify = |case: &Value| {
        let key: PublicKey = text(case, "public").parse().unwrap();
        key.verify(&bytes(case, "message"), &bytes(case, "signature"))
    };
    for case in &positive {
        assert_eq!(verify(case), Ok(()), "{case}");
    }
    for case in &negative {
        assert!(verify(case).is_err(), "{case}");
    }
}

#[test]
fn verifier_keys() {
    let Vectors { positive, negative } = vectors("verifier_keys");
    for case in &positive {
        let key = key(case, "vkey");
        let kind = match number(case, "type") {
            1 => SignatureType::Log,
            4 => SignatureType::Cosignature,
            other => panic!("{other}"),
        };
        let public: PublicKey = text(case, "public").parse().unwrap();
        assert_eq!((key.name().as_str(), key.signature_type()), (text(case, "name"), kind));
        assert_eq!((key.public(), key.key_id().to_string().as_str()), (&public, text(case, "id")));
        assert_eq!(key.to_string(), text(case, "vkey"));
    }
    for case in &negative {
        assert!(text(case, "vkey").parse::<VerifierKey>().is_err(), "{case}");
    }
}

#[test]
fn signed_notes() {
    let Vectors { positive, negative } = vectors("notes");
    for case in &positive {
        let note = SignedNote::parse(text(case, "note").as_bytes()).unwrap();
        let found = (note.text.as_str(), note.signatures.len() as u64);
        assert_eq!(found, (text(case, "text"), number(case, "lines")));
        assert_eq!(note.to_string(), text(case, "note"));
    }
    for case in &negative {
        assert!(SignedNote::parse(text(case, "note").as_bytes()).is_err(), "{case}");
    }
}

#[test]
fn checkpoints() {
    let Vectors { positive, negative } = vectors("checkpoints");
    let verify = |case: &Value| -> Result<Checkpoint, CheckpointError> {
        let note =
            case["note"].as_str().map_or_else(|| bytes(case, "note_hex"), |note| note.as_bytes().to_vec());
        Checkpoint::verify(&note, &key(case, "key")).map(|(head, _)| head)
    };
    for case in &positive {
        let head = verify(case).unwrap();
        let found = (head.origin.as_str(), head.size, head.root);
        assert_eq!(found, (text(case, "origin"), number(case, "size"), hash(case, "root")));
    }
    for case in &negative {
        assert!(verify(case).is_err(), "{case}");
    }
}

#[test]
fn cosignatures() {
    let Vectors { positive, negative } = vectors("cosignatures");
    let verify = |case: &Value| -> Option<Cosignature> {
        let checkpoint = Checkpoint::parse_text(text(case, "checkpoint")).unwrap();
        verify_cosignature(text(case, "line"), &checkpoint, &key(case, "key")).ok()
    };
    for case in &positive {
        let time = verify(case).as_ref().map(Cosignature::unix_seconds);
        assert_eq!(time, Some(number(case, "time")), "{case}");
    }
    for case in &negative {
        assert_eq!(verify(case), None, "{case}");
    }
}

#[test]
fn receipts() {
    let Vectors { positive, negative } = vectors("receipts");
    let verify = |case: &Value| -> Result<(TlogProof, u64), TlogProofError> {
        let receipt: TlogProof = text(case, "receipt").parse()?;
        let head = receipt.verify(&bytes(case, "entry"), &key(case, "key"))?;
        Ok((receipt, head.size))
    };
    for case in &positive {
        let (receipt, size) = verify(case).unwrap();
        assert_eq!((receipt.index, size), (number(case, "index"), number(case, "size")));
        assert_eq!(receipt.hashes, hashes(case));
        assert_eq!(receipt.to_string(), text(case, "receipt"));
    }
    for case in &negative {
        assert!(verify(case).is_err(), "{case}");
    }
}

#[test]
fn canonical_texts() {
    let Vectors { positive, negative } = vectors("canonical");
    for case in &positive {
        let value: Value = serde_json::from_str(text(case, "input")).unwrap();
        let canonical = String::from_utf8(canonical_json(&value).unwrap()).unwrap();
        assert_eq!(canonical, text(case, "canonical"));
    }
    for case in &negative {
        let input = text(case, "input");
        let canonical = serde_json::from_str(input).ok().and_then(|value: Value| canonical_json(&value).ok());
        assert_ne!(canonical.as_deref(), Some(input.as_bytes()), "{case}");
    }
}

#[test]
fn leaves() {
    let Vectors { positive, negative } = vectors("leaves");
    for case in &positive {
        let stored = text(case, "stored").as_bytes();
        let leaf = Leaf::parse(stored).unwrap();
        assert_eq!((leaf.seq, leaf.action.as_str()), (number(case, "seq"), text(case, "action")));
        assert_eq!(Hash::of(stored), hash(case, "sha256"));
    }
    for case in &negative {
        assert!(Leaf::parse(text(case, "stored").as_bytes()).is_err(), "{case}");
    }
}

#[test]
fn envelopes() {
    let Vectors { positive, negative } = vectors("envelopes");
    for case in &positive {
        let payload = bytes(case, "payload");
        if text(case, "kind") == "pae" {
            assert_eq!(pre_authentication_encoding(text(case, "type"), &payload), bytes(case, "encoding"));
            continue;
        }
        let envelope = Envelope::parse(text(case, "envelope").as_bytes()).unwrap();
        assert_eq!(envelope.digest(), hash(case, "digest"));
        assert_eq!(envelope.verify(&text(case, "key").parse().unwrap()), Ok(payload));
    }
    for case in &negative {
        let key: PublicKey = text(case, "key").parse().unwrap();
        let read = Envelope::parse(text(case, "envelope").as_bytes());
        assert!(read.and_then(|envelope| envelope.verify(&key)).is_err(), "{case}");
    }
}

/// The files are the ones that the Python side makes: nobody edited them to fit the Rust code.
#[test]
fn the_files_are_those_that_the_python_side_makes() {
    let generator = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/generate.py");
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let made = Command::new(python).arg(generator).arg("--check").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
