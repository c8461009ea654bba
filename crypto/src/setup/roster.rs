//! The roster: every site's advertised keys, checked once.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::identity::{IdentityKey, IdentityPublicKey, Signature};
use crate::ids::{JobId, SiteId, UnixSeconds};
use crate::kem;
use crate::membership::{ConsortiumRoot, MemberRole, MembershipCertificate, MembershipError};
use crate::text::{array_from_base64, text_array, to_base64};
use crate::transcript::Transcript;

/// Most sites in a roster, for the complete graph of masks.
pub const MAX_SITES: usize = 256;
/// Fewest sites in a roster.
const MIN_SITES: usize = 2;

/// A hybrid KEM public key: X25519 (32 bytes), then ML-KEM-768 (1184 bytes); base64 on the wire.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KemPublicKey([u8; kem::PUBLIC_KEY_BYTES]);

text_array!(
    KemPublicKey,
    kem::PUBLIC_KEY_BYTES,
    to_base64,
    array_from_base64,
    "^[A-Za-z0-9+/]{1621}[A-Za-z0-9+/=]{3}$",
    "X25519 and ML-KEM-768 public keys in standard base64."
);

/// A site's fresh key for one job, under its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KeyAdvertisement {
    /// The job the key is for.
    pub job: JobId,
    /// Who advertises.
    pub certificate: MembershipCertificate,
    /// The key.
    pub kem_key: KemPublicKey,
    /// The site's signature.
    pub signature: Signature,
}

impl KeyAdvertisement {
    fn transcript(&self) -> Transcript {
        Transcript::new("key-advertisement")
            .text(self.job.as_str())
            .digest(&self.certificate.digest())
            .bytes(self.kem_key.as_bytes())
    }

    pub(super) fn new(job: JobId, certificate: MembershipCertificate, kem_key: KemPublicKey) -> Self {
        Self { job, certificate, kem_key, signature: Signature::UNSIGNED }
    }

    /// Replaces the signature by one of `key` over the other fields.
    #[must_use]
    pub fn sign(mut self, key: &IdentityKey) -> Self {
        self.signature = key.sign_transcript(&self.transcript());
        self
    }

    /// The advertising site.
    #[must_use]
    pub fn site(&self) -> &SiteId {
        &self.certificate.membership.site
    }

    fn identity_key(&self) -> &IdentityPublicKey {
        &self.certificate.membership.identity_key
    }

    /// Checks the certificate (role site, valid at `now`), the signature and the KEM key's encoding.
    ///
    /// # Errors
    /// [`RosterError`] names the site and the failed check.
    pub fn verify(&self, job: &JobId, root: &ConsortiumRoot, now: UnixSeconds) -> Result<(), RosterError> {
        root.verify_role(&self.certificate, MemberRole::Site, now)?;
        let site = || self.site().clone();
        if self.job != *job {
            return Err(RosterError::Job { site: site() });
        }
        let transcript = self.transcript();
        if !self.identity_key().verifies_transcript(&transcript, &self.signature) {
            return Err(RosterError::Signature { site: site() });
        }
        kem::check_public_key(&self.kem_key).map_err(|_| RosterError::KemKey { site: site() })
    }
}

/// Why a list of advertisements is not a roster. The named site, or the gateway that made the list, is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// A certificate does not hold, or is not a site's.
    #[error("a site's certificate was refused: {0}")]
    Certificate(#[from] MembershipError),
    /// Made for another job.
    #[error("the key of `{site}` was advertised for another job")]
    Job {
        /// The site.
        site: SiteId,
    },
    /// Not signed by the certified key.
    #[error("the key advertisement of `{site}` is not signed by its identity key")]
    Signature {
        /// The site.
        site: SiteId,
    },
    /// The KEM key is malformed or of low order.
    #[error("the KEM key of `{site}` is malformed")]
    KemKey {
        /// The site.
        site: SiteId,
    },
    /// Two entries share an id, an identity key or a KEM key.
    #[error("`{site}` repeats the id or a key of another entry")]
    Duplicate {
        /// The later of the two sites.
        site: SiteId,
    },
    /// Too few or too many sites.
    #[error("a roster has {MIN_SITES} to {MAX_SITES} sites, not {found}")]
    Size {
        /// Number of entries.
        found: usize,
    },
}

/// The sites of a job with their checked keys, ascending by site id.
///
/// There is no `Deserialize`: a receiver rebuilds the roster with [`Roster::new`] from the advertisements, and so
/// checks every certificate under its own pinned root.
#[derive(Clone, PartialEq, Eq)]
pub struct Roster {
    job: JobId,
    entries: Vec<KeyAdvertisement>,
    digest: Digest,
}

impl Roster {
    /// Checks the advertisements and sorts them by site id. Several sites may belong to one legal entity.
    ///
    /// # Errors
    /// [`RosterError`] for the first entry that fails, a repeated id or key, or a wrong number of sites.
    pub fn new(
        job: JobId,
        advertisements: Vec<KeyAdvertisement>,
        root: &ConsortiumRoot,
        now: UnixSeconds,
    ) -> Result<Self, RosterError> {
        let found = advertisements.len();
        if !(MIN_SITES..=MAX_SITES).contains(&found) {
            return Err(RosterError::Size { found });
        }
        for advertisement in &advertisements {
            advertisement.verify(&job, root, now)?;
        }
        let mut entries = advertisements;
        entries.sort_by(|a, b| a.site().cmp(b.site()));
        check_unique(&entries)?;
        let digest = Transcript::new("roster")
            .text(job.as_str())
            .list(entries.iter(), |t, entry| {
                t.text(entry.site().as_str())
                    .bytes(entry.identity_key().as_bytes())
                    .digest(&entry.certificate.digest())
                    .bytes(entry.kem_key.as_bytes())
            })
            .hash();
        Ok(Self { job, entries, digest })
    }

    /// How many owners the sites have: several sites may belong to one legal entity.
    #[must_use]
    pub fn legal_entities(&self) -> usize {
        let owner = |entry: &KeyAdvertisement| entry.certificate.membership.legal_entity.clone();
        self.entries.iter().map(owner).collect::<BTreeSet<_>>().len()
    }

    /// Digest over the job and every site's id, certificate and keys.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &JobId {
        &self.job
    }

    /// The site ids, ascending.
    pub fn sites(&self) -> impl ExactSizeIterator<Item = &SiteId> + DoubleEndedIterator + Clone {
        self.entries.iter().map(KeyAdvertisement::site)
    }

    /// Number of sites (n).
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a roster is never empty")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The site's position, from 0; its Shamir index is one more.
    #[must_use]
    pub fn index_of(&self, site: &SiteId) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.site().cmp(site)).ok()
    }

    /// The site's identity key.
    #[must_use]
    pub fn identity_key(&self, site: &SiteId) -> Option<&IdentityPublicKey> {
        self.entry(site).map(KeyAdvertisement::identity_key)
    }

    /// The site's KEM key.
    #[must_use]
    pub fn kem_key(&self, site: &SiteId) -> Option<&KemPublicKey> {
        self.entry(site).map(|entry| &entry.kem_key)
    }

    /// The advertisements, ascending by site: what a gateway sends for the receivers to check.
    #[must_use]
    pub fn advertisements(&self) -> &[KeyAdvertisement] {
        &self.entries
    }

    fn entry(&self, site: &SiteId) -> Option<&KeyAdvertisement> {
        self.index_of(site).and_then(|index| self.entries.get(index))
    }
}

fn check_unique(entries: &[KeyAdvertisement]) -> Result<(), RosterError> {
    let (mut sites, mut identities, mut kem_keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for entry in entries {
        let fresh = sites.insert(entry.site())
            && identities.insert(entry.identity_key())
            && kem_keys.insert(&entry.kem_key);
        if !fresh {
            return Err(RosterError::Duplicate { site: entry.site().clone() });
        }
    }
    Ok(())
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sites: Vec<_> = self.sites().map(SiteId::as_str).collect();
        f.debug_struct("Roster").field("job", &self.job).field("sites", &sites).finish_non_exhaustive()
    }
}
