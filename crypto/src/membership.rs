//! Membership certificates: who belongs to the consortium, in which role, with which key.
//!
//! The consortium root signs them. Sites pin the root, never the gateway's TLS authority, so a gateway cannot enrol
//! sites of its own.

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::identity::{IdentityKey, IdentityPublicKey, Signature};
use crate::ids::{SiteId, UnixSeconds};
use crate::transcript::Transcript;

/// What a member may do in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum MemberRole {
    /// Trains and contributes masked updates.
    Site,
    /// Evaluates opened models on deposited benchmark data.
    Evaluator,
    /// Signs contexts and relays messages.
    Gateway,
}

impl MemberRole {
    /// The role's wire name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Evaluator => "evaluator",
            Self::Gateway => "gateway",
        }
    }
}

/// The statement that a key belongs to a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The member's id.
    pub site: SiteId,
    /// The organisation that answers for it; several members may share one.
    pub legal_entity: String,
    /// What it may do.
    pub role: MemberRole,
    /// Its Ed25519 key.
    pub identity_key: IdentityPublicKey,
    /// The verification key of its cosignatures under the ledger (C2SP vkey); empty for the gateway, which gives none. An
    /// operator who invents witnesses would have to hold the consortium root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub witness_vkey: String,
    /// Number of this certificate among those of the root.
    pub serial: u64,
    /// First second of validity.
    pub not_before: UnixSeconds,
    /// Last second of validity.
    pub not_after: UnixSeconds,
}

impl Membership {
    fn transcript(&self) -> Transcript {
        Transcript::new("membership")
            .text(self.site.as_str())
            .text(&self.legal_entity)
            .text(self.role.as_str())
            .bytes(self.identity_key.as_bytes())
            .text(&self.witness_vkey)
            .number(self.serial)
            .number(self.not_before.get())
            .number(self.not_after.get())
    }
}

/// A membership signed by the consortium root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MembershipCertificate {
    /// What is certified.
    pub membership: Membership,
    /// The root's signature.
    pub signature: Signature,
}

impl MembershipCertificate {
    /// Digest of the certified statement.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.membership.transcript().hash()
    }
}

/// Why a certificate was not accepted. The presenter must get a new one from the consortium.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Not signed by the pinned root.
    #[error("the certificate of `{site}` is not signed by this consortium's root")]
    NotFromRoot {
        /// The member named in the certificate.
        site: SiteId,
    },
    /// Used before its first second.
    #[error("the certificate of `{site}` is valid only from {not_before} (now {now})")]
    NotYetValid {
        /// The member named in the certificate.
        site: SiteId,
        /// First second of validity.
        not_before: UnixSeconds,
        /// The time given by the caller.
        now: UnixSeconds,
    },
    /// Used after its last second.
    #[error("the certificate of `{site}` expired at {not_after} (now {now})")]
    Expired {
        /// The member named in the certificate.
        site: SiteId,
        /// Last second of validity.
        not_after: UnixSeconds,
        /// The time given by the caller.
        now: UnixSeconds,
    },
    /// The role does not allow this use.
    #[error("`{site}` is enrolled as {}, but {} is needed here", .found.as_str(), .needed.as_str())]
    WrongRole {
        /// The member named in the certificate.
        site: SiteId,
        /// Role in the certificate.
        found: MemberRole,
        /// Role the use needs.
        needed: MemberRole,
    },
}

/// The consortium's signing key, kept offline by the council.
#[derive(Debug)]
pub struct ConsortiumRootKey(IdentityKey);

impl ConsortiumRootKey {
    /// Draws a new root key.
    #[must_use]
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(IdentityKey::generate(rng))
    }

    /// The root key of a stored seed.
    #[must_use]
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Self {
        Self(IdentityKey::from_seed(seed))
    }

    /// The seed, to be stored.
    #[must_use]
    pub fn seed(&self) -> &Zeroizing<[u8; 32]> {
        self.0.seed()
    }

    /// Certifies a membership.
    #[must_use]
    pub fn issue(&self, membership: Membership) -> MembershipCertificate {
        let signature = self.0.sign_transcript(&membership.transcript());
        MembershipCertificate { membership, signature }
    }

    /// The public half, which every member pins.
    #[must_use]
    pub fn root(&self) -> ConsortiumRoot {
        ConsortiumRoot(self.0.public())
    }
}

/// The pinned public key of the consortium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct ConsortiumRoot(pub IdentityPublicKey);

impl ConsortiumRoot {
    /// Checks that the certificate is the root's and valid at `now`.
    ///
    /// # Errors
    /// [`MembershipError`] says which check failed.
    pub fn verify(
        &self,
        certificate: &MembershipCertificate,
        now: UnixSeconds,
    ) -> Result<(), MembershipError> {
        let Membership { site, not_before, not_after, .. } = &certificate.membership;
        if !self.0.verifies_transcript(&certificate.membership.transcript(), &certificate.signature) {
            return Err(MembershipError::NotFromRoot { site: site.clone() });
        }
        if now < *not_before {
            return Err(MembershipError::NotYetValid { site: site.clone(), not_before: *not_before, now });
        }
        if now > *not_after {
            return Err(MembershipError::Expired { site: site.clone(), not_after: *not_after, now });
        }
        Ok(())
    }

    /// [`Self::verify`], and the role must be `needed`.
    ///
    /// # Errors
    /// [`MembershipError`] says which check failed.
    pub fn verify_role(
        &self,
        certificate: &MembershipCertificate,
        needed: MemberRole,
        now: UnixSeconds,
    ) -> Result<(), MembershipError> {
        self.verify(certificate, now)?;
        let Membership { site, role, .. } = &certificate.membership;
        if *role == needed {
            Ok(())
        } else {
            Err(MembershipError::WrongRole { site: site.clone(), found: *role, needed })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(role: MemberRole) -> Membership {
        Membership {
            site: "alpha".parse().unwrap(),
            legal_entity: "Alpha Ltd".into(),
            role,
            identity_key: IdentityKey::from_seed(Zeroizing::new([2; 32])).public(),
            witness_vkey: "alpha+1+x".into(),
            serial: 9,
            not_before: UnixSeconds(100),
            not_after: UnixSeconds(200),
        }
    }

    #[test]
    fn a_certificate_is_bound_to_root_time_role_and_every_field() {
        let root_key = ConsortiumRootKey::from_seed(Zeroizing::new([1; 32]));
        let root = root_key.root();
        let certificate = root_key.issue(membership(MemberRole::Site));
        assert_eq!(root.verify(&certificate, UnixSeconds(100)), Ok(()));
        assert_eq!(root.verify(&certificate, UnixSeconds(200)), Ok(()));
        assert!(matches!(
            root.verify(&certificate, UnixSeconds(99)),
            Err(MembershipError::NotYetValid { .. })
        ));
        assert!(matches!(root.verify(&certificate, UnixSeconds(201)), Err(MembershipError::Expired { .. })));
        assert!(matches!(
            root.verify_role(&certificate, MemberRole::Gateway, UnixSeconds(150)),
            Err(MembershipError::WrongRole { .. })
        ));

        let other = ConsortiumRootKey::from_seed(Zeroizing::new([3; 32])).root();
        let changes: [fn(&mut Membership); 7] = [
            |m| m.witness_vkey.push('x'),
            |m| m.site = "beta".parse().unwrap(),
            |m| m.legal_entity.push('x'),
            |m| m.role = MemberRole::Gateway,
            |m| m.serial += 1,
            |m| m.not_after = UnixSeconds(300),
            |m| m.identity_key = IdentityKey::from_seed(Zeroizing::new([4; 32])).public(),
        ];
        assert!(other.verify(&certificate, UnixSeconds(150)).is_err());
        for change in changes {
            let mut forged = certificate.clone();
            change(&mut forged.membership);
            assert!(matches!(
                root.verify(&forged, UnixSeconds(150)),
                Err(MembershipError::NotFromRoot { .. })
            ));
        }
    }
}
