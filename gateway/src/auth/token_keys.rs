//! The keys that sign access tokens: files `token-N.key`, of which the two newest are in use.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use konclave_crypto::{Digest, IdentityKey};
use zeroize::Zeroizing;

use crate::folder::{SecretError, read_seed, write_seed};

/// The keys that sign and verify access tokens: the current one first, then the one before it.
#[derive(Debug)]
pub struct TokenKeys(Vec<TokenKey>);

/// One of them.
pub(super) struct TokenKey {
    pub(super) kid: String,
    pub(super) public: [u8; 32],
    pub(super) seed: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// Why the keys of tokens were not loaded, or no new one made.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeysError {
    /// There is none.
    #[error("{folder} holds no token-N.key; restore it, or make the deployment anew")]
    None {
        /// Where they belong.
        folder: PathBuf,
    },
    /// The folder cannot be read.
    #[error("the token keys cannot be listed")]
    List(#[source] io::Error),
    /// One of them cannot be read.
    #[error(transparent)]
    Secret(SecretError),
    /// One of them holds no key: a disk that was full, or is damaged.
    #[error("{path} does not hold a key; `konclave-gateway token rotate --now` makes one in its place")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Tokens under the key before the current one may still be good.
    #[error(
        "{newest} is {age} s old: tokens of the key before it live up to {lifetime} s, and another rotation would end \
         them; wait, or pass --now. If a key was stolen rotate twice with --now: the second time ends what it signed"
    )]
    TooSoon {
        /// The newest key's file.
        newest: PathBuf,
        /// Its age.
        age: u64,
        /// How long a token lives.
        lifetime: u64,
    },
    /// The new key cannot be written, or an old one not removed.
    #[error("{path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

impl From<SecretError> for TokenKeysError {
    fn from(error: SecretError) -> Self {
        match error {
            // Unlike other keys, one that is lost need not come back.
            SecretError::Malformed { path } => Self::NoKey { path },
            other @ (SecretError::Read { .. } | SecretError::Exposed { .. }) => Self::Secret(other),
        }
    }
}

impl TokenKeys {
    /// Reads the two newest keys of the folder.
    ///
    /// # Errors
    /// [`TokenKeysError`].
    pub fn load(folder: &Path) -> Result<Self, TokenKeysError> {
        let keys = key_files(folder)?
            .iter()
            .take(2)
            .map(|path| Ok(TokenKey::new(read_seed(path)?)))
            .collect::<Result<Vec<_>, TokenKeysError>>()?;
        if keys.is_empty() {
            return Err(TokenKeysError::None { folder: folder.to_owned() });
        }
        Ok(Self(keys))
    }

    /// The current key first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &TokenKey> {
        self.0.iter()
    }
}

impl TokenKey {
    fn new(seed: Zeroizing<[u8; 32]>) -> Self {
        let key = IdentityKey::from_seed(seed);
        let public = *key.public().as_bytes();
        let kid: String = Digest::of(&public).to_string().chars().take(16).collect();
        Self { kid, public, seed: key.seed().clone() }
    }
}

/// The token keys of a folder, newest first: `token-2.key` before `token-1.key`.
///
/// # Errors
/// [`TokenKeysError`].
pub fn key_files(folder: &Path) -> Result<Vec<PathBuf>, TokenKeysError> {
    Ok(numbered(folder)?.into_iter().map(|(_, path)| path).collect())
}

fn numbered(folder: &Path) -> Result<Vec<(u32, PathBuf)>, TokenKeysError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(TokenKeysError::List)? {
        let path = entry.map_err(TokenKeysError::List)?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix("token-")?.strip_suffix(".key"))
            .and_then(|number| number.parse::<u32>().ok());
        if let Some(number) = number {
            files.push((number, path));
        }
    }
    files.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    Ok(files)
}

/// Writes a new key, which signs from now on, and removes all but the one before it, whose tokens live on for
/// `lifetime`; a file that holds no key is not the one before it. A running gateway takes the new one within two seconds.
/// Returns its file.
///
/// # Errors
/// [`TokenKeysError`]; `TooSoon` unless `even_if_too_soon`. All keys are still there then, unless one could not be removed.
pub fn rotate(
    folder: &Path,
    lifetime: Duration,
    now: SystemTime,
    even_if_too_soon: bool,
) -> Result<PathBuf, TokenKeysError> {
    let known = numbered(folder)?;
    let Some((number, _)) = known.first() else {
        return Err(TokenKeysError::None { folder: folder.to_owned() });
    };
    let (mut keys, mut over) = (Vec::new(), Vec::new());
    for (_, path) in &known {
        match read_seed(path).map_err(TokenKeysError::from) {
            Ok(_) => keys.push(path),
            Err(TokenKeysError::NoKey { .. }) => over.push(path),
            Err(error) => return Err(error),
        }
    }
    if let [newest, _, ..] = keys.as_slice() {
        let age = age(newest, now)?;
        if age < lifetime && !even_if_too_soon {
            return Err(TokenKeysError::TooSoon {
                newest: newest.to_path_buf(),
                age: age.as_secs(),
                lifetime: lifetime.as_secs(),
            });
        }
    }
    over.extend(keys.into_iter().skip(1));
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut())?;
    let made = folder.join(format!("token-{}.key", number.saturating_add(1)));
    write_seed(&made, &seed).map_err(|source| TokenKeysError::Write { path: made.clone(), source })?;
    for old in over {
        std::fs::remove_file(old).map_err(|source| TokenKeysError::Write { path: old.clone(), source })?;
    }
    Ok(made)
}

fn age(path: &Path, now: SystemTime) -> Result<Duration, TokenKeysError> {
    let written = std::fs::metadata(path).and_then(|file| file.modified());
    let written = written.map_err(|source| TokenKeysError::Write { path: path.to_owned(), source })?;
    Ok(now.duration_since(written).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(600);

    fn names(folder: &Path) -> Vec<String> {
        let files = key_files(folder).unwrap();
        files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_rotation_keeps_the_key_before_it_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(matches!(
            rotate(folder, LIFETIME, SystemTime::now(), false),
            Err(TokenKeysError::None { .. })
        ));
        for number in [8, 9] {
            write_seed(&folder.join(format!("token-{number}.key")), &Zeroizing::new([number; 32])).unwrap();
        }
        let before = TokenKeys::load(folder).unwrap();
        let soon = rotate(folder, LIFETIME, SystemTime::now(), false).unwrap_err();
        assert!(soon.to_string().contains("token-9.key"), "{soon}");
        let later = SystemTime::now() + LIFETIME;
        assert_eq!(rotate(folder, LIFETIME, later, false).unwrap(), folder.join("token-10.key"));
        assert_eq!(names(folder), ["token-10.key", "token-9.key"]);
        let after = TokenKeys::load(folder).unwrap();
        assert_eq!(after.0[1].kid, before.0[0].kid);
        assert_ne!(after.0[0].kid, before.0[0].kid);
        rotate(folder, LIFETIME, SystemTime::now(), true).unwrap();
        assert_eq!(names(folder), ["token-11.key", "token-10.key"]);
    }

    #[test]
    fn a_file_without_a_key_costs_no_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for number in [1, 2] {
            write_seed(&folder.join(format!("token-{number}.key")), &Zeroizing::new([number; 32])).unwrap();
        }
        let good = TokenKeys::load(folder).unwrap();
        let torn = folder.join("token-3.key");
        crate::folder::replace(&torn, b"", crate::folder::Access::Secret).unwrap();
        let told = TokenKeys::load(folder).unwrap_err().to_string();
        assert!(told.contains("token-3.key") && told.contains("token rotate"), "{told}");
        rotate(folder, LIFETIME, SystemTime::now(), true).unwrap();
        assert_eq!(names(folder), ["token-4.key", "token-2.key"]);
        assert_eq!(TokenKeys::load(folder).unwrap().0[1].kid, good.0[0].kid);

        // One that cannot be read may hold a key: it is not passed over.
        std::fs::set_permissions(folder.join("token-4.key"), PermissionsExt::from_mode(0o644)).unwrap();
        let told = rotate(folder, LIFETIME, SystemTime::now(), true).unwrap_err().to_string();
        assert!(told.contains("chmod 600"), "{told}");
        assert_eq!(names(folder), ["token-4.key", "token-2.key"]);
    }
}
