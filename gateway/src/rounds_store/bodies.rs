//! Masked bodies: large, appended at an offset, resumable.
//!
//! The file's own length is not to be trusted after a power cut, so how far a body is durable stands in a progress
//! file beside it, with the Merkle root of that prefix. After a restart the prefix is hashed again and compared.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use konclave_crypto::{BodyHasher, Digest, SiteId};
use serde::{Deserialize, Serialize};

use super::{RoundKey, RoundsStore};
use crate::folder::{Access, replace};

/// A body that is being received; the lock is held by the one upload under way.
pub type SharedBody = Arc<tokio::sync::Mutex<BodyFile>>;

/// The bodies that somebody in this process holds: a file has one writer, also when its round is forgotten and brought
/// back while an upload goes on.
pub(super) type OpenBodies = BTreeMap<(RoundKey, SiteId), Weak<tokio::sync::Mutex<BodyFile>>>;

/// A body under way, or complete.
#[derive(Debug)]
pub struct BodyFile {
    file: File,
    path: PathBuf,
    progress_path: PathBuf,
    hasher: BodyHasher,
    durable: u64,
    expected_bytes: u64,
    expected_root: Digest,
    /// The file may hold more or other bytes than the hasher took: a write or a sync failed half-way.
    uncertain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    offset: u64,
    root: Digest,
}

/// Why bytes were not taken.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// They do not continue where the body stands.
    #[error("the next byte wanted is {wanted}, the upload begins at {offered}")]
    Offset {
        /// The next byte wanted.
        wanted: u64,
        /// Where the upload begins.
        offered: u64,
    },
    /// There are more than the manifest announced.
    #[error("the manifest announces {expected} bytes; more came")]
    TooLong {
        /// The announced length.
        expected: u64,
    },
    /// All bytes came, but they are not the ones in the manifest. The body begins anew.
    #[error(
        "the body's Merkle root is {found}, the manifest says {expected}; send the body again from offset 0"
    )]
    Root {
        /// What came.
        found: Digest,
        /// What was announced.
        expected: Digest,
    },
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl RoundsStore {
    /// A site's body for appending: the one that is held already, or opened with what of it is durable. Says beside it
    /// whether all of it is durable and as announced. Callers hold the site's round.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn share_body(
        &self,
        key: &RoundKey,
        site: &SiteId,
        expected_bytes: u64,
        expected_root: Digest,
    ) -> io::Result<(SharedBody, bool)> {
        let held = self.open_bodies().get(&(key.clone(), site.clone())).and_then(Weak::upgrade);
        if let Some(held) = held {
            // An upload may hold its lock for hours; what it made durable stands in the progress file.
            let whole = Progress { offset: expected_bytes, root: expected_root };
            let complete = progress(&self.body(key, site, "progress"))? == Some(whole);
            return Ok((held, complete));
        }
        let body = self.open_body(key, site, expected_bytes, expected_root)?;
        let complete = body.is_complete();
        let shared = Arc::new(tokio::sync::Mutex::new(body));
        let mut bodies = self.open_bodies();
        bodies.retain(|_, body| body.strong_count() > 0);
        bodies.insert((key.clone(), site.clone()), Arc::downgrade(&shared));
        Ok((shared, complete))
    }

    fn open_bodies(&self) -> MutexGuard<'_, OpenBodies> {
        self.open_bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a site's body for appending, with what of it is durable.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open_body(
        &self,
        key: &RoundKey,
        site: &SiteId,
        expected_bytes: u64,
        expected_root: Digest,
    ) -> io::Result<BodyFile> {
        let path = self.body(key, site, "masked");
        if let Some(folder) = path.parent() {
            self.make_path(folder)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let progress_path = self.body(key, site, "progress");
        let hasher = BodyHasher::new();
        let mut body = BodyFile {
            file,
            path,
            progress_path,
            hasher,
            durable: 0,
            expected_bytes,
            expected_root,
            uncertain: true,
        };
        body.recover()?;
        Ok(body)
    }

    /// Opens a complete body for reading.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read_body(&self, key: &RoundKey, site: &SiteId) -> io::Result<File> {
        File::open(self.body(key, site, "masked"))
    }
}

impl BodyFile {
    /// The next byte wanted: everything before it is durable.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.durable
    }

    /// The length that the manifest announced.
    #[must_use]
    pub fn expected_bytes(&self) -> u64 {
        self.expected_bytes
    }

    /// Whether all of it is durable and as announced.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.durable == self.expected_bytes && self.root() == self.expected_root
    }

    /// The Merkle root over the bytes taken so far.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Begins an upload at `offset`: it must continue what is durable. What an earlier upload wrote beyond that
    /// without coming to its end is dropped.
    ///
    /// # Errors
    /// [`BodyError::Offset`], or those of the file system.
    pub fn begin(&mut self, offset: u64) -> Result<(), BodyError> {
        if self.uncertain || self.hasher.bytes() != self.durable {
            self.recover()?;
        }
        if offset == self.durable {
            Ok(())
        } else {
            Err(BodyError::Offset { wanted: self.durable, offered: offset })
        }
    }

    /// Appends bytes; not durable before [`BodyFile::sync`].
    ///
    /// # Errors
    /// [`BodyError::TooLong`], or those of the file system. What was durable stays.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        if self.hasher.bytes().saturating_add(bytes.len() as u64) > self.expected_bytes {
            return Err(BodyError::TooLong { expected: self.expected_bytes });
        }
        let before = std::mem::replace(&mut self.uncertain, true);
        self.file.write_all(bytes)?;
        self.uncertain = before;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Makes what was appended durable: first the bytes, then how far they go.
    ///
    /// # Errors
    /// [`BodyError::Root`] if the body is complete and wrong, or those of the file system.
    pub fn sync(&mut self) -> Result<(), BodyError> {
        let before = std::mem::replace(&mut self.uncertain, true);
        self.file.sync_data()?;
        self.uncertain = before;
        let (offset, root) = (self.hasher.bytes(), self.root());
        if offset == self.expected_bytes && root != self.expected_root {
            self.restart()?;
            return Err(BodyError::Root { found: root, expected: self.expected_root });
        }
        let progress = serde_json::to_vec(&Progress { offset, root }).map_err(io::Error::other)?;
        replace(&self.progress_path, &progress, Access::Secret)?;
        self.durable = offset;
        Ok(())
    }

    /// Hashes the durable prefix again; anything that does not fit means beginning anew.
    fn recover(&mut self) -> io::Result<()> {
        self.uncertain = true;
        let Some(progress) = progress(&self.progress_path)? else { return self.restart() };
        self.file.seek(SeekFrom::Start(0))?;
        let mut hasher = BodyHasher::new();
        let mut prefix = (&self.file).take(progress.offset);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = prefix.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hasher.update(buffer.get(..read).unwrap_or_default());
        }
        if hasher.bytes() != progress.offset || hasher.clone().finish() != progress.root {
            tracing::warn!(path = %self.path.display(), "a masked body was damaged; its site sends it again");
            return self.restart();
        }
        self.file.set_len(progress.offset)?;
        self.file.seek(SeekFrom::Start(progress.offset))?;
        self.hasher = hasher;
        self.durable = progress.offset;
        self.uncertain = false;
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.uncertain = true;
        match std::fs::remove_file(&self.progress_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = BodyHasher::new();
        self.durable = 0;
        self.uncertain = false;
        Ok(())
    }
}

/// How far a body is durable; nothing if that was never noted, or the note is damaged.
fn progress(path: &std::path::Path) -> io::Result<Option<Progress>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use konclave_crypto::RoundNumber;

    fn open(folder: &std::path::Path, body: &[u8]) -> BodyFile {
        let store = RoundsStore::open(folder).unwrap();
        let key = RoundKey { job: "job-1".parse().unwrap(), round: RoundNumber::FIRST };
        let root = konclave_crypto::body_root(body).unwrap();
        store.open_body(&key, &"site-a".parse().unwrap(), body.len() as u64, root).unwrap()
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect()
    }

    #[test]
    fn an_upload_resumes_at_what_is_durable() {
        let folder = tempfile::tempdir().unwrap();
        let body = bytes(200_000);
        let mut file = open(folder.path(), &body);
        file.begin(0).unwrap();
        file.append(&body[..70_000]).unwrap();
        file.sync().unwrap();
        file.append(&body[70_000..90_000]).unwrap(); // never synced: as lost in a crash
        drop(file);
        let mut file = open(folder.path(), &body);
        assert_eq!(file.offset(), 70_000);
        assert!(matches!(file.begin(90_000), Err(BodyError::Offset { wanted: 70_000, offered: 90_000 })));
        file.begin(70_000).unwrap();
        file.append(&body[70_000..]).unwrap();
        assert!(!file.is_complete());
        file.sync().unwrap();
        assert!(file.is_complete() && open(folder.path(), &body).is_complete());
    }

    #[test]
    fn a_broken_off_upload_is_dropped_back_to_what_is_durable() {
        let folder = tempfile::tempdir().unwrap();
        let body = bytes(1000);
        let mut file = open(folder.path(), &body);
        file.append(&body[..400]).unwrap();
        file.sync().unwrap();
        file.append(b"half of a request that broke off").unwrap();
        file.begin(400).unwrap();
        file.append(&body[400..]).unwrap();
        file.sync().unwrap();
        assert!(file.is_complete());
    }

    #[test]
    fn a_write_that_failed_half_way_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let body = bytes(1000);
        let mut file = open(folder.path(), &body);
        file.append(&body[..400]).unwrap();
        file.sync().unwrap();
        let path = folder.path().join("job-1/1/bodies/site-a.masked");
        // The disk takes some bytes of a piece and then refuses, as when it is full.
        let writable = std::mem::replace(&mut file.file, File::open(&path).unwrap());
        file.append(&body[400..600]).unwrap_err();
        file.file = writable;
        file.file.write_all(&body[400..450]).unwrap();
        file.begin(400).unwrap();
        file.append(&body[400..]).unwrap();
        file.sync().unwrap();
        assert!(file.is_complete());
        assert_eq!(std::fs::read(&path).unwrap(), body);
    }

    #[test]
    fn a_wrong_or_long_body_is_refused_and_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let body = bytes(1000);
        let mut file = open(folder.path(), &body);
        let mut wrong = body.clone();
        wrong[999] ^= 1;
        file.append(&wrong).unwrap();
        assert!(matches!(file.append(b"x"), Err(BodyError::TooLong { expected: 1000 })));
        assert!(matches!(file.sync(), Err(BodyError::Root { .. })));
        assert_eq!(file.offset(), 0);
        file.begin(0).unwrap();
        file.append(&body).unwrap();
        file.sync().unwrap();
        assert!(file.is_complete());
    }

    #[test]
    fn a_damaged_file_is_not_trusted_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let body = bytes(1000);
        let mut file = open(folder.path(), &body);
        file.append(&body).unwrap();
        file.sync().unwrap();
        drop(file);
        let path = folder.path().join("job-1/1/bodies/site-a.masked");
        let mut stored = std::fs::read(&path).unwrap();
        stored[3] ^= 1;
        std::fs::write(&path, stored).unwrap();
        assert_eq!(open(folder.path(), &body).offset(), 0);
    }
}
