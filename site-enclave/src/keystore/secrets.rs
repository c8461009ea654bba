//! The site's long-lived keys: made once by `konclave-site init`, read at every start, never printed.

use std::path::{Path, PathBuf};

use konclave_crypto::{IdentityKey, SiteId};
use konclave_ledger::SigningKey;
use konclave_ledger::witness::WitnessSigner;
use zeroize::Zeroizing;

use super::disk::{Disk, DiskError};
use super::tls_key::{self, TlsKey, TlsKeys};

const IDENTITY: &str = "keys/identity.seed";
const WITNESS: &str = "keys/witness.seed";
const DEPOSIT_SALT: &str = "keys/deposit.salt";

/// The site's keys.
pub struct SiteKeys {
    /// Signs protocol messages and statements.
    pub identity: IdentityKey,
    /// Signs cosignatures and nothing else.
    pub witness: WitnessSigner,
    /// The TLS client keys.
    pub tls: TlsKeys,
    /// Salts the commitments to deposited rows.
    pub deposit_salt: Zeroizing<[u8; 32]>,
}

/// Why keys cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is none.
    #[error("the key file {0} is missing: run `konclave-site init` first, or restore the folder `keys`")]
    Missing(PathBuf),
    /// There are some already.
    #[error("{0} exists: this folder was initialised before, and its keys are never overwritten")]
    Exists(PathBuf),
    /// Not what `init` wrote.
    #[error("the key file {0} is damaged: restore it from a copy, or initialise and enrol again")]
    Damaged(PathBuf),
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The TLS key could not be made or used.
    #[error("cannot make or use the TLS key: {0}")]
    Tls(String),
}

impl SiteKeys {
    /// Makes and stores new keys.
    ///
    /// # Errors
    /// [`KeyError::Exists`] where any are; [`KeyError`] otherwise.
    pub fn create(disk: &Disk, folder: &Path, site: &SiteId) -> Result<Self, KeyError> {
        for name in [IDENTITY, WITNESS, tls_key::CURRENT, DEPOSIT_SALT] {
            if folder.join(name).exists() {
                return Err(KeyError::Exists(folder.join(name)));
            }
        }
        disk.create_folder(&folder.join("keys"))?;
        for name in [IDENTITY, WITNESS, DEPOSIT_SALT] {
            disk.write(&folder.join(name), random_seed()?.as_ref())?;
        }
        disk.write(&folder.join(tls_key::CURRENT), TlsKey::draw()?.pem().as_bytes())?;
        Self::read(disk, folder, site)
    }

    /// Reads the stored keys.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(disk: &Disk, folder: &Path, site: &SiteId) -> Result<Self, KeyError> {
        let witness_seed = seed(disk, &folder.join(WITNESS))?;
        let name = witness_name(site).ok_or_else(|| KeyError::Damaged(folder.join(WITNESS)))?;
        Ok(Self {
            identity: IdentityKey::from_seed(seed(disk, &folder.join(IDENTITY))?),
            witness: WitnessSigner { name, key: SigningKey::from_seed(&witness_seed) },
            tls: TlsKeys::read(disk, folder)?,
            deposit_salt: seed(disk, &folder.join(DEPOSIT_SALT))?,
        })
    }
}

impl std::fmt::Debug for SiteKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SiteKeys").field("identity", &self.identity.public()).finish_non_exhaustive()
    }
}

/// The salt of a site's commitments alone.
///
/// # Errors
/// [`KeyError`].
pub fn deposit_salt(disk: &Disk, folder: &Path) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    seed(disk, &folder.join(DEPOSIT_SALT))
}

/// The name under which a site cosigns.
fn witness_name(site: &SiteId) -> Option<konclave_ledger::Origin> {
    format!("konclave.site/{site}").parse().ok()
}

fn random_seed() -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(|error| KeyError::Random(error.to_string()))?;
    Ok(seed)
}

fn seed(disk: &Disk, path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let bytes = disk.read(path)?.ok_or_else(|| KeyError::Missing(path.to_path_buf()))?;
    let mut seed = Zeroizing::new([0; 32]);
    if bytes.len() != seed.len() {
        return Err(KeyError::Damaged(path.to_path_buf()));
    }
    seed.copy_from_slice(&bytes);
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let site: SiteId = "site-a".parse().unwrap();
        let made = SiteKeys::create(&Disk::default(), folder.path(), &site).unwrap();
        let read = SiteKeys::read(&Disk::default(), folder.path(), &site).unwrap();
        assert_eq!(made.identity.public(), read.identity.public());
        assert_eq!(made.witness.verifier_key(), read.witness.verifier_key());
        assert!(read.tls.current.pem().contains("PRIVATE KEY"));
        assert!(matches!(SiteKeys::create(&Disk::default(), folder.path(), &site), Err(KeyError::Exists(_))));
    }

    #[test]
    fn debug_shows_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let keys = SiteKeys::create(&Disk::default(), folder.path(), &"a".parse().unwrap()).unwrap();
        let text = format!("{keys:?}");
        assert!(!text.contains("PRIVATE") && !text.contains("deposit_salt"), "{text}");
    }

    #[test]
    fn short_or_missing_seeds_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let site: SiteId = "site-a".parse().unwrap();
        assert!(matches!(SiteKeys::read(&Disk::default(), folder.path(), &site), Err(KeyError::Missing(_))));
        SiteKeys::create(&Disk::default(), folder.path(), &site).unwrap();
        std::fs::write(folder.path().join(IDENTITY), [1; 31]).unwrap();
        let error = SiteKeys::read(&Disk::default(), folder.path(), &site).unwrap_err();
        assert!(error.to_string().contains("identity.seed"), "{error}");
    }
}
