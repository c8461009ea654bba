//! A child process appends under load and is killed with SIGKILL at random moments: nothing it acknowledged is lost.

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

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use konclave_ledger::{Checkpoint, Filter, Hash, IndexState, Ledger, LedgerOptions, ReserveState};
use support::chance::{Chance, setting};
use support::{at, consent, consented, created, draft, enrolled, log_key, options};

const CHILD_FOLDER: &str = "KONCLAVE_LEDGER_KILL_TEST_FOLDER";

/// Rounds after which a new ledger is begun, so that checking does not become slower and slower.
const ROUNDS_OF_A_LEDGER: u64 = 25;

/// With everything that a gateway asks for.
fn all_options(folder: &Path) -> LedgerOptions {
    LedgerOptions { reserve_bytes: 1 << 20, seen: Some(folder.join("seen")), ..options(true) }
}

/// Runs only as the child: appends batches until it is killed, and says after each what was acknowledged.
#[test]
fn child_appends_until_killed() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else { return };
    let folder = Path::new(&folder);
    let mut ledger = Ledger::open(&folder.join("ledger"), all_options(folder)).unwrap();
    let mut out = std::io::stdout();
    if ledger.head().size == 0 {
        ledger.append(vec![created(), enrolled("site-a")], at(0)).unwrap();
    }
    loop {
        let size = ledger.head().size;
        // Batches of 1 to 70 entries, so that bundles end inside, at and between batches.
        let mut batch: Vec<_> = (size..=size + size * 31 % 70).map(draft).collect();
        if size.is_multiple_of(3) {
            let statement = ledger.put_statement(&consent("site-a", &format!("job-{size}"))).unwrap();
            batch.push(consented("site-a", &format!("job-{size}"), statement));
        }
        let indexes = ledger.append(batch, at(size)).unwrap();
        let head = ledger.head();
        assert_eq!(indexes.last(), Some(&(head.size - 1)));
        // The line is the acknowledgement. It starts on a new line, since the test runner writes to the same stream.
        write!(out, "\nACK {} {}\n", head.size, head.root).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn nothing_acknowledged_is_lost_to_sigkill() {
    let rounds = setting("KONCLAVE_KILL_ROUNDS", 12);
    let mut folder = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(u64, Hash)> = Vec::new();
    let (mut answers, mut entries) = (0, 0);
    let mut chance = Chance::new("kill", setting("KONCLAVE_TORTURE_SEED", 1));
    for round in 0..rounds {
        if round > 0 && round.is_multiple_of(ROUNDS_OF_A_LEDGER) {
            folder = tempfile::tempdir().unwrap();
            acknowledged.clear();
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_appends_until_killed", "--nocapture", "--test-threads=1"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (said, hear) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(stdout).split(b'\n').map_while(Result::ok);
            let parse = |line: Vec<u8>| {
                let line = String::from_utf8(line).ok()?;
                let (size, root) = line.strip_prefix("ACK ")?.split_once(' ')?;
                Some((size.parse().ok()?, root.parse().ok()?))
            };
            lines.filter_map(parse).for_each(|acknowledged| said.send(acknowledged).unwrap());
        });
        // A different moment each round: mostly while it appends, sometimes while it opens.
        let first = if chance.one_in(5) { None } else { Some(hear.recv().unwrap()) };
        std::thread::sleep(Duration::from_micros(chance.next() % 400_000));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        let heard: Vec<(u64, Hash)> = first.into_iter().chain(hear).collect();
        answers += heard.len() as u64;
        let before = acknowledged.last().map_or(0, |(size, _)| *size);
        entries += heard.last().map_or(0, |(size, _)| size - before);
        acknowledged.extend(heard);

        let ledger = Ledger::open(&folder.path().join("ledger"), all_options(folder.path())).unwrap();
        let head = ledger.head();
        assert_eq!(ledger.reserve_state(), ReserveState::Held);
        let (published, _) = Checkpoint::verify(ledger.checkpoint_note().as_bytes(), &log_key()).unwrap();
        assert_eq!(published, head);
        for (size, root) in &acknowledged {
            assert!(
                *size <= head.size,
                "round {round}: {size} entries were acknowledged, {} are left",
                head.size
            );
            let proof = ledger.consistency_proof(*size, head.size).unwrap();
            assert_eq!(
                proof.verify(root, &head.root),
                Ok(()),
                "round {round}: the acknowledged {size} changed"
            );
        }
        assert_eq!(ledger.index_state(), IndexState::Ready);
        let filter = Filter { actor: Some("actor-1".into()), ..Filter::default() };
        let found = ledger.query(&filter, None, usize::MAX).unwrap();
        let scanned =
            ledger.leaves(0..head.size).map(Result::unwrap).filter(|leaf| filter.matches(leaf)).count();
        assert_eq!(found.len(), scanned);
        for leaf in ledger.leaves(0..head.size).map(Result::unwrap) {
            if let Some(statement) = leaf.statement {
                assert!(ledger.get_statement(&statement).unwrap().is_some());
            }
        }
    }
    println!("{rounds} kills, {answers} acknowledgements of {entries} entries, none lost");
    assert!(answers > rounds, "the children had time to append: {answers}");
}
