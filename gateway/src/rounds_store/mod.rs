//! The durable messages of set-ups and rounds: what has to survive a crash but does not belong into the ledger.
//!
//! ```text
//! rounds/<job>/setup/{keys,ciphertexts}/<site>.json
//! rounds/<job>/<round>/{manifests,agreements,unmaskings,tags,verdicts}/<site>.json
//! rounds/<job>/<round>/bodies/<site>.{masked,progress}
//! rounds/<job>/<round>/{proposal,opening}.json
//! ```
//! A message is durable before it is acknowledged: temporary file, fsync, rename, fsync of the folder. The first
//! message of a site stands; the same one again is no news; a different one is refused. Masked bodies, manifests with
//! their sealed shares, unmasking responses and opened seeds are deleted when the round closes; the proposal, which holds
//! every signed manifest header, the agreement signatures, tags and verdicts stay as the evidence behind the ledger's
//! entries.

mod bodies;
mod messages;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use konclave_crypto::{JobId, RoundNumber, SiteId};

use bodies::OpenBodies;
pub use bodies::{BodyError, BodyFile, SharedBody};
pub use messages::{Kind, StoreError, Stored};

/// The folder of round messages. Cloning shares it.
#[derive(Debug, Clone)]
pub struct RoundsStore {
    folder: PathBuf,
    open_bodies: Arc<Mutex<OpenBodies>>,
}

/// One round of one job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoundKey {
    /// The job.
    pub job: JobId,
    /// The round.
    pub round: RoundNumber,
}

impl std::fmt::Display for RoundKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "round {} of {}", self.round, self.job)
    }
}

impl RoundsStore {
    /// Opens the folder, making it if need be.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        crate::folder::make_folder(folder)?;
        Ok(Self { folder: folder.to_owned(), open_bodies: Arc::default() })
    }

    fn job(&self, job: &JobId) -> PathBuf {
        self.folder.join(job.as_str())
    }

    fn round(&self, key: &RoundKey) -> PathBuf {
        self.job(&key.job).join(key.round.to_string())
    }

    fn body(&self, key: &RoundKey, site: &SiteId, ending: &str) -> PathBuf {
        self.round(key).join("bodies").join(format!("{site}.{ending}"))
    }
}
