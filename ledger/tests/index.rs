//! The query index is a cache: deleted, damaged or stale, the answers stay the same.

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

use std::fs;
use std::path::Path;

use konclave_ledger::{Filter, IndexState, Ledger, OpenError};
use support::{at, created, draft, options};

fn answers(ledger: &Ledger) -> Vec<Vec<u64>> {
    let text = |prefix: &str, number: u64| Some(format!("{prefix}{number}"));
    let filters = [
        Filter::default(),
        Filter { object: text("object/", 3), ..Filter::default() },
        Filter { site: text("site-", 2), action: text("action.", 1), ..Filter::default() },
        Filter { actor: text("actor-", 0), since: Some(at(2).unix_millis()), ..Filter::default() },
        Filter { since: Some(at(1).unix_millis()), until: Some(at(2).unix_millis()), ..Filter::default() },
        Filter { site: text("site-", 9), ..Filter::default() },
        Filter {
            actor: text("actor-", 0),
            object: text("object/", 3),
            site: text("site-", 1),
            ..Filter::default()
        },
    ];
    filters.iter().map(|filter| ledger.query(filter, None, usize::MAX).unwrap()).collect()
}

fn filled(folder: &Path) -> Vec<Vec<u64>> {
    let mut ledger = Ledger::open(folder, options(true)).unwrap();
    ledger.append(vec![created()], at(0)).unwrap();
    ledger.append((1..200).map(draft).collect(), at(1)).unwrap();
    ledger.append((200..310).map(draft).collect(), at(2)).unwrap();
    answers(&ledger)
}

#[test]
fn deleted_damaged_or_stale_it_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let expected = filled(folder.path());
    assert!(expected[..5].iter().all(|found| !found.is_empty()) && expected[5].is_empty());
    let index = folder.path().join("index.sled");
    let stale = tempfile::tempdir().unwrap();
    filled(stale.path());
    Ledger::open(stale.path(), options(true)).unwrap().append(vec![draft(7)], at(3)).unwrap();

    let damages: [(&str, &dyn Fn()); 5] = [
        ("deleted", &|| fs::remove_dir_all(&index).unwrap()),
        ("replaced by another ledger's", &|| {
            fs::remove_dir_all(&index).unwrap();
            fs::create_dir(&index).unwrap();
            for file in ["conf", "db"] {
                fs::copy(stale.path().join("index.sled").join(file), index.join(file)).unwrap();
            }
        }),
        ("overwritten with noise", &|| {
            for file in ["conf", "db"] {
                let length = fs::metadata(index.join(file)).unwrap().len();
                fs::write(index.join(file), vec![0xa5; usize::try_from(length).unwrap()]).unwrap();
            }
        }),
        ("cut short", &|| fs::write(index.join("db"), b"half").unwrap()),
        ("a file instead of a folder", &|| {
            fs::remove_dir_all(&index).unwrap();
            fs::write(&index, b"?").unwrap();
        }),
    ];
    for (what, damage) in damages {
        damage();
        let ledger = Ledger::open(folder.path(), options(true)).unwrap();
        assert_eq!(ledger.index_state(), IndexState::Ready, "{what}");
        assert_eq!(answers(&ledger), expected, "{what}");
        drop(ledger);
        let without = Ledger::open(folder.path(), options(false)).unwrap();
        assert_eq!(without.index_state(), IndexState::Off);
        assert_eq!(answers(&without), expected, "{what}, without index");
    }
}

#[test]
fn an_index_that_missed_entries_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let mut without = Ledger::open(folder.path(), options(false)).unwrap();
    without.append((310..320).map(draft).collect(), at(4)).unwrap();
    let expected = answers(&without);
    drop(without);
    let ledger = Ledger::open(folder.path(), options(true)).unwrap();
    assert_eq!(answers(&ledger), expected);
}

#[test]
fn pages_do_not_overlap_or_skip() {
    let folder = tempfile::tempdir().unwrap();
    let expected = filled(folder.path());
    let ledger = Ledger::open(folder.path(), options(true)).unwrap();
    for page in [1, 7, 64, 1000] {
        let mut found: Vec<u64> = Vec::new();
        loop {
            let next = ledger.query(&Filter::default(), found.last().copied(), page).unwrap();
            assert!(next.len() <= page);
            if next.is_empty() {
                break;
            }
            found.extend(next);
        }
        assert_eq!(found, expected[0]);
    }
    assert_eq!(ledger.query(&Filter::default(), Some(u64::MAX), 5).unwrap(), Vec::<u64>::new());
    assert_eq!(ledger.query(&Filter::default(), None, 0).unwrap(), Vec::<u64>::new());
}

#[test]
fn only_one_may_write() {
    let folder = tempfile::tempdir().unwrap();
    let first = Ledger::open(folder.path(), options(false)).unwrap();
    assert!(matches!(Ledger::open(folder.path(), options(false)), Err(OpenError::InUse { .. })));
    drop(first);
    assert!(Ledger::open(folder.path(), options(false)).is_ok());
}

/// sled takes a damaged record for the end of what was written before a crash: it opens with the newest head and without
/// some older keys.
#[test]
fn an_index_with_the_right_head_and_wrong_keys_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let all = |ledger: &Ledger| {
        let site = |site: u64| Filter { site: Some(format!("site-{site}")), ..Filter::default() };
        let later = Filter { since: Some(at(50).unix_millis()), ..Filter::default() };
        let filters = (0..4).map(site).chain([later]);
        filters.map(|filter| ledger.query(&filter, None, usize::MAX).unwrap()).collect::<Vec<_>>()
    };
    let expected = all(&Ledger::open(folder.path(), options(false)).unwrap());
    type Edit<'a> = &'a dyn Fn(&sled::Db);
    let edits: [(&str, Edit<'_>); 4] = [
        ("a key is missing", &|database| {
            let key = database.scan_prefix(b"s").keys().next().unwrap().unwrap();
            database.remove(key).unwrap().unwrap();
        }),
        ("a key too many", &|database| {
            let (key, _) = database.scan_prefix(b"ssite-1").last().unwrap().unwrap();
            let (entry, tag) = (key.len() - 8, b"ssite-2\0");
            let moved = [tag.as_slice(), &key[entry..]].concat();
            assert!(database.insert(moved, b"").unwrap().is_none());
        }),
        ("a key under another entry", &|database| {
            let mut key = database.scan_prefix(b"s").keys().next().unwrap().unwrap().to_vec();
            database.remove(&key).unwrap().unwrap();
            *key.last_mut().unwrap() ^= 1;
            database.insert(key, b"").unwrap();
        }),
        ("another time", &|database| {
            let (key, _) = database.scan_prefix(b"t").next().unwrap().unwrap();
            database.insert(key, &at(99).unix_millis().to_be_bytes()).unwrap();
        }),
    ];
    for (what, edit) in edits {
        let database = sled::open(folder.path().join("index.sled")).unwrap();
        edit(&database);
        database.flush().unwrap();
        drop(database);
        let ledger = Ledger::open(folder.path(), options(true)).unwrap();
        assert_eq!(ledger.index_state(), IndexState::Ready, "{what}");
        assert_eq!(all(&ledger), expected, "{what}");
    }
}
