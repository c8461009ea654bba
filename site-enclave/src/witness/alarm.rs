//! The alarm: what the owner of a site sees when the ledger contradicts itself.

use std::fmt;
use std::path::{Path, PathBuf};

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
    /// The last head this site checked: the signed note as it came, or its text alone where none is stored.
    pub seen: String,
    /// What was offered instead, as it came.
    pub offered: String,
    /// What to do.
    pub advice: String,
}

/// What to do about an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// The ledger's keeper contradicts itself.
    Contradiction,
    /// A key that was declared stolen is used in the gateway's place.
    Thief,
    /// The ledger's key was stolen, and this site has seen heads that the thief may have signed.
    StolenKey,
}

impl Advice {
    const fn text(self) -> &'static str {
        match self {
            Self::Contradiction => {
                "The operator's ledger was rolled back, forked or is not the one this site was enrolled with. Keep this file \
                 as evidence: two notes in it that are signed by the ledger's key and contradict each other prove it to \
                 anybody. Compare heads with the other sites (konclave-site witness compare), and remove the file only when \
                 the contradiction is explained: until then this site takes no part."
            }
            Self::Thief => {
                "What answers as the gateway shows a head under a key that the consortium root declared stolen. That is no \
                 evidence against the operator: whoever stole the key can sign anything. Nothing of it was accepted. Ask the \
                 operator, over another channel, whether this site speaks to the consortium's gateway, and remove this file \
                 when it does again."
            }
            Self::StolenKey => {
                "The consortium root has replaced the ledger's key because somebody else may have it, and this site has seen \
                 heads beyond the last one that is known to be the operator's. Ask the operator and the other sites whether \
                 the head below is on the ledger that goes on. Remove this file when that is clear: the site then goes on \
                 under the new key, and only with a ledger that extends the head it has seen."
            }
        }
    }
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
    pub(super) fn new(what: String, seen: String, offered: &[u8], advice: Advice) -> Self {
        Self {
            time: clock::now_rfc3339(),
            what,
            seen,
            offered: String::from_utf8_lossy(offered).into_owned(),
            advice: advice.text().to_owned(),
        }
    }

    /// A contradiction between two notes that somebody compared by hand.
    pub(crate) fn found_by_hand(what: String, seen: String, offered: &str) -> Self {
        Self::new(what, seen, offered.as_bytes(), Advice::Contradiction)
    }

    /// Writes the alarm file, unless an earlier alarm stands, and says it in the log.
    pub(crate) fn raise(&self, disk: &Disk, path: &Path) -> Result<(), AlarmError> {
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
