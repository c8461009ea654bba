//! Appending, and the one order in which a batch becomes part of the ledger.
//!
//! | step | if it fails, or the machine stops here |
//! |------|----------------------------------------|
//! | 1 encode and check | nothing was touched; the drafts are refused |
//! | 2 stage entries and tiles | files beyond the head, which no reader looks at; the batch may be tried again (a full disk ends here) |
//! | 3 fsync files and folders | an error leaves unknown what reached the disk: poisoned; at open the head is the old one and staged files go |
//! | 4 read back, re-hash, sign | a bit that flipped between memory and disk is never signed; the batch may be tried again |
//! | 5 write `head.note.tmp`, fsync it, read it back | the head is untouched; the batch may be tried again, except after a failed fsync: poisoned |
//! | 6 rename it to `head.note`, fsync the folder | the batch is in or it is not, and only a reload tells: poisoned |
//! | **the batch is now part of the ledger** | |
//! | 7 remember the head outside the folder | a restored copy of the folder is noticed up to the head before; remembered with the next head or at open |
//! | 8 publish `checkpoint` | readers see the previous head, which is still true; written again with the next head or at open |
//! | 9 index | the index is given up; queries read the entries until it is rebuilt at open |
//! | 10 remove superseded partial tiles | they stay until the next open |
//! | 11 acknowledge | the caller does not learn of a success that a reload will show |
//!
//! `docs/ledger-faults.md` lists the outcome of each failure of each storage operation; `tests/fault_table.rs` makes them.

use std::collections::BTreeMap;
use std::io;

use super::errors::{AppendError, StorageFailure};
use super::tail::Tail;
use super::{HEAD, Ledger};
use crate::bundle;
use crate::checkpoint::Checkpoint;
use crate::draft::{EntryDraft, Place};
use crate::leaf::Leaf;
use crate::note::SignedNote;
use crate::rotation::{LEDGER_KEY_ROTATED, RotationError};
use crate::signer::LogSigner;
use crate::tiles::{TileKind, TilePath};
use crate::timestamp::Timestamp;
use crate::tree::leaf_hash;

const NEW_HEAD: &str = "head.note.tmp";

/// A batch that is encoded but not yet stored.
struct Batch {
    /// The log's end with the batch.
    tail: Tail,
    /// Files to stage.
    files: BTreeMap<TilePath, Vec<u8>>,
    /// Partial tiles that the staged files replace.
    superseded: Vec<TilePath>,
    leaves: Vec<Leaf>,
}

impl Ledger {
    /// Appends entries and returns their indexes. All of them are durable on return, or none is part of the ledger.
    ///
    /// # Errors
    /// [`AppendError`]. After [`AppendError::Ambiguous`] every call fails: the process must reload the ledger.
    pub fn append(&mut self, drafts: Vec<EntryDraft>, now: Timestamp) -> Result<Vec<u64>, AppendError> {
        if drafts.iter().any(|draft| draft.action == LEDGER_KEY_ROTATED) {
            return Err(RotationError::Malformed.into());
        }
        self.commit(drafts, now, None)
    }

    /// Appends and makes the head, signed with the present key and, where there is one, with the next.
    pub(super) fn commit(
        &mut self,
        drafts: Vec<EntryDraft>,
        now: Timestamp,
        next: Option<&dyn LogSigner>,
    ) -> Result<Vec<u64>, AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        let first = self.tail.size();
        let batch = self.encode(drafts, now)?;
        self.stage(&batch)?;
        let note = self.sign_staged(&batch, next)?;
        self.replace_head(&note)?;

        self.tail = batch.tail;
        self.heads.keep(std::mem::replace(&mut self.note, note));
        batch.files.iter().for_each(|(path, bytes)| self.sealed.note(path, bytes));
        for leaf in &batch.leaves {
            // An unreadable enrolment is the entry's own defect: its keys are simply not known. The auditor reports it.
            let _ = self.keys.note(leaf);
            let _ = self.log_keys.note(leaf);
            if let Some(digest) = leaf.statement {
                self.statements.entry(digest).or_insert(leaf.seq);
            }
        }
        let head = self.head();
        self.last_head.note(&head);
        self.unpublished = self.publish().is_err();
        self.index.add(&batch.leaves, &head);
        for path in batch.superseded {
            let _ = self.storage.remove(&path.to_string());
        }
        Ok((first..self.tail.size()).collect())
    }

    /// Step 1. Reads nothing but the statements that the drafts name.
    fn encode(&self, drafts: Vec<EntryDraft>, now: Timestamp) -> Result<Batch, AppendError> {
        let mut tail = self.tail.clone();
        let mut files = BTreeMap::new();
        let mut leaves = Vec::with_capacity(drafts.len());
        for (position, draft) in drafts.into_iter().enumerate() {
            if let Some(statement) = draft.statement
                && !self.has_statement(&statement).map_err(AppendError::NotStored)?
            {
                return Err(AppendError::StatementMissing { position, statement });
            }
            let (seq, prev) = (tail.size(), tail.frontier().last_entry());
            let place = Place { origin: &self.origin, seq, prev, time: now, software: &self.software };
            let refused = |source| AppendError::Draft { position, source };
            let stored = draft.encode(place).map_err(refused)?;
            // What can't be read back would lock the ledger's readers out for ever.
            leaves.push(Leaf::parse(&stored).map_err(|source| refused(source.into()))?);
            files.extend(tail.push(&stored));
        }
        let before = self.tail.partial_files();
        let after = tail.partial_files();
        let superseded = before.keys().filter(|path| !after.contains_key(path)).copied().collect();
        files.extend(after.into_iter().filter(|(path, _)| !before.contains_key(path)));
        Ok(Batch { tail, files, superseded, leaves })
    }

    /// Steps 2 and 3.
    fn stage(&mut self, batch: &Batch) -> Result<(), AppendError> {
        for (path, bytes) in &batch.files {
            let path = path.to_string();
            if let Err(error) = self.storage.write(&path, bytes) {
                self.unstage(batch);
                return Err(AppendError::NotStored(StorageFailure::of("write", &path)(error)));
            }
        }
        for path in batch.files.keys().map(ToString::to_string) {
            let synced = self.storage.sync_file(&path);
            self.certain("make durable", &path, synced)?;
        }
        let synced = self.storage.sync_names();
        self.certain("make durable the folders of", "the staged tiles", synced)
    }

    /// Step 4. Checks what the disk gives back, not what memory holds, and signs the head over it.
    fn sign_staged(
        &mut self,
        batch: &Batch,
        next: Option<&dyn LogSigner>,
    ) -> Result<SignedNote, AppendError> {
        for (path, bytes) in &batch.files {
            let name = path.to_string();
            let checked = self.holds(&name, bytes).and_then(|()| {
                if hashes_agree(path, batch) {
                    Ok(())
                } else {
                    Err(StorageFailure::of("hash again", &name)(altered()))
                }
            });
            if let Err(failure) = checked {
                self.unstage(batch);
                return Err(AppendError::NotStored(failure));
            }
        }
        let head =
            Checkpoint { origin: self.origin.clone(), size: batch.tail.size(), root: batch.tail.root() };
        let signers: Vec<&dyn LogSigner> = [&*self.signer].into_iter().chain(next).collect();
        let signed = head.signed_by(&signers);
        if signed.is_err() {
            self.unstage(batch);
        }
        signed.map_err(AppendError::NotSigned)
    }

    /// Steps 5 and 6.
    pub(super) fn replace_head(&mut self, note: &SignedNote) -> Result<(), AppendError> {
        let written = self.storage.write(NEW_HEAD, note.to_string().as_bytes());
        written.map_err(StorageFailure::of("write", &NEW_HEAD)).map_err(AppendError::NotStored)?;
        let synced = self.storage.sync_file(NEW_HEAD);
        self.certain("make durable", NEW_HEAD, synced)?;
        self.holds(NEW_HEAD, note.to_string().as_bytes()).map_err(AppendError::NotStored)?;
        let renamed = self.storage.rename(NEW_HEAD, HEAD);
        self.certain("replace", HEAD, renamed)?;
        let synced = self.storage.sync_names();
        self.certain("make durable the folder of", HEAD, synced)
    }

    /// Reads a file back and compares it with what was written.
    pub(super) fn holds(&self, file: &str, bytes: &[u8]) -> Result<(), StorageFailure> {
        let read = self
            .storage
            .read(file)
            .and_then(|found| if found.as_deref() == Some(bytes) { Ok(()) } else { Err(altered()) });
        read.map_err(StorageFailure::of("read back", &file))
    }

    /// Poisons the ledger if an operation failed whose failure says nothing about what is on the disk.
    fn certain(
        &mut self,
        operation: &'static str,
        file: &str,
        done: io::Result<()>,
    ) -> Result<(), AppendError> {
        done.map_err(|error| {
            self.poisoned = true;
            AppendError::Ambiguous(StorageFailure::of(operation, &file)(error))
        })
    }

    /// Frees the space of a batch that failed. If even that fails, the next open does it.
    fn unstage(&mut self, batch: &Batch) {
        for path in batch.files.keys() {
            let _ = self.storage.remove(&path.to_string());
        }
    }
}

fn altered() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it does not hold what was written")
}

/// Hashes a staged bundle again and compares with the leaf hashes staged beside it, if they are.
fn hashes_agree(path: &TilePath, batch: &Batch) -> bool {
    if path.kind() != TileKind::Entries {
        return true;
    }
    let tile = TilePath::in_log(TileKind::Hashes { level: 0 }, path.index(), batch.tail.size());
    let Some((entries, hashes)) = batch.files.get(path).zip(tile.and_then(|tile| batch.files.get(&tile)))
    else {
        return false;
    };
    let again: Result<Vec<_>, _> =
        bundle::entries(entries).map(|entry| entry.map(|stored| leaf_hash(stored).0)).collect();
    again.is_ok_and(|again| again.concat() == *hashes)
}
