//! Who takes part, what they deposited and which models they brought.

use std::collections::BTreeMap;

use konclave_crypto::{Digest, MemberRole, MembershipCertificate, SiteId, UnixSeconds};
use konclave_ledger::Hash;
use konclave_ledger::records::{DepositLine, Document};
use konclave_policies::authorization::Role;

/// How long a TLS key stays good after its owner has replaced it, in seconds. Part of how the ledger is read: a change of it
/// would change the state that older entries stand for.
pub const TLS_OVERLAP: u64 = 7 * 86_400;

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
    /// Its TLS keys (as `tls_spki`) that others replaced, each with the last moment in which it is good.
    pub replaced_tls: BTreeMap<Digest, UnixSeconds>,
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

    /// Whether a connection with this TLS key is this member's at `now`.
    #[must_use]
    pub fn accepts_tls(&self, spki: &Digest, now: UnixSeconds) -> bool {
        *spki == self.tls_spki || self.replaced_tls.get(spki).is_some_and(|until| now <= *until)
    }

    /// Whether this TLS key is or was this member's.
    #[must_use]
    pub fn ever_had_tls(&self, spki: &Digest) -> bool {
        *spki == self.tls_spki || self.replaced_tls.contains_key(spki)
    }

    /// The keys that are replaced once `tls_spki` is in force; the last one stays good until a moment, the others no more.
    #[must_use]
    pub(super) fn replaced_by(&self, tls_spki: &Digest, until: UnixSeconds) -> BTreeMap<Digest, UnixSeconds> {
        let mut replaced = self.replaced_tls.clone();
        if *tls_spki != self.tls_spki {
            replaced.values_mut().for_each(|until| *until = UnixSeconds(0));
            replaced.insert(self.tls_spki, until);
        }
        replaced
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
