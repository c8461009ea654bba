//! Commands on members: enrolment, clients, policies.

use konclave_crypto::{Digest, MembershipCertificate, SiteId};
use konclave_ledger::Hash;
use konclave_ledger::records::Record;
use konclave_policies::authorization::Role;

use super::{App, Caller, CommandError, Entry, digest_of};
use crate::projections::to_hash;

/// A member that the operator enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMember {
    /// Its certificate under the consortium root.
    pub certificate: MembershipCertificate,
    /// The verification key of its cosignatures (C2SP vkey).
    pub witness_vkey: String,
    /// SHA-256 of the SubjectPublicKeyInfo of its TLS client certificate.
    pub tls_spki: Digest,
}

/// A partner system that the operator registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewClient {
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
}

/// Why a member was not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The certificate is not one of this consortium or not in force.
    #[error("the membership certificate is not accepted: {0}")]
    Certificate(#[from] konclave_crypto::MembershipError),
    /// Another member has the same key.
    #[error(
        "the TLS or identity key of `{site}` is already enrolled as `{other}`; every member needs its own keys"
    )]
    KeyInUse {
        /// Who is to be enrolled.
        site: SiteId,
        /// Who has the key.
        other: SiteId,
    },
    /// The key was revoked.
    #[error("the identity key of `{site}` was revoked; the member draws other keys in a new folder")]
    Revoked {
        /// Whose it was.
        site: SiteId,
    },
    /// The entry could not be appended.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl App {
    /// Enrols a member, or renews its keys. An enrolment that is already in force changes nothing.
    ///
    /// # Errors
    /// [`EnrolError`]; the state is unchanged.
    pub async fn enrol(&self, caller: &Caller, member: NewMember) -> Result<(), EnrolError> {
        let held = self.lock("members").await;
        let membership = &member.certificate.membership;
        let old = {
            let state = self.state();
            let known = state.sites.get(&membership.site);
            // Before anything else: an enrolment in force stays one when its certificate's time is over.
            let unchanged = known.is_some_and(|known| {
                known.certificate == member.certificate
                    && known.witness_vkey == member.witness_vkey
                    && known.tls_spki == member.tls_spki
            });
            if unchanged {
                return Ok(());
            }
            if state.revoked_keys.contains(&membership.identity_key) {
                return Err(EnrolError::Revoked { site: membership.site.clone() });
            }
            self.consortium_root().verify(&member.certificate, self.clock().now())?;
            for other in state.sites.values().filter(|other| other.site != membership.site) {
                let same_identity = other.certificate.membership.identity_key == membership.identity_key;
                if same_identity || other.tls_spki == member.tls_spki {
                    return Err(EnrolError::KeyInUse {
                        site: membership.site.clone(),
                        other: other.site.clone(),
                    });
                }
            }
            known.map(|known| to_hash(&known.certificate.digest()))
        };
        let record = Record::SiteEnrolled {
            site: membership.site.to_string(),
            legal_entity: membership.legal_entity.clone(),
            role: membership.role.as_str().to_owned(),
            identity_key: membership.identity_key.to_string(),
            witness_vkey: member.witness_vkey,
            tls_spki: to_hash(&member.tls_spki),
            certificate: serde_json::to_value(&member.certificate).map_err(CommandError::from)?,
        };
        let reason = if old.is_some() { "keys or certificate renewed" } else { "enrolled by the operator" };
        let entry = Entry::new(format!("sites/{}", membership.site), reason, record)
            .about_site(&membership.site)
            .changing(old, Some(to_hash(&member.certificate.digest())));
        self.append(&held, caller, vec![entry]).await?;
        Ok(())
    }

    /// Registers a partner client, or changes its key, organisation or roles.
    ///
    /// # Errors
    /// [`CommandError`]; the state is unchanged.
    pub async fn register_client(&self, caller: &Caller, client: NewClient) -> Result<(), CommandError> {
        let held = self.lock("members").await;
        let known = self.state().clients.get(&client.client).cloned().map(|known| NewClient {
            client: known.client,
            organisation: known.organisation,
            roles: known.roles,
            public_key: known.public_key,
            contact: known.contact,
            certificate_bound: known.certificate_bound,
        });
        if known.as_ref() == Some(&client) {
            return Ok(());
        }
        let object = format!("clients/{}", client.client);
        let (old, reason) = match known {
            Some(known) => {
                (Some(digest_of(&known.record().to_value()?)?), "key, organisation or roles changed")
            }
            None => (None, "registered by the operator"),
        };
        let commitments = client.contact.into_iter().collect();
        let entry = Entry { commitments, ..Entry::new(object, reason, client.record()) }.changing(old, None);
        self.append(&held, caller, vec![entry]).await?;
        Ok(())
    }
}

impl NewClient {
    fn record(self) -> Record {
        Record::ClientRegistered {
            client: self.client,
            organisation: self.organisation,
            roles: self.roles.iter().map(ToString::to_string).collect(),
            public_key: self.public_key,
            contact: self.contact,
            certificate_bound: self.certificate_bound,
        }
    }
}
