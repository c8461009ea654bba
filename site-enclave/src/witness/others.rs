//! What the other witnesses showed last, for the owner: whose head is how far and how old, and how the quorum stands.
//!
//! It is told, not relied on: nothing here decides anything, and a file that is lost is written again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use konclave_crypto::{SiteId, UnixSeconds};
use konclave_ledger::{Checkpoint, Hash};
use konclave_openapi::witnesses::QuorumView;
use serde::{Deserialize, Serialize};

use super::WitnessFault;
use crate::clock;
use crate::keystore::{Disk, DiskError};

/// The most witnesses that are remembered without a certificate of the consortium root: their names come from a folder
/// that others write to, or from a gateway that invents them. Those with a certificate are as many as the root made.
const MOST_STRANGERS: usize = 1024;

/// Where a note came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    site: String,
    way: &'static str,
}

impl Source {
    pub(super) fn gateway(site: &str) -> Self {
        Self { site: site.to_owned(), way: "the gateway" }
    }

    pub(super) fn folder(site: &str) -> Self {
        Self { site: site.to_owned(), way: "the exchange folder" }
    }

    pub(super) fn site(&self) -> &str {
        &self.site
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} through {}", self.site, self.way)
    }
}

/// What one other witness showed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherWitness {
    /// Entries of its head.
    pub size: u64,
    /// The head's root.
    pub root: Hash,
    /// Which way it came.
    pub through: String,
    /// When it cosigned the head, by its own clock (RFC 3339); absent if no cosignature by a certified key was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosigned: Option<String>,
    /// When this head of it was first shown here (RFC 3339).
    pub first_shown: String,
}

/// What all other witnesses showed last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherWitnesses {
    /// When the gateway was last asked (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// How the gateway says that the quorum stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<QuorumView>,
    /// The last head that a stolen key signed over another history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stolen: Option<String>,
    /// The sites whose witness keys the consortium root certified.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub certified: BTreeSet<String>,
    /// By site; nothing where the site is known and has shown nothing.
    pub witnesses: BTreeMap<String, Option<OtherWitness>>,
}

impl OtherWitness {
    pub(super) fn of(source: &Source, head: &Checkpoint, cosigned: Option<u64>) -> Self {
        Self {
            size: head.size,
            root: head.root,
            through: source.way.to_owned(),
            cosigned: cosigned.map(|seconds| clock::rfc3339(UnixSeconds(seconds))),
            first_shown: clock::now_rfc3339(),
        }
    }
}

impl OtherWitnesses {
    /// Reads what is remembered.
    ///
    /// # Errors
    /// [`DiskError`]; a file that is not this program's counts as none.
    pub fn read(path: &Path) -> Result<Option<Self>, DiskError> {
        let bytes = Disk::default().read(path)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    pub(super) fn store(&self, disk: &Disk, path: &Path) -> Result<(), WitnessFault> {
        let json = serde_json::to_vec_pretty(self).unwrap_or_default();
        Ok(disk.write(path, &json)?)
    }

    pub(super) fn begin(&mut self, now: String, quorum: QuorumView) {
        self.asked = Some(now);
        self.quorum = Some(quorum);
    }

    /// Notes that there is such a witness, whether or not it shows anything.
    pub(super) fn expect(&mut self, site: &SiteId, certified: bool) {
        if certified {
            self.certified.insert(site.to_string());
        }
        if self.has_room_for(site.as_str()) {
            self.witnesses.entry(site.to_string()).or_default();
        }
    }

    /// Notes a head of a witness. An older one that comes another way does not hide a newer one, and one that nobody
    /// cosigned does not hide one that the witness did.
    pub(super) fn saw(&mut self, source: &Source, shown: OtherWitness) {
        let known = self.witnesses.get(&source.site).and_then(Option::as_ref);
        let newer = known.is_none_or(|known| match (&known.cosigned, &shown.cosigned) {
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (Some(_), Some(_)) | (None, None) => known.size < shown.size,
        });
        if newer && self.has_room_for(&source.site) {
            self.witnesses.insert(source.site.clone(), Some(shown));
        }
    }

    /// Notes what a thief of the log's key signed.
    pub(super) fn signed_by_a_thief(&mut self, what: String) {
        self.stolen = Some(what);
    }

    /// However many strangers there are, a certified witness finds room.
    fn has_room_for(&self, site: &str) -> bool {
        let strangers = || self.witnesses.keys().filter(|name| !self.certified.contains(*name)).count();
        self.certified.contains(site) || self.witnesses.contains_key(site) || strangers() < MOST_STRANGERS
    }
}
