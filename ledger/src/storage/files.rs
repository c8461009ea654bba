//! Storage in a folder of the file system.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::Storage;

/// A folder; remembers which sub-folders have names that are not yet durable.
///
/// All that exist are remembered to begin with: a process that was killed may have left names in them that programs see
/// and a power cut takes away, and what is built on them must not go with them.
#[derive(Debug)]
pub struct FileStorage {
    root: PathBuf,
    unsynced_folders: BTreeSet<PathBuf>,
}

impl FileStorage {
    /// Uses the folder `root`, creating it if needed.
    ///
    /// # Errors
    /// If it can't be created.
    pub fn new(root: &Path) -> io::Result<Self> {
        let mut storage = Self { root: root.to_path_buf(), unsynced_folders: BTreeSet::new() };
        storage.create_folders(root)?;
        storage.name_changed(root);
        let mut pending = vec![root.to_path_buf()];
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    pending.push(entry.path());
                }
            }
            storage.unsynced_folders.insert(folder);
        }
        Ok(storage)
    }

    /// The folders whose names the next [`Storage::sync_names`] makes durable.
    pub fn unsynced_folders(&self) -> impl Iterator<Item = &Path> {
        self.unsynced_folders.iter().map(PathBuf::as_path)
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Creates a folder with its parents and remembers each folder that got a new name in it.
    fn create_folders(&mut self, folder: &Path) -> io::Result<()> {
        if folder.as_os_str().is_empty() || folder.is_dir() {
            return Ok(());
        }
        if let Some(parent) = folder.parent() {
            self.create_folders(parent)?;
        }
        match fs::create_dir(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.name_changed(folder);
        Ok(())
    }

    fn name_changed(&mut self, path: &Path) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.unsynced_folders.insert(parent.unwrap_or(Path::new(".")).to_path_buf());
    }
}

impl Storage for FileStorage {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.root.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut files = Vec::new();
        let mut pending = vec![folder.to_owned()];
        while let Some(folder) = pending.pop() {
            let entries = match fs::read_dir(self.root.join(&folder)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                if entry.file_type()?.is_dir() { pending.push(path) } else { files.push(path) }
            }
        }
        Ok(files)
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.root.join(path);
        if let Some(folder) = path.parent() {
            self.create_folders(folder)?;
        }
        self.name_changed(&path);
        File::create(&path)?.write_all(bytes)
    }

    fn sync_file(&mut self, path: &str) -> io::Result<()> {
        File::open(self.root.join(path))?.sync_all()
    }

    fn sync_names(&mut self) -> io::Result<()> {
        // On failure the set stays as it was; the caller stops using the ledger anyway.
        self.unsynced_folders.iter().try_for_each(|folder| File::open(folder)?.sync_all())?;
        self.unsynced_folders.clear();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.root.join(from), self.root.join(to));
        if let Some(folder) = to.parent() {
            self.create_folders(folder)?;
        }
        self.name_changed(&from);
        self.name_changed(&to);
        fs::rename(from, to)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        let path = self.root.join(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => self.name_changed(&path),
        }
        // A folder of partial tiles ends with its last file; without this, a long ledger has thousands of empty ones.
        let folder = path.parent().filter(|folder| *folder != self.root);
        if let Some(folder) = folder
            && fs::remove_dir(folder).is_ok()
        {
            self.unsynced_folders.remove(folder);
            self.name_changed(folder);
        }
        Ok(())
    }
}
