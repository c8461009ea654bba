//! Values that must be erasable: the ledger holds a commitment, the opening lies beside it until it is erased.
//!
//! The commitment is HMAC-SHA256 of the value under a random salt of 256 bits. Whoever has salt and value can show
//! that the entry is about this value; without the salt the commitment says nothing, not even to somebody who guesses
//! the value. So erasing the opening erases the personal datum, and the entry, its hash and every proof stay.
//!
//! An opening is one file, `<commitment>.json`, outside the folder of the ledger, so that no export, mirror or receipt
//! carries it. Erasing overwrites the file, removes it and makes both durable. What a file system with snapshots or a
//! flash disk keeps of overwritten blocks is beyond a program: put the folder on an encrypted volume.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::hmac;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::hash::{Hash, decode_hex, write_hex};

/// The longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 4096;
/// The longest file that is read; JSON may take six bytes for one.
const MAX_FILE_BYTES: u64 = 32 * 1024;

/// A salt and a value, which open a commitment. Not printed; erased from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Opening {
    salt: Zeroizing<[u8; 32]>,
    value: Zeroizing<String>,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Stored {
    salt: String,
    value: String,
}

/// Why there is no such opening.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    /// Longer than [`MAX_VALUE_BYTES`], or empty.
    #[error("a value that is committed to has 1 to {MAX_VALUE_BYTES} bytes, this one {bytes}")]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// The file isn't an opening, or not the one it is named after.
    #[error("the opening of {commitment} is damaged; restore the file from a backup, or erase it")]
    Damaged {
        /// The commitment.
        commitment: Hash,
    },
    /// A file operation failed.
    #[error("cannot {operation} the opening of {commitment}: {source}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The commitment.
        commitment: Hash,
        /// What the operating system says.
        source: io::Error,
    },
}

impl Opening {
    /// Opens the commitment to `value` under `salt`, which must be random and used for nothing else.
    ///
    /// # Errors
    /// [`OpeningError::Length`].
    pub fn new(salt: Zeroizing<[u8; 32]>, value: &str) -> Result<Self, OpeningError> {
        if value.is_empty() || value.len() > MAX_VALUE_BYTES {
            return Err(OpeningError::Length { bytes: value.len() });
        }
        Ok(Self { salt, value: Zeroizing::new(value.to_owned()) })
    }

    /// HMAC-SHA256(salt, value): what an entry carries in `commitments`.
    #[must_use]
    pub fn commitment(&self) -> Hash {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*self.salt), self.value.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        Hash(bytes)
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The salt, in hexadecimal.
    #[must_use]
    pub fn salt_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(Hex(&*self.salt).to_string())
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let stored = Stored { salt: self.salt_hex().to_string(), value: self.value.to_string() };
        #[expect(clippy::expect_used, reason = "two strings always encode")]
        Zeroizing::new(serde_json::to_vec(&stored).expect("strings encode"))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        Self::new(Zeroizing::new(decode_hex(&stored.salt)?), &stored.value).ok()
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opening(of {}, salt and value not shown)", self.commitment())
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(self.0, f)
    }
}

/// The lock on the folder of openings, until it is dropped.
#[derive(Debug)]
#[must_use = "the folder is free again once this is dropped"]
pub struct OpeningsLock {
    _folder: File,
}

/// The folder of openings.
#[derive(Debug, Clone)]
pub struct Openings {
    folder: PathBuf,
}

impl Openings {
    /// The openings in `folder`, which need not exist yet.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    /// Stores an opening durably and gives its commitment. Call it before the entry that carries the commitment.
    ///
    /// # Errors
    /// [`OpeningError::File`]; it may be tried again.
    pub fn put(&self, opening: &Opening) -> Result<Hash, OpeningError> {
        let commitment = opening.commitment();
        let failed = |source| OpeningError::File { operation: "store", commitment, source };
        self.write(&commitment, &opening.to_bytes()).map_err(failed)?;
        Ok(commitment)
    }

    fn write(&self, commitment: &Hash, bytes: &[u8]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = self.path(commitment);
        let new = path.with_extension("tmp");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        self.sync()
    }

    /// The opening of a commitment; none if it was erased or never stored here.
    ///
    /// # Errors
    /// [`OpeningError::Damaged`] or [`OpeningError::File`].
    pub fn get(&self, commitment: &Hash) -> Result<Option<Opening>, OpeningError> {
        let failed = |source| OpeningError::File { operation: "read", commitment: *commitment, source };
        let file = match File::open(self.path(commitment)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        let opening = Opening::parse(&bytes).filter(|opening| opening.commitment() == *commitment);
        opening.map(Some).ok_or(OpeningError::Damaged { commitment: *commitment })
    }

    /// Erases an opening: overwritten, removed, both durable on return. One that is gone already is erased. Append the
    /// erasure's entry first, so that a crash in between is made good when the ledger is read again.
    ///
    /// # Errors
    /// [`OpeningError::File`]; it may be tried again.
    pub fn erase(&self, commitment: &Hash) -> Result<(), OpeningError> {
        let failed = |source| OpeningError::File { operation: "erase", commitment: *commitment, source };
        self.overwrite_and_remove(&self.path(commitment)).map_err(failed)?;
        // What a crash left of a write that was never finished.
        self.overwrite_and_remove(&self.path(commitment).with_extension("tmp")).map_err(failed)
    }

    /// Keeps everybody else who asks for the lock out of the folder until it is dropped, other processes included: whoever
    /// stores an opening and then the record that names it, and whoever erases the openings that no record names.
    /// Waits for it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn lock(&self) -> io::Result<OpeningsLock> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let folder = File::open(&self.folder)?;
        folder.lock()?;
        Ok(OpeningsLock { _folder: folder })
    }

    /// The lock, if nobody has it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn try_lock(&self) -> io::Result<Option<OpeningsLock>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let folder = File::open(&self.folder)?;
        match folder.try_lock() {
            Ok(()) => Ok(Some(OpeningsLock { _folder: folder })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The commitments whose openings are here, readable or not.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn commitments(&self) -> io::Result<BTreeSet<Hash>> {
        let files = match fs::read_dir(&self.folder) {
            Ok(files) => files,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(error),
        };
        let mut found = BTreeSet::new();
        for file in files {
            let name = file?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
            found.extend(name.and_then(|name| name.parse::<Hash>().ok()));
        }
        Ok(found)
    }

    /// Erases what a crash left of openings that were never stored whole: no entry can carry their commitments.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn clear_unfinished(&self) -> io::Result<()> {
        let files = match fs::read_dir(&self.folder) {
            Ok(files) => files,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for file in files {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                self.overwrite_and_remove(&path)?;
            }
        }
        Ok(())
    }

    fn overwrite_and_remove(&self, path: &Path) -> io::Result<()> {
        let mut file = match OpenOptions::new().write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        io::copy(&mut io::repeat(0).take(length), &mut file)?;
        file.flush()?;
        file.sync_all()?;
        fs::remove_file(path)?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn path(&self, commitment: &Hash) -> PathBuf {
        self.folder.join(format!("{commitment}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(value: &str) -> Opening {
        Opening::new(Zeroizing::new([7; 32]), value).unwrap()
    }

    /// The expected value is from Python's `hmac` module.
    #[test]
    fn commits_as_hmac_sha256() {
        let expected = "31253b28489a4fed313a56b28fbc6a80fdc6112587a6387c1b3d77e1095be24f";
        assert_eq!(opening("m.kim@example.org").commitment().to_string(), expected);
    }

    #[test]
    fn an_erased_value_is_nowhere_in_the_folder() {
        let keep = tempfile::tempdir().unwrap();
        let openings = Openings::at(&keep.path().join("openings"));
        assert!(openings.get(&Hash::ZERO).unwrap().is_none());
        openings.erase(&Hash::ZERO).unwrap();
        let commitment = openings.put(&opening("m.kim@example.org")).unwrap();
        let other = openings.put(&opening("j.lee@example.org")).unwrap();
        assert_eq!(openings.get(&commitment).unwrap(), Some(opening("m.kim@example.org")));
        openings.erase(&commitment).unwrap();
        openings.erase(&commitment).unwrap();
        assert!(openings.get(&commitment).unwrap().is_none());
        assert_eq!(openings.get(&other).unwrap(), Some(opening("j.lee@example.org")));
        for file in fs::read_dir(keep.path().join("openings")).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains("m.kim"));
        }
    }

    #[test]
    fn one_at_a_time_has_the_folder_and_sees_what_is_in_it() {
        let keep = tempfile::tempdir().unwrap();
        let openings = Openings::at(&keep.path().join("openings"));
        assert!(openings.commitments().unwrap().is_empty());
        let lock = openings.lock().unwrap();
        assert!(openings.try_lock().unwrap().is_none());
        let commitment = openings.put(&opening("m.kim@example.org")).unwrap();
        drop(lock);
        let lock = openings.try_lock().unwrap();
        assert!(lock.is_some());
        fs::write(openings.folder.join("notes.json"), b"not an opening").unwrap();
        assert_eq!(openings.commitments().unwrap(), BTreeSet::from([commitment]));
    }

    /// A second name for the same blocks shows what erasing leaves on the disk.
    #[test]
    fn the_blocks_are_overwritten_before_the_name_goes() {
        let keep = tempfile::tempdir().unwrap();
        let openings = Openings::at(keep.path());
        let commitment = openings.put(&opening("m.kim@example.org")).unwrap();
        let second = keep.path().join("second-name");
        fs::hard_link(openings.path(&commitment), &second).unwrap();
        openings.erase(&commitment).unwrap();
        assert!(fs::read(second).unwrap().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_damaged_opening_is_told_and_can_be_erased() {
        let keep = tempfile::tempdir().unwrap();
        let openings = Openings::at(keep.path());
        let commitment = openings.put(&opening("m.kim@example.org")).unwrap();
        let path = openings.path(&commitment);
        let good = fs::read(&path).unwrap();
        for bad in [&good[..good.len() - 1], b"", b"{}", &good.to_ascii_uppercase()] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(openings.get(&commitment), Err(OpeningError::Damaged { .. })));
        }
        fs::write(&path, String::from_utf8(good).unwrap().replace("kim", "lee")).unwrap();
        assert!(matches!(openings.get(&commitment), Err(OpeningError::Damaged { .. })));
        openings.erase(&commitment).unwrap();
        assert!(openings.get(&commitment).unwrap().is_none());
        fs::write(path.with_extension("tmp"), b"m.kim, cut sh").unwrap();
        openings.clear_unfinished().unwrap();
        assert_eq!(fs::read_dir(keep.path()).unwrap().count(), 0);
        for length in [0, MAX_VALUE_BYTES + 1] {
            let refused = Opening::new(Zeroizing::new([7; 32]), &"x".repeat(length));
            assert!(matches!(refused, Err(OpeningError::Length { bytes }) if bytes == length));
        }
        assert!(!format!("{:?}", opening("m.kim@example.org")).contains("kim"));
    }
}
