//! Reading the files of a ledger, each with a limit on its size.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use konclave_ledger::Origin;
use konclave_ledger::tiles::{TileKind, TilePath};

/// The audit could not be done. Says nothing about the ledger.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file or folder can't be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The folder holds neither a checkpoint nor tiles.
    #[error("{path} is not a ledger: it has neither a file `checkpoint` nor a folder `tile`")]
    NotALedger {
        /// The folder.
        path: String,
    },
    /// No key to check the checkpoint with.
    #[error("no key was given with --key, and the log's first entry does not publish one")]
    NoKey,
    /// The entry asked for doesn't exist.
    #[error("there is no entry {index}; the checkpoint counts {size} entries")]
    NoEntry {
        /// The index asked for.
        index: u64,
        /// Number of entries.
        size: u64,
    },
    /// A tile that is needed is missing or cut. Somebody changed the files.
    #[error("{path} is missing or has the wrong length: run `konclave-audit verify`")]
    BrokenTile {
        /// The tile.
        path: String,
    },
    /// The checkpoint is missing or can't be read, and nothing can be compared without one.
    #[error("{path} holds no readable checkpoint: run `konclave-audit verify`")]
    NoCheckpoint {
        /// The folder or file.
        path: String,
    },
    /// The two are not copies of one log.
    #[error("these are two logs: {one} and {other}")]
    OtherLog {
        /// The one.
        one: Origin,
        /// The other.
        other: Origin,
    },
    /// The key that the reader knows was replaced, and he did not say under which root.
    #[error(
        "the log's key {given} was replaced by {current}; give the new key with --key, or the consortium root that \
         authorised the change with --root"
    )]
    KeyReplaced {
        /// The key that was given.
        given: String,
        /// The key that the log says came after it.
        current: String,
    },
    /// A result can't be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl AuditError {
    /// Whether the files were changed, rather than the command wrong.
    #[must_use]
    pub const fn is_tampering(&self) -> bool {
        matches!(self, Self::BrokenTile { .. })
    }
}

/// Largest bundle that can occur: 256 entries with 16-bit lengths.
const MAX_FILE_BYTES: u64 = 256 * (2 + 65_535);

/// A folder that should hold a ledger.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// Files that come before those of the folder.
    over: Option<PathBuf>,
}

/// A file in the folder, as the directory shows it.
pub(crate) struct Listed {
    /// Relative path with `/`.
    pub(crate) path: String,
    /// False for links, sockets and the like.
    pub(crate) plain: bool,
}

impl Folder {
    /// A folder with at least a checkpoint or tiles.
    ///
    /// # Errors
    /// [`AuditError::NotALedger`].
    pub fn open(root: &Path) -> Result<Self, AuditError> {
        if root.join("checkpoint").exists() || root.join("tile").is_dir() {
            return Ok(Self { root: root.to_path_buf(), over: None });
        }
        Err(AuditError::NotALedger { path: root.display().to_string() })
    }

    /// A folder as it would be with the files of another one in it.
    #[cfg(feature = "mirror")]
    pub(crate) fn overlaid(root: &Path, over: &Path) -> Self {
        Self { root: root.to_path_buf(), over: Some(over.to_path_buf()) }
    }

    /// Where it lies, for messages.
    pub(crate) fn shown(&self) -> String {
        self.root.display().to_string()
    }

    /// Whether this is a gateway's own folder rather than an export.
    pub(crate) fn is_live(&self) -> bool {
        self.root.join("head.note").exists()
    }

    /// A file's bytes; `None` if it is missing or larger than any file of a ledger can be.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, AuditError> {
        for root in self.over.iter().chain([&self.root]) {
            if let Some(found) =
                read(&root.join(path)).map_err(|source| AuditError::Read { path: path.to_owned(), source })?
            {
                return Ok((found.len() as u64 <= MAX_FILE_BYTES).then_some(found));
            }
        }
        Ok(None)
    }

    /// Calls `visit` for everything in the folder that is not itself a folder.
    pub(crate) fn walk(&self, visit: &mut dyn FnMut(Listed)) -> Result<(), AuditError> {
        let mut pending = vec![String::new()];
        while let Some(folder) = pending.pop() {
            let failed = |source| AuditError::Read { path: folder.clone(), source };
            for entry in fs::read_dir(self.root.join(&folder)).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                let kind = entry.file_type().map_err(failed)?;
                if kind.is_dir() { pending.push(path) } else { visit(Listed { path, plain: kind.is_file() }) }
            }
        }
        Ok(())
    }

    /// How many entries the bundle files reach to, for when the checkpoint can't say.
    pub(crate) fn entries_on_disk(&self) -> Result<u64, AuditError> {
        let mut reach = 0;
        self.walk(&mut |listed| {
            if let Ok(tile) = listed.path.parse::<TilePath>()
                && tile.kind() == TileKind::Entries
            {
                reach = reach.max(tile.covers().end);
            }
        })?;
        Ok(reach)
    }
}

/// The file's bytes, up to one more than any file of a ledger has; `None` if it is missing or a folder.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    match file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::IsADirectory => Ok(None),
        Err(error) => Err(error),
    }
}
