//! Publishing the checkpoint and collecting cosignatures under it.

use std::io;

use super::errors::{CosignError, OpenError, StorageFailure};
use super::{CHECKPOINT, Ledger};
use crate::note::SignatureLine;
use crate::origin::Origin;
use crate::witness::LineError;

const NEW_CHECKPOINT: &str = "checkpoint.tmp";

impl Ledger {
    /// Adds a witness's signature line (without newline) to the newest checkpoint and returns the witness's name. The
    /// same witness cosigning again replaces its earlier line.
    ///
    /// # Errors
    /// [`CosignError::UnknownWitness`] for a key that no `site.enrolled` entry names; [`CosignError::Line`] if the
    /// signature is not for the current head (an older head: fetch the checkpoint and cosign again).
    pub fn add_cosignature(&mut self, line: &str) -> Result<Origin, CosignError> {
        if self.poisoned {
            return Err(CosignError::Poisoned);
        }
        let line: SignatureLine = line.parse().map_err(LineError::from)?;
        let unknown =
            || CosignError::UnknownWitness { name: line.name.to_string(), key_id: line.key_id.to_string() };
        let checked = self.keys.check_cosignature(&line, &self.head()).ok_or_else(unknown)?;
        let witness = checked.map_err(LineError::from)?.witness().clone();
        if self.note.signatures.contains(&line) {
            return Ok(witness);
        }
        let mut note = self.note.clone();
        note.signatures.retain(|known| known.name != line.name);
        note.signatures.push(line);
        let before = std::mem::replace(&mut self.note, note);
        // A cosignature is worth an fsync, but it is not the truth: if this fails, the head is as it was and the
        // witness may send the line again.
        if let Err(error) = self.publish_durably() {
            self.note = before;
            self.unpublished = true;
            return Err(CosignError::NotStored(StorageFailure::of("replace", &CHECKPOINT)(error)));
        }
        self.unpublished = false;
        Ok(witness)
    }

    /// Replaces the file `checkpoint`. Needs no fsync: the head is durable, and the file is written again at open.
    pub(super) fn publish(&mut self) -> io::Result<()> {
        self.storage.write(NEW_CHECKPOINT, self.note.to_string().as_bytes())?;
        self.storage.rename(NEW_CHECKPOINT, CHECKPOINT)
    }

    fn publish_durably(&mut self) -> io::Result<()> {
        self.storage.write(NEW_CHECKPOINT, self.note.to_string().as_bytes())?;
        self.storage.sync_file(NEW_CHECKPOINT)?;
        // A write cut short in silence would lose lines that were acknowledged.
        self.holds(NEW_CHECKPOINT, self.note.to_string().as_bytes()).map_err(|failure| failure.source)?;
        self.storage.rename(NEW_CHECKPOINT, CHECKPOINT)?;
        self.storage.sync_names()
    }

    /// Brings `checkpoint` up to the head after loading.
    pub(super) fn republish(&mut self) -> Result<(), OpenError> {
        let failed = StorageFailure::of("replace", &CHECKPOINT);
        let published = self.storage.read(CHECKPOINT).map_err(StorageFailure::of("read", &CHECKPOINT))?;
        if published.as_deref() != Some(self.note.to_string().as_bytes()) {
            self.publish_durably().map_err(failed)?;
        }
        self.unpublished = false;
        Ok(())
    }
}
