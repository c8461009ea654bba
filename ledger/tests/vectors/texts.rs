//! Keys, notes, checkpoints, cosignatures, receipts and requests to witnesses.

use konclave_ledger::checkpoint::CheckpointError;
use konclave_ledger::cosignature::Cosignature;
use konclave_ledger::note::{SignatureType, SignedNote};
use konclave_ledger::tlog_proof::{TlogProof, TlogProofError};
use konclave_ledger::witness::{AddCheckpoint, WitnessState, verify_cosignature};
use konclave_ledger::{Checkpoint, PublicKey, VerifierKey};
use serde_json::Value;

use super::{Vectors, bytes, hash, hashes, key, number, text, vectors};

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
fn add_checkpoint_requests() {
    let Vectors { positive, negative } = vectors("witness_requests");
    let advance = |case: &Value| -> Option<u64> {
        let request: AddCheckpoint = text(case, "request").parse().ok()?;
        assert_eq!(request.to_string(), text(case, "request"));
        let key = key(case, "key");
        // As a witness stores what it has seen.
        let (size, root) = (number(case, "seen"), text(case, "seen_root"));
        let seen = format!(r#"{{"version":1,"origin":"{}","size":{size},"root":"{root}"}}"#, key.name());
        let seen = WitnessState::from_bytes(seen.as_bytes()).unwrap();
        Some(seen.add_checkpoint(&request, &key).ok()?.head().size)
    };
    for case in &positive {
        assert_eq!(advance(case), Some(number(case, "size")), "{case}");
    }
    for case in &negative {
        assert_eq!(advance(case), None, "{case}");
    }
}
