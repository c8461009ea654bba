//! The log's key changes only on the root's authority, and readers can follow the change.

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
use konclave_ledger::rotation::{ChangeReason, KeyChange, LogKeys, RotationError};
use konclave_ledger::statements::{self, StatementError};
use konclave_ledger::{
    AppendError, Checkpoint, EntryDraft, Envelope, KeylessLedger, Ledger, LogSigner, OpenError, PublicKey,
    SignerError, SigningKey,
};
use serde_json::json;
use support::faulty::{FaultyStorage, Loss};
use support::{at, created, draft, log_key, options, origin};

const ROOT: [u8; 32] = [40; 32];
const NEXT: [u8; 32] = [41; 32];

/// Whether a refusal is the one that a case is about.
type Expected = fn(&RotationError) -> bool;

fn next_key() -> konclave_ledger::VerifierKey {
    key_of(origin(), &SigningKey::from_seed(&NEXT))
}

/// Trusts the three entries that every ledger here begins with.
fn change(old: &str, new: &str) -> KeyChange {
    let trusted_root = begun(&FaultyStorage::default()).head().root;
    KeyChange {
        origin: origin(),
        old_vkey: old.to_owned(),
        new_vkey: new.to_owned(),
        reason: ChangeReason::Compromised,
        trusted_size: 3,
        trusted_root,
        made_at: 1_767_225_600,
    }
}

fn signed(change: &KeyChange, seed: &[u8; 32]) -> Envelope {
    statements::sign(seed, change).unwrap()
}

fn why() -> EntryDraft {
    EntryDraft {
        actor: "operator".into(),
        role: "operator".into(),
        reason: "the old key was on a stolen disk".into(),
        request_id: "rotate-1".into(),
        ..EntryDraft::default()
    }
}

/// A ledger of three entries whose first one names the root.
fn begun(storage: &FaultyStorage) -> Ledger {
    let mut ledger = Ledger::open_on(Box::new(storage.clone()), options(false)).unwrap();
    let mut first = created();
    first.record = json!({
        "vkey": log_key().to_string(), "gateway": {},
        "root": SigningKey::from_seed(&ROOT).public().to_string(),
    });
    ledger.append(vec![first, draft(1), draft(2)], at(0)).unwrap();
    ledger
}

fn next() -> Box<SigningKey> {
    Box::new(SigningKey::from_seed(&NEXT))
}

#[test]
fn the_head_of_the_change_carries_both_keys_and_later_ones_the_new_key() {
    let storage = FaultyStorage::default();
    let mut ledger = begun(&storage);
    let authorised = signed(&change(&log_key().to_string(), &next_key().to_string()), &ROOT);
    assert_eq!(ledger.rotate_key(next(), &authorised, why(), at(1)).unwrap(), 3);
    let note = ledger.checkpoint_note();
    for key in [log_key(), next_key()] {
        assert_eq!(Checkpoint::verify(note.as_bytes(), &key).unwrap().0.size, 4);
    }
    ledger.append(vec![draft(4)], at(2)).unwrap();
    let note = ledger.checkpoint_note();
    assert!(Checkpoint::verify(note.as_bytes(), &next_key()).is_ok());
    assert!(matches!(
        Checkpoint::verify(note.as_bytes(), &log_key()),
        Err(CheckpointError::NotSigned { .. })
    ));
    let leaf = ledger.leaf(3).unwrap().unwrap();
    assert_eq!(leaf.old, Some(LogKeys::digest(&log_key())));
    assert_eq!(ledger.log_keys().at_size(3), Some(&log_key()));
    assert_eq!(ledger.log_keys().at_size(4), Some(&next_key()));

    // The old key no longer opens the ledger, the new one does.
    drop(ledger);
    let left = storage.after(Loss::Unsynced);
    assert!(Ledger::open_on(Box::new(left.clone()), options(false)).is_err());
    let mut with_next = options(false);
    with_next.signer = next();
    let mut ledger = Ledger::open_on(Box::new(left), with_next).unwrap();
    ledger.append(vec![draft(5)], at(3)).unwrap();
}

#[test]
fn right_after_the_change_the_old_key_is_told_to_be_superseded() {
    let storage = FaultyStorage::default();
    let mut ledger = begun(&storage);
    let authorised = signed(&change(&log_key().to_string(), &next_key().to_string()), &ROOT);
    ledger.rotate_key(next(), &authorised, why(), at(1)).unwrap();
    let refused = Ledger::open_on(Box::new(storage.after(Loss::Unsynced)), options(false)).unwrap_err();
    assert!(matches!(&refused, OpenError::KeySuperseded { current } if *current == next_key().to_string()));
}

#[test]
fn refuses_changes_that_the_root_did_not_sign_or_that_are_for_other_keys() {
    let storage = FaultyStorage::default();
    let mut ledger = begun(&storage);
    let (old, new) = (log_key().to_string(), next_key().to_string());
    let elsewhere = key_of("elsewhere.example".parse().unwrap(), &SigningKey::from_seed(&NEXT)).to_string();
    let witness = support::witness("site-a").verifier_key().to_string();
    let mut other_log = change(&old, &new);
    other_log.origin = "elsewhere.example".parse().unwrap();
    let mut other_history = change(&old, &new);
    other_history.trusted_root = konclave_ledger::Hash::of(b"root");
    let mut beyond = change(&old, &new);
    beyond.trusted_size = 4;
    let cases: [(&str, Envelope, Expected); 9] = [
        ("by the operator", signed(&change(&old, &new), &support::LOG_SEED), |error| {
            matches!(error, RotationError::Unauthorised(StatementError::Envelope(_)))
        }),
        ("after another key", signed(&change(&new, &old), &ROOT), |error| {
            matches!(error, RotationError::OtherKey { .. })
        }),
        ("another log", signed(&other_log, &ROOT), |error| matches!(error, RotationError::OtherKey { .. })),
        ("a key of another log", signed(&change(&old, &elsewhere), &ROOT), |error| {
            matches!(error, RotationError::NotALogKey { .. })
        }),
        ("a witness key", signed(&change(&old, &witness), &ROOT), |error| {
            matches!(error, RotationError::NotALogKey { .. })
        }),
        ("another history", signed(&other_history, &ROOT), |error| {
            matches!(error, RotationError::OtherHistory { size: 3 })
        }),
        ("a history beyond the head", signed(&beyond, &ROOT), |error| {
            matches!(error, RotationError::OtherHistory { size: 4 })
        }),
        ("the same key", signed(&change(&old, &old), &ROOT), |error| {
            matches!(error, RotationError::NotALogKey { .. })
        }),
        ("no key", signed(&change(&old, "x"), &ROOT), |error| {
            matches!(error, RotationError::NotALogKey { .. })
        }),
    ];
    for (what, envelope, expected) in cases {
        match ledger.rotate_key(next(), &envelope, why(), at(1)) {
            Err(AppendError::Rotation(error)) => assert!(expected(&error), "{what}: {error}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    // Authorised for one key, asked with another; and smuggled in as a plain entry.
    let authorised = signed(&change(&old, &new), &ROOT);
    let stranger = Box::new(SigningKey::from_seed(&[77; 32]));
    assert!(matches!(
        ledger.rotate_key(stranger, &authorised, why(), at(1)),
        Err(AppendError::Rotation(RotationError::NotALogKey { .. }))
    ));
    let smuggled = EntryDraft {
        action: "ledger.key-rotated".into(),
        object: "ledger".into(),
        record: json!({ "old_vkey": old, "new_vkey": new, "authorisation": authorised }),
        ..why()
    };
    assert!(matches!(ledger.append(vec![smuggled], at(1)), Err(AppendError::Rotation(_))));
    assert_eq!(ledger.head().size, 3);
    assert_eq!(ledger.verifier_key(), log_key());
}

#[test]
fn a_key_that_ended_does_not_come_back() {
    let storage = FaultyStorage::default();
    let mut ledger = begun(&storage);
    let (old, new) = (log_key().to_string(), next_key().to_string());
    ledger.rotate_key(next(), &signed(&change(&old, &new), &ROOT), why(), at(1)).unwrap();
    let back = signed(&change(&new, &old), &ROOT);
    let first = || Box::new(SigningKey::from_seed(&support::LOG_SEED));
    let refused = ledger.rotate_key(first(), &back, why(), at(2)).unwrap_err();
    assert!(matches!(refused, AppendError::Rotation(RotationError::KeyReused { key }) if key == old));
    // Nor does a reader follow an entry that says so, though the root signed it.
    let mut leaf = ledger.leaf(3).unwrap().unwrap();
    let mut keys = ledger.log_keys().clone();
    leaf.seq = 4;
    leaf.record = (&json!({ "old_vkey": new, "new_vkey": old, "authorisation": back })).try_into().unwrap();
    assert!(matches!(keys.note(&leaf), Err(RotationError::KeyReused { .. })));
    assert_eq!(keys.current(), Some(&next_key()));
}

#[test]
fn a_lost_key_is_replaced_on_the_roots_word_alone() {
    for reason in [ChangeReason::Lost, ChangeReason::Compromised, ChangeReason::Scheduled] {
        let storage = FaultyStorage::default();
        begun(&storage);
        let mut with_next = options(false);
        with_next.signer = next();
        let keyless = KeylessLedger::open_on(Box::new(storage.clone()), with_next, &log_key()).unwrap();
        assert_eq!(keyless.ledger().head().size, 3);
        let change = KeyChange { reason, ..change(&log_key().to_string(), &next_key().to_string()) };
        let replaced = keyless.replace_key(&signed(&change, &ROOT), why(), at(1));
        if reason == ChangeReason::Scheduled {
            let refused = replaced.unwrap_err();
            assert!(matches!(refused, AppendError::Rotation(RotationError::OldKeyNeeded)), "{refused}");
            continue;
        }
        let mut ledger = replaced.unwrap();
        let note = ledger.checkpoint_note();
        assert!(Checkpoint::verify(note.as_bytes(), &next_key()).is_ok());
        assert!(Checkpoint::verify(note.as_bytes(), &log_key()).is_err());
        ledger.append(vec![draft(4)], at(2)).unwrap();
        drop(ledger);
        let mut with_next = options(false);
        with_next.signer = next();
        let opened = Ledger::open_on(Box::new(storage.after(Loss::Unsynced)), with_next).unwrap();
        assert_eq!((opened.head().size, opened.log_keys().current()), (5, Some(&next_key())));
    }
}

#[test]
fn without_its_key_a_ledger_is_not_begun_nor_changed_by_anybody_but_the_root() {
    let opened = |storage: &FaultyStorage, gone: &konclave_ledger::VerifierKey| {
        let mut with_next = options(false);
        with_next.signer = next();
        KeylessLedger::open_on(Box::new(storage.clone()), with_next, gone)
    };
    let empty = opened(&FaultyStorage::default(), &log_key()).unwrap_err();
    assert!(matches!(empty, OpenError::HeadMissing), "{empty}");
    let storage = FaultyStorage::default();
    begun(&storage);
    let other = opened(&storage, &next_key()).unwrap_err();
    assert!(matches!(other, OpenError::Head(CheckpointError::NotSigned { .. })), "{other}");
    let lost =
        KeyChange { reason: ChangeReason::Lost, ..change(&log_key().to_string(), &next_key().to_string()) };
    for seed in [support::LOG_SEED, NEXT] {
        let refused = opened(&storage, &log_key())
            .unwrap()
            .replace_key(&signed(&lost, &seed), why(), at(1))
            .unwrap_err();
        assert!(matches!(refused, AppendError::Rotation(RotationError::Unauthorised(_))), "{refused}");
    }
    assert_eq!(Ledger::open_on(Box::new(storage), options(false)).unwrap().head().size, 3);
}

/// A module that fails on command.
#[derive(Debug)]
struct Module {
    key: SigningKey,
    wrong: bool,
}

impl LogSigner for Module {
    fn public(&self) -> PublicKey {
        self.key.public()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        if self.wrong {
            return Ok(self.key.sign(b"something else"));
        }
        if message.windows(3).any(|window| window == b"\n2\n") {
            return Err(SignerError::Unavailable(std::io::Error::other("the card was pulled")));
        }
        Ok(self.key.sign(message))
    }
}

#[test]
fn a_signer_that_fails_or_signs_wrongly_appends_nothing_and_may_be_tried_again() {
    let storage = FaultyStorage::default();
    let mut with_module = options(false);
    with_module.signer = Box::new(Module { key: SigningKey::from_seed(&support::LOG_SEED), wrong: false });
    let mut ledger = Ledger::open_on(Box::new(storage.clone()), with_module).unwrap();
    ledger.append(vec![created()], at(0)).unwrap();
    let failed = ledger.append(vec![draft(1)], at(1)).unwrap_err();
    assert!(matches!(&failed, AppendError::NotSigned(SignerError::Unavailable(_))), "{failed}");
    assert_eq!((ledger.head().size, ledger.is_poisoned()), (1, false));
    ledger.append(vec![draft(1), draft(2)], at(1)).unwrap();
    assert_eq!(
        Ledger::open_on(Box::new(storage.after(Loss::Unsynced)), options(false)).unwrap().head().size,
        3
    );

    let mut wrong = options(false);
    wrong.signer = Box::new(Module { key: SigningKey::from_seed(&support::LOG_SEED), wrong: true });
    let refused = Ledger::open_on(Box::new(FaultyStorage::default()), wrong).unwrap_err();
    assert!(matches!(refused, OpenError::Signer(SignerError::Wrong { .. })), "{refused}");
}
