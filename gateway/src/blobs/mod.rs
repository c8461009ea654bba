//! Blobs by digest: a folder in which a file's name is the SHA-256 of its content.
//!
//! A blob is visible only once all of it is there, checked and durable: it is written to a temporary file, synced,
//! renamed, and the folder synced. Bodies are streamed; no blob is ever whole in memory.

mod upload;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use konclave_crypto::Digest;
use konclave_openapi::models::Blob;
use tokio::fs::{self, File};

pub use upload::{BlobError, BlobWriter};

use crate::folder::{make_folder, sync_folder};

/// A content-addressed folder. Cloning shares it.
#[derive(Debug, Clone)]
pub struct BlobStore {
    folder: PathBuf,
    /// Held while a list of owners is read, changed and written.
    owners: Arc<Mutex<()>>,
}

impl BlobStore {
    /// Opens the folder, making it if need be, and clears what interrupted uploads left.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn at(folder: &Path) -> io::Result<Self> {
        let store = Self { folder: folder.to_owned(), owners: Arc::default() };
        make_folder(folder)?;
        if store.temporary().exists() {
            std::fs::remove_dir_all(store.temporary())?;
        }
        make_folder(&store.temporary())?;
        Ok(store)
    }

    /// Where a blob lies, if it is there.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.folder.join(name.get(..2).unwrap_or_default()).join(name)
    }

    /// Whether a blob is there.
    #[must_use]
    pub fn exists(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Its digest and length, if it is there.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn stat(&self, digest: &Digest) -> io::Result<Option<Blob>> {
        match fs::metadata(self.path(digest)).await {
            Ok(metadata) => Ok(Some(Blob { digest: *digest, bytes: metadata.len() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a blob for reading; its length in bytes beside it.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], or those of the file system.
    pub async fn open(&self, digest: &Digest) -> Result<(File, u64), BlobError> {
        let file = File::open(self.path(digest)).await.map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                BlobError::NotFound { digest: *digest }
            } else {
                BlobError::Io(error)
            }
        })?;
        let bytes = file.metadata().await?.len();
        Ok((file, bytes))
    }

    /// Reads a whole blob of at most `limit` bytes, for small ones.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::TooLarge`], or those of the file system.
    pub async fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, BlobError> {
        let (_, bytes) = self.open(digest).await?;
        if bytes > limit {
            return Err(BlobError::TooLarge { limit });
        }
        Ok(fs::read(self.path(digest)).await?)
    }

    /// Notes that an organisation may call the blob its own: it uploaded it, or asked for what made it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn add_owner(&self, digest: &Digest, organisation: &str) -> io::Result<()> {
        self.change_owners(digest, |owners| {
            owners.insert(organisation.to_owned());
        })
    }

    /// Marks a blob, unless an organisation already calls it its own: what somebody was given is not taken back.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn restrict(&self, digest: &Digest, mark: &str) -> io::Result<()> {
        self.change_owners(digest, |owners| {
            if owners.is_empty() {
                owners.insert(mark.to_owned());
            }
        })
    }

    /// Takes a mark off a blob that is from now on named in public.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn release(&self, digest: &Digest, mark: &str) -> io::Result<()> {
        self.change_owners(digest, |owners| {
            owners.remove(mark);
        })
    }

    fn change_owners(&self, digest: &Digest, change: impl FnOnce(&mut BTreeSet<String>)) -> io::Result<()> {
        let _one_at_a_time = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.owners(digest)?;
        let mut owners = before.clone();
        change(&mut owners);
        if owners == before {
            return Ok(());
        }
        let text = serde_json::to_vec(&owners).map_err(io::Error::other)?;
        self.replace(&self.owners_path(digest), &text)
    }

    /// The organisations that may call the blob their own.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn owners(&self, digest: &Digest) -> io::Result<BTreeSet<String>> {
        match std::fs::read(self.owners_path(digest)) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        }
    }

    /// Takes over a complete, checked and synced file of the same file system; durable on return. If the blob is
    /// there already, the file stays where it is.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn adopt(&self, file: &Path, digest: &Digest) -> io::Result<()> {
        if self.exists(digest) { Ok(()) } else { self.publish(file, digest) }
    }

    /// Removes a blob, if it is there.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn remove(&self, digest: &Digest) -> io::Result<()> {
        for path in [self.path(digest), self.owners_path(digest)] {
            match fs::remove_file(path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn owners_path(&self, digest: &Digest) -> PathBuf {
        let mut name = self.path(digest).into_os_string();
        name.push(".owners");
        name.into()
    }

    fn temporary(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// Gives a complete, synced temporary file its name.
    fn publish(&self, temporary: &Path, digest: &Digest) -> io::Result<()> {
        let path = self.path(digest);
        let folder = path.parent().unwrap_or(&self.folder);
        if !folder.is_dir() {
            make_folder(folder)?;
        }
        std::fs::rename(temporary, &path)?;
        sync_folder(folder)
    }
}
