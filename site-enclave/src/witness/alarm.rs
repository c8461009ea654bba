//! The alarm: what the owner of a site sees when the ledger contradicts itself.

use std::fmt;
use std::path::{Path, PathBuf};

use konclave_ledger::checkpoint::Checkpoint;
use konclave_ledger::witness::WitnessError;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::keystore::{Disk, DiskError};

/// A contradiction, with the evidence for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// When it was noticed (RFC 3339).
    pub time: String,
    /// What is wrong.
    pub what: String,
    /// The last head this site checked: origin, size and root as a checkpoint's text.
    pub seen: String,
    /// What was offered instead, as it came.
    pub offered: String,
    /// What to do.
    pub advice: String,
}

/// Why the alarm file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum AlarmError {
    /// The file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file is not one of this program's.
    #[error("the alarm file {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: serde_json::Error,
    },
}

impl Alarm {
    pub(super) fn new(error: &WitnessError, seen: &Checkpoint, offered: &[u8]) -> Self {
        Self {
            time: clock::now_rfc3339(),
            what: error.to_string(),
            seen: seen.text(),
            offered: String::from_utf8_lossy(offered).into_owned(),
            advice: "The operator's ledger was rolled back, forked or is not the one this site was enrolled with. Keep \
                     this file as evidence, compare heads with the other sites, and remove it only when the \
                     contradiction is explained: until then this site takes no part."
                .to_owned(),
        }
    }

    /// Writes the alarm file, unless an earlier alarm stands, and says it in the log.
    pub(super) fn raise(&self, disk: &Disk, path: &Path) -> Result<(), AlarmError> {
        tracing::error!(file = %path.display(), "ALARM: {self}");
        if path.exists() {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| AlarmError::Unreadable { path: path.to_path_buf(), source })?;
        Ok(disk.write(path, &text)?)
    }

    /// The standing alarm, if there is one.
    ///
    /// # Errors
    /// [`AlarmError`].
    pub fn standing(path: &Path) -> Result<Option<Self>, AlarmError> {
        let Some(bytes) = Disk::default().read(path)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| AlarmError::Unreadable { path: path.to_path_buf(), source })
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (noticed {})", self.what, self.time)
    }
}
