//! Loading a ledger from its files: the signed head decides, everything is verified, the rest is discarded.

use std::collections::BTreeSet;

use super::errors::{AppendError, Damage, OpenError, StorageFailure};
use super::index::IndexSlot;
use super::lock::FolderLock;
use super::tail::Tail;
use super::witnessed::Heads;
use super::{CHECKPOINT, HEAD, Ledger, LedgerOptions};
use crate::bundle;
use crate::checkpoint::Checkpoint;
use crate::enrolment::EnrolledKeys;
use crate::leaf::Leaf;
use crate::note::{SignatureLine, SignedNote};
use crate::rotation::LogKeys;
use crate::storage::Storage;
use crate::tiles::{TileKind, TilePath, tiles_of};
use crate::tree::empty_root;

/// Reads and verifies everything; creates the head of an empty ledger in an empty storage.
pub(super) fn load(
    storage: Box<dyn Storage>,
    lock: Option<FolderLock>,
    options: LedgerOptions,
) -> Result<Ledger, OpenError> {
    let LedgerOptions { origin, signer, software, index: _ } = options;
    let empty = Checkpoint { origin: origin.clone(), size: 0, root: empty_root() };
    let mut ledger = Ledger {
        storage,
        note: empty.signed_by(&[&*signer])?,
        origin,
        signer,
        software,
        tail: Tail::default(),
        keys: EnrolledKeys::default(),
        log_keys: LogKeys::default(),
        heads: Heads::default(),
        index: IndexSlot::off(),
        unpublished: true,
        poisoned: false,
        _lock: lock,
    };
    let Some(head_note) = ledger.storage.read(HEAD).map_err(StorageFailure::of("read", &HEAD))? else {
        refuse_leftovers(&*ledger.storage)?;
        // The empty head comes before everything else, so that entries without a head always mean damage.
        let note = ledger.note.clone();
        ledger.replace_head(&note).map_err(|error| match error {
            AppendError::NotStored(failure) | AppendError::Ambiguous(failure) => OpenError::Storage(failure),
            AppendError::NotSigned(signer) => OpenError::Signer(signer),
            AppendError::Poisoned
            | AppendError::Draft { .. }
            | AppendError::Rotation(_)
            | AppendError::StatementMissing { .. } => OpenError::HeadMissing,
        })?;
        return Ok(ledger);
    };
    let key = ledger.verifier_key();
    let (head, note) = Checkpoint::verify(&head_note, &key)?;
    let (tail, keys, log_keys) = verify_entries(&*ledger.storage, &head)?;
    if let Some(current) = log_keys.current().filter(|current| **current != key) {
        return Err(OpenError::KeySuperseded { current: current.to_string() });
    }
    // Lines of witnesses are taken over from the published checkpoint, each after a check; here they were not checked.
    let by_log = |line: &SignatureLine| line.name == head.origin;
    let signatures = note.signatures.into_iter().filter(by_log).collect();
    ledger.note = SignedNote { signatures, ..note };
    ledger.tail = tail;
    ledger.keys = keys;
    ledger.log_keys = log_keys;
    discard_beyond(&mut *ledger.storage, head.size)?;
    ledger.restore_cosignatures();
    ledger.restore_witnessed();
    Ok(ledger)
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

/// Walks every entry up to the head and compares each tile file with what the entries give.
fn verify_entries(
    storage: &dyn Storage,
    head: &Checkpoint,
) -> Result<(Tail, EnrolledKeys, LogKeys), OpenError> {
    let mut tail = Tail::default();
    let mut keys = EnrolledKeys::default();
    let mut log_keys = LogKeys::default();
    for path in tiles_of(head.size).take_while(|path| path.kind() == TileKind::Entries) {
        let bytes = read_tile(storage, &path)?;
        let before = tail.size();
        for entry in bundle::entries(&bytes) {
            let at = tail.size();
            let damage = |what: String| Damage { file: path.to_string(), first_index: at, what };
            let stored = entry.map_err(|error| damage(error.to_string()))?;
            let leaf = Leaf::parse(stored).map_err(|error| damage(error.to_string()))?;
            leaf.check_link(&head.origin, tail.frontier()).map_err(|error| damage(error.to_string()))?;
            // A defect in the record of an enrolment is not damage; its keys are simply not known.
            let _ = keys.note(&leaf);
            let _ = log_keys.note(&leaf);
            for (full, expected) in tail.push(stored) {
                compare(storage, &full, &expected)?;
            }
        }
        if tail.size() - before != u64::from(path.width()) {
            let what = format!("it holds {} entries instead of {}", tail.size() - before, path.width());
            return Err(Damage {
                file: path.to_string(),
                first_index: tail.size().min(path.covers().end),
                what,
            }
            .into());
        }
    }
    for (path, expected) in tail.partial_files() {
        compare(storage, &path, &expected)?;
    }
    if tail.root() != head.root {
        let what = "the entries do not lead to the signed root".to_owned();
        return Err(Damage { file: HEAD.to_owned(), first_index: 0, what }.into());
    }
    Ok((tail, keys, log_keys))
}

fn compare(storage: &dyn Storage, path: &TilePath, expected: &[u8]) -> Result<(), OpenError> {
    let found = read_tile(storage, path)?;
    if found == expected {
        return Ok(());
    }
    let what = "it does not fit the entries".to_owned();
    Err(Damage { file: path.to_string(), first_index: path.covers().start, what }.into())
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
