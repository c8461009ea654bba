//! Commands on members: enrolment, clients, policies.

use konclave_crypto::{Digest, Membership, MembershipCertificate, SiteId};
use konclave_ledger::Hash;
use konclave_ledger::records::Record;
use konclave_policies::authorization::Role;

use super::{App, Caller, CommandError, Entry, Held, digest_of};
use crate::projections::{State, to_hash};

/// The aggregate of everything here.
pub(super) const MEMBERS: &str = "members";

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
    /// A key was revoked.
    #[error(
        "the identity key or the TLS key of `{site}` was revoked; the member draws other keys in a new folder"
    )]
    Revoked {
        /// Whose it was.
        site: SiteId,
    },
    /// The role is not the one that the member has.
    #[error("`{site}` is enrolled as {role}; a member does not change its role: enrol another one")]
    OtherRole {
        /// Who is to be enrolled.
        site: SiteId,
        /// Its role.
        role: &'static str,
    },
    /// The id belonged to somebody else, whose entries and deposits it still names.
    #[error(
        "the id `{site}` is or was somebody else's ({of}), and the ledger names them by it; choose another one"
    )]
    IdInUse {
        /// The id.
        site: SiteId,
        /// Whose it is.
        of: String,
    },
    /// The TLS key was replaced by another.
    #[error(
        "the TLS key of `{site}` in this enrolment was replaced since; enrol it with its present enrolment-request.json"
    )]
    Replaced {
        /// Whose it was.
        site: SiteId,
    },
    /// The entry could not be appended.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// Why a client was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// A member has or had the id.
    #[error("`{id}` is or was the id of a site or evaluator; choose another one")]
    IdInUse {
        /// The id.
        id: String,
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
        let held = self.lock(MEMBERS).await;
        self.enrol_held(&held, caller, member).await
    }

    /// As [`App::enrol`], for a caller that holds [`MEMBERS`].
    pub(super) async fn enrol_held(
        &self,
        held: &Held,
        caller: &Caller,
        member: NewMember,
    ) -> Result<(), EnrolError> {
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
            if let Some(known) = known.filter(|known| known.replaced_tls.contains_key(&member.tls_spki)) {
                // The operator's record of this very certificate, from before the member renewed its TLS key.
                if known.certificate == member.certificate {
                    return Ok(());
                }
                return Err(EnrolError::Replaced { site: membership.site.clone() });
            }
            let revoked = state.revoked_keys.contains(&membership.identity_key)
                || state.revoked_tls.contains(&member.tls_spki);
            if revoked {
                return Err(EnrolError::Revoked { site: membership.site.clone() });
            }
            check_id(&state, membership)?;
            self.consortium_root().verify(&member.certificate, self.clock().now())?;
            for other in state.sites.values().filter(|other| other.site != membership.site) {
                let same_identity = other.certificate.membership.identity_key == membership.identity_key;
                if same_identity || other.ever_had_tls(&member.tls_spki) {
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
        self.append(held, caller, vec![entry]).await?;
        Ok(())
    }

    /// Registers a partner client, or changes its key, organisation or roles.
    ///
    /// # Errors
    /// [`RegisterError`]; the state is unchanged.
    pub async fn register_client(&self, caller: &Caller, client: NewClient) -> Result<(), RegisterError> {
        let held = self.lock(MEMBERS).await;
        if client.client.parse::<SiteId>().is_ok_and(|id| self.state().sites.contains_key(&id)) {
            return Err(RegisterError::IdInUse { id: client.client });
        }
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
                let old = known.record().to_value().map_err(CommandError::from)?;
                let old = digest_of(&old).map_err(CommandError::from)?;
                (Some(old), "key, organisation or roles changed")
            }
            None => (None, "registered by the operator"),
        };
        let commitments = client.contact.into_iter().collect();
        let entry = Entry { commitments, ..Entry::new(object, reason, client.record()) }.changing(old, None);
        self.append(&held, caller, vec![entry]).await?;
        Ok(())
    }
}

/// Whether the id can be this member's. What it did and deposited under it, and what it may read and earns, follows the id.
fn check_id(state: &State, membership: &Membership) -> Result<(), EnrolError> {
    let (site, id) = (membership.site.clone(), membership.site.as_str());
    let is_clients =
        state.clients.contains_key(id) || state.revoked_clients.iter().any(|(client, _)| client == id);
    if is_clients {
        return Err(EnrolError::IdInUse { site, of: "a client".to_owned() });
    }
    let Some(known) = state.sites.get(&site) else { return Ok(()) };
    if known.role() != membership.role {
        return Err(EnrolError::OtherRole { site, role: known.role().as_str() });
    }
    // Of a member in force the operator has said so with --renew: a company has another name.
    if known.revoked.is_some() && known.legal_entity() != membership.legal_entity {
        return Err(EnrolError::IdInUse { site, of: known.legal_entity().to_owned() });
    }
    Ok(())
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
