//! Witnesses against a log that misbehaves, and what the ledger takes as a cosignature.

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

use konclave_ledger::checkpoint::{CheckpointError, log_key as key_of};
use konclave_ledger::proof::ProofError;
use konclave_ledger::witness::{LineError, WitnessError, WitnessSigner, WitnessState, verify_cosignature};
use konclave_ledger::{Checkpoint, ConsistencyProof, CosignError, Ledger, SigningKey};
use support::faulty::{FaultyStorage, Loss};
use support::{at, created, draft, enrolled, log_key, options, origin, witness};

fn ledger(storage: &FaultyStorage) -> Ledger {
    Ledger::open_on(Box::new(storage.clone()), options(false)).unwrap()
}

fn advance(state: &WitnessState, ledger: &Ledger) -> Result<WitnessState, WitnessError> {
    let size = ledger.head().size;
    let proof = ledger.consistency_proof(state.head().size.min(size), size).unwrap();
    state.advance(ledger.checkpoint_note().as_bytes(), &log_key(), &proof)
}

#[test]
fn follows_a_growing_log_and_survives_a_restart() {
    let mut ledger = ledger(&FaultyStorage::default());
    let mut state = WitnessState::new(origin());
    for number in 0..40 {
        let entry = if number == 0 { created() } else { draft(number) };
        ledger.append(vec![entry], at(number)).unwrap();
        if number % 3 == 0 {
            state = WitnessState::from_bytes(&advance(&state, &ledger).unwrap().to_bytes()).unwrap();
            assert_eq!(*state.head(), ledger.head());
            assert_eq!(advance(&state, &ledger), Ok(state.clone()), "the same head again is fine");
        }
    }
}

#[test]
fn refuses_rollback_fork_and_other_logs() {
    let storage = FaultyStorage::default();
    let mut honest = ledger(&storage);
    honest.append((0..10).map(draft).collect(), at(0)).unwrap();
    let backup = storage.after(Loss::Nothing);
    honest.append((10..20).map(draft).collect(), at(1)).unwrap();
    let state = advance(&WitnessState::new(origin()), &honest).unwrap();

    let mut rolled_back = ledger(&backup);
    assert_eq!(advance(&state, &rolled_back), Err(WitnessError::Rollback { seen: 20, offered: 10 }));
    rolled_back.append((30..40).map(draft).collect(), at(1)).unwrap();
    assert_eq!(advance(&state, &rolled_back), Err(WitnessError::Fork { size: 20 }));
    rolled_back.append((40..45).map(draft).collect(), at(1)).unwrap();
    let inconsistent = advance(&state, &rolled_back);
    assert_eq!(inconsistent, Err(WitnessError::Inconsistent { seen: 20, source: ProofError::Root }));

    honest.append(vec![draft(20)], at(2)).unwrap();
    let note = honest.checkpoint_note();
    let stale = honest.consistency_proof(10, 21).unwrap();
    let refused = state.advance(note.as_bytes(), &log_key(), &stale);
    assert_eq!(refused, Err(WitnessError::Stale { seen: 20, offered: 21, proof_old: 10, proof_new: 21 }));
    let empty = ConsistencyProof { old_size: 20, new_size: 21, hashes: vec![] };
    assert!(matches!(
        state.advance(note.as_bytes(), &log_key(), &empty),
        Err(WitnessError::Inconsistent { .. })
    ));

    let good = honest.consistency_proof(20, 21).unwrap();
    let other_key = key_of(origin(), &SigningKey::from_seed(&[99; 32]));
    let unsigned = state.advance(note.as_bytes(), &other_key, &good);
    assert!(matches!(unsigned, Err(WitnessError::Checkpoint(CheckpointError::NotSigned { .. }))));
    let elsewhere = key_of("elsewhere.example".parse().unwrap(), &SigningKey::from_seed(&support::LOG_SEED));
    let wrong = state.advance(note.as_bytes(), &elsewhere, &good);
    assert!(matches!(wrong, Err(WitnessError::Checkpoint(CheckpointError::WrongOrigin { .. }))));
    let stranger = Checkpoint { origin: "elsewhere.example".parse().unwrap(), ..honest.head() };
    let stranger = stranger.sign(&SigningKey::from_seed(&support::LOG_SEED)).to_string();
    let wrong = state.advance(stranger.as_bytes(), &log_key(), &good);
    assert!(matches!(wrong, Err(WitnessError::Checkpoint(CheckpointError::WrongOrigin { .. }))));
}

#[test]
fn refuses_damaged_state() {
    let good = String::from_utf8(WitnessState::new(origin()).to_bytes()).unwrap();
    for bad in [
        "",
        "{}",
        &good.replace("\"version\":1", "\"version\":2"),
        &good[..good.len() - 1],
        &good.replace("\"size\":0", "\"size\":-1"),
        &good.replace("{\"version\"", "{\"more\":0,\"version\""),
    ] {
        assert_eq!(WitnessState::from_bytes(bad.as_bytes()), Err(WitnessError::StoredState), "{bad}");
    }
}

#[test]
fn the_ledger_takes_cosignatures_of_enrolled_witnesses_for_its_head_only() {
    let storage = FaultyStorage::default();
    let mut ledger = ledger(&storage);
    ledger.append(vec![created(), enrolled("site-a"), enrolled("site-b")], at(0)).unwrap();
    let state = advance(&WitnessState::new(origin()), &ledger).unwrap();
    let line = |site: &str, second: u64| state.cosign(&witness(site), at(second)).line().to_string();

    ledger.add_cosignature(&line("site-a", 1)).unwrap();
    ledger.add_cosignature(&line("site-b", 1)).unwrap();
    ledger.add_cosignature(&line("site-a", 2)).unwrap();
    let note = ledger.checkpoint_note();
    assert_eq!(note.lines().skip(4).count(), 3, "the log and two witnesses: {note}");
    let newest =
        verify_cosignature(&line("site-a", 2), &ledger.head(), &witness("site-a").verifier_key()).unwrap();
    assert_eq!(newest.unix_seconds(), at(2).unix_seconds());
    assert!(note.contains(&newest.line().to_string()));

    let unknown = ledger.add_cosignature(&line("site-c", 1));
    assert!(matches!(unknown, Err(CosignError::UnknownWitness { .. })), "{unknown:?}");
    let mangled = line("site-a", 1).replacen("site-a", "site-b", 1);
    assert!(matches!(ledger.add_cosignature(&mangled), Err(CosignError::UnknownWitness { .. })));
    for bad in ["", "hello", "\u{2014} konclave.example/site-a AAAA"] {
        assert!(matches!(ledger.add_cosignature(bad), Err(CosignError::Line(LineError::Note(_)))), "{bad}");
    }
    assert_eq!(ledger.checkpoint_note(), note);

    // Restarting keeps them; a new head starts without, and an old line does not fit it.
    drop(ledger);
    let mut ledger = self::ledger(&storage.after(Loss::Unsynced));
    assert_eq!(ledger.checkpoint_note(), note);
    ledger.append(vec![draft(3)], at(3)).unwrap();
    assert_eq!(ledger.checkpoint_note().lines().skip(4).count(), 1);
    let late = ledger.add_cosignature(&line("site-a", 4));
    assert!(matches!(late, Err(CosignError::Line(LineError::Cosignature(_)))), "{late:?}");
    let receipt = ledger.receipt(3).unwrap();
    assert_eq!(receipt.verify(&ledger.leaf_bytes(3).unwrap().unwrap(), &log_key()), Ok(ledger.head()));
}

#[test]
fn the_head_that_witnesses_are_asked_for_stays_open_however_many_follow() {
    let mut ledger = ledger(&FaultyStorage::default());
    ledger.append(vec![created(), enrolled("site-a"), enrolled("site-b")], at(0)).unwrap();
    ledger.require_witnesses(2);
    let state = advance(&WitnessState::new(origin()), &ledger).unwrap();
    let line = |site: &str| state.cosign(&witness(site), at(1)).line().to_string();
    ledger.hold_open(3);
    for number in 3..300 {
        ledger.append(vec![draft(number)], at(number)).unwrap();
        if number == 100 {
            ledger.add_cosignature_to(3, &line("site-a")).unwrap();
        }
    }
    ledger.add_cosignature_to(3, &line("site-b")).unwrap();
    assert_eq!(ledger.quorum().witnessed, 3);
    // Heads that nobody is asked for make room.
    assert!(ledger.recent_note(100).is_none() && ledger.recent_note(299).is_some());
    ledger.hold_open(299);
    for number in 300..500 {
        ledger.append(vec![draft(number)], at(number)).unwrap();
    }
    assert!(ledger.recent_note(299).is_some() && ledger.recent_note(3).is_none());
}

#[test]
fn a_replaced_witness_key_no_longer_vouches_for_newer_heads() {
    let mut ledger = ledger(&FaultyStorage::default());
    ledger.append(vec![created(), enrolled("site-a")], at(0)).unwrap();
    let state = advance(&WitnessState::new(origin()), &ledger).unwrap();
    let old = witness("site-a");
    let before = state.cosign(&old, at(1)).line().to_string();
    let replacement = WitnessSigner { name: old.name.clone(), key: SigningKey::from_seed(&[55; 32]) };
    let mut renewed = enrolled("site-a");
    renewed.record["witness_vkey"] = replacement.verifier_key().to_string().into();
    ledger.append(vec![renewed], at(2)).unwrap();
    // The head from before the change is still vouched for, a head over it is not.
    ledger.add_cosignature_to(2, &before).unwrap();
    let state = advance(&state, &ledger).unwrap();
    let stolen = state.cosign(&old, at(3)).line().to_string();
    assert!(matches!(ledger.add_cosignature_to(3, &stolen), Err(CosignError::UnknownWitness { .. })));
    let good = state.cosign(&replacement, at(3)).line().to_string();
    ledger.add_cosignature_to(3, &good).unwrap();
    ledger.add_cosignature_to(3, &good).unwrap();
    assert_eq!(ledger.checkpoint_note().matches("site-a").count(), 1);
    assert_eq!(ledger.quorum().enrolled, 1);
}
