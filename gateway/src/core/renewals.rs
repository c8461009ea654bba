//! Renewal of members' TLS certificates, at their own request.
//!
//! The deployment's TLS authority signs, so that the consortium root stays offline; the membership certificate, which the
//! protocol rests on, is not touched. The ledger says which key is in force: the entry of the enrolment is made anew.

use konclave_crypto::SiteId;
use konclave_openapi::certificates::{CertificateRenewal, RenewedCertificate};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::members::MEMBERS;
use super::statements::field;
use super::{App, Caller, EnrolError, NewMember};
use crate::error::ApiError;
use crate::projections::SiteState;
use crate::tls::authority::{AuthorityError, Certified, ClientCertificate, sign_client};

impl App {
    /// Puts a member's new TLS key in force and certifies it. The same request again is answered again.
    ///
    /// # Errors
    /// [`ApiError`]; the old key stays in force.
    pub async fn renew_certificate(
        &self,
        caller: &Caller,
        site: &SiteId,
        renewal: CertificateRenewal,
    ) -> Result<RenewedCertificate, ApiError> {
        if renewal.site != *site {
            return Err(refused("/site", "is not the sender"));
        }
        let held = self.lock(MEMBERS).await;
        self.repeated(caller)?;
        // Before anything is signed: whoever has a stolen TLS key alone gets nothing.
        let known = self.known(site)?;
        let identity = known.certificate.membership.identity_key;
        if !identity.verifies(&renewal.signed_bytes(), &renewal.signature) {
            return Err(refused("/signature", "is not one of the member's identity key over this request"));
        }
        let replaces = renewal.replaces;
        let signed = self.sign_for(site, renewal.tls_request).await?;
        let new = match known {
            known if replaces == known.tls_spki && !known.ever_had_tls(&signed.spki) => Some(NewMember {
                certificate: known.certificate,
                witness_vkey: known.witness_vkey,
                tls_spki: signed.spki,
            }),
            known if replaces == known.tls_spki => {
                return Err(refused(
                    "/tls_request",
                    "is over a key that was in use before; draw another one",
                ));
            }
            // Its key is in force: the answer to the same request was lost.
            known if known.tls_spki == signed.spki && known.replaced_tls.contains_key(&replaces) => None,
            known => {
                return Err(ApiError::conflict(format!(
                    "the TLS key in force is {}, not the one to be replaced; read GET /v1/sites/{site}",
                    known.tls_spki
                )));
            }
        };
        if let Some(member) = new {
            self.enrol_held(&held, caller, member).await.map_err(not_enrolled)?;
            tracing::info!(%site, not_after = %signed.not_after, "a member renewed its TLS certificate");
        }
        Ok(RenewedCertificate {
            tls_certificate: signed.certificate,
            not_after: signed.not_after.format(&Rfc3339).map_err(ApiError::internal)?,
            entry: self.known(site)?.entry,
        })
    }

    fn known(&self, site: &SiteId) -> Result<SiteState, ApiError> {
        let known = self.state().sites.get(site).filter(|known| known.revoked.is_none()).cloned();
        known.ok_or_else(|| ApiError::not_found(format!("site {site}")))
    }

    async fn sign_for(&self, site: &SiteId, request: String) -> Result<ClientCertificate, ApiError> {
        let folder = self.config().folder.clone();
        let days = self.config().settings.enrolment.tls_days;
        let name = site.to_string();
        let now = i64::try_from(self.clock().now().get()).map_err(ApiError::internal)?;
        let now = OffsetDateTime::from_unix_timestamp(now).map_err(ApiError::internal)?;
        let signing = tokio::task::spawn_blocking(move || {
            let authority = Certified::read_authority(&folder).map_err(|error| {
                tracing::error!(%error, "members cannot renew their TLS certificates");
                ApiError::unavailable(
                    "the TLS authority's key is not on this machine; ask the operator to enrol you anew",
                    3600,
                )
            })?;
            sign_client(&authority, &request, &name, now, days).map_err(|error| match error {
                AuthorityError::Request(_) => refused("/tls_request", &error.to_string()),
                AuthorityError::Host { .. }
                | AuthorityError::Signing(_)
                | AuthorityError::Randomness(_)
                | AuthorityError::Unreadable => ApiError::internal(error),
            })
        });
        signing.await.map_err(ApiError::internal)?
    }
}

fn not_enrolled(error: EnrolError) -> ApiError {
    match error {
        EnrolError::Command(error) => error.into(),
        EnrolError::Certificate(_) => {
            ApiError::rejected("your membership itself is over; ask the operator to enrol you anew")
        }
        EnrolError::KeyInUse { .. }
        | EnrolError::Replaced { .. }
        | EnrolError::OtherRole { .. }
        | EnrolError::IdInUse { .. }
        | EnrolError::Revoked { .. } => {
            refused("/tls_request", "is over a key that is or was in use; draw another one")
        }
    }
}

fn refused(at: &str, detail: &str) -> ApiError {
    ApiError::rejected_at(format!("the renewal is refused: {at} {detail}"), vec![field(at, detail)])
}
