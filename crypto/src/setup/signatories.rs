//! A job's sites as those know them who check what the sites signed: with a roster, or with what the ledger lists of one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Roster;
use crate::digest::Digest;
use crate::identity::IdentityPublicKey;
use crate::ids::{JobId, SiteId};
use crate::membership::Membership;

/// The sites of a job with the keys that their signatures are checked under.
pub trait Signatories {
    /// The job.
    fn job(&self) -> &JobId;

    /// The roster's digest.
    fn digest(&self) -> Digest;

    /// The site ids, ascending.
    fn sites(&self) -> impl ExactSizeIterator<Item = &SiteId>;

    /// The site's identity key; `None` for a site that is not in the roster.
    fn identity_key(&self, site: &SiteId) -> Option<&IdentityPublicKey>;

    /// How many owners the sites have: several sites may belong to one legal entity.
    fn legal_entities(&self) -> usize;
}

impl Signatories for Roster {
    fn job(&self) -> &JobId {
        self.job()
    }

    fn digest(&self) -> Digest {
        self.digest()
    }

    fn sites(&self) -> impl ExactSizeIterator<Item = &SiteId> {
        self.sites()
    }

    fn identity_key(&self, site: &SiteId) -> Option<&IdentityPublicKey> {
        self.identity_key(site)
    }

    fn legal_entities(&self) -> usize {
        self.legal_entities()
    }
}

impl<S: Signatories> Signatories for Arc<S> {
    fn job(&self) -> &JobId {
        S::job(self)
    }

    fn digest(&self) -> Digest {
        S::digest(self)
    }

    fn sites(&self) -> impl ExactSizeIterator<Item = &SiteId> {
        S::sites(self)
    }

    fn identity_key(&self, site: &SiteId) -> Option<&IdentityPublicKey> {
        S::identity_key(self, site)
    }

    fn legal_entities(&self) -> usize {
        S::legal_entities(self)
    }
}

/// A roster as the ledger lists it: its digest, and its sites' certified identities. It lacks the KEM keys, so nobody
/// can set up masks with it, nor compute the digest again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRoster {
    job: JobId,
    digest: Digest,
    members: BTreeMap<SiteId, Membership>,
}

impl ListedRoster {
    /// The listed sites. That the consortium root certified each of them is for the caller to check.
    #[must_use]
    pub fn new(job: JobId, digest: Digest, members: impl IntoIterator<Item = Membership>) -> Self {
        let members = members.into_iter().map(|member| (member.site.clone(), member)).collect();
        Self { job, digest, members }
    }
}

impl Signatories for ListedRoster {
    fn job(&self) -> &JobId {
        &self.job
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn sites(&self) -> impl ExactSizeIterator<Item = &SiteId> {
        self.members.keys()
    }

    fn identity_key(&self, site: &SiteId) -> Option<&IdentityPublicKey> {
        self.members.get(site).map(|member| &member.identity_key)
    }

    fn legal_entities(&self) -> usize {
        self.members.values().map(|member| &member.legal_entity).collect::<BTreeSet<_>>().len()
    }
}
