//! Revocations: what the operator decided, kept as one JSON record each in the deployment's folder.
//!
//! `konclave-gateway site revoke` and `client revoke` write the record; the running gateway appends it to the ledger
//! within two seconds, and the keys it names are refused from then on, for ever.

use std::io;
use std::path::{Path, PathBuf};

use konclave_crypto::{Digest, IdentityPublicKey, SiteId};
use serde::{Deserialize, Serialize};

use crate::auth::clients::{ClientId, ClientKey, records};
use crate::folder::{Access, replace};

/// Whose keys end, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Whose.
    pub of: Revoked,
    /// Why; it goes into the ledger.
    pub reason: String,
}

/// Keys that end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Revoked {
    /// Of a site or evaluator.
    Site {
        /// Its id.
        site: SiteId,
        /// The identity key that it had.
        identity_key: IdentityPublicKey,
        /// Others of its identity keys, of which one may be in force instead.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<IdentityPublicKey>,
    },
    /// Of a partner client.
    Client {
        /// Its id.
        client: ClientId,
        /// The key that it had.
        public_key: ClientKey,
    },
}

impl Revoked {
    /// The file of its record: one for each key, so that a later revocation leaves the earlier ones.
    fn file(&self, folder: &Path) -> PathBuf {
        let (kind, id, key) = match self {
            Self::Site { site, identity_key, .. } => {
                ("site", site.as_str(), Digest::of(identity_key.as_bytes()))
            }
            Self::Client { client, public_key } => {
                ("client", client.as_str(), Digest::of(public_key.as_bytes()))
            }
        };
        let key: String = key.to_string().chars().take(16).collect();
        folder.join(format!("{kind}-{id}-{key}.json"))
    }

    /// The identity keys of a site that end.
    #[must_use]
    pub fn identity_keys(&self) -> Vec<IdentityPublicKey> {
        match self {
            Self::Site { identity_key, others, .. } => [&[*identity_key], others.as_slice()].concat(),
            Self::Client { .. } => Vec::new(),
        }
    }

    /// Whether these keys were revoked.
    #[must_use]
    pub fn is_recorded(&self, folder: &Path) -> bool {
        self.file(folder).exists()
    }
}

/// All records of a folder.
///
/// # Errors
/// If the folder or a record cannot be read; the message names the file.
pub fn read_all(folder: &Path) -> io::Result<Vec<Revocation>> {
    let read = |path: &PathBuf| {
        let parsed =
            std::fs::read(path).and_then(|text| serde_json::from_slice(&text).map_err(io::Error::other));
        parsed.map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
    };
    records(folder)?.iter().map(read).collect()
}

/// Writes a record, durable on return.
///
/// # Errors
/// Those of the file system.
pub fn put(folder: &Path, revocation: &Revocation) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(revocation).map_err(io::Error::other)?;
    replace(&revocation.of.file(folder), &text, Access::Public)
}
