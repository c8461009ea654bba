//! Renewal of members' TLS certificates.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use konclave_crypto::SiteId;
use konclave_openapi::certificates::{CertificateRenewal, RenewedCertificate};
use konclave_policies::authorization::Action;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::Created;
use crate::auth::{Principal, authorize};
use crate::core::App;
use crate::error::ApiError;
use crate::extract::Path;
use crate::idempotency::Command;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(renew_certificate))
}

/// The sender's own place among the sites: nothing of a body is read for anybody else.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
struct OwnSite {
    /// The site's id: the sender
    site: SiteId,
}

impl FromRequestParts<App> for OwnSite {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let principal = Principal::from_request_parts(parts, app).await?;
        let Path(site) = Path::<SiteId>::from_request_parts(parts, app).await?;
        principal.member_as(&site)?;
        let resource = Action::RenewCertificate.on(site.to_string(), Some(&principal.organisation));
        authorize(app.authorizer(), &principal, Action::RenewCertificate, &resource)?;
        Ok(Self { site })
    }
}

/// Renew a TLS client certificate
///
/// Over a new key, signed by the member's identity key. The answer's certificate is good at once; the one before stays
/// good for seven days, so that uploads, polls and whole rounds under way go on. `konclave-site run` does this at the
/// half of its certificate's life.
#[utoipa::path(
    post, path = "/v1/sites/{site}/certificates", tag = "sites",
    params(OwnSite), request_body = CertificateRenewal,
    responses((status = 201, description = "The new certificate", body = RenewedCertificate))
)]
async fn renew_certificate(
    State(app): State<App>,
    OwnSite { site }: OwnSite,
    command: Command<CertificateRenewal>,
) -> Result<Created<RenewedCertificate>, ApiError> {
    let body = app.renew_certificate(&command.caller, &site, command.body).await?;
    Ok(Created { location: format!("/v1/sites/{site}"), body })
}
