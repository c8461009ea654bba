//! What is fetched lies beside the copy until all of it was checked: `FOLDER.incoming`.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::folder::{AuditError, Folder};

/// The copy and what is to be added to it.
#[derive(Debug)]
pub(super) struct Stage {
    copy: PathBuf,
    incoming: PathBuf,
}

impl Stage {
    /// Prepares the folders. What an interrupted run left is kept, and checked again before it is used.
    pub(super) fn open(copy: &Path) -> Result<Self, AuditError> {
        let mut name = copy.file_name().unwrap_or_default().to_owned();
        name.push(".incoming");
        let stage = Self { copy: copy.to_path_buf(), incoming: copy.with_file_name(name) };
        for folder in [&stage.copy, &stage.incoming] {
            fs::create_dir_all(folder).map_err(failed(folder))?;
        }
        Ok(stage)
    }

    /// The copy as it will be: what is incoming before what is there.
    pub(super) fn both(&self) -> Folder {
        Folder::overlaid(&self.copy, &self.incoming)
    }

    /// Puts a file among the incoming ones, durably and whole.
    pub(super) fn put(&self, path: &str, bytes: &[u8]) -> Result<(), AuditError> {
        write_whole(&self.incoming.join(path), bytes)
    }

    /// Makes the incoming files part of the copy, the checkpoint last. Interrupted, the next run does the rest: no file of
    /// the older checkpoint is touched before the newer one is there. What `belongs` does not know is left of a run for
    /// another head, and goes.
    pub(super) fn adopt(
        &self,
        checkpoint: &[u8],
        belongs: &dyn Fn(&str) -> bool,
        superseded: &[String],
    ) -> Result<(), AuditError> {
        let mut files = Vec::new();
        self.list(&self.incoming, &mut files)?;
        for file in files {
            let Ok(path) = file.strip_prefix(&self.incoming) else { continue };
            if !path.to_str().is_some_and(belongs) {
                continue;
            }
            let target = self.copy.join(path);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).map_err(failed(parent))?;
            }
            fs::rename(&file, &target).map_err(failed(&target))?;
        }
        write_whole(&self.copy.join("checkpoint"), checkpoint)?;
        for path in superseded {
            remove(&self.copy.join(path))?;
        }
        fs::remove_dir_all(&self.incoming).map_err(failed(&self.incoming))
    }

    /// Throws the incoming files away: they belong to a head that was refused.
    pub(super) fn discard(&self) -> Result<(), AuditError> {
        fs::remove_dir_all(&self.incoming).map_err(failed(&self.incoming))
    }

    /// Keeps a checkpoint that was refused, beside the copy.
    pub(super) fn keep_evidence(&self, note: &[u8]) -> Result<PathBuf, AuditError> {
        let digest = konclave_ledger::Hash::of(note).to_string();
        let mut name = self.copy.file_name().unwrap_or_default().to_owned();
        name.push(format!(".refused-{}.note", digest.get(..16).unwrap_or_default()));
        let path = self.copy.with_file_name(name);
        write_whole(&path, note)?;
        Ok(path)
    }

    fn list(&self, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), AuditError> {
        for entry in fs::read_dir(folder).map_err(failed(folder))? {
            let entry = entry.map_err(failed(folder))?;
            let path = entry.path();
            if entry.file_type().map_err(failed(&path))?.is_dir() {
                self.list(&path, files)?;
            } else if path.extension().is_some_and(|extension| extension == "tmp") {
                remove(&path)?;
            } else {
                files.push(path);
            }
        }
        Ok(())
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), AuditError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed(parent))?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_data()
    });
    written.map_err(failed(&temporary))?;
    fs::rename(&temporary, path).map_err(failed(path))
}

fn remove(path: &Path) -> Result<(), AuditError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> AuditError {
    let path = path.display().to_string();
    |source| AuditError::Write { path, source }
}
