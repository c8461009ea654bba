//! The stored head: what this site vouches for, and the log's signature under it.

use std::path::Path;

use konclave_ledger::note::SignedNote;
use konclave_ledger::witness::WitnessState;
use konclave_ledger::{Checkpoint, Origin};

use super::{KnownKeys, WitnessFault};
use crate::keystore::{Disk, RecordError, RecordKind, decode, encode};

/// The last head that this site checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenHead {
    pub(super) state: WitnessState,
    /// The head as the log signed it, without other lines. A site that was updated has none until the next head.
    pub(super) note: Option<SignedNote>,
}

impl SeenHead {
    /// Nothing of a log yet.
    pub(super) fn nothing(origin: Origin) -> Self {
        Self { state: WitnessState::new(origin), note: None }
    }

    /// A head that was just checked, and the note that it came in. Of its lines those by the log's known keys are kept: a
    /// line by another one says later that a key was forgotten.
    pub(super) fn checked(state: WitnessState, note: &SignedNote, keys: &KnownKeys) -> Self {
        let by_log = note.signatures.iter().filter(|line| keys.claim(line));
        let note = SignedNote { text: note.text.clone(), signatures: by_log.cloned().collect() };
        Self { state, note: Some(note) }
    }

    /// Reads the stored head, if there is one.
    ///
    /// # Errors
    /// [`WitnessFault::Disk`], [`WitnessFault::Head`] or [`WitnessFault::Unchecked`].
    pub fn read(disk: &Disk, path: &Path) -> Result<Option<Self>, WitnessFault> {
        let Some(bytes) = disk.read(path)? else { return Ok(None) };
        let damaged = |source| WitnessFault::Head { path: path.to_path_buf(), source };
        let (state, note) = match decode::<2>(RecordKind::Head, &bytes) {
            Ok([state, note]) => (state, Some(note)),
            // As earlier versions wrote it.
            Err(RecordError::Malformed) => {
                let [state] = decode(RecordKind::Head, &bytes).map_err(damaged)?;
                (state, None)
            }
            Err(error) => return Err(damaged(error)),
        };
        let state = WitnessState::from_bytes(&state).map_err(WitnessFault::Unchecked)?;
        let parsed = note.map(|note| SignedNote::parse(&note)).transpose();
        let note = parsed.map_err(|_| damaged(RecordError::Malformed))?;
        Ok(Some(Self { state, note }))
    }

    /// Makes it durable; the old head stays in its place until then.
    pub(super) fn store(&self, disk: &Disk, path: &Path) -> Result<(), WitnessFault> {
        let state = self.state.to_bytes();
        let record = match &self.note {
            Some(note) => encode(RecordKind::Head, &[&state, note.to_string().as_bytes()]),
            None => encode(RecordKind::Head, &[&state]),
        };
        Ok(disk.write(path, &record)?)
    }

    /// The head.
    #[must_use]
    pub fn head(&self) -> &Checkpoint {
        self.state.head()
    }

    /// Whether another key of the log signed this head than those that are known: the file of them was lost since.
    #[must_use]
    pub fn is_beyond(&self, keys: &KnownKeys) -> bool {
        let lines = self.note.iter().flat_map(|note| &note.signatures);
        lines.filter(|line| line.name == self.head().origin).any(|line| !keys.claim(line))
    }

    /// The evidence: the signed note, or the head's text where none is stored.
    #[must_use]
    pub fn evidence(&self) -> String {
        self.note.as_ref().map_or_else(|| self.head().text(), ToString::to_string)
    }
}
