//! Who the members are: certificates under the consortium root, which the operator does not hold.

use std::collections::BTreeMap;

use konclave_crypto::{
    ConsortiumRoot, MemberRole, Membership, MembershipCertificate, MembershipError, UnixSeconds,
};
use konclave_ledger::records::Record;
use serde::Deserialize;
use serde_json::Value;

/// The root, as the caller or the log's first entry names it, and what it has certified so far.
pub(crate) struct Members {
    pinned: Option<ConsortiumRoot>,
    published: Option<ConsortiumRoot>,
    certified: BTreeMap<String, Membership>,
}

/// Why an entry about a member is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemberFault {
    #[error("the consortium root that the entry names is not a public key")]
    RootKey,
    #[error("the entry names another consortium root than the one given")]
    OtherRoot,
    #[error("no consortium root is known: the log's first entry does not name it")]
    NoRoot,
    #[error("the certificate cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("the certificate is not accepted: {0}")]
    Certificate(#[from] MembershipError),
    #[error("the entry and the certificate differ in {field}")]
    Differs { field: &'static str },
}

impl Members {
    pub(crate) const fn new(pinned: Option<ConsortiumRoot>) -> Self {
        Self { pinned, published: None, certified: BTreeMap::new() }
    }

    /// The root that certificates were checked under.
    pub(crate) fn root(&self) -> Option<ConsortiumRoot> {
        self.pinned.or(self.published)
    }

    /// Whether the root certified this member for this role, by the entries so far.
    pub(crate) fn is(&self, member: &str, role: MemberRole) -> bool {
        self.membership(member).is_some_and(|known| known.role == role)
    }

    /// What the root certified of this member, by the entries so far.
    pub(crate) fn membership(&self, member: &str) -> Option<&Membership> {
        self.certified.get(member)
    }

    /// Takes in an entry; most are about something else. `time` is when the ledger took it.
    pub(crate) fn note(&mut self, record: &Record, time: UnixSeconds) -> Result<(), MemberFault> {
        if let Record::LedgerCreated { root, gateway, .. } = record {
            let root = ConsortiumRoot(root.parse().map_err(|_| MemberFault::RootKey)?);
            self.published = Some(root);
            if self.pinned.is_some_and(|pinned| pinned != root) {
                return Err(MemberFault::OtherRoot);
            }
            self.verified(gateway, MemberRole::Gateway, time)?;
        } else if let Record::GatewayCertified { gateway } = record {
            self.verified(gateway, MemberRole::Gateway, time)?;
        } else if let Record::SiteEnrolled {
            site,
            legal_entity,
            role,
            identity_key,
            witness_vkey,
            certificate,
            ..
        } = record
        {
            let needed =
                if role == MemberRole::Evaluator.as_str() { MemberRole::Evaluator } else { MemberRole::Site };
            let member = self.verified(certificate, needed, time)?.membership;
            let differs = [
                ("role", needed.as_str() != role),
                ("site", member.site.as_str() != site),
                ("legal_entity", member.legal_entity != *legal_entity),
                ("identity_key", member.identity_key.to_string() != *identity_key),
                ("witness_vkey", member.witness_vkey != *witness_vkey),
            ];
            if let Some((field, _)) = differs.into_iter().find(|(_, differs)| *differs) {
                return Err(MemberFault::Differs { field });
            }
            self.certified.insert(site.clone(), member);
        }
        Ok(())
    }

    fn verified(
        &self,
        certificate: &Value,
        role: MemberRole,
        time: UnixSeconds,
    ) -> Result<MembershipCertificate, MemberFault> {
        let certificate = MembershipCertificate::deserialize(certificate)?;
        self.root().ok_or(MemberFault::NoRoot)?.verify_role(&certificate, role, time)?;
        Ok(certificate)
    }
}
