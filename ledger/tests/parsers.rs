//! No bytes from outside may bring a parser down, and what parses must print back to the same bytes.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests stop at the first surprise"
)]

mod support;

use konclave_ledger::checkpoint::Checkpoint;
use konclave_ledger::dsse::Envelope;
use konclave_ledger::note::{SignatureLine, SignedNote, VerifierKey};
use konclave_ledger::tiles::{TilePath, decode_hashes, encode_hashes};
use konclave_ledger::tlog_proof::TlogProof;
use konclave_ledger::witness::{WitnessState, verify_cosignature};
use konclave_ledger::{ConsistencyProof, Hash, InclusionProof, Leaf, Ledger, Timestamp, bundle};
use proptest::prelude::*;
use support::faulty::FaultyStorage;
use support::{at, consent, created, draft, enrolled, log_key, options, witness};

/// Everything that reads bytes from outside.
fn parse_everything(bytes: &[u8]) {
    let _ = Leaf::parse(bytes);
    if let Ok(note) = SignedNote::parse(bytes) {
        assert_eq!(note.to_string().as_bytes(), bytes);
        let _ = Checkpoint::parse_text(&note.text);
    }
    let _ = Checkpoint::verify(bytes, &log_key());
    if let Ok(envelope) = Envelope::parse(bytes) {
        assert_eq!(envelope.to_bytes(), bytes);
        let _ = envelope.verify(log_key().public());
        let _ = konclave_ledger::statements::verify::<konclave_ledger::statements::ConsentStatement>(
            &envelope,
            log_key().public(),
        );
    }
    let _ = WitnessState::from_bytes(bytes);
    let again = bundle::entries(bytes).flatten().fold(Vec::new(), |mut whole, entry| {
        bundle::push(&mut whole, entry);
        whole
    });
    assert!(bytes.starts_with(&again));
    if let Some(hashes) = decode_hashes(bytes) {
        assert_eq!(encode_hashes(&hashes), bytes);
    }
    let _ = serde_json::from_slice::<InclusionProof>(bytes);
    let _ = serde_json::from_slice::<ConsistencyProof>(bytes);
    if let Ok(text) = str::from_utf8(bytes) {
        if let Ok(line) = text.parse::<SignatureLine>() {
            assert_eq!(line.to_string(), text);
        }
        if let Ok(key) = text.parse::<VerifierKey>() {
            assert_eq!(key.to_string(), text);
        }
        if let Ok(path) = text.parse::<TilePath>() {
            assert_eq!(path.to_string(), text);
        }
        if let Ok(proof) = text.parse::<TlogProof>() {
            assert_eq!(proof.to_string(), text);
        }
        let head = Checkpoint { origin: log_key().name().clone(), size: 1, root: Hash::ZERO };
        let _ = verify_cosignature(text, &head, &witness("site-a").verifier_key());
        let _ = Timestamp::parse(text);
    }
}

/// One good example of every format.
fn examples() -> Vec<Vec<u8>> {
    let mut ledger = Ledger::open_on(Box::new(FaultyStorage::default()), options(false)).unwrap();
    ledger.append(vec![created(), enrolled("site-a"), draft(2), draft(3)], at(0)).unwrap();
    let state = WitnessState::new(ledger.head().origin);
    let proof = ledger.consistency_proof(0, 4).unwrap();
    let state = state.advance(ledger.checkpoint_note().as_bytes(), &log_key(), &proof).unwrap();
    let line = state.cosign(&witness("site-a"), at(1)).line().to_string();
    ledger.add_cosignature(&line).unwrap();
    vec![
        ledger.leaf_bytes(1).unwrap().unwrap(),
        ledger.checkpoint_note().into_bytes(),
        ledger.static_file("tile/entries/000.p/4").unwrap().unwrap(),
        ledger.static_file("tile/0/000.p/4").unwrap().unwrap(),
        ledger.receipt(2).unwrap().to_string().into_bytes(),
        consent("site-a", "job-1").to_bytes(),
        state.to_bytes(),
        line.into_bytes(),
        log_key().to_string().into_bytes(),
        b"tile/entries/x001/x234/067.p/8".to_vec(),
        at(0).to_string().into_bytes(),
        serde_json::to_vec(&ledger.inclusion_proof(1, 4).unwrap()).unwrap(),
        serde_json::to_vec(&ledger.consistency_proof(3, 4).unwrap()).unwrap(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        parse_everything(&bytes);
    }

    #[test]
    fn good_bytes_changed_a_little(
        which in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..6),
    ) {
        let examples = examples();
        let mut bytes = which.get(&examples).clone();
        for (at, value, edit) in edits {
            if bytes.is_empty() { break }
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = value,
                1 => bytes.insert(at, value),
                2 => { bytes.remove(at); }
                _ => bytes.truncate(at),
            }
        }
        parse_everything(&bytes);
    }

    #[test]
    fn proofs_of_any_shape(
        index in any::<u64>(), old in any::<u64>(), size in any::<u64>(),
        hashes in proptest::collection::vec(any::<[u8; 32]>(), 0..70), leaf in any::<[u8; 32]>(),
    ) {
        let hashes: Vec<Hash> = hashes.into_iter().map(Hash).collect();
        let inclusion = InclusionProof { index, size, hashes: hashes.clone() };
        prop_assert!(inclusion.verify(&Hash(leaf), &Hash::ZERO).is_err());
        let consistency = ConsistencyProof { old_size: old, new_size: size, hashes };
        prop_assert!(consistency.verify(&Hash(leaf), &Hash::ZERO).is_err());
    }
}
