//! The site's TLS client key, and the next one while a renewal is under way.
//!
//! The certificate says which of the two counts, so that the two files and the certificate's may be changed one after the
//! other, and a kill between any two of them leaves a site that starts:
//!
//! ```text
//! next key stored -> certificate over it asked for and stored -> next key over the old one -> next key's file erased
//! ```

use std::path::Path;

use rcgen::{KeyPair, PublicKeyData};
use zeroize::Zeroizing;

use super::disk::Disk;
use super::secrets::KeyError;

pub(super) const CURRENT: &str = "keys/tls.key";
const NEXT: &str = "keys/tls-next.key";

/// A TLS client key, PKCS#8 in PEM.
pub struct TlsKey(Zeroizing<String>);

impl TlsKey {
    /// Draws one.
    ///
    /// # Errors
    /// [`KeyError::Tls`].
    pub(super) fn draw() -> Result<Self, KeyError> {
        let key = KeyPair::generate().map_err(|error| KeyError::Tls(error.to_string()))?;
        Ok(Self(Zeroizing::new(key.serialize_pem())))
    }

    /// The text.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.0
    }

    /// The key, to sign a request with.
    ///
    /// # Errors
    /// [`KeyError::Tls`] if it is not one.
    pub fn pair(&self) -> Result<KeyPair, KeyError> {
        KeyPair::from_pem(&self.0).map_err(|error| KeyError::Tls(error.to_string()))
    }

    /// The DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`KeyError::Tls`] if it is not a key.
    pub fn spki(&self) -> Result<Vec<u8>, KeyError> {
        Ok(self.pair()?.subject_public_key_info())
    }

    fn read(disk: &Disk, path: &Path) -> Result<Option<Self>, KeyError> {
        let Some(bytes) = disk.read(path)? else { return Ok(None) };
        let text = std::str::from_utf8(&bytes).map_err(|_| KeyError::Damaged(path.to_path_buf()))?;
        Ok(Some(Self(Zeroizing::new(text.to_owned()))))
    }
}

impl std::fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsKey(not shown)")
    }
}

/// The keys that a site's TLS certificate can be over.
#[derive(Debug)]
pub struct TlsKeys {
    /// That of the last finished renewal, or of `init`.
    pub current: TlsKey,
    /// That of a renewal under way.
    pub next: Option<TlsKey>,
}

impl TlsKeys {
    /// Reads what is stored.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(disk: &Disk, folder: &Path) -> Result<Self, KeyError> {
        let path = folder.join(CURRENT);
        let current = TlsKey::read(disk, &path)?.ok_or(KeyError::Missing(path))?;
        Ok(Self { current, next: TlsKey::read(disk, &folder.join(NEXT))? })
    }

    /// The key with this DER SubjectPublicKeyInfo, if one of them has it.
    #[must_use]
    pub fn with_spki(&self, spki: &[u8]) -> Option<&TlsKey> {
        let fits = |key: &&TlsKey| key.spki().is_ok_and(|own| own == spki);
        std::iter::once(&self.current).chain(&self.next).find(fits)
    }

    /// The key of the renewal under way; without one, a new key is drawn and stored.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn next_or_draw(disk: &Disk, folder: &Path) -> Result<TlsKey, KeyError> {
        let path = folder.join(NEXT);
        // What is no key was being erased when the machine stopped.
        if let Some(next) = TlsKey::read(disk, &path)?.filter(|next| next.spki().is_ok()) {
            return Ok(next);
        }
        let next = TlsKey::draw()?;
        disk.write(&path, next.0.as_bytes())?;
        Ok(next)
    }

    /// Ends a renewal whose certificate, over the key with this DER SubjectPublicKeyInfo, is stored: the next key takes the
    /// place of the old one, which is overwritten. Where the certificate is not over the next key, nothing changes.
    ///
    /// # Errors
    /// [`DiskError`](super::DiskError); done again, it goes on.
    pub fn settle(disk: &Disk, folder: &Path, spki: &[u8]) -> Result<(), KeyError> {
        let path = folder.join(NEXT);
        let Some(next) = TlsKey::read(disk, &path)? else { return Ok(()) };
        match next.spki() {
            Ok(of_next) if of_next != spki => return Ok(()),
            Ok(_) => disk.replace_secret(&folder.join(CURRENT), next.0.as_bytes())?,
            // It was being erased when the machine stopped, and took the old one's place before.
            Err(_) => {}
        }
        disk.erase(&path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("keys")).unwrap();
        let key = TlsKey::draw().unwrap();
        Disk::default().write(&folder.path().join(CURRENT), key.0.as_bytes()).unwrap();
        folder
    }

    #[test]
    fn a_drawn_key_is_kept_until_the_renewal_is_settled() {
        let (folder, disk) = (folder(), Disk::default());
        let old = TlsKeys::read(&disk, folder.path()).unwrap().current.spki().unwrap();
        let next = TlsKeys::next_or_draw(&disk, folder.path()).unwrap().spki().unwrap();
        assert_eq!(TlsKeys::next_or_draw(&disk, folder.path()).unwrap().spki().unwrap(), next);
        // A certificate over the old key is still in force.
        TlsKeys::settle(&disk, folder.path(), &old).unwrap();
        let keys = TlsKeys::read(&disk, folder.path()).unwrap();
        assert!(keys.with_spki(&old).is_some() && keys.with_spki(&next).is_some());
        TlsKeys::settle(&disk, folder.path(), &next).unwrap();
        let keys = TlsKeys::read(&disk, folder.path()).unwrap();
        assert!(keys.next.is_none() && keys.with_spki(&old).is_none());
        assert_eq!(keys.current.spki().unwrap(), next);
    }

    /// At each step of the disk: whichever key the certificate is over, the site has it.
    #[test]
    fn a_power_cut_anywhere_in_settling_loses_no_key_in_force() {
        for steps in 0.. {
            let (folder, disk) = (folder(), Disk::default());
            let next = TlsKeys::next_or_draw(&disk, folder.path()).unwrap().spki().unwrap();
            let cut = Disk::losing_power_after(steps);
            let done = TlsKeys::settle(&cut, folder.path(), &next).is_ok();
            let keys = TlsKeys::read(&disk, folder.path()).unwrap();
            assert!(keys.with_spki(&next).is_some(), "after {steps} steps");
            TlsKeys::settle(&disk, folder.path(), &next).unwrap();
            let keys = TlsKeys::read(&disk, folder.path()).unwrap();
            assert!(keys.next.is_none() && keys.current.spki().unwrap() == next, "after {steps} steps");
            if done {
                assert!(steps > 3, "there were steps to cut");
                return;
            }
        }
    }
}
