//! Heads that witnesses may still cosign, and the newest one that a quorum has cosigned: the *witnessed* head.
//!
//! Witnesses come when they come, and the ledger does not wait for them. A cosignature is of one head; so that those of
//! several witnesses meet under the same one, the latest heads stay open for late lines, and the one that witnesses are
//! asked for stays open until another is asked for, however many entries come meanwhile. What a quorum has cosigned is
//! kept in the file `witnessed`, and receipts are made against it where it covers the entry: a receipt shows k of n.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Ledger;
use super::errors::{CosignError, ReadError, StorageFailure};
use crate::checkpoint::Checkpoint;
use crate::note::{SignatureLine, SignedNote};
use crate::origin::Origin;
use crate::proof::{ConsistencyProof, root_at};
use crate::witness::{AddCheckpoint, LineError};

/// The newest note with the cosignatures of a quorum.
pub(super) const WITNESSED: &str = "witnessed";
const NEW_WITNESSED: &str = "witnessed.tmp";
/// Earlier heads that still take cosignatures.
const RECENT: usize = 64;

/// Heads besides the newest.
#[derive(Debug, Default)]
pub(super) struct Heads {
    recent: BTreeMap<u64, SignedNote>,
    /// The size of the head that witnesses are asked for: it stays open whatever follows. Set by readers.
    asked: AtomicU64,
    witnessed: Option<(u64, SignedNote)>,
    required: usize,
}

/// How far the witnesses are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// How many must cosign one head.
    pub required: usize,
    /// Witness keys enrolled.
    pub enrolled: usize,
    /// Size of the newest head that so many cosigned; 0 if there was none.
    pub witnessed: u64,
    /// Who cosigned it, sorted.
    pub witnesses: Vec<Origin>,
}

impl Heads {
    /// Keeps the head before the newest.
    pub(super) fn keep(&mut self, note: SignedNote) {
        if let Ok(head) = Checkpoint::parse_text(&note.text) {
            self.recent.insert(head.size, note);
        }
        while self.recent.len() > RECENT {
            let asked = self.asked.load(Ordering::Acquire);
            let Some(oldest) = self.recent.keys().copied().find(|size| *size != asked) else { return };
            self.recent.remove(&oldest);
        }
    }
}

impl Ledger {
    /// How many witnesses must cosign a head before it counts as witnessed; none by default.
    pub fn require_witnesses(&mut self, required: usize) {
        self.heads.required = required;
    }

    /// How far the witnesses are.
    #[must_use]
    pub fn quorum(&self) -> Quorum {
        let lines = self.heads.witnessed.iter().flat_map(|(_, note)| &note.signatures);
        let by_witness = lines.filter(|line| line.name != self.origin).map(|line| line.name.clone());
        let witnesses: BTreeSet<Origin> = by_witness.collect();
        Quorum {
            required: self.heads.required,
            enrolled: self.keys.witness_count(),
            witnessed: self.heads.witnessed.as_ref().map_or(0, |(size, _)| *size),
            witnesses: witnesses.into_iter().collect(),
        }
    }

    /// The newest head that a quorum cosigned, as a note with their lines.
    #[must_use]
    pub fn witnessed_note(&self) -> Option<&SignedNote> {
        self.heads.witnessed.as_ref().map(|(_, note)| note)
    }

    pub(super) fn heads_witnessed(&self) -> Option<(u64, &SignedNote)> {
        self.heads.witnessed.as_ref().map(|(size, note)| (*size, note))
    }

    /// Keeps the head of this size open for cosignatures however many follow, in place of the one that was kept before.
    /// Otherwise whoever can make entries faster than witnesses answer keeps them from meeting under one head.
    pub fn hold_open(&self, size: u64) {
        self.heads.asked.store(size, Ordering::Release);
    }

    /// One of the latest heads by its size, the newest included, with the cosignatures gathered for it.
    #[must_use]
    pub fn recent_note(&self, size: u64) -> Option<&SignedNote> {
        if size == self.tail.size() { Some(&self.note) } else { self.heads.recent.get(&size) }
    }

    /// What a witness that has seen `old` entries is asked to cosign: one of the latest heads, with the proof that it
    /// extends what the witness has seen.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] if `size` is not the size of one of the latest heads, or `old` is larger.
    pub fn add_checkpoint(&self, old: u64, size: u64) -> Result<AddCheckpoint, ReadError> {
        let note =
            self.recent_note(size).ok_or(ReadError::OutOfRange { asked: size, size: self.tail.size() })?;
        let proof = if old == 0 {
            ConsistencyProof { old_size: 0, new_size: size, hashes: Vec::new() }
        } else {
            self.consistency_proof(old, size)?
        };
        Ok(AddCheckpoint { old_size: old, hashes: proof.hashes, checkpoint: note.clone() })
    }

    /// Adds a witness's line to one of the latest heads, and returns the witness's name.
    ///
    /// # Errors
    /// [`CosignError`]; [`CosignError::UnknownHead`] if the ledger has gone too far beyond that head.
    pub fn add_cosignature_to(&mut self, size: u64, line: &str) -> Result<Origin, CosignError> {
        if self.poisoned {
            return Err(CosignError::Poisoned);
        }
        if size == self.tail.size() {
            let witness = self.add_cosignature(line)?;
            self.promote(size)?;
            return Ok(witness);
        }
        let line: SignatureLine = line.parse().map_err(LineError::from)?;
        let note = self.heads.recent.get(&size).ok_or(CosignError::UnknownHead { size })?;
        let head = Checkpoint::parse_text(&note.text).map_err(|_| CosignError::UnknownHead { size })?;
        let unknown =
            || CosignError::UnknownWitness { name: line.name.to_string(), key_id: line.key_id.to_string() };
        let checked = self.keys.check_cosignature(&line, &head).ok_or_else(unknown)?;
        let witness = checked.map_err(LineError::from)?.witness().clone();
        if let Some(note) = self.heads.recent.get_mut(&size) {
            note.signatures.retain(|known| known.name != line.name);
            note.signatures.push(line);
        }
        self.promote(size)?;
        Ok(witness)
    }

    /// Makes a head the witnessed one if enough witnesses have cosigned it and no newer one is.
    fn promote(&mut self, size: u64) -> Result<(), CosignError> {
        let Some(note) = self.recent_note(size) else { return Ok(()) };
        let witnesses: BTreeSet<&Origin> =
            note.signatures.iter().map(|line| &line.name).filter(|name| **name != self.origin).collect();
        let newer = self.heads.witnessed.as_ref().is_none_or(|(known, _)| *known <= size);
        if !newer || self.heads.required == 0 || witnesses.len() < self.heads.required {
            return Ok(());
        }
        // A witness that repeats its line must not cost the writer a wait for the disk.
        if self.heads.witnessed.as_ref().is_some_and(|(_, known)| known == note) {
            return Ok(());
        }
        let note = note.clone();
        self.store_witnessed(&note)
            .map_err(StorageFailure::of("replace", &WITNESSED))
            .map_err(CosignError::NotStored)?;
        self.heads.witnessed = Some((size, note));
        self.heads.recent = self.heads.recent.split_off(&size);
        Ok(())
    }

    fn store_witnessed(&mut self, note: &SignedNote) -> io::Result<()> {
        self.storage.write(NEW_WITNESSED, note.to_string().as_bytes())?;
        self.storage.sync_file(NEW_WITNESSED)?;
        self.storage.rename(NEW_WITNESSED, WITNESSED)?;
        self.storage.sync_names()
    }

    /// Takes the stored witnessed head over, if it is a head of this ledger and its lines are by enrolled keys. It is
    /// not the truth about anything: if it does not fit, witnesses make another.
    pub(super) fn restore_witnessed(&mut self) {
        let stored = self.storage.read(WITNESSED).ok().flatten();
        let Some(note) = stored.and_then(|bytes| SignedNote::parse(&bytes).ok()) else { return };
        let Ok(head) = Checkpoint::parse_text(&note.text) else { return };
        if head.origin != self.origin || self.root_at(head.size).ok() != Some(head.root) {
            return;
        }
        let Some(key) = self.log_keys.at_size(head.size).cloned().or_else(|| Some(self.verifier_key()))
        else {
            return;
        };
        if Checkpoint::verify(note.to_string().as_bytes(), &key).is_err() {
            return;
        }
        let (by_log, others): (Vec<_>, Vec<_>) =
            note.signatures.into_iter().partition(|line| line.name == self.origin);
        let valid =
            others.into_iter().filter(|line| matches!(self.keys.check_cosignature(line, &head), Some(Ok(_))));
        let signatures = by_log.into_iter().chain(valid).collect();
        self.heads.witnessed = Some((head.size, SignedNote { text: note.text, signatures }));
    }

    /// The root over the first `size` entries.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] beyond the head.
    pub fn root_at(&self, size: u64) -> Result<crate::Hash, ReadError> {
        self.has_size(size)?;
        root_at(&self.tile_hashes(), size)
    }
}
