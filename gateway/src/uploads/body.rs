//! The bytes of one upload: appended, made durable, and given over to the blobs once they have the announced digest.
//!
//! A file's own length is not to be trusted after a power cut, so how far the bytes are durable stands in a file beside
//! them, with the SHA-256 of that prefix. First the bytes are synced, then that file is replaced. After a restart the
//! prefix is hashed again and compared before the first byte is added; while the process lives the hash goes on from
//! memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use konclave_crypto::{Digest, UnixSeconds};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::error::UploadError;
use super::record::{self, Found};
use super::{About, BODY, PROGRESS};
use crate::blobs::BlobStore;

/// Bytes that are hashed at once after a restart.
const HASHED_AT_ONCE: usize = 1 << 20;

/// How far an upload is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The next byte wanted.
    pub offset: u64,
    /// The SHA-256 of everything before it.
    prefix: Digest,
    /// When bytes last came.
    pub at: UnixSeconds,
    /// Whether the blob is there and the organisation's own.
    pub complete: bool,
}

impl Progress {
    /// Nothing has come.
    fn none(at: UnixSeconds) -> Self {
        Self { offset: 0, prefix: Digest::of(b""), at, complete: false }
    }
}

/// The bytes of one upload. Whoever holds it is the one that writes.
pub(super) struct UploadBody {
    about: Arc<About>,
    folder: PathBuf,
    blobs: BlobStore,
    progress: Arc<Mutex<Progress>>,
    /// The hash over what is durable; none before that was hashed again after a restart.
    hash: Option<Context>,
    writing: Option<Writing>,
    /// Its files were removed.
    gone: bool,
}

/// The append under way: what it added to the durable bytes, and the hash over all of them.
struct Writing {
    file: File,
    offset: u64,
    hash: Context,
}

impl UploadBody {
    /// The body of an upload whose files lie in `folder`, as far as it is durable. Nothing of it is hashed yet.
    pub(super) fn open(about: Arc<About>, folder: PathBuf, blobs: BlobStore) -> io::Result<Self> {
        let progress = match record::read(&folder.join(PROGRESS))? {
            Found::Whole(progress) => progress,
            Found::Nothing => Progress::none(about.created),
            Found::Damaged => {
                tracing::warn!(upload = %about.upload, "how far the upload was cannot be read; it begins anew");
                Progress::none(about.created)
            }
        };
        let progress = Arc::new(Mutex::new(progress));
        Ok(Self { about, folder, blobs, progress, hash: None, writing: None, gone: false })
    }

    /// How far it is durable; shared, so that it can be told while an append holds the body.
    pub(super) fn shared_progress(&self) -> Arc<Mutex<Progress>> {
        Arc::clone(&self.progress)
    }

    /// How far it is durable.
    pub(super) fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its files were removed while its holder waited for it.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Begins an append, which must continue what is durable. What an earlier one wrote beyond that is dropped.
    ///
    /// # Errors
    /// [`UploadError::Offset`], [`UploadError::Gone`], [`UploadError::Complete`], or those of the file system.
    pub(super) fn begin(&mut self, offset: u64) -> Result<(), UploadError> {
        self.writing = None;
        if self.gone {
            return Err(UploadError::Gone);
        }
        if self.progress().complete {
            return Err(UploadError::Complete { digest: self.about.digest });
        }
        let hash = match &self.hash {
            Some(hash) => hash.clone(),
            None if self.is_published() => Context::new(&SHA256),
            None => self.hash_again()?,
        };
        let wanted = self.progress().offset;
        if offset != wanted {
            return Err(UploadError::Offset { wanted, offered: offset });
        }
        if !self.is_published() {
            let path = self.folder.join(BODY);
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
            file.set_len(wanted)?;
            file.seek(SeekFrom::Start(wanted))?;
            self.writing = Some(Writing { file, offset: wanted, hash });
        }
        Ok(())
    }

    /// Appends bytes; not durable before [`UploadBody::sync`].
    ///
    /// # Errors
    /// [`UploadError::TooLong`]: none of these bytes are taken. Those of the file system: nothing that is not durable
    /// is kept, so that a full disk gets its room back.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (expected, durable) = (self.about.bytes, self.progress().offset);
        let Some(writing) = &mut self.writing else { return Err(UploadError::TooLong { expected }) };
        let end = writing.offset.saturating_add(bytes.len() as u64);
        if end > expected {
            return Err(UploadError::TooLong { expected });
        }
        if let Err(error) = writing.file.write_all(bytes) {
            // If this fails too, the next append drops the rest.
            let _ = writing.file.set_len(durable);
            self.writing = None;
            return Err(error.into());
        }
        writing.hash.update(bytes);
        writing.offset = end;
        Ok(())
    }

    /// Makes what was appended durable: first the bytes, then how far they go. After a failure the next append begins
    /// at what was durable before.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn sync(&mut self, now: UnixSeconds) -> io::Result<()> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        if writing.offset != self.progress().offset {
            writing.file.sync_data()?;
            let prefix = finished(&writing.hash);
            self.note(Progress { offset: writing.offset, prefix, at: now, complete: false })?;
        }
        self.hash = Some(writing.hash.clone());
        self.writing = Some(writing);
        Ok(())
    }

    /// Ends the upload: makes the rest durable, compares the digest, and gives the bytes to the blobs as the
    /// organisation's own. A process that dies in between does it again when it is asked again.
    ///
    /// # Errors
    /// [`UploadError::Incomplete`]: what came is kept. [`UploadError::Digest`]: the upload begins anew. Those of the
    /// file system.
    pub(super) fn finish(&mut self, now: UnixSeconds) -> Result<(), UploadError> {
        self.sync(now)?;
        self.writing = None;
        let (progress, expected) = (self.progress(), self.about.bytes);
        if progress.offset < expected {
            return Err(UploadError::Incomplete { offset: progress.offset, expected });
        }
        let (announced, found) = (self.about.digest, progress.prefix);
        if found != announced {
            self.restart(now)?;
            return Err(UploadError::Digest { announced, found });
        }
        let body = self.folder.join(BODY);
        if !self.is_published() {
            self.blobs.adopt(&body, &announced)?;
        }
        self.blobs.add_owner(&announced, &self.about.organisation)?;
        self.note(Progress { at: now, complete: true, ..progress })?;
        // The blob was there already: these bytes are not needed. A file that stays goes with the upload.
        let _ = std::fs::remove_file(body);
        Ok(())
    }

    /// Removes its files. The announcement goes first, durably: without it a restart takes the rest for unfinished and
    /// removes it.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        self.gone = true;
        self.writing = None;
        super::remove_files(&self.folder)
    }

    /// All bytes were durable with the announced digest, and a process died after it gave them their name as a blob.
    fn is_published(&self) -> bool {
        let progress = self.progress();
        progress.offset == self.about.bytes
            && progress.prefix == self.about.digest
            && !self.folder.join(BODY).exists()
            && self.blobs.exists(&self.about.digest)
    }

    /// Hashes the durable prefix again; anything that does not fit means beginning anew.
    fn hash_again(&mut self) -> io::Result<Context> {
        let progress = self.progress();
        let (bytes, hash) = hash_prefix(&self.folder.join(BODY), progress.offset)?;
        if bytes == progress.offset && finished(&hash) == progress.prefix {
            self.hash = Some(hash.clone());
            return Ok(hash);
        }
        tracing::warn!(upload = %self.about.upload, "the upload's bytes were damaged; they are sent again");
        self.restart(progress.at)?;
        Ok(Context::new(&SHA256))
    }

    fn restart(&mut self, now: UnixSeconds) -> io::Result<()> {
        self.writing = None;
        self.hash = None;
        self.note(Progress::none(now))?;
        // A file that stays is cut by the next append.
        let _ = std::fs::remove_file(self.folder.join(BODY));
        self.hash = Some(Context::new(&SHA256));
        Ok(())
    }

    fn note(&self, progress: Progress) -> io::Result<()> {
        record::write(&self.folder.join(PROGRESS), &progress)?;
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        Ok(())
    }
}

fn finished(hash: &Context) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.clone().finish().as_ref());
    Digest(digest)
}

/// Hashes a file's first `length` bytes; says how many there were. A file that is not there has none.
fn hash_prefix(path: &Path, length: u64) -> io::Result<(u64, Context)> {
    let mut hash = Context::new(&SHA256);
    let mut prefix = match File::open(path) {
        Ok(file) => file.take(length),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, hash)),
        Err(error) => return Err(error),
    };
    let mut buffer = vec![0; HASHED_AT_ONCE];
    let mut bytes = 0_u64;
    loop {
        let read = prefix.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hash));
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        bytes = bytes.saturating_add(read as u64);
    }
}

#[cfg(test)]
mod tests;
