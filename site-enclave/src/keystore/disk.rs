//! Durable files: nothing counts as stored before it would survive a power cut.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// How many zero bytes are written at a time when a file is erased.
const ERASE_BLOCK: usize = 64 * 1024;

/// Why a file operation failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}: {source}")]
pub struct DiskError {
    /// What was being done.
    pub doing: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

/// The disk, step by step.
///
/// Each step that could be the last before a power cut goes through `Disk::step`, so that tests can cut the power
/// after any number of them and look at what a restart finds. What such a test finds is what was done, in the order it was
/// done. A real power cut may also lose what was done since the last sync. Every function here syncs what it did before
/// it returns, and a file before it gets its name, so what is lost are only the last steps of the one function that was cut
/// off: the same as a cut some steps earlier, which the tests also make. They show nothing of a disk that says a sync is
/// done before it is.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    #[cfg(test)]
    power: Option<std::sync::Arc<std::sync::atomic::AtomicI64>>,
}

/// A file that is complete and durable under a temporary name.
///
/// [`Prepared::commit`] gives it its name. Between the two a caller may make something else durable.
#[derive(Debug)]
#[must_use = "a prepared file has no name until it is committed"]
pub struct Prepared {
    disk: Disk,
    temporary: PathBuf,
    path: PathBuf,
}

impl Disk {
    /// A disk that loses power after `steps` steps.
    #[cfg(test)]
    pub(crate) fn losing_power_after(steps: i64) -> Self {
        Self { power: Some(std::sync::Arc::new(std::sync::atomic::AtomicI64::new(steps))) }
    }

    /// Whether the power was cut.
    #[cfg(test)]
    pub(crate) fn is_dead(&self) -> bool {
        self.power.as_ref().is_some_and(|power| power.load(std::sync::atomic::Ordering::SeqCst) < 0)
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        use std::sync::atomic::Ordering;
        match &self.power {
            Some(power) if power.fetch_sub(1, Ordering::SeqCst) <= 0 => {
                power.store(-1, Ordering::SeqCst);
                Err(io::Error::other("power cut"))
            }
            Some(_) | None => Ok(()),
        }
    }

    #[cfg(not(test))]
    // Tests cut the power here.
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    /// Makes a folder (mode 0700) and those above it, durably.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn create_folder(&self, path: &Path) -> Result<(), DiskError> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.create_folder(parent)?;
        }
        let attempt = || {
            self.step()?;
            match DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
                other => other,
            }
        };
        attempt().map_err(|source| failed("create the folder", path, source))?;
        self.sync_folder_of(path)
    }

    /// Writes a file (mode 0600) so that after any power cut either the old or the new content is there.
    ///
    /// # Errors
    /// [`DiskError`]; then the old content still has the name.
    pub fn write(&self, path: &Path, content: &[u8]) -> Result<(), DiskError> {
        self.prepare(path, content)?.commit()
    }

    /// Writes a secret over an older one and then overwrites the older one's bytes with zeros.
    ///
    /// A power cut between the two leaves the new secret in place and the old bytes in free blocks.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn replace_secret(&self, path: &Path, content: &[u8]) -> Result<(), DiskError> {
        let old = match OpenOptions::new().write(true).open(path) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(failed("open", path, source)),
        };
        self.prepare(path, content)?.commit()?;
        let Some(mut old) = old else { return Ok(()) };
        self.step()
            .and_then(|()| fill_with_zeros(&mut old))
            .map_err(|source| failed("erase the old", path, source))
    }

    /// The first half of [`Disk::write`].
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn prepare(&self, path: &Path, content: &[u8]) -> Result<Prepared, DiskError> {
        let temporary = temporary_name(path);
        let attempt = || {
            self.step()?;
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            let (first, second) = content.split_at(content.len() / 2);
            file.write_all(first)?;
            self.step()?;
            file.write_all(second)?;
            self.step()?;
            file.sync_all()
        };
        attempt().map_err(|source| failed("write", &temporary, source))?;
        // Also its temporary name must outlast a power cut: callers make other things durable that point to it.
        self.sync_folder_of(&temporary)?;
        Ok(Prepared { disk: self.clone(), temporary, path: path.to_path_buf() })
    }

    /// A file that an earlier run prepared but did not commit.
    #[must_use]
    pub fn prepared(&self, path: &Path) -> Option<Prepared> {
        let temporary = temporary_name(path);
        temporary.is_file().then(|| Prepared { disk: self.clone(), temporary, path: path.to_path_buf() })
    }

    /// A whole file, or `None` where there is none.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn read(&self, path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, DiskError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("open", path, source)),
        };
        // The buffer has its full size from the start: a growing one would leave copies of secrets behind.
        let length = file.metadata().map_err(|source| failed("read", path, source))?.len();
        let length = usize::try_from(length)
            .map_err(|_| failed("read", path, io::Error::from(io::ErrorKind::FileTooLarge)))?;
        let mut content = Zeroizing::new(vec![0; length]);
        file.read_exact(&mut content).map_err(|source| failed("read", path, source))?;
        Ok(Some(content))
    }

    /// Appends one line and makes it durable.
    ///
    /// # Errors
    /// [`DiskError`]; then a part of the line may be there, without its end.
    pub fn append_line(&self, path: &Path, line: &str) -> Result<(), DiskError> {
        let is_new = !path.exists();
        let attempt = || {
            self.step()?;
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            let text = format!("{line}\n");
            let (first, second) = text.as_bytes().split_at(text.len() / 2);
            file.write_all(first)?;
            self.step()?;
            file.write_all(second)?;
            self.step()?;
            file.sync_all()
        };
        attempt().map_err(|source| failed("append to", path, source))?;
        if is_new { self.sync_folder_of(path) } else { Ok(()) }
    }

    /// Cuts a file to its first `length` bytes.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn truncate(&self, path: &Path, length: u64) -> Result<(), DiskError> {
        let attempt = || {
            self.step()?;
            let file = OpenOptions::new().write(true).open(path)?;
            file.set_len(length)?;
            file.sync_all()
        };
        attempt().map_err(|source| failed("repair", path, source))
    }

    /// Overwrites a file with zeros and removes it; no file is no error.
    ///
    /// File systems that write elsewhere (copy on write, flash translation) may keep old blocks: use an encrypted
    /// volume for the site's folder where that matters.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn erase(&self, path: &Path) -> Result<(), DiskError> {
        let attempt = || {
            let mut file = match OpenOptions::new().write(true).open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            };
            self.step()?;
            fill_with_zeros(&mut file)?;
            self.step()?;
            fs::remove_file(path)?;
            Ok(true)
        };
        if attempt().map_err(|source| failed("erase", path, source))? {
            self.sync_folder_of(path)
        } else {
            Ok(())
        }
    }

    /// Makes the entries of a file's folder durable.
    fn sync_folder_of(&self, path: &Path) -> Result<(), DiskError> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        self.step()
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(|source| failed("make durable the folder", folder, source))
    }
}

impl Prepared {
    /// Gives the file its name.
    ///
    /// # Errors
    /// [`DiskError`]; then it may still be found by [`Disk::prepared`].
    pub fn commit(self) -> Result<(), DiskError> {
        self.disk
            .step()
            .and_then(|()| fs::rename(&self.temporary, &self.path))
            .map_err(|source| failed("name", &self.path, source))?;
        self.disk.sync_folder_of(&self.path)
    }

    /// Removes the file.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn discard(self) -> Result<(), DiskError> {
        self.disk.erase(&self.temporary)
    }

    /// The content under its temporary name.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn content(&self) -> Result<Zeroizing<Vec<u8>>, DiskError> {
        Ok(self.disk.read(&self.temporary)?.unwrap_or_default())
    }
}

fn fill_with_zeros(file: &mut File) -> io::Result<()> {
    let mut left = file.metadata()?.len();
    file.seek(SeekFrom::Start(0))?;
    let zeros = [0_u8; ERASE_BLOCK];
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(ERASE_BLOCK).min(ERASE_BLOCK);
        file.write_all(zeros.get(..size).unwrap_or(&zeros))?;
        left -= size as u64;
    }
    file.sync_all()
}

/// `.NAME.tmp` beside the file.
fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> DiskError {
    DiskError { doing, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_power_cut_leaves_the_old_or_the_new_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut seen_new = 0;
        for steps in 0.. {
            Disk::default().write(&path, b"old").unwrap();
            let disk = Disk::losing_power_after(steps);
            let result = disk.write(&path, b"brand new");
            let content = Disk::default().read(&path).unwrap().unwrap();
            assert!(*content == *b"old" || *content == *b"brand new", "after {steps} steps");
            seen_new += usize::from(*content == *b"brand new");
            if result.is_ok() {
                break;
            }
        }
        // Named but not yet durable, and durable.
        assert_eq!(seen_new, 2);
    }

    #[test]
    fn files_and_folders_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        Disk::default().create_folder(&inner).unwrap();
        Disk::default().write(&inner.join("secret"), b"s").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&inner), 0o700);
        assert_eq!(mode(&inner.join("secret")), 0o600);
    }

    #[test]
    fn erased_files_are_gone_and_missing_ones_are_fine() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let disk = Disk::default();
        disk.write(&path, &vec![7; 3 * ERASE_BLOCK + 1]).unwrap();
        disk.erase(&path).unwrap();
        assert!(!path.exists());
        disk.erase(&path).unwrap();
    }

    #[test]
    fn a_replaced_secret_is_overwritten_where_it_lay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let second_name = folder.path().join("same-blocks");
        Disk::default().write(&path, &[7; 100]).unwrap();
        fs::hard_link(&path, &second_name).unwrap();
        Disk::default().replace_secret(&path, &[8; 50]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), vec![8; 50]);
        assert_eq!(fs::read(&second_name).unwrap(), vec![0; 100]);
    }

    #[test]
    fn erasing_overwrites_before_it_removes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        Disk::default().write(&path, &[7; 100]).unwrap();
        // The first step opens the way to overwriting, the second to removing.
        Disk::losing_power_after(1).erase(&path).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), vec![0; 100]);
    }
}
