//! The demonstration's folder: one run at a time, and what an earlier run left stays until the next one has its data.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::HarnessError;

/// Marks a folder as one that a later run may empty; locked while a run uses it.
const MARK: &str = ".konclave-demo";
/// Where a run prepares its data before it removes an earlier run's results.
const STAGING: &str = "staging";

/// A folder that this run alone uses, until it is dropped.
#[derive(Debug)]
pub(super) struct DemoFolder {
    path: PathBuf,
    _lock: File,
}

impl DemoFolder {
    /// Takes an empty folder, or one that an earlier run made. Removes nothing yet.
    pub(super) fn claim(out: &Path) -> Result<Self, HarnessError> {
        fs::create_dir_all(out).map_err(HarnessError::file("create", out))?;
        let mark = out.join(MARK);
        let is_empty = fs::read_dir(out).map_err(HarnessError::file("list", out))?.next().is_none();
        if !is_empty && !mark.exists() {
            return Err(HarnessError::ForeignFolder { folder: out.to_path_buf() });
        }
        let mut open = OpenOptions::new();
        let lock = open.create(true).truncate(false).write(true).open(&mark);
        let lock = lock.map_err(HarnessError::file("open", &mark))?;
        // The kernel frees the lock with the process, however that ends.
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => HarnessError::FolderInUse { folder: out.to_path_buf() },
            TryLockError::Error(source) => HarnessError::file("lock", &mark)(source),
        })?;
        let path = fs::canonicalize(out).map_err(HarnessError::file("find", out))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An empty folder inside, beside an earlier run's results.
    pub(super) fn stage(&self) -> Result<PathBuf, HarnessError> {
        let staging = self.path.join(STAGING);
        if staging.exists() {
            fs::remove_dir_all(&staging).map_err(HarnessError::file("remove", &staging))?;
        }
        fs::create_dir(&staging).map_err(HarnessError::file("create", &staging))?;
        Ok(staging)
    }

    /// Removes what an earlier run left and gives the staged folder its final name.
    pub(super) fn replace(&self, name: &str) -> Result<PathBuf, HarnessError> {
        let entries = fs::read_dir(&self.path).map_err(HarnessError::file("list", &self.path))?;
        for entry in entries {
            let entry = entry.map_err(HarnessError::file("list", &self.path))?;
            let (path, kind) = (entry.path(), entry.file_type());
            if [MARK, STAGING].iter().any(|kept| entry.file_name() == *kept) {
                continue;
            }
            let is_folder = kind.map_err(HarnessError::file("read", &path))?.is_dir();
            let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(HarnessError::file("remove", &path))?;
        }
        let named = self.path.join(name);
        fs::rename(self.path.join(STAGING), &named).map_err(HarnessError::file("rename", &named))?;
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_is_refused_and_nothing_in_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("demo");
        let first = DemoFolder::claim(&out).unwrap();
        fs::write(out.join("report.html"), "results").unwrap();
        let refused = DemoFolder::claim(&out).unwrap_err().to_string();
        assert!(refused.contains("a demonstration runs in") && refused.contains("Ctrl-C"), "{refused}");
        assert!(out.join("report.html").exists());
        drop(first);
        DemoFolder::claim(&out).unwrap();
    }

    #[test]
    fn earlier_results_stay_until_the_new_data_are_ready() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("demo");
        let demo = DemoFolder::claim(&out).unwrap();
        fs::write(out.join("report.html"), "results").unwrap();
        fs::create_dir_all(out.join("ledger/tile")).unwrap();
        fs::write(demo.stage().unwrap().join("site-1.csv"), "new").unwrap();
        assert!(out.join("report.html").exists() && out.join("ledger").exists());
        let split = demo.replace("split").unwrap();
        assert_eq!(fs::read_to_string(split.join("site-1.csv")).unwrap(), "new");
        let left: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn a_folder_with_other_files_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
        let refused = DemoFolder::claim(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("--out"), "{refused}");
        assert!(folder.path().join("thesis.txt").exists());
    }
}
