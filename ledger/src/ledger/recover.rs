//! Loading a ledger from its files: the signed head decides, everything is verified, the rest is discarded.

use std::collections::{BTreeMap, BTreeSet};

use super::errors::{AppendError, Damage, OpenError, StorageFailure};
use super::index::IndexSlot;
use super::key_sum::KeySum;
use super::last_head::LastHead;
use super::lock::FolderLock;
use super::sealed::{Sealed, first_unlike};
use super::statement_files::statement_path;
use super::tail::Tail;
use super::witnessed::Heads;
use super::{CHECKPOINT, HEAD, Ledger, LedgerOptions};
use crate::bundle;
use crate::checkpoint::Checkpoint;
use crate::enrolment::EnrolledKeys;
use crate::hash::Hash;
use crate::leaf::Leaf;
use crate::note::{SignatureLine, SignedNote, VerifierKey};
use crate::rotation::LogKeys;
use crate::storage::Storage;
use crate::tiles::{TILE_WIDTH, TileKind, TilePath, decode_hashes, tiles_of};
use crate::tree::empty_root;

/// Reads and verifies everything; creates the head of an empty ledger in an empty storage. Also gives the keys of the
/// query index, if one is asked for. The stored head is by the key that is `gone`, if one is, else by the options' key.
pub(super) fn load(
    storage: Box<dyn Storage>,
    lock: Option<FolderLock>,
    options: LedgerOptions,
    gone: Option<&VerifierKey>,
) -> Result<(Ledger, KeySum), OpenError> {
    let LedgerOptions { origin, signer, software, index, reserve_bytes: _, seen } = options;
    let empty = Checkpoint { origin: origin.clone(), size: 0, root: empty_root() };
    let mut ledger = Ledger {
        storage,
        note: empty.signed_by(&[&*signer])?,
        origin,
        signer,
        software,
        tail: Tail::default(),
        sealed: Sealed::default(),
        statements: BTreeMap::new(),
        keys: EnrolledKeys::default(),
        log_keys: LogKeys::default(),
        heads: Heads::default(),
        index: IndexSlot::off(),
        reserve: None,
        last_head: LastHead::at(seen),
        unpublished: true,
        poisoned: false,
        _lock: lock,
    };
    let seen = ledger.last_head.read(&ledger.origin)?;
    let seen_size = seen.as_ref().map(|seen| seen.size);
    let head_note = ledger.storage.read(HEAD).map_err(StorageFailure::of("read", &HEAD))?;
    let Some(head_note) = head_note else {
        refuse_leftovers(&*ledger.storage)?;
        if gone.is_some() {
            return Err(OpenError::HeadMissing);
        }
        if let Some(seen) = seen {
            let root = (seen.size == 0).then(empty_root);
            ledger.last_head.check(&seen, 0, root)?;
        }
        create(&mut ledger)?;
        return Ok((ledger, KeySum::default()));
    };
    let key = gone.cloned().unwrap_or_else(|| ledger.verifier_key());
    let (head, note) = Checkpoint::verify(&head_note, &key)?;
    let walked = verify_files(&*ledger.storage, &head, seen_size, index)?;
    if let Some(seen) = seen {
        ledger.last_head.check(&seen, head.size, walked.root_seen)?;
    }
    if let Some(current) = walked.log_keys.current().filter(|current| **current != key) {
        return Err(OpenError::KeySuperseded { current: current.to_string() });
    }
    // Lines of witnesses are taken over from the published checkpoint, each after a check; here they were not checked.
    let by_log = |line: &SignatureLine| line.name == head.origin;
    let signatures = note.signatures.into_iter().filter(by_log).collect();
    ledger.note = SignedNote { signatures, ..note };
    ledger.tail = walked.tail;
    ledger.sealed = walked.sealed;
    ledger.statements = walked.statements;
    ledger.keys = walked.keys;
    ledger.log_keys = walked.log_keys;
    // In this order: a power cut can still bring back the head before, if a killed process left this one unsynced, and
    // that head needs the partial tiles that this one has replaced.
    settle(&mut *ledger.storage, head.size, ledger.statements.keys())?;
    discard_beyond(&mut *ledger.storage, head.size)?;
    ledger.restore_cosignatures();
    ledger.restore_witnessed();
    Ok((ledger, walked.index_keys.unwrap_or_default()))
}

/// The empty head comes before everything else, so that entries without a head always mean damage.
fn create(ledger: &mut Ledger) -> Result<(), OpenError> {
    let note = ledger.note.clone();
    ledger.replace_head(&note).map_err(|error| match error {
        AppendError::NotStored(failure) | AppendError::Ambiguous(failure) => OpenError::Storage(failure),
        AppendError::NotSigned(signer) => OpenError::Signer(signer),
        AppendError::Poisoned
        | AppendError::Draft { .. }
        | AppendError::Rotation(_)
        | AppendError::StatementMissing { .. } => OpenError::HeadMissing,
    })
}

/// Without a head, nothing else of a ledger may exist.
fn refuse_leftovers(storage: &dyn Storage) -> Result<(), OpenError> {
    let tiles = storage.list("tile").map_err(StorageFailure::of("list", &"tile"))?;
    let statements = storage.list("statements").map_err(StorageFailure::of("list", &"statements"))?;
    let checkpoint = storage.read(CHECKPOINT).map_err(StorageFailure::of("read", &CHECKPOINT))?;
    if tiles.is_empty() && statements.is_empty() && checkpoint.is_none() {
        Ok(())
    } else {
        Err(OpenError::HeadMissing)
    }
}

/// What the walk over all entries gives.
#[derive(Debug, Default)]
struct Walked {
    tail: Tail,
    sealed: Sealed,
    keys: EnrolledKeys,
    log_keys: LogKeys,
    /// Statements with the first entry that names each.
    statements: BTreeMap<Hash, u64>,
    /// The keys of the query index, if there is to be one.
    index_keys: Option<KeySum>,
    /// The root at the size that was asked about, if the ledger reaches it.
    root_seen: Option<Hash>,
    /// The tile that does not fit the entries, if one doesn't.
    unfit: Option<Damage>,
}

/// Verifies the entries up to the head, then the tiles and statements, which follow from them. If the entries lead to
/// the signed root, each of them is right, and a hash tile that says otherwise is the damaged one.
fn verify_files(
    storage: &dyn Storage,
    head: &Checkpoint,
    seen: Option<u64>,
    index: bool,
) -> Result<Walked, OpenError> {
    let mut walked = Walked {
        root_seen: (seen == Some(0)).then(empty_root),
        index_keys: index.then(KeySum::default),
        ..Walked::default()
    };
    for path in entry_tiles(head.size) {
        let before = walked.tail.size();
        let bytes = read_tile(storage, &path)?;
        let taken = bundle::entries(&bytes).try_for_each(|entry| {
            let wrong = |what: String| WalkError::Entry(what);
            let stored = entry.map_err(|error| wrong(error.to_string()))?;
            walked.take(storage, &head.origin, stored, seen)
        });
        match taken {
            Ok(()) => {}
            Err(WalkError::Storage(failure)) => return Err(failure.into()),
            Err(WalkError::Entry(what)) => return Err(entry_damage(storage, head.size, &walked.tail, what)),
        }
        let count = walked.tail.size() - before;
        if count != u64::from(path.width()) {
            let what = format!("it holds {count} entries instead of {}", path.width());
            return Err(entry_damage(storage, head.size, &walked.tail, what));
        }
    }
    for (path, expected) in walked.tail.partial_files() {
        walked.compare(storage, &path, &expected)?;
    }
    if walked.tail.root() != head.root {
        let what = "the entries do not lead to the signed root".to_owned();
        return Err(match first_unlike_entry(storage, head.size) {
            Some((file, first_index)) => Damage { file, first_index, what }.into(),
            None => Damage { file: HEAD.to_owned(), first_index: 0, what }.into(),
        });
    }
    for (digest, first_index) in &walked.statements {
        let file = statement_path(digest);
        let bytes = storage.read(&file).map_err(StorageFailure::of("read", &file))?;
        let what = match bytes {
            None => "it is missing",
            Some(bytes) if Hash::of(&bytes) != *digest => "it does not have the digest it is named by",
            Some(_) => continue,
        };
        let damage = Damage { file, first_index: *first_index, what: what.to_owned() };
        note_first(&mut walked.unfit, damage);
    }
    match walked.unfit.take() {
        Some(damage) => Err(damage.into()),
        None => Ok(walked),
    }
}

enum WalkError {
    Entry(String),
    Storage(StorageFailure),
}

impl Walked {
    /// Takes the next entry and compares the tiles that it fills.
    fn take(
        &mut self,
        storage: &dyn Storage,
        origin: &crate::origin::Origin,
        stored: &[u8],
        seen: Option<u64>,
    ) -> Result<(), WalkError> {
        let leaf = Leaf::parse(stored).map_err(|error| WalkError::Entry(error.to_string()))?;
        let linked = leaf.check_link(origin, self.tail.frontier());
        linked.map_err(|error| WalkError::Entry(error.to_string()))?;
        // A defect in the record of an enrolment is not damage; its keys are simply not known.
        let _ = self.keys.note(&leaf);
        let _ = self.log_keys.note(&leaf);
        if let Some(keys) = &mut self.index_keys {
            keys.take(&leaf);
        }
        if let Some(digest) = leaf.statement {
            self.statements.entry(digest).or_insert(leaf.seq);
        }
        for (full, expected) in self.tail.push(stored) {
            self.compare(storage, &full, &expected).map_err(WalkError::Storage)?;
            self.sealed.note(&full, &expected);
        }
        if seen == Some(self.tail.size()) {
            self.root_seen = Some(self.tail.root());
        }
        Ok(())
    }

    /// Compares a tile with what the entries give.
    fn compare(
        &mut self,
        storage: &dyn Storage,
        path: &TilePath,
        expected: &[u8],
    ) -> Result<(), StorageFailure> {
        if path.kind() == TileKind::Entries {
            // What the entries were just read from.
            return Ok(());
        }
        let file = path.to_string();
        let found = storage.read(&file).map_err(StorageFailure::of("read", &file))?;
        let covers = path.covers();
        let (first_index, what) = match found {
            None => (covers.start, "it is missing"),
            Some(found) if found != expected => {
                let unlike = found.chunks(32).zip(expected.chunks(32)).take_while(|(a, b)| a == b).count();
                let span = (covers.end - covers.start) / u64::from(path.width());
                // One that only has too much at its end agrees about all entries.
                let at = (unlike as u64).min(u64::from(path.width()) - 1);
                (covers.start + at * span, "it does not fit the entries")
            }
            Some(_) => return Ok(()),
        };
        note_first(&mut self.unfit, Damage { file, first_index, what: what.to_owned() });
        Ok(())
    }
}

fn note_first(first: &mut Option<Damage>, damage: Damage) {
    if first.as_ref().is_none_or(|known| damage.first_index < known.first_index) {
        *first = Some(damage);
    }
}

fn entry_tiles(size: u64) -> impl Iterator<Item = TilePath> {
    tiles_of(size).take_while(|path| path.kind() == TileKind::Entries)
}

/// The damage when the entry after `tail` can't be taken. A changed entry can still be a well-formed one; then only the
/// next one shows it, by the hash it carries. The leaf hashes in the tiles say which it was.
fn entry_damage(storage: &dyn Storage, size: u64, tail: &Tail, what: String) -> OpenError {
    let at = tail.size().min(size.saturating_sub(1));
    let earlier = first_unlike_entry(storage, size).filter(|(_, first)| *first < at);
    let here = || {
        let path = TilePath::in_log(TileKind::Entries, at / TILE_WIDTH, size);
        (path.map_or_else(|| "tile/entries".to_owned(), |path| path.to_string()), at)
    };
    let (file, first_index) = earlier.unwrap_or_else(here);
    Damage { file, first_index, what }.into()
}

/// The first entry whose hash is not the one in the tile of leaf hashes, with its bundle.
fn first_unlike_entry(storage: &dyn Storage, size: u64) -> Option<(String, u64)> {
    entry_tiles(size).find_map(|path| {
        let tile = TilePath::in_log(TileKind::Hashes { level: 0 }, path.index(), size)?;
        let hashes = storage.read(&tile.to_string()).ok().flatten();
        let hashes = decode_hashes(&hashes?)?;
        let bundle = storage.read(&path.to_string()).ok().flatten()?;
        let position = first_unlike(&bundle, &hashes)?;
        Some((path.to_string(), path.covers().start + position as u64))
    })
}

fn read_tile(storage: &dyn Storage, path: &TilePath) -> Result<Vec<u8>, OpenError> {
    let name = path.to_string();
    let bytes = storage.read(&name).map_err(StorageFailure::of("read", &name))?;
    let missing =
        || Damage { file: name, first_index: path.covers().start, what: "it is missing".to_owned() };
    Ok(bytes.ok_or_else(missing)?)
}

/// Removes what was staged for a batch that never became part of the ledger, and partial tiles that a full or wider one
/// has replaced. Runs only after everything up to the head has been verified.
fn discard_beyond(storage: &mut dyn Storage, size: u64) -> Result<(), OpenError> {
    let files = storage.list("tile").map_err(StorageFailure::of("list", &"tile"))?;
    if files.len() as u64 == tiles_of(size).count() as u64 {
        return Ok(());
    }
    let belongs: BTreeSet<String> = tiles_of(size).map(|path| path.to_string()).collect();
    for file in files.iter().filter(|file| !belongs.contains(*file)) {
        storage.remove(file).map_err(StorageFailure::of("remove", &file))?;
    }
    Ok(())
}

/// Makes durable what was found. A killed process leaves files that programs see and a power cut takes away, a copied
/// folder likewise; without this, entries that others have seen and built on would go with them.
fn settle<'a>(
    storage: &mut dyn Storage,
    size: u64,
    statements: impl Iterator<Item = &'a Hash>,
) -> Result<(), OpenError> {
    let head = std::iter::once(HEAD.to_owned());
    for file in tiles_of(size).map(|path| path.to_string()).chain(statements.map(statement_path)).chain(head)
    {
        storage.sync_file(&file).map_err(StorageFailure::of("make durable", &file))?;
    }
    Ok(storage.sync_names().map_err(StorageFailure::of("make durable the names of", &"the files"))?)
}

impl Ledger {
    /// Takes the cosignatures of the published checkpoint over, if it is for this head and they are by enrolled keys.
    fn restore_cosignatures(&mut self) {
        let published = self.storage.read(CHECKPOINT).ok().flatten();
        let published = published.and_then(|bytes| SignedNote::parse(&bytes).ok());
        let head = self.head();
        for line in
            published.filter(|note| note.text == self.note.text).into_iter().flat_map(|note| note.signatures)
        {
            if matches!(self.keys.check_cosignature(&line, &head), Some(Ok(_))) {
                self.note.signatures.push(line);
            }
        }
    }
}
