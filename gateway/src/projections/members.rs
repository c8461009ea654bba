//! Who takes part, what they deposited and which models they brought.

use konclave_crypto::{Digest, MemberRole, MembershipCertificate, SiteId, UnixSeconds};
use konclave_ledger::Hash;
use konclave_ledger::records::{DepositLine, Document};
use konclave_policies::authorization::Role;

/// An enrolled site or evaluator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteState {
    /// Its pseudonym.
    pub site: SiteId,
    /// Its certificate under the consortium root.
    pub certificate: MembershipCertificate,
    /// The verification key of its cosignatures (C2SP vkey).
    pub witness_vkey: String,
    /// SHA-256 of the SubjectPublicKeyInfo of its TLS client certificate.
    pub tls_spki: Digest,
    /// The entry that enrolled it, or renewed it last.
    pub entry: u64,
    /// The entry that revoked its keys.
    pub revoked: Option<u64>,
}

impl SiteState {
    /// Whether its certificate is in force at `now`, and was not revoked.
    #[must_use]
    pub fn is_valid_at(&self, now: UnixSeconds) -> bool {
        let membership = &self.certificate.membership;
        self.revoked.is_none() && membership.not_before <= now && now <= membership.not_after
    }

    /// `site` or `evaluator`.
    #[must_use]
    pub fn role(&self) -> MemberRole {
        self.certificate.membership.role
    }

    /// The legal entity behind it.
    #[must_use]
    pub fn legal_entity(&self) -> &str {
        &self.certificate.membership.legal_entity
    }
}

/// A partner system with API access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientState {
    /// Its id.
    pub client: String,
    /// The organisation it acts for.
    pub organisation: String,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Its public key (PEM).
    pub public_key: String,
    /// The commitment to the person who answers for it.
    pub contact: Option<Hash>,
    /// Whether its tokens must be bound to a client certificate.
    pub certificate_bound: bool,
    /// The entry that registered it, or changed it last.
    pub entry: u64,
}

/// A registered deposit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepositState {
    /// Its id: the digest of the signed statement.
    pub deposit: Digest,
    /// Who deposited.
    pub site: SiteId,
    /// Whether the data is for training; otherwise it is held back for the benchmark.
    pub training: bool,
    /// What it declares, task by task.
    pub lines: Vec<DepositLine>,
    /// The entry.
    pub entry: u64,
}

/// A registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelState {
    /// Its id.
    pub model: Digest,
    /// A name for people.
    pub name: String,
    /// The developer's organisation.
    pub organisation: String,
    /// Its manifest.
    pub manifest: Document,
    /// Length of the flat parameter vector.
    pub coordinates: u64,
    /// Width of the output.
    pub heads: u16,
    /// The blob of the initial parameters.
    pub initial_parameters: Digest,
    /// The entry.
    pub entry: u64,
}
