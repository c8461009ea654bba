//! Commands on keys that end.

use konclave_crypto::SiteId;
use konclave_ledger::records::Record;

use super::{App, Caller, CommandError, Entry};
use crate::projections::to_hash;
use crate::revocation::{Revocation, Revoked};

impl App {
    /// Ends the keys that a revocation names. Keys that are not in force, any more or at all, change nothing.
    ///
    /// # Errors
    /// [`CommandError`]; the state is unchanged.
    pub async fn revoke(&self, caller: &Caller, revocation: &Revocation) -> Result<(), CommandError> {
        let held = self.lock("members").await;
        let Some(entry) = self.entry_of(revocation) else { return Ok(()) };
        self.append(&held, caller, vec![entry]).await?;
        Ok(())
    }

    fn entry_of(&self, revocation: &Revocation) -> Option<Entry> {
        let state = self.state();
        let reason = revocation.reason.as_str();
        match &revocation.of {
            Revoked::Site { site, identity_key } => {
                let known = state.sites.get(site).filter(|known| known.revoked.is_none())?;
                let membership = &known.certificate.membership;
                let old = to_hash(&known.certificate.digest());
                (membership.identity_key == *identity_key).then(|| {
                    let record =
                        Record::SiteRevoked { site: site.to_string(), tls_spki: to_hash(&known.tls_spki) };
                    let entry = Entry::new(format!("sites/{site}"), reason, record);
                    entry.about_site(site).changing(Some(old), None)
                })
            }
            Revoked::Client { client, public_key } => {
                let known = state.clients.get(client.as_str())?;
                (known.public_key == public_key.pem()).then(|| {
                    let record = Record::ClientRevoked { client: client.to_string() };
                    Entry::new(format!("clients/{}", client.as_str()), reason, record)
                })
            }
        }
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
