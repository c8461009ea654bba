//! What is fetched lies beside the copy until all of it was checked: `FOLDER.incoming`.
//!
//! | step of [`Stage::adopt`] | if the machine stops here |
//! |------|----------------------------------------|
//! | 1 rename the files into the copy | the copy is the older one, with files more, or without them if their names were not durable; the next run fetches those |
//! | 2 make all its names durable | the same |
//! | 3 replace `checkpoint`, and make that durable | the older checkpoint or the newer one, and the files of both |
//! | 4 remove what only older ones had | files more, which the next run removes |
//! | 5 remove the folder of incoming files | it is cleared by the next run |

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, SystemDisk};
use crate::folder::{AuditError, Folder};

/// The copy and what is to be added to it.
#[derive(Debug)]
pub(super) struct Stage {
    copy: PathBuf,
    incoming: PathBuf,
    disk: Box<dyn Disk>,
}

impl Stage {
    /// Prepares the folders. What an interrupted run left is kept, and checked again before it is used.
    pub(super) fn open(copy: &Path) -> Result<Self, AuditError> {
        Self::on(Box::new(SystemDisk), copy)
    }

    fn on(disk: Box<dyn Disk>, copy: &Path) -> Result<Self, AuditError> {
        let mut name = copy.file_name().unwrap_or_default().to_owned();
        name.push(".incoming");
        let stage = Self { copy: copy.to_path_buf(), incoming: copy.with_file_name(name), disk };
        for folder in [&stage.copy, &stage.incoming] {
            stage.make_folders(folder)?;
        }
        Ok(stage)
    }

    /// The copy as it will be: what is incoming before what is there.
    pub(super) fn both(&self) -> Folder {
        Folder::overlaid(&self.copy, &self.incoming)
    }

    /// Puts a file among the incoming ones, whole. Its bytes are durable, and its name is with those of the copy.
    pub(super) fn put(&self, path: &str, bytes: &[u8]) -> Result<(), AuditError> {
        self.write_whole(&self.incoming.join(path), bytes)
    }

    /// Makes the incoming files part of the copy, the checkpoint last and only when all that it names is durable.
    /// Interrupted, the next run does the rest: no file of the older checkpoint is touched before the newer one is there
    /// for good. What `belongs` does not know is left of a run for another head, and goes.
    pub(super) fn adopt(
        &self,
        checkpoint: &[u8],
        belongs: &dyn Fn(&str) -> bool,
        superseded: &dyn Fn(&str) -> bool,
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
                self.make_folders(parent)?;
            }
            self.disk.rename(&file, &target).map_err(failed(&target))?;
        }
        // All of them: a run that was killed may have left names that programs see and a power cut takes away.
        self.sync_folders(&self.copy)?;
        self.sync(folder_of(&self.copy))?;
        self.write_whole(&self.copy.join("checkpoint"), checkpoint)?;
        self.sync(&self.copy)?;
        let mut tiles = Vec::new();
        let folder = self.copy.join("tile");
        if folder.is_dir() {
            self.list(&folder, &mut tiles)?;
        }
        for tile in tiles {
            let path = tile.strip_prefix(&self.copy).ok().and_then(Path::to_str);
            if path.is_some_and(superseded) {
                self.disk.remove(&tile).map_err(failed(&tile))?;
            }
        }
        self.discard()
    }

    /// Throws the incoming files away: they belong to a head that was refused, or what belongs is part of the copy.
    pub(super) fn discard(&self) -> Result<(), AuditError> {
        self.disk.remove_folder(&self.incoming).map_err(failed(&self.incoming))
    }

    /// Keeps a checkpoint that was refused, beside the copy; durable on return.
    pub(super) fn keep_evidence(&self, note: &[u8]) -> Result<PathBuf, AuditError> {
        let digest = konclave_ledger::Hash::of(note).to_string();
        let mut name = self.copy.file_name().unwrap_or_default().to_owned();
        name.push(format!(".refused-{}.note", digest.get(..16).unwrap_or_default()));
        let path = self.copy.with_file_name(name);
        self.write_whole(&path, note)?;
        self.sync(folder_of(&path))?;
        Ok(path)
    }

    fn list(&self, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), AuditError> {
        for entry in fs::read_dir(folder).map_err(failed(folder))? {
            let entry = entry.map_err(failed(folder))?;
            let path = entry.path();
            if entry.file_type().map_err(failed(&path))?.is_dir() {
                self.list(&path, files)?;
            } else if path.extension().is_some_and(|extension| extension == "tmp") {
                self.disk.remove(&path).map_err(failed(&path))?;
            } else {
                files.push(path);
            }
        }
        Ok(())
    }

    /// Makes the names in a folder and in all below it durable.
    fn sync_folders(&self, folder: &Path) -> Result<(), AuditError> {
        let mut below = BTreeSet::new();
        for entry in fs::read_dir(folder).map_err(failed(folder))? {
            let entry = entry.map_err(failed(folder))?;
            if entry.file_type().map_err(failed(folder))?.is_dir() {
                below.insert(entry.path());
            }
        }
        for folder in below {
            self.sync_folders(&folder)?;
        }
        self.sync(folder)
    }

    fn sync(&self, folder: &Path) -> Result<(), AuditError> {
        self.disk.sync_folder(folder).map_err(failed(folder))
    }

    fn make_folders(&self, folder: &Path) -> Result<(), AuditError> {
        if folder.is_dir() {
            return Ok(());
        }
        self.make_folders(folder_of(folder))?;
        self.disk.make_folder(folder).map_err(failed(folder))
    }

    fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), AuditError> {
        self.make_folders(folder_of(path))?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".tmp");
        let temporary = path.with_file_name(name);
        self.disk.write(&temporary, bytes).map_err(failed(&temporary))?;
        self.disk.rename(&temporary, path).map_err(failed(path))
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> AuditError {
    let path = path.display().to_string();
    |source| AuditError::Write { path, source }
}

#[cfg(test)]
mod tests;
