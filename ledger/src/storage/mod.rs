//! The few file operations that the ledger's durability rests on, behind a trait so that tests can make each one fail.

mod files;

use std::io;

pub use files::FileStorage;

/// Named byte strings with explicit durability. Paths are relative with `/`; nothing is durable before it is synced.
pub trait Storage: Send + Sync {
    /// The whole file, or `None` if there is none.
    ///
    /// # Errors
    /// Any other failure to read.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// Paths of all files below a folder (the empty string for the root), in no order; empty if there is no such folder.
    ///
    /// # Errors
    /// Any failure to list.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Creates or replaces a file, creating folders as needed. Neither content nor name are durable.
    ///
    /// # Errors
    /// On failure the file may be missing, old, cut short or complete.
    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file's content durable (fsync).
    ///
    /// # Errors
    /// On failure nobody knows whether it is; trying again proves nothing, since the kernel may have dropped the pages.
    fn sync_file(&mut self, path: &str) -> io::Result<()>;

    /// Makes the names of all files created, renamed or removed since the last call durable (fsync of their folders).
    ///
    /// # Errors
    /// On failure nobody knows whether they are.
    fn sync_names(&mut self) -> io::Result<()>;

    /// Atomically gives a file another name, replacing what had it and creating folders as needed. Not durable before [`Storage::sync_names`].
    ///
    /// # Errors
    /// On failure either name may hold the file.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; one that does not exist is removed already.
    ///
    /// # Errors
    /// Any other failure to remove.
    fn remove(&mut self, path: &str) -> io::Result<()>;
}
