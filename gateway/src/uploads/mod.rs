//! Resumable uploads of blobs: announced first, then appended at an offset until all bytes are durable.
//!
//! Each upload has a folder: `about.json` (what was announced, by whom), `body` (the bytes) and `progress.json` (how far
//! they are durable). It is the organisation's that announced it. Once the bytes have the announced digest they become
//! a blob, and the upload stays a while to say so, in case the answer was lost.
//!
//! What it is not: it knows nothing of HTTP, and does not decide who may upload.

mod append;
mod body;
mod error;
mod expiry;
mod record;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use konclave_crypto::{Digest, UnixSeconds};
use konclave_openapi::uploads::UploadId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use append::Append;
pub use body::Progress;
pub use error::UploadError;
pub(crate) use expiry::run;

use crate::blobs::BlobStore;
use crate::core::IdempotencyKey;
use crate::folder::{make_folder, sync_folder};
use body::UploadBody;
use record::Found;

/// The most uploads that one organisation may have open.
pub const MAX_OPEN: usize = 16;
/// Complete uploads that are kept for one organisation; the oldest are forgotten first.
const MAX_COMPLETE: usize = 64;
/// Seconds after the last byte for which an upload is kept.
pub const KEPT_SECONDS: u64 = 7 * 24 * 60 * 60;

const ABOUT: &str = "about.json";
const BODY: &str = "body";
const PROGRESS: &str = "progress.json";

/// What was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The upload's id.
    pub upload: UploadId,
    /// Whose it is.
    pub organisation: String,
    /// The SHA-256 of the bytes.
    pub digest: Digest,
    /// How many there are.
    pub bytes: u64,
    /// When it was announced.
    pub created: UnixSeconds,
    /// The idempotency key it was announced under, if it was.
    pub request: Option<IdempotencyKey>,
}

/// An upload to be opened.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// Whose it is.
    pub organisation: String,
    /// The SHA-256 of the bytes.
    pub digest: Digest,
    /// How many there are.
    pub bytes: u64,
    /// The idempotency key, if there is one.
    pub request: Option<IdempotencyKey>,
}

/// One upload. Cloning shares it.
#[derive(Clone)]
pub struct Upload {
    about: Arc<About>,
    progress: Arc<Mutex<Progress>>,
    body: Arc<tokio::sync::Mutex<UploadBody>>,
    /// Counts the requests that wanted to write: each ends the one before it.
    turn: Arc<watch::Sender<u64>>,
}

/// The uploads of a deployment. Cloning shares them.
#[derive(Clone)]
pub struct Uploads(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    blobs: BlobStore,
    most_bytes: u64,
    known: Mutex<BTreeMap<UploadId, Upload>>,
    /// Held while the bounds are checked and an upload is opened.
    opening: Mutex<()>,
}

impl Upload {
    /// What was announced.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// How far it is durable. Does not wait for an append under way.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it is forgotten.
    #[must_use]
    pub fn expires(&self) -> UnixSeconds {
        UnixSeconds(self.progress().at.get().saturating_add(KEPT_SECONDS))
    }

    fn at(about: About, folder: PathBuf, blobs: BlobStore) -> io::Result<Self> {
        let about = Arc::new(about);
        let body = UploadBody::open(Arc::clone(&about), folder, blobs)?;
        let progress = body.shared_progress();
        let turn = Arc::new(watch::Sender::new(0));
        Ok(Self { about, progress, body: Arc::new(tokio::sync::Mutex::new(body)), turn })
    }
}

impl Uploads {
    /// Finds the uploads in a folder, which is made with the first of them. What a crash left of one that was being
    /// announced or removed is cleared, and so is what has expired. `most_bytes` bounds what the open uploads of one
    /// organisation have together.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(folder: &Path, blobs: BlobStore, most_bytes: u64, now: UnixSeconds) -> io::Result<Self> {
        let mut known = BTreeMap::new();
        for (id, path) in folders(folder)? {
            match record::read::<About>(&path.join(ABOUT))? {
                Found::Whole(about) if about.upload == id => {
                    known.insert(id, Upload::at(about, path, blobs.clone())?);
                }
                Found::Nothing => std::fs::remove_dir_all(path)?,
                Found::Whole(_) | Found::Damaged => {
                    tracing::warn!(upload = %id, "what was announced cannot be read; the upload is dropped");
                    std::fs::remove_dir_all(path)?;
                }
            }
        }
        let folder = folder.to_owned();
        let (known, opening) = (Mutex::new(known), Mutex::new(()));
        let uploads = Self(Arc::new(Inner { folder, blobs, most_bytes, known, opening }));
        uploads.sweep(now)?;
        Ok(uploads)
    }

    /// Opens an upload; durable on return. The same request under the same idempotency key gives the same upload.
    /// Blocks: not for the async threads.
    ///
    /// # Errors
    /// [`UploadError::OtherRequest`], [`UploadError::TooMany`], [`UploadError::TooMuch`], or those of the file system.
    pub fn announce(&self, new: Announcement, now: UnixSeconds) -> Result<Upload, UploadError> {
        let _one_at_a_time = self.0.opening.lock().unwrap_or_else(PoisonError::into_inner);
        self.sweep(now)?;
        let own = self.of(&new.organisation);
        if let Some(request) = &new.request {
            let same_key =
                |upload: &&Upload| upload.about.request.is_some_and(|known| known.key == request.key);
            if let Some(known) = own.iter().find(same_key) {
                let same = known.about.request.as_ref() == Some(request);
                return if same { Ok(known.clone()) } else { Err(UploadError::OtherRequest) };
            }
        }
        self.check_bounds(&own, new.bytes)?;
        self.forget_complete(&own)?;
        let about = About {
            upload: draw_id()?,
            organisation: new.organisation,
            digest: new.digest,
            bytes: new.bytes,
            created: now,
            request: new.request,
        };
        let (id, path) = (about.upload.clone(), self.0.folder.join(about.upload.to_string()));
        make_folder(&self.0.folder)?;
        make_folder(&path)?;
        if let Err(error) = record::write(&path.join(ABOUT), &about) {
            // What stays is cleared at the next start.
            let _ = std::fs::remove_dir_all(&path);
            return Err(error.into());
        }
        let upload = Upload::at(about, path, self.0.blobs.clone())?;
        self.known().insert(id, upload.clone());
        Ok(upload)
    }

    /// An upload of an organisation. Another's is like one that is not there.
    #[must_use]
    pub fn find(&self, id: &UploadId, organisation: &str) -> Option<Upload> {
        self.known().get(id).filter(|upload| upload.about.organisation == organisation).cloned()
    }

    /// The uploads of an organisation, oldest first.
    #[must_use]
    pub fn of(&self, organisation: &str) -> Vec<Upload> {
        let mut own: Vec<Upload> = self
            .known()
            .values()
            .filter(|upload| upload.about.organisation == organisation)
            .cloned()
            .collect();
        own.sort_by(|a, b| (a.about.created, &a.about.upload).cmp(&(b.about.created, &b.about.upload)));
        own
    }

    /// Removes an upload, ending an append under way. The blob that a complete one became stays.
    ///
    /// # Errors
    /// [`UploadError::Busy`], or those of the file system.
    pub async fn remove(&self, upload: &Upload) -> Result<(), UploadError> {
        let (mut body, _turn) = upload.take().await?;
        self.known().remove(&upload.about.upload);
        tokio::task::spawn_blocking(move || body.remove()).await.map_err(|_| UploadError::CutOff)??;
        Ok(())
    }

    /// Removes what has expired. Blocks: not for the async threads.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sweep(&self, now: UnixSeconds) -> io::Result<()> {
        let expired: Vec<Upload> =
            self.known().values().filter(|upload| upload.expires() <= now).cloned().collect();
        expired.iter().try_for_each(|upload| self.forget(upload, |upload| upload.expires() <= now))
    }

    fn check_bounds(&self, own: &[Upload], bytes: u64) -> Result<(), UploadError> {
        let open = || own.iter().filter(|upload| !upload.progress().complete);
        let count = open().count();
        if count >= MAX_OPEN {
            return Err(UploadError::TooMany { open: count, most: MAX_OPEN });
        }
        let announced = open().fold(bytes, |sum, upload| sum.saturating_add(upload.about.bytes));
        let most = self.0.most_bytes;
        if announced > most { Err(UploadError::TooMuch { announced, most }) } else { Ok(()) }
    }

    /// Makes room among an organisation's complete uploads.
    fn forget_complete(&self, own: &[Upload]) -> io::Result<()> {
        let complete: Vec<&Upload> = own.iter().filter(|upload| upload.progress().complete).collect();
        let surplus = complete.len().saturating_sub(MAX_COMPLETE - 1);
        complete.into_iter().take(surplus).try_for_each(|upload| self.forget(upload, |_| true))
    }

    /// Removes an upload, unless somebody holds it just now or it is no longer `due`.
    fn forget(&self, upload: &Upload, due: impl Fn(&Upload) -> bool) -> io::Result<()> {
        let Ok(mut body) = upload.body.try_lock() else { return Ok(()) };
        if !due(upload) || body.is_gone() {
            return Ok(());
        }
        self.known().remove(&upload.about.upload);
        body.remove()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<UploadId, Upload>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folders of uploads.
fn folders(folder: &Path) -> io::Result<Vec<(UploadId, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        // What has another name is not ours, and stays.
        if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            found.push((id, entry.path()));
        }
    }
    Ok(found)
}

/// Removes an upload's files: the announcement first, durably, so that a restart takes the rest for unfinished.
fn remove_files(folder: &Path) -> io::Result<()> {
    match std::fs::remove_file(folder.join(ABOUT)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    sync_folder(folder)?;
    std::fs::remove_dir_all(folder)
}

fn draw_id() -> io::Result<UploadId> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(io::Error::other)?;
    Ok(UploadId::of_bits(u128::from_be_bytes(bits)))
}

#[cfg(test)]
mod tests;
