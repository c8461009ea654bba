//! Commands on keys that end.

use konclave_crypto::{IdentityPublicKey, SiteId};
use konclave_ledger::records::Record;

use super::members::MEMBERS;
use super::{App, Caller, CommandError, Entry};
use crate::auth::clients::{ClientId, ClientKey};
use crate::projections::to_hash;
use crate::revocation::{Revocation, Revoked};

/// Why a revocation ended nothing.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The member is in force with a key that the revocation does not name, and that no earlier one ended.
    #[error(
        "`{site}` is in force with the identity key {in_force}, which the revocation does not name; to end it: \
         konclave-gateway site revoke --site {site} --identity-key {in_force}"
    )]
    OtherKey {
        /// The member.
        site: SiteId,
        /// Its key.
        in_force: IdentityPublicKey,
    },
    /// The entry could not be appended.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl App {
    /// Ends the keys that a revocation names. Keys that were revoked before, or of whom nothing is known, change nothing.
    ///
    /// # Errors
    /// [`RevokeError`]; the state is unchanged.
    pub async fn revoke(&self, caller: &Caller, revocation: &Revocation) -> Result<(), RevokeError> {
        let held = self.lock(MEMBERS).await;
        let reason = revocation.reason.as_str();
        let entry = match &revocation.of {
            Revoked::Site { site, .. } => self.end_of_site(site, &revocation.of.identity_keys(), reason)?,
            Revoked::Client { client, public_key } => self.end_of_client(client, public_key, reason),
        };
        let Some(entry) = entry else { return Ok(()) };
        self.append(&held, caller, vec![entry]).await?;
        Ok(())
    }

    fn end_of_site(
        &self,
        site: &SiteId,
        keys: &[IdentityPublicKey],
        reason: &str,
    ) -> Result<Option<Entry>, RevokeError> {
        let state = self.state();
        let Some(known) = state.sites.get(site).filter(|known| known.revoked.is_none()) else {
            return Ok(None);
        };
        let in_force = known.certificate.membership.identity_key;
        if !keys.contains(&in_force) {
            if keys.iter().any(|key| state.revoked_keys.contains(key)) {
                return Ok(None);
            }
            return Err(RevokeError::OtherKey { site: site.clone(), in_force });
        }
        let record = Record::SiteRevoked { site: site.to_string(), tls_spki: to_hash(&known.tls_spki) };
        let old = to_hash(&known.certificate.digest());
        let entry = Entry::new(format!("sites/{site}"), reason, record);
        Ok(Some(entry.about_site(site).changing(Some(old), None)))
    }

    fn end_of_client(&self, client: &ClientId, key: &ClientKey, reason: &str) -> Option<Entry> {
        let state = self.state();
        let known = state.clients.get(client.as_str())?;
        (known.public_key == key.pem()).then(|| {
            let record = Record::ClientRevoked { client: client.to_string() };
            Entry::new(format!("clients/{client}"), reason, record)
        })
    }

    /// Whether a member is enrolled and was not revoked.
    #[must_use]
    pub fn is_member(&self, site: &SiteId) -> bool {
        self.state().sites.get(site).is_some_and(|known| known.revoked.is_none())
    }

    /// Whether a partner client is registered.
    #[must_use]
    pub fn is_client(&self, client: &str) -> bool {
        self.state().clients.contains_key(client)
    }
}
