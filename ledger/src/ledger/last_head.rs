//! The last head that this gateway acknowledged, remembered outside the ledger's folder.
//!
//! The ledger's own files can't tell that all of them are an older copy: a restored backup verifies. So the head is
//! also written to a file that is not part of any backup of the folder, and a ledger that is shorter than it, or has
//! another history, does not open. It guards against mistakes and against whoever can change the folder alone; who can
//! change both files is seen by the witnesses.
//!
//! It is written after the head is durable, never before: a power cut may leave an older head here, or an empty file,
//! and then the guard is weaker by that much, but it never refuses a ledger that is whole. That is why the only fsync is
//! the one at open. An empty file, or one of zeros, is what a power cut leaves of a new file: nothing is remembered.
//! Anything else that is not a head was put there by somebody and is refused.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::errors::{OpenError, StorageFailure};
use crate::checkpoint::Checkpoint;
use crate::hash::Hash;
use crate::origin::Origin;

/// The file, if there is one, and whether it lags behind the head.
#[derive(Debug)]
pub(super) struct LastHead {
    path: Option<PathBuf>,
    lags: bool,
}

impl LastHead {
    pub(super) const fn at(path: Option<PathBuf>) -> Self {
        Self { path, lags: false }
    }

    /// Whether it could not be written; tried again with the next head.
    pub(super) const fn lags(&self) -> bool {
        self.lags
    }

    /// What is remembered about the log `origin`.
    pub(super) fn read(&self, origin: &Origin) -> Result<Option<Checkpoint>, OpenError> {
        let Some(path) = &self.path else { return Ok(None) };
        let shown = path.display().to_string();
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageFailure::of("read", &shown)(error).into()),
        };
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let seen = std::str::from_utf8(&bytes).ok().and_then(|text| Checkpoint::parse_text(text).ok());
        match seen {
            Some(seen) if seen.origin == *origin => Ok(Some(seen)),
            Some(other) => Err(OpenError::SeenOfOtherLog { path: shown, origin: other.origin }),
            None => Err(OpenError::SeenMalformed { path: shown }),
        }
    }

    /// Refuses a ledger of `size` entries, whose root at the size that was seen is `root`, if it is not a later one.
    pub(super) fn check(&self, seen: &Checkpoint, size: u64, root: Option<Hash>) -> Result<(), OpenError> {
        let path = self.path.as_deref().unwrap_or(Path::new("")).display().to_string();
        match root {
            None => Err(OpenError::RolledBack { path, seen: seen.size, found: size }),
            Some(root) if root != seen.root => Err(OpenError::Forked { path, seen: seen.size }),
            Some(_) => Ok(()),
        }
    }

    /// Remembers a head that is durable.
    pub(super) fn note(&mut self, head: &Checkpoint) {
        self.lags = self.path.as_deref().is_some_and(|path| replace(path, head).is_err());
    }

    /// Remembers the head that was opened, and makes that durable with the file's name.
    pub(super) fn establish(&mut self, head: &Checkpoint) -> Result<(), OpenError> {
        let Some(path) = &self.path else { return Ok(()) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let done = replace(path, head)
            .and_then(|()| File::open(path)?.sync_all())
            .and_then(|()| File::open(folder)?.sync_all());
        self.lags = done.is_err();
        match done {
            // A full disk must not lock the readers out.
            Err(error) if !super::errors::is_disk_full(&error) => {
                Err(StorageFailure::of("replace", &path.display())(error).into())
            }
            _ => Ok(()),
        }
    }
}

fn replace(path: &Path, head: &Checkpoint) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".tmp");
    fs::write(&new, head.text())?;
    fs::rename(&new, path)
}
