//! Every storage operation of an append, failed in every way and at every kind of size: what a restart finds must be what
//! was acknowledged, or that plus the one batch whose fate was unknown, and it must always verify. `fault_table.rs` has
//! the outcomes one by one, and those of everything else that writes.

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

use std::collections::BTreeMap;

use konclave_ledger::{
    AppendError, Checkpoint, CosignError, Ledger, OpenError, ReadError, StatementFileError,
};
use support::faulty::{Fault, FaultyStorage, Loss};
use support::{at, consent, created, draft, log_key, options};

const FAULTS: [Fault; 6] = [
    Fault::NotDone,
    Fault::DoneAnyway,
    Fault::ShortWithError,
    Fault::ShortAndSilent,
    Fault::CrashAfter,
    Fault::CrashBefore,
];

const LOSSES: [Loss; 3] = [Loss::Nothing, Loss::Unsynced, Loss::UnsyncedBelowTop];

/// What the failing append may report and what a restart may then find.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Acknowledged: the batch must be there.
    Acknowledged,
    /// Certainly not stored: it must not be there, and the same ledger goes on.
    Refused,
    /// Unknown: the ledger is poisoned; a restart tells.
    Unknown,
}

/// The operation that was made to fail.
#[derive(Debug)]
struct Operation {
    name: String,
    /// Whether the same append had renamed the new head into place before.
    head_replaced: bool,
}

fn open(storage: &FaultyStorage) -> Ledger {
    Ledger::open_on(Box::new(storage.clone()), options(false)).unwrap()
}

fn numbers(ledger: &Ledger) -> Vec<u64> {
    ledger
        .leaves(0..u64::MAX)
        .map(|leaf| leaf.unwrap().record.integer("number").unwrap_or(u64::MAX))
        .collect()
}

/// What a restart finds: a ledger that verifies, without leftovers, and goes on.
fn restart(left: &FaultyStorage, context: &str) -> Vec<u64> {
    let mut reopened = open(left);
    let found = numbers(&reopened);
    let (checkpoint, _) = Checkpoint::verify(reopened.checkpoint_note().as_bytes(), &log_key()).unwrap();
    assert_eq!(checkpoint.size, found.len() as u64);
    let tiles: Vec<_> = left.paths().into_iter().filter(|path| path.starts_with("tile/")).collect();
    assert_eq!(
        tiles.len(),
        konclave_ledger::tiles::tiles_of(checkpoint.size).count(),
        "{context}: {tiles:?}"
    );
    reopened.append(vec![draft(900)], at(3)).unwrap();
    found
}

/// What restarts have found in which files: most failures leave the same ones, and a restart is slow.
type Restarts = BTreeMap<BTreeMap<String, Vec<u8>>, Vec<u64>>;

/// Appends `batch` entries to a copy of `base`, with a fault at the `step`-th operation of that append.
fn run(
    base: &FaultyStorage,
    batch: u64,
    step: usize,
    fault: Fault,
    found: &mut Restarts,
) -> Option<(Operation, Outcome)> {
    let storage = base.after(Loss::Unsynced);
    let mut ledger = open(&storage);
    let before = numbers(&ledger);
    let size = before.len() as u64;
    let first = storage.operations().len();
    storage.fail_at(first + step, fault);
    let appended = ledger.append((size..size + batch).map(draft).collect(), at(1));
    let operations = storage.operations();
    let name = operations.get(first + step)?.clone();
    let before_it = operations.get(first..first + step).unwrap_or_default();
    let head_replaced = before_it.iter().any(|done| done == "rename head.note.tmp head.note");
    let context = format!("size {size} batch {batch} step {step} {name} {fault:?}: {appended:?}");

    let with_batch: Vec<u64> = before.iter().copied().chain(size..size + batch).collect();
    let outcome = match &appended {
        Ok(indexes) => {
            assert_eq!(*indexes, (size..size + batch).collect::<Vec<_>>());
            Outcome::Acknowledged
        }
        Err(AppendError::NotStored(_)) => Outcome::Refused,
        Err(AppendError::Ambiguous(_)) => Outcome::Unknown,
        Err(other) => panic!("{context}: {other}"),
    };
    if outcome == Outcome::Unknown {
        assert!(ledger.is_poisoned());
        assert!(matches!(ledger.append(vec![draft(0)], at(2)), Err(AppendError::Poisoned)), "{context}");
        assert!(matches!(ledger.leaf(0), Err(ReadError::Poisoned)), "{context}");
        assert!(matches!(ledger.static_file("checkpoint"), Err(ReadError::Poisoned)));
        assert!(matches!(ledger.inclusion_proof(0, 1), Err(ReadError::Poisoned)));
        assert!(matches!(
            ledger.query(&konclave_ledger::Filter::default(), None, 1),
            Err(ReadError::Poisoned)
        ));
        assert!(matches!(ledger.put_statement(&consent("a", "b")), Err(StatementFileError::Poisoned)));
        assert!(matches!(ledger.add_cosignature("x"), Err(CosignError::Poisoned)));
    }
    for loss in LOSSES {
        let left = storage.after(loss);
        let found = found.entry(left.contents()).or_insert_with(|| restart(&left, &context));
        match outcome {
            Outcome::Acknowledged => assert_eq!(*found, with_batch, "{context} {loss:?}"),
            Outcome::Refused => assert_eq!(*found, before, "{context} {loss:?}"),
            Outcome::Unknown => {
                assert!(*found == before || *found == with_batch, "{context} {loss:?}");
            }
        }
    }
    if outcome == Outcome::Refused && !matches!(fault, Fault::CrashAfter | Fault::CrashBefore) {
        ledger.append((size..size + batch).map(draft).collect(), at(2)).unwrap();
        assert_eq!(numbers(&open(&storage.after(Loss::Unsynced))), with_batch, "{context}: second try");
    }
    Some((Operation { name, head_replaced }, outcome))
}

#[test]
fn every_step_and_every_failure_leaves_a_prefix() {
    let mut cases = 0;
    // Within a tile, filling a bundle exactly, and the first batch after a full one.
    for (size, batch) in [(3, 2), (250, 6), (256, 1)] {
        let mut found = Restarts::new();
        let base = FaultyStorage::default();
        open(&base).append(std::iter::once(created()).chain((1..size).map(draft)).collect(), at(0)).unwrap();
        for fault in FAULTS {
            let mut step = 0;
            while let Some((operation, outcome)) = run(&base, batch, step, fault, &mut found) {
                let allowed = expected(&operation, fault);
                assert!(
                    allowed.contains(&outcome),
                    "{size}+{batch} step {step} {operation:?} {fault:?}: {outcome:?}"
                );
                step += 1;
                cases += 1;
            }
            assert!(step >= 10, "an append has more steps than {step}");
        }
    }
    assert!(cases > 200, "{cases}");
}

/// The table at the head of `append.rs`, as code: what the append may report when this operation fails.
fn expected(operation: &Operation, fault: Fault) -> &'static [Outcome] {
    let name = operation.name.as_str();
    let (sync, rename) = (name.starts_with("sync"), name == "rename head.note.tmp head.note");
    let past_commit = operation.head_replaced && !sync;
    match fault {
        _ if past_commit => &[Outcome::Acknowledged],
        // The head is durable, and nothing after that can take it back.
        Fault::CrashAfter if operation.head_replaced => &[Outcome::Acknowledged],
        // The operation itself works; what the next one says depends on which it is.
        Fault::CrashAfter => &[Outcome::Refused, Outcome::Unknown],
        Fault::ShortAndSilent if sync || rename => &[Outcome::Acknowledged],
        _ if sync || rename => &[Outcome::Unknown],
        _ => &[Outcome::Refused],
    }
}

#[test]
fn refuses_to_begin_anew_where_a_head_is_missing() {
    let storage = FaultyStorage::default();
    open(&storage).append(vec![created()], at(0)).unwrap();
    storage.replace("head.note", None);
    let opened = Ledger::open_on(Box::new(storage), options(false));
    assert!(matches!(opened, Err(OpenError::HeadMissing)));
}

#[test]
fn refuses_damage_and_names_file_and_entry() {
    let storage = FaultyStorage::default();
    let mut ledger = open(&storage);
    ledger.append(std::iter::once(created()).chain((1..600).map(draft)).collect(), at(0)).unwrap();
    for path in storage.paths().into_iter().filter(|path| path.starts_with("tile/")) {
        let damaged = storage.after(Loss::Nothing);
        let bytes = konclave_ledger::storage::Storage::read(&damaged, &path).unwrap().unwrap();
        let covers = path.parse::<konclave_ledger::tiles::TilePath>().unwrap().covers();
        for changed in [None, Some(Vec::new()), Some(bytes[..bytes.len() - 1].to_vec()), {
            let mut flipped = bytes.clone();
            flipped[bytes.len() / 2] ^= 4;
            Some(flipped)
        }] {
            damaged.replace(&path, changed);
            match Ledger::open_on(Box::new(damaged.clone()), options(false)) {
                Err(OpenError::Damaged(damage)) => {
                    assert!(
                        covers.start <= damage.first_index && damage.first_index <= covers.end,
                        "{damage}"
                    );
                }
                other => panic!("{path}: {other:?}"),
            }
        }
    }
}
