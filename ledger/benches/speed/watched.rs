//! The file storage of the ledger, watched: how often it reads and syncs, and what it writes.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use konclave_ledger::storage::{FileStorage, Storage};

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) reads: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) file_syncs: AtomicU64,
    pub(crate) folder_syncs: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub(crate) struct Watched {
    files: FileStorage,
    counts: Arc<Counts>,
    /// Without syncs, to make large ledgers quickly.
    durable: bool,
    changed_folders: BTreeSet<String>,
}

impl Watched {
    pub(crate) fn new(folder: &Path, durable: bool) -> (Self, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        let files = FileStorage::new(folder).unwrap();
        (Self { files, counts: counts.clone(), durable, changed_folders: BTreeSet::new() }, counts)
    }

    fn name_changed(&mut self, path: &str) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.changed_folders.insert(folder.to_owned());
    }
}

fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Ordering::Relaxed);
}

impl Storage for Watched {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.files.read(path)?;
        add(&self.counts.reads, 1);
        add(&self.counts.bytes_read, bytes.as_ref().map_or(0, Vec::len));
        Ok(bytes)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.files.list(folder)
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.name_changed(path);
        add(&self.counts.bytes_written, bytes.len());
        self.files.write(path, bytes)
    }

    fn sync_file(&mut self, path: &str) -> io::Result<()> {
        add(&self.counts.file_syncs, 1);
        if self.durable { self.files.sync_file(path) } else { Ok(()) }
    }

    fn sync_names(&mut self) -> io::Result<()> {
        add(&self.counts.folder_syncs, self.changed_folders.len());
        self.changed_folders.clear();
        if self.durable { self.files.sync_names() } else { Ok(()) }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.name_changed(from);
        self.name_changed(to);
        self.files.rename(from, to)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.name_changed(path);
        self.files.remove(path)
    }
}
