//! Power cuts at random moments under load, emulated on real files: whatever the disk kept of what was not synced, the
//! ledger opens, verifies, holds every acknowledged entry and statement, and goes on.
//!
//! `KONCLAVE_CUT_ROUNDS` says how many cuts; `make torture` makes thousands.

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

use std::path::Path;

use konclave_ledger::{Envelope, Hash, Ledger};
use support::chance::{Chance, quick_folder, setting};
use support::power::{Cut, PowerStorage, PoweredDisk};
use support::{at, consent, consented, cosign_line, created, draft, enrolled, options};
use tempfile::TempDir;

/// Cuts after which a new ledger is begun, so that checking does not become slower and slower.
const CUTS_OF_A_LEDGER: u64 = 8;

/// What must never be lost again.
#[derive(Debug, Default, Clone)]
struct Acknowledged {
    heads: Vec<(u64, Hash)>,
    statements: Vec<(Hash, Envelope)>,
}

impl Acknowledged {
    fn head(&mut self, ledger: &Ledger) {
        let head = ledger.head();
        self.heads.push((head.size, head.root));
    }

    fn check(&self, ledger: &Ledger, context: &str) {
        let head = ledger.head();
        for (size, root) in self.heads.iter().rev().take(8) {
            assert!(*size <= head.size, "{context}: {size} were acknowledged, {} are left", head.size);
            let proof = ledger.consistency_proof(*size, head.size).unwrap();
            assert_eq!(proof.verify(root, &head.root), Ok(()), "{context}: the acknowledged {size} changed");
        }
        for (digest, statement) in &self.statements {
            let found = ledger.get_statement(digest).unwrap();
            assert_eq!(found.as_ref(), Some(statement), "{context}: {digest}");
        }
        assert_eq!(ledger.leaves(0..u64::MAX).map(Result::unwrap).count() as u64, head.size, "{context}");
    }
}

/// Opens the ledger and works until the power fails or enough is done.
fn work(storage: PowerStorage, steps: usize, chance: &mut Chance, acknowledged: &mut Acknowledged) {
    // A power cut during opening.
    let Ok(mut ledger) = Ledger::open_on(Box::new(storage), options(false)) else { return };
    // Others have seen what is served from now on.
    acknowledged.head(&ledger);
    for _ in 0..steps {
        let size = ledger.head().size;
        let count = if chance.one_in(8) { 256 } else { 1 + chance.below(40) as u64 };
        let mut batch: Vec<_> = (size..size + count).map(draft).collect();
        if size == 0 {
            batch = vec![created(), enrolled("site-a")];
        } else if chance.one_in(2) {
            let job = format!("job-{size}-{}", chance.next());
            let statement = consent("site-a", &job);
            if let Ok(digest) = ledger.put_statement(&statement) {
                acknowledged.statements.push((digest, statement));
                batch.push(consented("site-a", &job, digest));
            }
        }
        if ledger.append(batch, at(size)).is_ok() {
            acknowledged.head(&ledger);
        }
        // Off since the append, it would not even make the line.
        let on = !ledger.is_poisoned() && ledger.leaf(0).is_ok();
        if chance.one_in(3) && ledger.head().size > 1 && on {
            let _ = ledger.add_cosignature(&cosign_line(&ledger, "site-a", size));
        }
    }
}

#[derive(Debug, Default)]
struct Figures {
    cuts: u64,
    kills: u64,
    opened: u64,
    heads: usize,
    statements: usize,
}

/// One ledger through `cuts` power cuts, each of which leaves several possible folders; it goes on with one of them.
fn life(seed: u64, cuts: u64, figures: &mut Figures) {
    let mut chance = Chance::new("power", seed);
    let mut acknowledged = Acknowledged::default();
    let mut folder = quick_folder();
    for cut in 0..cuts {
        let disk = PoweredDisk::new(folder.path());
        // A process that was killed before leaves files that the next one sees and the disk does not have.
        while chance.one_in(3) {
            let mut killed = Acknowledged::default();
            work(disk.start(Some(1 + chance.below(40)), chance.clone()), 3, &mut chance, &mut killed);
            disk.restore_power();
            acknowledged.heads.append(&mut killed.heads);
            acknowledged.statements.append(&mut killed.statements);
            figures.kills += 1;
        }
        while !disk.is_off() {
            let operations = 1 + chance.below(60);
            work(disk.start(Some(operations), chance.clone()), 12, &mut chance, &mut acknowledged);
        }
        let mut next = None;
        for (number, kind) in [Cut::Strict, Cut::Nasty, Cut::Nasty, Cut::Nasty].into_iter().enumerate() {
            let left = quick_folder();
            disk.leave(left.path(), kind, &mut chance);
            let context = format!("seed {seed} cut {cut} {kind:?} {number}");
            check(left.path(), &acknowledged, &context);
            figures.opened += 1;
            if next.is_none() || chance.one_in(2) {
                next = Some(left);
            }
        }
        folder = next.unwrap();
        // The folder that goes on has been opened, with one more entry.
        acknowledged.head(&Ledger::open(folder.path(), options(false)).unwrap());
        figures.cuts += 1;
    }
    figures.heads += acknowledged.heads.len();
    figures.statements += acknowledged.statements.len();
}

fn check(folder: &Path, acknowledged: &Acknowledged, context: &str) {
    let mut ledger = match Ledger::open(folder, options(false)) {
        Ok(ledger) => ledger,
        Err(error) => panic!("{context}: {error}"),
    };
    acknowledged.check(&ledger, context);
    let size = ledger.head().size;
    assert_eq!(ledger.append(vec![draft(size)], at(size)).unwrap(), [size], "{context}");
}

#[test]
fn nothing_acknowledged_is_lost_to_power_cuts() {
    let rounds = setting("KONCLAVE_CUT_ROUNDS", 24);
    let first = setting("KONCLAVE_TORTURE_SEED", 1) * 1_000_000;
    let mut figures = Figures::default();
    for life_number in 0..rounds.div_ceil(CUTS_OF_A_LEDGER) {
        life(
            first + life_number,
            CUTS_OF_A_LEDGER.min(rounds - life_number * CUTS_OF_A_LEDGER),
            &mut figures,
        );
    }
    println!("{figures:?}");
    assert_eq!(figures.cuts, rounds);
    assert!(figures.heads as u64 > rounds && figures.statements > 0, "{figures:?}");
}

fn after_the_cut(disk: &PoweredDisk, acknowledged: &Acknowledged, context: &str) {
    let left = quick_folder();
    disk.leave(left.path(), Cut::Strict, &mut Chance::new("strict", 0));
    check(left.path(), acknowledged, context);
}

/// A killed process leaves names that its successor sees and the disk does not have: what the successor builds on them
/// must not go with them, whatever it was doing when it was killed.
#[test]
fn what_a_killed_process_left_is_durable_before_others_build_on_it() {
    let mut killed_everywhere = 0;
    for operations in 0.. {
        let folder = quick_folder();
        let disk = PoweredDisk::new(folder.path());
        let mut statement = None;
        let first = disk.start(Some(operations), Chance::new("first", operations as u64));
        if let Ok(mut ledger) = Ledger::open_on(Box::new(first), options(false)) {
            let done = ledger.append(vec![created(), enrolled("site-a")], at(0));
            statement = done.ok().map(|_| ledger.put_statement(&consent("site-a", "job")));
        }
        if !disk.is_off() {
            break;
        }
        disk.restore_power();
        killed_everywhere += 1;
        let context = format!("killed at operation {operations}");
        let mut acknowledged = Acknowledged::default();
        let next = disk.start(None, Chance::new("next", 0));
        let mut ledger = Ledger::open_on(Box::new(next), options(false)).unwrap();
        acknowledged.head(&ledger);
        after_the_cut(&disk, &acknowledged, &format!("{context}, opened"));
        let size = ledger.head().size;
        ledger.append(if size == 0 { vec![created()] } else { vec![draft(size)] }, at(1)).unwrap();
        acknowledged.head(&ledger);
        after_the_cut(&disk, &acknowledged, &format!("{context}, appended"));
        let envelope = consent("site-a", "job");
        let digest = Hash::of(&envelope.to_bytes());
        if statement.is_some() && ledger.get_statement(&digest).unwrap().is_some() {
            ledger.append(vec![consented("site-a", "job", digest)], at(2)).unwrap();
            acknowledged.statements.push((digest, envelope));
            after_the_cut(&disk, &acknowledged, &format!("{context}, named"));
        }
    }
    assert!(killed_everywhere > 20, "{killed_everywhere}");
}

/// A ledger of three entries, and a process killed at some operation of appending two more, if it gets that far.
fn killed_while_appending(
    operations: usize,
    acknowledged: &mut Acknowledged,
) -> (TempDir, PoweredDisk, bool) {
    let folder = quick_folder();
    let mut ledger = Ledger::open(folder.path(), options(false)).unwrap();
    ledger.append(vec![created(), enrolled("site-a"), draft(2)], at(0)).unwrap();
    acknowledged.head(&ledger);
    drop(ledger);
    let disk = PoweredDisk::new(folder.path());
    let storage = disk.start(Some(operations), Chance::new("first", operations as u64));
    if let Ok(mut ledger) = Ledger::open_on(Box::new(storage), options(false)) {
        let _ = ledger.append(vec![draft(3), draft(4)], at(1));
    }
    let killed = disk.is_off();
    disk.restore_power();
    (folder, disk, killed)
}

/// A killed process left a new head whose name the disk does not have yet. What its successor clears away then must not be
/// what the old head needs: a power cut can bring the old head back and still keep the clearing.
#[test]
fn what_is_cleared_at_an_open_is_not_needed_by_a_head_that_a_cut_brings_back() {
    let mut openings = 0;
    for operations in 0.. {
        let mut finished = false;
        for cut_at in 0.. {
            let mut acknowledged = Acknowledged::default();
            let (_folder, disk, killed) = killed_while_appending(operations, &mut acknowledged);
            finished = !killed;
            let next = disk.start(Some(cut_at), Chance::new("next", cut_at as u64));
            let opened = Ledger::open_on(Box::new(next), options(false)).is_ok();
            for seed in 0..4 {
                let left = quick_folder();
                disk.leave(left.path(), Cut::Nasty, &mut Chance::new("left", seed));
                let context = format!("killed at {operations}, cut at {cut_at}, left {seed}");
                check(left.path(), &acknowledged, &context);
            }
            openings += 1;
            if opened {
                break;
            }
        }
        if finished {
            break;
        }
    }
    assert!(openings > 100, "{openings}");
}

#[test]
fn a_restored_copy_is_durable_before_anything_is_appended() {
    let folder = quick_folder();
    let mut acknowledged = Acknowledged::default();
    let mut ledger = Ledger::open(folder.path(), options(false)).unwrap();
    let statement = consent("site-a", "job");
    let digest = ledger.put_statement(&statement).unwrap();
    let first = [created(), enrolled("site-a"), consented("site-a", "job", digest)].into_iter();
    ledger.append(first.chain((3..300).map(draft)).collect(), at(0)).unwrap();
    drop(ledger);
    acknowledged.statements.push((digest, statement));
    let disk = PoweredDisk::copied(folder.path());
    let mut ledger =
        Ledger::open_on(Box::new(disk.start(None, Chance::new("copied", 0))), options(false)).unwrap();
    acknowledged.head(&ledger);
    after_the_cut(&disk, &acknowledged, "opened");
    ledger.append(vec![draft(300)], at(1)).unwrap();
    acknowledged.head(&ledger);
    after_the_cut(&disk, &acknowledged, "appended");
}
