//! One process at a time: an advisory lock that the operating system releases when the holder dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::errors::{OpenError, StorageFailure};

const FILE: &str = "ledger.lock";

/// Held while a ledger is open.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock. A process killed a moment ago can still hold it, so it is tried for two seconds.
    pub(super) fn acquire(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join(FILE);
        let name = path.display().to_string();
        let failure = StorageFailure::of("lock", &name);
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) => return Err(failure(error).into()),
        };
        for _ in 0..100 {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(20)),
                Err(TryLockError::Error(error)) => return Err(failure(error).into()),
            }
        }
        Err(OpenError::InUse { folder: folder.display().to_string() })
    }
}
