//! Small messages: one JSON file for each site and kind.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use konclave_crypto::{JobId, SiteId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{RoundKey, RoundsStore};
use crate::folder::{Access, make_folder, replace, sync_folder};

const PROPOSAL: &str = "proposal.json";
const OPENING: &str = "opening.json";

/// What a message is, and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A site's key advertisement.
    Keys(&'a JobId),
    /// The KEM ciphertexts that a site made.
    Ciphertexts(&'a JobId),
    /// A site's manifest.
    Manifest(&'a RoundKey),
    /// A site's agreement signature.
    Agreement(&'a RoundKey),
    /// A site's answer to the unmasking request.
    Unmasking(&'a RoundKey),
    /// A site's tag for the opened sum.
    Tag(&'a RoundKey),
    /// A site's verdict on the opened sum.
    Verdict(&'a RoundKey),
}

/// How a message was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is new, and durable.
    New,
    /// The same message was there before.
    Known,
}

/// Why a message was not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another message of this kind was accepted from this site; it stands.
    #[error("another {kind} of {site} was accepted before; that one stands")]
    AlreadySent {
        /// What it is.
        kind: &'static str,
        /// From whom.
        site: SiteId,
    },
    /// A stored message is not readable: a damaged disk, or files from another version.
    #[error("the stored message {path} is damaged: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The message has no JSON form.
    #[error("the message cannot be encoded: {0}")]
    Encode(serde_json::Error),
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Kind<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Keys(_) => "key advertisement",
            Self::Ciphertexts(_) => "set of ciphertexts",
            Self::Manifest(_) => "manifest",
            Self::Agreement(_) => "agreement signature",
            Self::Unmasking(_) => "unmasking response",
            Self::Tag(_) => "tag",
            Self::Verdict(_) => "verdict",
        }
    }

    fn folder(&self, store: &RoundsStore) -> PathBuf {
        match self {
            Self::Keys(job) => store.job(job).join("setup/keys"),
            Self::Ciphertexts(job) => store.job(job).join("setup/ciphertexts"),
            Self::Manifest(round) => store.round(round).join("manifests"),
            Self::Agreement(round) => store.round(round).join("agreements"),
            Self::Unmasking(round) => store.round(round).join("unmaskings"),
            Self::Tag(round) => store.round(round).join("tags"),
            Self::Verdict(round) => store.round(round).join("verdicts"),
        }
    }
}

impl RoundsStore {
    /// What is known of a message before it is checked: nothing, or that it came before.
    ///
    /// # Errors
    /// [`StoreError::AlreadySent`] if a different one came before.
    pub fn known<T: Serialize>(
        &self,
        kind: &Kind<'_>,
        site: &SiteId,
        message: &T,
    ) -> Result<Option<Stored>, StoreError> {
        let bytes = serde_json::to_vec(message).map_err(StoreError::Encode)?;
        match std::fs::read(kind.folder(self).join(format!("{site}.json"))) {
            Ok(found) if found == bytes => Ok(Some(Stored::Known)),
            Ok(_) => Err(StoreError::AlreadySent { kind: kind.name(), site: site.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores a checked message, durably. Callers hold the lock of its job or round.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put<T: Serialize>(
        &self,
        kind: &Kind<'_>,
        site: &SiteId,
        message: &T,
    ) -> Result<Stored, StoreError> {
        if let Some(known) = self.known(kind, site, message)? {
            return Ok(known);
        }
        let bytes = serde_json::to_vec(message).map_err(StoreError::Encode)?;
        let folder = kind.folder(self);
        self.make_path(&folder)?;
        replace(&folder.join(format!("{site}.json")), &bytes, Access::Secret)?;
        Ok(Stored::New)
    }

    /// All messages of a kind, by sender.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn all<T: DeserializeOwned>(&self, kind: &Kind<'_>) -> Result<BTreeMap<SiteId, T>, StoreError> {
        let mut messages = BTreeMap::new();
        for (site, path) in self.list(kind)? {
            let message = serde_json::from_slice(&std::fs::read(&path)?)
                .map_err(|source| StoreError::Damaged { path, source })?;
            messages.insert(site, message);
        }
        Ok(messages)
    }

    /// Who sent a message of a kind.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn senders(&self, kind: &Kind<'_>) -> io::Result<std::collections::BTreeSet<SiteId>> {
        Ok(self.list(kind)?.into_keys().collect())
    }

    /// Stores the proposal that the sites are about to be shown, durably. The first one stands: the agreed set of a
    /// round is decided once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_proposal<T: Serialize>(&self, key: &RoundKey, proposal: &T) -> Result<(), StoreError> {
        self.put_first(key, PROPOSAL, proposal)
    }

    /// The stored proposal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn proposal<T: DeserializeOwned>(&self, key: &RoundKey) -> Result<Option<T>, StoreError> {
        self.first(key, PROPOSAL)
    }

    /// Stores what was opened, with the opened seeds, durably, before the ledger names it. The first one stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_opening<T: Serialize>(&self, key: &RoundKey, opening: &T) -> Result<(), StoreError> {
        self.put_first(key, OPENING, opening)
    }

    /// What was opened.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn opening<T: DeserializeOwned>(&self, key: &RoundKey) -> Result<Option<T>, StoreError> {
        self.first(key, OPENING)
    }

    fn put_first<T: Serialize>(&self, key: &RoundKey, name: &str, value: &T) -> Result<(), StoreError> {
        let folder = self.round(key);
        let path = folder.join(name);
        if path.exists() {
            return Ok(());
        }
        self.make_path(&folder)?;
        let bytes = serde_json::to_vec(value).map_err(StoreError::Encode)?;
        Ok(replace(&path, &bytes, Access::Secret)?)
    }

    fn first<T: DeserializeOwned>(&self, key: &RoundKey, name: &str) -> Result<Option<T>, StoreError> {
        let path = self.round(key).join(name);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| StoreError::Damaged { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes what could one day help to unmask a single site: masked bodies, sealed shares, unmasking responses and
    /// opened seeds. Called once the ledger says that the round was aborted, or that its tags are settled; calling it again
    /// is no news.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn close_round(&self, key: &RoundKey) -> io::Result<()> {
        for part in ["bodies", "manifests", "unmaskings"] {
            match std::fs::remove_dir_all(self.round(key).join(part)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        match std::fs::remove_file(self.round(key).join(OPENING)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes a folder below the store with every name on the way durable.
    pub(super) fn make_path(&self, folder: &std::path::Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        make_folder(folder)?;
        // `make_folder` syncs the last parent only; the ones above it may be new as well.
        for parent in folder.ancestors().take_while(|path| path.starts_with(&self.folder)) {
            sync_folder(parent)?;
        }
        Ok(())
    }

    fn list(&self, kind: &Kind<'_>) -> io::Result<BTreeMap<SiteId, PathBuf>> {
        let entries = match std::fs::read_dir(kind.folder(self)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        };
        let mut files = BTreeMap::new();
        for entry in entries {
            let path = entry?.path();
            // A crash can leave a temporary file with another ending; it was never acknowledged.
            let name =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
            if let Some(site) = name.and_then(|name| name.parse().ok()) {
                files.insert(site, path);
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_stands_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (job, site): (JobId, SiteId) = ("job-1".parse().unwrap(), "site-a".parse().unwrap());
        let store = RoundsStore::open(folder.path()).unwrap();
        assert_eq!(store.put(&Kind::Keys(&job), &site, &"one").unwrap(), Stored::New);
        assert_eq!(store.put(&Kind::Keys(&job), &site, &"one").unwrap(), Stored::Known);
        let store = RoundsStore::open(folder.path()).unwrap();
        let refused = store.put(&Kind::Keys(&job), &site, &"two").unwrap_err();
        assert!(matches!(refused, StoreError::AlreadySent { .. }), "{refused}");
        let all: BTreeMap<SiteId, String> = store.all(&Kind::Keys(&job)).unwrap();
        assert_eq!(all, BTreeMap::from([(site, "one".to_owned())]));
        assert!(store.senders(&Kind::Ciphertexts(&job)).unwrap().is_empty());
    }

    #[test]
    fn a_half_written_message_was_never_sent() {
        let folder = tempfile::tempdir().unwrap();
        let key = RoundKey { job: "job-1".parse().unwrap(), round: konclave_crypto::RoundNumber::FIRST };
        let site: SiteId = "site-a".parse().unwrap();
        let store = RoundsStore::open(folder.path()).unwrap();
        let manifests = folder.path().join("job-1/1/manifests");
        std::fs::create_dir_all(&manifests).unwrap();
        std::fs::write(manifests.join("site-a.json.new"), b"{\"hal").unwrap();
        assert!(store.senders(&Kind::Manifest(&key)).unwrap().is_empty());
        assert_eq!(store.put(&Kind::Manifest(&key), &site, &1).unwrap(), Stored::New);
    }

    #[test]
    fn a_closed_round_keeps_no_bodies_and_no_shares() {
        let folder = tempfile::tempdir().unwrap();
        let key = RoundKey { job: "job-1".parse().unwrap(), round: konclave_crypto::RoundNumber::FIRST };
        let site: SiteId = "site-a".parse().unwrap();
        let store = RoundsStore::open(folder.path()).unwrap();
        store.put(&Kind::Unmasking(&key), &site, &"share").unwrap();
        store.put(&Kind::Agreement(&key), &site, &"signature").unwrap();
        store.close_round(&key).unwrap();
        store.close_round(&key).unwrap();
        assert!(store.senders(&Kind::Unmasking(&key)).unwrap().is_empty());
        assert_eq!(store.senders(&Kind::Agreement(&key)).unwrap().len(), 1);
    }
}
