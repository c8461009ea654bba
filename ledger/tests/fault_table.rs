//! Every storage operation of everything that changes files, failed in every way, as one table: what the caller is told
//! and what a restart finds. The table is `docs/ledger-faults.md`; a changed outcome makes these tests fail. What may
//! never happen is asserted case by case before that, so that no new table can allow it.
//!
//! After a change that is meant: `cargo test -p konclave-ledger --test fault_table -- --ignored write`.

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
use std::fmt::Write;

use konclave_ledger::tiles::tiles_of;
use konclave_ledger::{AppendError, Checkpoint, CosignError, Ledger, OpenError, StatementFileError};
use support::faulty::{Fault, FaultyStorage, Loss};
use support::{at, consent, consented, cosign_line, created, draft, enrolled, log_key, options};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ledger-faults.md");

const FAULTS: [(Fault, &str); 6] = [
    (Fault::NotDone, "error, not done"),
    (Fault::DoneAnyway, "error, yet done and durable"),
    (Fault::ShortWithError, "half written, error"),
    (Fault::ShortAndSilent, "half written, no error"),
    (Fault::CrashBefore, "machine stops before"),
    (Fault::CrashAfter, "machine stops after"),
];

const LOSSES: [Loss; 3] = [Loss::Nothing, Loss::Unsynced, Loss::UnsyncedBelowTop];

/// What the caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Acknowledged,
    Refused,
    Unknown,
}

/// What a restart finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Before,
    After,
    Damaged,
}

/// Something that changes files.
struct Scenario {
    title: &'static str,
    /// What "before" and "after" mean.
    meaning: &'static str,
    /// Files before it.
    base: fn() -> FaultyStorage,
    /// Does it, with the fault at the given operation.
    act: fn(&FaultyStorage, usize, Fault) -> Told,
    /// Restarts and looks.
    look: fn(&FaultyStorage) -> Found,
    /// Whether what is acknowledged must be found after this loss and fault.
    keeps: fn(Loss, Fault) -> bool,
    /// Whether what is refused must not be there. Where it may, it does no harm.
    refused_is_before: bool,
}

const SCENARIOS: [Scenario; 7] = [
    Scenario {
        title: "Create an empty ledger",
        meaning: "before: an empty folder, in which the next open creates the ledger; after: an empty ledger",
        base: FaultyStorage::default,
        act: |storage, step, fault| {
            storage.fail_at(step, fault);
            told_opening(Ledger::open_on(Box::new(storage.clone()), options(false)))
        },
        look: |left| {
            let created = left.contents().contains_key("head.note");
            assert_eq!(open(left).head().size, 0);
            if created { Found::After } else { Found::Before }
        },
        keeps: |_, _| true,
        refused_is_before: false,
    },
    Scenario {
        title: "Open after a batch that was cut off, with a checkpoint that is behind",
        meaning: "before: leftovers of the batch, which the next open discards; after: none; the ledger is the same",
        base: cut_off,
        act: |storage, step, fault| {
            storage.fail_at(step, fault);
            told_opening(Ledger::open_on(Box::new(storage.clone()), options(false)))
        },
        look: |left| {
            let tidy = tiles(left) == tiles_of(254).count();
            assert_eq!(entries(left), 254);
            if tidy { Found::After } else { Found::Before }
        },
        // Leftovers that come back are harmless.
        keeps: |_, _| false,
        refused_is_before: false,
    },
    Scenario {
        title: "Store a statement",
        meaning: "before: there is no such statement; after: it is there, whole",
        base: || filled(3),
        act: |storage, step, fault| {
            let mut ledger = armed(storage, step, fault);
            match ledger.put_statement(&consent("site-a", "job-2")) {
                Ok(_) => Told::Acknowledged,
                Err(StatementFileError::NotStored(_)) => Told::Refused,
                Err(StatementFileError::Ambiguous(_)) if ledger.is_poisoned() => Told::Unknown,
                Err(other) => panic!("{other}"),
            }
        },
        look: |left| {
            let statement = consent("site-a", "job-2");
            let found = open(left).get_statement(&konclave_ledger::Hash::of(&statement.to_bytes())).unwrap();
            assert!(found.is_none() || found == Some(statement));
            if found.is_some() { Found::After } else { Found::Before }
        },
        keeps: |_, _| true,
        refused_is_before: true,
    },
    Scenario {
        title: "Append two entries, one with a statement",
        meaning: "before: none of them is in the ledger; after: both are",
        base: || filled(3),
        act: |storage, step, fault| {
            let mut ledger = armed(storage, step, fault);
            let statement = konclave_ledger::Hash::of(&consent("site-a", "job-1").to_bytes());
            told_appending(
                &ledger.append(vec![draft(3), consented("site-a", "job-1", statement)], at(1)),
                &ledger,
            )
        },
        look: |left| look_for_entries(left, 3, 5),
        keeps: |_, _| true,
        refused_is_before: true,
    },
    Scenario {
        title: "Append five entries that fill a bundle and begin the next",
        meaning: "before: none of them is in the ledger; after: all are",
        base: || filled(254),
        act: |storage, step, fault| {
            let mut ledger = armed(storage, step, fault);
            told_appending(&ledger.append((254..259).map(draft).collect(), at(1)), &ledger)
        },
        look: |left| look_for_entries(left, 254, 259),
        keeps: |_, _| true,
        refused_is_before: true,
    },
    Scenario {
        title: "Add a cosignature",
        meaning: "before: the checkpoint without it, and the witness may send it again; after: with it",
        base: || filled(3),
        act: |storage, step, fault| {
            let mut ledger = armed(storage, step, fault);
            let line = cosign_line(&ledger, "site-a", 1);
            match ledger.add_cosignature(&line) {
                Ok(_) => Told::Acknowledged,
                Err(CosignError::NotStored(_)) => Told::Refused,
                Err(other) => panic!("{other}"),
            }
        },
        look: |left| {
            assert_eq!(entries(left), 3);
            if open(left).checkpoint_note().lines().count() == 6 { Found::After } else { Found::Before }
        },
        // What was silently cut short is not read back: a cosignature is not the truth.
        keeps: |_, fault| fault != Fault::ShortAndSilent,
        refused_is_before: false,
    },
    Scenario {
        title: "Export three entries",
        meaning: "before: a copy without checkpoint, which verifies as nothing; after: a whole copy; damaged: one that \
                  `konclave-audit verify` refuses. The copy is not made durable",
        base: FaultyStorage::default,
        act: |target, step, fault| {
            let ledger = open(&filled(3));
            target.fail_at(step, fault);
            match ledger.export_on(&mut target.clone()) {
                Ok(_) => Told::Acknowledged,
                Err(_) => Told::Refused,
            }
        },
        look: |left| {
            let whole = FaultyStorage::default();
            open(&filled(3)).export_on(&mut whole.clone()).unwrap();
            if left.contents() == whole.contents() {
                Found::After
            } else if left
                .contents()
                .get("checkpoint")
                .is_none_or(|note| Checkpoint::verify(note, &log_key()).is_err())
            {
                Found::Before
            } else {
                Found::Damaged
            }
        },
        keeps: |loss, fault| loss == Loss::Nothing && fault != Fault::ShortAndSilent,
        refused_is_before: false,
    },
];

fn open(storage: &FaultyStorage) -> Ledger {
    Ledger::open_on(Box::new(storage.clone()), options(false)).unwrap()
}

/// Opens, and makes the operation with this number, counted from now, fail.
fn armed(storage: &FaultyStorage, step: usize, fault: Fault) -> Ledger {
    let ledger = open(storage);
    storage.fail_at(storage.operations().len() + step, fault);
    ledger
}

/// A ledger of `size` entries and a statement, everything durable.
fn filled(size: u64) -> FaultyStorage {
    let storage = FaultyStorage::default();
    let mut ledger = open(&storage);
    ledger.put_statement(&consent("site-a", "job-1")).unwrap();
    let first = [created(), enrolled("site-a")].into_iter();
    ledger.append(first.chain((2..size).map(draft)).collect(), at(0)).unwrap();
    storage.after(Loss::Nothing)
}

/// 254 entries, and what is left of five more when the machine stops before their head is in place.
fn cut_off() -> FaultyStorage {
    let storage = filled(254);
    let mut ledger = open(&storage);
    let before = storage.operations().len();
    ledger.append((254..259).map(draft).collect(), at(1)).unwrap();
    let rename = |done: &String| done == "rename head.note.tmp head.note";
    let step = storage.operations()[before..].iter().position(rename).unwrap();
    let again = filled(254);
    armed(&again, step, Fault::CrashBefore).append((254..259).map(draft).collect(), at(1)).unwrap_err();
    let left = again.after(Loss::Nothing);
    left.replace("checkpoint", filled(3).contents().get("checkpoint").cloned());
    left
}

fn tiles(storage: &FaultyStorage) -> usize {
    storage.paths().iter().filter(|path| path.starts_with("tile/")).count()
}

/// Restarts: the ledger must open, verify, have no leftovers, and go on. Gives the number of entries.
fn entries(left: &FaultyStorage) -> u64 {
    let restarted = left.after(Loss::Nothing);
    let mut ledger = open(&restarted);
    let (published, _) = Checkpoint::verify(ledger.checkpoint_note().as_bytes(), &log_key()).unwrap();
    assert_eq!(published, ledger.head());
    assert_eq!(tiles(&restarted), tiles_of(published.size).count());
    let read = ledger.leaves(0..u64::MAX).map(Result::unwrap).count() as u64;
    assert_eq!(read, published.size);
    assert_eq!(ledger.append(vec![draft(900)], at(3)).unwrap(), [read]);
    read
}

fn look_for_entries(left: &FaultyStorage, before: u64, after: u64) -> Found {
    match entries(left) {
        size if size == before => Found::Before,
        size if size == after => Found::After,
        other => panic!("{other} entries are neither {before} nor {after}"),
    }
}

fn told_opening(opened: Result<Ledger, OpenError>) -> Told {
    match opened {
        Ok(_) => Told::Acknowledged,
        Err(OpenError::Storage(_)) => Told::Refused,
        Err(other) => panic!("{other}"),
    }
}

fn told_appending(appended: &Result<Vec<u64>, AppendError>, ledger: &Ledger) -> Told {
    match appended {
        Ok(_) => Told::Acknowledged,
        Err(AppendError::NotStored(_)) if !ledger.is_poisoned() => Told::Refused,
        Err(AppendError::Ambiguous(_)) if ledger.is_poisoned() => Told::Unknown,
        Err(other) => panic!("{other}"),
    }
}

/// What restarts have found in which files.
type Looked = BTreeMap<BTreeMap<String, Vec<u8>>, Found>;

/// Runs one case and asserts what holds for all of them.
fn case(
    scenario: &Scenario,
    base: &FaultyStorage,
    step: usize,
    fault: Fault,
    looked: &mut Looked,
) -> (String, Told, [Found; 3]) {
    let storage = base.after(Loss::Nothing);
    let told = (scenario.act)(&storage, step, fault);
    let name = storage.failed().unwrap_or_default();
    let found = LOSSES.map(|loss| {
        let left = storage.after(loss);
        // Most failures leave the same files, and looking is slow.
        *looked.entry(left.contents()).or_insert_with(|| (scenario.look)(&left))
    });
    for (found, loss) in found.iter().zip(LOSSES) {
        let context = format!("{}: {name}, {fault:?}, {loss:?}: {told:?}, {found:?}", scenario.title);
        match told {
            Told::Acknowledged if (scenario.keeps)(loss, fault) => {
                assert_eq!(*found, Found::After, "{context}")
            }
            Told::Refused if scenario.refused_is_before => assert_eq!(*found, Found::Before, "{context}"),
            _ => {}
        }
    }
    (name, told, found)
}

fn table() -> String {
    let mut table = String::from(INTRODUCTION);
    for scenario in &SCENARIOS {
        let Scenario { title, meaning, .. } = scenario;
        write!(table, "\n## {title}\n{meaning}.\n\n| | operation |").unwrap();
        FAULTS.iter().for_each(|(_, shown)| write!(table, " {shown} |").unwrap());
        table.push_str("\n|---|---|---|---|---|---|---|---|\n");
        let (base, mut looked) = ((scenario.base)(), Looked::new());
        for step in 0.. {
            let cases = FAULTS.map(|(fault, _)| case(scenario, &base, step, fault, &mut looked));
            // Without the fault there are fewer operations than this: the scenario is over.
            let Some((name, ..)) = cases.first().filter(|(name, ..)| !name.is_empty()) else { break };
            write!(table, "| {} | {} |", step + 1, shorten(name)).unwrap();
            for ((fault, _), (_, told, found)) in FAULTS.iter().zip(&cases) {
                write!(table, " {} |", cell(*fault, *told, *found)).unwrap();
            }
            table.push('\n');
        }
    }
    table
}

fn cell(fault: Fault, told: Told, found: [Found; 3]) -> String {
    let word = |found| match found {
        Found::Before => "before",
        Found::After => "after",
        Found::Damaged => "damaged",
    };
    let words = found.map(word);
    let found =
        if words.iter().all(|word| *word == words[0]) { words[0].to_owned() } else { words.join("/") };
    match (fault, told) {
        (Fault::CrashBefore | Fault::CrashAfter, _) => found,
        (_, Told::Acknowledged) => format!("acknowledged: {found}"),
        (_, Told::Refused) => format!("refused: {found}"),
        (_, Told::Unknown) => format!("**unknown**: {found}"),
    }
}

/// Without the digits of a digest.
fn shorten(operation: &str) -> String {
    let long = |word: &str| word.starts_with("statements/");
    let words = operation.split(' ').map(|word| if long(word) { "statements/…" } else { word });
    let (verb, files): (Vec<_>, Vec<_>) = words.enumerate().partition(|(at, _)| *at == 0);
    let files: Vec<_> = files.iter().map(|(_, file)| format!("`{file}`")).collect();
    let verb = verb.first().map_or("", |(_, verb)| *verb);
    if operation == "sync names" {
        "sync folders".to_owned()
    } else {
        format!("{verb} {}", files.join(" → "))
    }
}

const INTRODUCTION: &str = "\
# What each storage failure does to the ledger
Written by `ledger/tests/fault_table.rs`, which makes each failure and compares with this file. `ledger/src/ledger/append.rs` says why.

Each row is one storage operation, each column one way to fail. A cell says what the caller is told and what a restart then finds:

- **acknowledged**: it is done. **refused**: it is certainly not done and may be tried again. **unknown**: only a restart tells; until then the ledger refuses
  everything. When the machine stops, nobody is told anything.
- **before** or **after**, as said above each table. Three words stand for three restarts: after the process was killed (the system keeps all it was given), after
  a power cut that takes everything that was not synced, and after one before which the system had written the top folder, but none below, of its own accord.

Every restart in these tables finds a ledger that opens, verifies, has no leftovers and goes on. An operation that does not write can't be half done: then
\"half written\" is an error with nothing done, or no error at all.
";

#[test]
fn the_table_of_failures_is_as_documented() {
    let (documented, table) = (std::fs::read_to_string(TABLE).unwrap(), table());
    for (line, (now, documented)) in table.lines().zip(documented.lines()).enumerate() {
        assert_eq!(now, documented, "docs/ledger-faults.md, line {}", line + 1);
    }
    assert_eq!(table.lines().count(), documented.lines().count());
    let cases = documented.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |")).count();
    assert!(cases > 60, "{cases} operations");
}

#[test]
#[ignore = "writes docs/ledger-faults.md anew: make faults"]
fn write_the_table() {
    std::fs::write(TABLE, table()).unwrap();
}
