//! A disk that is really full: appends are refused, reading goes on, the reserve can be used, and it works again when
//! there is space.

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

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use konclave_ledger::{Ledger, LedgerOptions, ReserveState, StatementFileError};
use support::{at, consent, created, draft, options};

const FOLDER: &str = "KONCLAVE_LEDGER_FULL_DISK";
const RESERVE: u64 = 512 * 1024;

/// Mounts a small disk in a namespace of its own, which goes with the process, and runs the other test on it.
#[test]
fn a_full_disk_refuses_appends_until_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let inside = r#"mount -t tmpfs -o size=3m,mode=700 konclave "$KONCLAVE_LEDGER_FULL_DISK" || exit 99
        exec "$0" --exact on_a_small_disk --ignored --nocapture --test-threads=1"#;
    for namespace in [&["--mount"][..], &["--mount", "--map-root-user"]] {
        let ran = Command::new("unshare")
            .args(namespace)
            .args(["sh", "-c", inside])
            .arg(std::env::current_exe().unwrap())
            .env(FOLDER, folder.path())
            .output();
        let Ok(ran) = ran else { break };
        let said = String::from_utf8_lossy(&ran.stdout);
        if ran.status.code() == Some(99) || !said.contains("running 1 test") {
            continue;
        }
        assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    eprintln!(
        "skipped: this user may not mount a small disk (unshare --mount, with or without --map-root-user)"
    );
}

/// Writes until nothing more fits.
fn fill(filler: &Path) {
    let mut file = OpenOptions::new().create(true).append(true).open(filler).unwrap();
    for piece in [64 * 1024, 4096, 512, 1] {
        while file.write_all(&vec![7; piece]).is_ok() {}
    }
}

fn opened(folder: &Path, reserve_bytes: u64, index: bool) -> Ledger {
    Ledger::open(folder, LedgerOptions { reserve_bytes, ..options(index) }).unwrap()
}

#[test]
#[ignore = "run by the other test, on a small disk"]
fn on_a_small_disk() {
    let disk = std::env::var(FOLDER).unwrap();
    let (folder, filler) = (Path::new(&disk).join("ledger"), Path::new(&disk).join("filler"));
    let reserve = folder.join("reserve");
    let mut ledger = opened(&folder, RESERVE, true);
    assert_eq!(ledger.reserve_state(), ReserveState::Held);
    let file = fs::metadata(&reserve).unwrap();
    assert_eq!(file.len(), RESERVE);
    assert!(file.blocks() * 512 >= RESERVE, "the blocks are there, not only the length");
    ledger.append(std::iter::once(created()).chain((1..300).map(draft)).collect(), at(0)).unwrap();
    let head = ledger.head();

    fill(&filler);
    for attempt in 0..3 {
        let refused = ledger.append((300..556).map(draft).collect(), at(1)).unwrap_err();
        assert!(refused.is_disk_full(), "attempt {attempt}: {refused}");
        let told = refused.to_string();
        assert!(told.contains("nothing was appended") && told.contains("make space"), "{told}");
        let statement = ledger.put_statement(&consent("site-a", &"j".repeat(5000))).unwrap_err();
        assert!(matches!(&statement, StatementFileError::NotStored(failure) if failure.is_disk_full()));
    }
    assert!(!ledger.is_poisoned());
    assert_eq!(ledger.head(), head);
    assert_eq!(ledger.leaves(0..u64::MAX).map(Result::unwrap).count(), 300);
    ledger.inclusion_proof(7, 300).unwrap();
    drop(ledger);
    // A restart on the full disk, too, with the reserve still there and nothing of the refused batches.
    let mut ledger = opened(&folder, RESERVE, false);
    assert_eq!((ledger.head(), ledger.reserve_state()), (head, ReserveState::Held));
    assert!(ledger.append(vec![draft(300)], at(2)).unwrap_err().is_disk_full());

    // A part is enough for an entry, and what is left of it stays over a failed try to have all of it again, and a
    // restart.
    let mut spent = 0;
    let index = loop {
        spent += ledger.spend_reserve().unwrap();
        assert!(0 < spent && spent < RESERVE, "{spent}");
        match ledger.append(vec![draft(300)], at(3)) {
            Ok(indexes) => break indexes[0],
            Err(error) => assert!(error.is_disk_full(), "{error}"),
        }
    };
    assert_eq!((index, ledger.reserve_state()), (300, ReserveState::Missing));
    let left = fs::metadata(&reserve).unwrap().len();
    assert_eq!(left, RESERVE - spent);
    fill(&filler);
    assert!(ledger.take_reserve().is_err());
    drop(ledger);
    let mut ledger = opened(&folder, RESERVE, false);
    assert_eq!(ledger.reserve_state(), ReserveState::Missing);
    assert_eq!(fs::metadata(&reserve).unwrap().len(), left);
    assert!(ledger.append(vec![draft(301)], at(3)).unwrap_err().is_disk_full());

    assert_eq!(ledger.release_reserve().unwrap(), left);
    assert_eq!((ledger.spend_reserve().unwrap(), ledger.release_reserve().unwrap()), (0, 0));
    assert_eq!(ledger.reserve_state(), ReserveState::Missing);
    assert_eq!(ledger.append(vec![draft(301)], at(3)).unwrap(), [301]);
    fill(&filler);
    assert!(ledger.append(vec![draft(302)], at(4)).unwrap_err().is_disk_full());
    assert!(ledger.take_reserve().is_err());
    assert!(!reserve.exists(), "a reserve that can't be had takes nothing either");

    // Without the reserve, and with a checkpoint that is behind, the ledger still opens for its readers.
    drop(ledger);
    fs::write(folder.join("checkpoint"), "").unwrap();
    fill(&filler);
    let mut ledger = opened(&folder, RESERVE, true);
    assert_eq!(ledger.reserve_state(), ReserveState::Missing);
    assert!(ledger.checkpoint_lags());
    assert_eq!(ledger.query(&Default::default(), None, 1000).unwrap().len(), 302);

    // Space again, and no restart: entries, statement, reserve, and all of it verifies.
    fs::remove_file(&filler).unwrap();
    assert_eq!(ledger.append((302..600).map(draft).collect(), at(5)).unwrap().len(), 298);
    assert!(!ledger.checkpoint_lags());
    let digest = ledger.put_statement(&consent("site-a", "job")).unwrap();
    ledger.take_reserve().unwrap();
    assert_eq!(ledger.reserve_state(), ReserveState::Held);
    assert_eq!(ledger.query(&Default::default(), None, 1000).unwrap().len(), 600);
    drop(ledger);
    let ledger = opened(&folder, 0, true);
    assert_eq!(ledger.head().size, 600);
    assert!(ledger.get_statement(&digest).unwrap().is_some());
    assert_eq!(ledger.reserve_state(), ReserveState::Off);
    assert!(!reserve.exists(), "one that is not wanted any more is given back");
}
