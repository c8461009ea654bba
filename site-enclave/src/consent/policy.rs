//! Where the two policies come from: the site's own file, and the consortium's by its digest.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use konclave_crypto::Digest;
use konclave_policies::rounds::{PolicyError, RoundPolicy};
use konclave_policies::site::SitePolicy;
use tokio::sync::Mutex;

use super::floors::{BelowFloor, RoundsFloors};
use crate::client::{ClientError, GatewayClient};
use crate::config::SiteFolder;
use crate::keystore::{Disk, DiskError};
use crate::witness::{Witness, WitnessFault};

/// Why there is no policy to decide by.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFault {
    /// A file cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A configured file is not there.
    #[error("{key} = \"{path}\": there is no such file")]
    Missing {
        /// The key of `site.toml`.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A file is at fault.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The file of floors is at fault.
    #[error("{path}: {source}")]
    Floors {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: Box<figment::Error>,
    },
    /// The policy protects too little.
    #[error("rounds policy {policy} is refused: {below}")]
    BelowFloor {
        /// The policy.
        policy: Digest,
        /// The broken rule.
        below: BelowFloor,
    },
    /// The ledger does not prove the policy, or contradicts what this site has seen.
    #[error("the rounds policy is not proven by the ledger: {0}")]
    Ledger(WitnessFault),
    /// The gateway could not be asked.
    #[error(transparent)]
    Gateway(#[from] ClientError),
    /// The ledger has no policy with the digest.
    #[error("the job runs under rounds policy {0}, but the ledger records no policy with this digest")]
    Unknown(Digest),
    /// The site accepts another one.
    #[error(
        "the job runs under rounds policy {asked}, this site accepts only {accepted} (rounds_policy in site.toml)"
    )]
    NotAccepted {
        /// The job's.
        asked: Digest,
        /// The site's.
        accepted: Digest,
    },
}

impl PolicyFault {
    /// Whether the same question may have an answer a little later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Gateway(_) | Self::Disk(_) => true,
            Self::Ledger(fault) => !matches!(fault, WitnessFault::Unproven { .. }),
            Self::Missing { .. }
            | Self::Policy(_)
            | Self::Floors { .. }
            | Self::BelowFloor { .. }
            | Self::Unknown(_)
            | Self::NotAccepted { .. } => false,
        }
    }

    /// The name of the broken rule, for a refusal.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::BelowFloor { below, .. } => below.rule,
            Self::Disk(_)
            | Self::Missing { .. }
            | Self::Policy(_)
            | Self::Floors { .. }
            | Self::Ledger(_)
            | Self::Gateway(_)
            | Self::Unknown(_)
            | Self::NotAccepted { .. } => "policy",
        }
    }
}

/// Reads the site's own policy; where none is configured, every job is refused.
///
/// # Errors
/// [`PolicyFault`].
pub fn read_site_policy(folder: &SiteFolder, file: Option<&Path>) -> Result<SitePolicy, PolicyFault> {
    match file {
        None => Ok(SitePolicy::refuse_all()),
        Some(file) => {
            let path = folder.path().join(file);
            Ok(SitePolicy::parse(&path.display().to_string(), &text(&path, "policy")?)?)
        }
    }
}

/// Reads the site's floors for rounds policies; where no file is configured, those built into this program.
///
/// # Errors
/// [`PolicyFault`].
pub fn read_floors(folder: &SiteFolder, file: Option<&Path>) -> Result<RoundsFloors, PolicyFault> {
    let Some(file) = file else { return Ok(RoundsFloors::embedded()?) };
    let path = folder.path().join(file);
    RoundsFloors::parse(&text(&path, "floors")?).map_err(|source| PolicyFault::Floors { path, source })
}

fn text(path: &Path, key: &'static str) -> Result<String, PolicyFault> {
    let bytes =
        Disk::default().read(path)?.ok_or_else(|| PolicyFault::Missing { key, path: path.to_path_buf() })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The consortium's rounds policies by digest.
#[derive(Debug)]
pub struct RoundPolicies {
    folder: PathBuf,
    disk: Disk,
    accepted: Option<Arc<RoundPolicy>>,
    floors: RoundsFloors,
}

impl RoundPolicies {
    /// Policies as the ledger names them, or only the one in `accepted` if the site pins it.
    ///
    /// # Errors
    /// [`PolicyFault`] if the pinned one cannot be used.
    pub fn open(
        disk: Disk,
        site: &SiteFolder,
        accepted: Option<&Path>,
        floors: RoundsFloors,
    ) -> Result<Self, PolicyFault> {
        let accepted = match accepted {
            None => None,
            Some(file) => {
                let path = site.path().join(file);
                let policy = RoundPolicy::parse(&path.display().to_string(), &text(&path, "rounds_policy")?)?;
                Some(Arc::new(policy))
            }
        };
        let folder = site.state().join("policies");
        disk.create_folder(&folder)?;
        Ok(Self { folder, disk, accepted, floors })
    }

    /// The policy with a digest: the pinned one, one fetched before, or the one that the ledger proves; in each case one
    /// that keeps to the site's floors.
    ///
    /// # Errors
    /// [`PolicyFault`].
    pub async fn with_digest(
        &self,
        digest: Digest,
        client: &GatewayClient,
        witness: &Mutex<Witness>,
    ) -> Result<Arc<RoundPolicy>, PolicyFault> {
        let policy = self.proven(digest, client, witness).await?;
        self.floors.check(&policy).map_err(|below| PolicyFault::BelowFloor { policy: digest, below })?;
        Ok(policy)
    }

    /// The same whatever the policy protects: for a member that gives no data.
    ///
    /// # Errors
    /// [`PolicyFault`].
    pub async fn proven(
        &self,
        digest: Digest,
        client: &GatewayClient,
        witness: &Mutex<Witness>,
    ) -> Result<Arc<RoundPolicy>, PolicyFault> {
        if let Some(accepted) = &self.accepted {
            let own = accepted.digest();
            return if own == digest {
                Ok(Arc::clone(accepted))
            } else {
                Err(PolicyFault::NotAccepted { asked: digest, accepted: own })
            };
        }
        let path = self.folder.join(format!("{digest}.toml"));
        let name = path.display().to_string();
        if let Some(bytes) = self.disk.read(&path)?
            && Digest::of(&bytes) == digest
        {
            return Ok(Arc::new(RoundPolicy::parse(&name, &String::from_utf8_lossy(&bytes))?));
        }
        let (entry, text) = client.policy_entry(digest).await?.ok_or(PolicyFault::Unknown(digest))?;
        let proven = witness.lock().await.check_entry(client, entry.index, entry.leaf.as_bytes()).await;
        proven.map_err(PolicyFault::Ledger)?;
        let policy = RoundPolicy::parse(&name, &text)?;
        self.disk.write(&path, text.as_bytes())?;
        Ok(Arc::new(policy))
    }
}
