//! Flipped bits, cut files and lost files of every kind in a ledger's folder, at rest and under a running ledger: each
//! is detected with file and first bad entry, or repaired where the file is derived. Nothing wrong is ever served.
//!
//! `KONCLAVE_FLIPS` says how many; `make torture` makes thousands.

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
use std::fs;
use std::path::{Path, PathBuf};

use konclave_ledger::tiles::{TileKind, TilePath};
use konclave_ledger::{
    Checkpoint, Damage, ExportError, Filter, Hash, IndexState, Leaf, Ledger, OpenError, ReadError, bundle,
};
use support::chance::{Chance, quick_folder, setting};
use support::{at, consent, consented, cosign_line, created, draft, enrolled, log_key, options};

/// A ledger at rest, with all that it should answer.
struct Fixture {
    folder: tempfile::TempDir,
    files: BTreeMap<String, Vec<u8>>,
    leaves: Vec<Leaf>,
    note: String,
    pages: Vec<Vec<u64>>,
}

impl Fixture {
    fn new(size: u64, index: bool) -> Self {
        let folder = quick_folder();
        let mut ledger = Ledger::open(folder.path(), options(index)).unwrap();
        let mut next = 0;
        while next < size {
            // Some statements are named twice, by entries of different bundles.
            let digest = ledger.put_statement(&consent("site-a", &format!("job-{}", next / 500))).unwrap();
            let mut batch: Vec<_> = match next {
                0 => vec![created(), enrolled("site-a")],
                _ => vec![consented("site-a", &format!("job-{}", next / 500), digest)],
            };
            let end = (next + if size > 10_000 { 4096 } else { 130 }).min(size);
            batch.extend((next + batch.len() as u64..end).map(draft));
            ledger.append(batch, at(next)).unwrap();
            next = ledger.head().size;
        }
        ledger.add_cosignature(&cosign_line(&ledger, "site-a", size)).unwrap();
        let leaves =
            if size > 10_000 { Vec::new() } else { ledger.leaves(0..size).map(Result::unwrap).collect() };
        let (note, pages) = (ledger.checkpoint_note(), pages(&ledger));
        drop(ledger);
        let mut files = BTreeMap::new();
        collect(folder.path(), "", &mut files);
        files.remove("ledger.lock");
        files.retain(|_, bytes| !bytes.is_empty());
        Self { folder, files, leaves, note, pages }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn open(&self, index: bool) -> Result<Ledger, OpenError> {
        Ledger::open(self.folder.path(), options(index))
    }

    fn set(&self, file: &str, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => {
                fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
                fs::write(self.path(file), bytes).unwrap();
            }
            None => fs::remove_file(self.path(file)).unwrap(),
        }
    }

    /// Every file as it was, and no other.
    fn restore(&self) {
        let mut found = BTreeMap::new();
        collect(self.folder.path(), "", &mut found);
        for (file, bytes) in &self.files {
            if found.remove(file).as_ref() != Some(bytes) {
                self.set(file, Some(bytes));
            }
        }
        found.keys().filter(|file| *file != "ledger.lock").for_each(|file| self.set(file, None));
    }

    /// The first entry that names a statement's file.
    fn first_naming(&self, file: &str) -> u64 {
        let names = |leaf: &&Leaf| leaf.statement.is_some_and(|digest| file.contains(&digest.to_string()));
        self.leaves.iter().find(names).map_or(u64::MAX, |leaf| leaf.seq)
    }
}

fn collect(root: &Path, folder: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(root.join(folder)).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, files);
        } else {
            files.insert(path.clone(), fs::read(root.join(&path)).unwrap());
        }
    }
}

fn pages(ledger: &Ledger) -> Vec<Vec<u64>> {
    let filters = [
        Filter::default(),
        Filter { actor: Some("actor-1".into()), ..Filter::default() },
        Filter { site: Some("site-2".into()), action: Some("action.1".into()), ..Filter::default() },
        Filter { object: Some("object/3".into()), since: Some(at(200).unix_millis()), ..Filter::default() },
    ];
    filters.iter().map(|filter| ledger.query(filter, None, usize::MAX).unwrap()).collect()
}

/// One file changed in one way; `None` if it is lost.
#[derive(Debug)]
struct Change {
    bytes: Option<Vec<u8>>,
    /// First byte that is not as it was.
    at: usize,
    what: String,
}

fn change(before: &[u8], chance: &mut Chance) -> Change {
    // The index's files are mostly zeros that nobody reads.
    let mut at = chance.below(before.len());
    for _ in 0..20 {
        if before[at] == 0 {
            at = chance.below(before.len());
        }
    }
    let mut bytes = before.to_vec();
    match chance.below(20) {
        0 => Change { bytes: None, at: 0, what: "lost".into() },
        1..=3 => {
            bytes.truncate(at);
            Change { bytes: Some(bytes), at, what: format!("cut to {at} bytes") }
        }
        4 => {
            let sector = at - at % 512;
            bytes[sector..].iter_mut().take(512).for_each(|byte| *byte = 0);
            let first = before.iter().zip(&bytes).position(|(a, b)| a != b).unwrap_or(before.len());
            Change { bytes: Some(bytes), at: first, what: format!("512 zeros at {sector}") }
        }
        _ => {
            let bit = chance.below(8);
            bytes[at] ^= 1 << bit;
            Change { bytes: Some(bytes), at, what: format!("bit {bit} of byte {at}") }
        }
    }
}

/// The entry that a changed byte of a tile belongs to, or the first that a changed hash stands for.
fn first_bad(path: &TilePath, before: &[u8], at: usize) -> u64 {
    let covers = path.covers();
    match path.kind() {
        TileKind::Entries => {
            let mut end = 0;
            let whole = bundle::entries(before).map(Result::unwrap).take_while(|entry| {
                end += 2 + entry.len();
                end <= at
            });
            covers.start + whole.count() as u64
        }
        TileKind::Hashes { .. } => {
            covers.start + (at / 32) as u64 * ((covers.end - covers.start) / u64::from(path.width()))
        }
    }
}

fn opened_damaged(opened: Result<Ledger, OpenError>, context: &str) -> Damage {
    match opened {
        Err(OpenError::Damaged(damage)) => damage,
        other => panic!("{context}: {other:?}"),
    }
}

/// Opens a ledger with one changed file and asserts what must come of it.
fn at_rest(fixture: &Fixture, file: &str, chance: &mut Chance) {
    let before = &fixture.files[file];
    let changed = change(before, chance);
    if changed.bytes.as_ref() == Some(before) {
        return;
    }
    let context = format!("{file}: {}", changed.what);
    fixture.set(file, changed.bytes.as_deref());
    if let Ok(path) = file.parse::<TilePath>() {
        let damage = opened_damaged(fixture.open(false), &context);
        assert_eq!(damage.file, file, "{context}: {damage}");
        assert_eq!(damage.first_index, first_bad(&path, before, changed.at), "{context}: {damage}");
    } else if file.starts_with("statements/") {
        let damage = opened_damaged(fixture.open(false), &context);
        assert_eq!(
            (damage.file.as_str(), damage.first_index),
            (file, fixture.first_naming(file)),
            "{context}"
        );
    } else if file == "head.note" {
        match fixture.open(false) {
            Err(OpenError::Head(_)) => {}
            Err(OpenError::HeadMissing) if changed.bytes.is_none() => {}
            other => panic!("{context}: {other:?}"),
        }
    } else if file == "checkpoint" {
        let ledger = fixture.open(false).unwrap();
        let published = fs::read_to_string(fixture.path(file)).unwrap();
        assert_eq!(published, ledger.checkpoint_note(), "{context}");
        let (head, _) = Checkpoint::verify(published.as_bytes(), &log_key()).unwrap();
        assert_eq!(head, ledger.head());
        // A cosignature that can't be read any more is dropped; the witness makes another with the next head.
        assert!(published == fixture.note || fixture.note.starts_with(&published), "{context}: {published}");
    } else if file.starts_with("index.sled") {
        let ledger = fixture.open(true).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(pages(&ledger), fixture.pages, "{context}");
        assert_eq!(ledger.index_state(), IndexState::Ready, "{context}");
    } else {
        panic!("no rule for {file}");
    }
    fixture.restore();
}

/// Changes files one at a time, each kind in turn.
fn many_at_rest(fixture: &Fixture, wanted: impl Fn(&str) -> bool, count: u64, chance: &mut Chance) {
    let files: Vec<&String> = fixture.files.keys().filter(|file| wanted(file)).collect();
    for round in 0..count {
        let turn = usize::try_from(round).unwrap() % files.len();
        at_rest(fixture, files[turn], chance);
    }
    println!("{count} changes of {} files at rest", files.len());
    fixture.open(false).unwrap();
}

fn seed() -> u64 {
    setting("KONCLAVE_TORTURE_SEED", 1)
}

#[test]
fn every_file_changed_at_rest_is_detected_or_rewritten() {
    let fixture = Fixture::new(530, false);
    assert_eq!(fixture.files.len(), 11, "{:?}", fixture.files.keys());
    let mut chance = Chance::new("at rest", seed());
    many_at_rest(&fixture, |_| true, setting("KONCLAVE_FLIPS", 156), &mut chance);
}

#[test]
fn a_changed_index_is_rebuilt() {
    let fixture = Fixture::new(530, true);
    let mut chance = Chance::new("index", seed());
    let index = |file: &str| file.starts_with("index.sled");
    assert!(fixture.files.keys().filter(|file| index(file)).count() >= 2, "{:?}", fixture.files.keys());
    many_at_rest(&fixture, index, setting("KONCLAVE_FLIPS", 156) / 12, &mut chance);
}

/// Asserts that a running ledger gives what it should or an error that names file and entry; counts the errors.
fn ask_everything(
    fixture: &Fixture,
    ledger: &Ledger,
    file: &str,
    first: Option<u64>,
    context: &str,
) -> usize {
    let mut errors = 0;
    let mut fails = |error: &ReadError| {
        errors += 1;
        match error {
            ReadError::Damaged(damage) => {
                assert_eq!(damage.file, file, "{context}: {damage}");
                if let Some(first) = first {
                    assert_eq!(damage.first_index, first, "{context}: {damage}");
                }
            }
            other => panic!("{context}: {other}"),
        }
    };
    let size = fixture.leaves.len() as u64;
    let head = ledger.head();
    for leaf in &fixture.leaves {
        if leaf.seq % 17 == 0 || first == Some(leaf.seq) {
            match ledger.leaf(leaf.seq) {
                Ok(found) => assert_eq!(found.as_ref(), Some(leaf), "{context}"),
                Err(error) => fails(&error),
            }
            match ledger.inclusion_proof(leaf.seq, size) {
                Ok(proof) => {
                    let stored = fixture_bytes(fixture, leaf.seq);
                    let hash = konclave_ledger::tree::leaf_hash(&stored);
                    assert_eq!(proof.verify(&hash, &head.root), Ok(()), "{context}");
                }
                Err(error) => fails(&error),
            }
        }
        if let Some(digest) = leaf.statement {
            match ledger.get_statement(&digest) {
                Ok(found) => assert_eq!(Hash::of(&found.unwrap().to_bytes()), digest, "{context}"),
                Err(error) => fails(&error),
            }
        }
    }
    for (path, bytes) in fixture.files.iter().filter(|(path, _)| path.parse::<TilePath>().is_ok()) {
        match ledger.static_file(path) {
            Ok(found) => assert_eq!(found.as_ref(), Some(bytes), "{context}: {path}"),
            Err(error) => fails(&error),
        }
    }
    let read: Result<Vec<Leaf>, ReadError> = ledger.leaves(0..u64::MAX).collect();
    match read {
        Ok(read) => assert_eq!(read, fixture.leaves, "{context}"),
        Err(error) => fails(&error),
    }
    match ledger.query(&Filter::default(), None, usize::MAX) {
        Ok(found) => assert_eq!(found, fixture.pages[0], "{context}"),
        Err(error) => fails(&error),
    }
    let copy = quick_folder();
    match ledger.export(copy.path()) {
        Ok(_) => {
            let mut copied = BTreeMap::new();
            collect(copy.path(), "", &mut copied);
            assert!(copied.iter().all(|(path, bytes)| fixture.files[path] == *bytes), "{context}");
        }
        Err(ExportError::Read(error)) => fails(&error),
        Err(other) => panic!("{context}: {other}"),
    }
    errors
}

fn fixture_bytes(fixture: &Fixture, index: u64) -> Vec<u8> {
    let size = fixture.leaves.len() as u64;
    let path = TilePath::in_log(TileKind::Entries, index / 256, size).unwrap();
    let entry = bundle::entries(&fixture.files[&path.to_string()]).nth(usize::try_from(index % 256).unwrap());
    entry.unwrap().unwrap().to_vec()
}

#[test]
fn files_changed_under_a_running_ledger_are_never_served() {
    let fixture = Fixture::new(530, false);
    let ledger = fixture.open(false).unwrap();
    let mut chance = Chance::new("running", seed());
    assert_eq!(ask_everything(&fixture, &ledger, "", None, "nothing changed"), 0);
    let files: Vec<&String> = fixture.files.keys().filter(|file| file.contains('/')).collect();
    let mut detected = 0;
    for round in 0..setting("KONCLAVE_FLIPS", 156) / 6 {
        let file = files[usize::try_from(round).unwrap() % files.len()];
        let before = &fixture.files[file];
        let changed = change(before, &mut chance);
        if changed.bytes.as_ref() == Some(before) {
            continue;
        }
        let context = format!("{file}: {}", changed.what);
        fixture.set(file, changed.bytes.as_deref());
        let tile = file.parse::<TilePath>().ok();
        let first = match (&tile, &changed.bytes) {
            // A lost bundle is lost from its first entry on.
            (Some(path), None) => Some(path.covers().start),
            (Some(path), Some(_)) if path.kind() == TileKind::Entries => {
                Some(first_bad(path, before, changed.at))
            }
            // A hash tile is read as a whole.
            (Some(path), Some(_)) => Some(path.covers().start),
            (None, _) => Some(fixture.first_naming(file)),
        };
        let errors = ask_everything(&fixture, &ledger, file, first, &context);
        // Partial tiles are served from memory.
        let from_memory = tile.is_some_and(|path| !path.is_full());
        assert_eq!(errors == 0, from_memory, "{context}");
        detected += errors;
        fixture.restore();
    }
    assert!(detected > 50, "{detected}");
}

#[test]
#[ignore = "a minute: more than 65,536 entries; run by `make torture`"]
fn higher_tiles_changed_at_rest_are_detected() {
    let fixture = Fixture::new(66_000, false);
    let mut chance = Chance::new("higher", seed());
    let higher = |file: &str| file.starts_with("tile/1/") || file.starts_with("tile/2/");
    assert_eq!(fixture.files.keys().filter(|file| higher(file)).count(), 3);
    many_at_rest(&fixture, higher, 24, &mut chance);
    let ledger = fixture.open(false).unwrap();
    let proof = ledger.inclusion_proof(7, 66_000).unwrap();
    fixture.set(
        "tile/1/000",
        Some(&{
            let mut bytes = fixture.files["tile/1/000"].clone();
            bytes[200 * 32] ^= 1;
            bytes
        }),
    );
    assert!(
        matches!(ledger.inclusion_proof(7, 66_000), Err(ReadError::Damaged(damage)) if damage.file == "tile/1/000")
    );
    fixture.restore();
    assert_eq!(ledger.inclusion_proof(7, 66_000).unwrap(), proof);
}
