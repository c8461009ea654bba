//! A site's own place in a job and in its rounds: the path names it, the certificate and the policies admit to it.
//!
//! As extractors, so that nothing of a body is read before the sender is known to have the seat.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use konclave_crypto::{JobId, RoundNumber, SiteId};
use konclave_policies::authorization::Action;
use utoipa::IntoParams;

use crate::auth::{Principal, authorize};
use crate::core::App;
use crate::error::ApiError;
use crate::extract::Path;
use crate::rounds_store::RoundKey;

/// The principal is the site of the path and may take part.
pub(crate) fn seat(app: &App, principal: &Principal, job: &JobId, site: &SiteId) -> Result<(), ApiError> {
    principal.member_as(site)?;
    let resource = Action::TakePartInRound.on(format!("{job}/{site}"), Some(&principal.organisation));
    authorize(app.authorizer(), principal, Action::TakePartInRound, &resource)
}

/// The sender's seat in a job's set-up.
#[derive(Debug, Clone, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct JobSeat {
    /// The job's id
    pub(crate) job: JobId,
    /// The site whose seat it is: the sender
    pub(crate) site: SiteId,
}

/// The sender's seat in a round.
#[derive(Debug, Clone, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct RoundSeat {
    /// The job's id
    pub(crate) job: JobId,
    /// The round
    pub(crate) round: RoundNumber,
    /// The site whose seat it is: the sender
    pub(crate) site: SiteId,
}

impl RoundSeat {
    /// The round.
    pub(crate) fn key(&self) -> RoundKey {
        RoundKey { job: self.job.clone(), round: self.round }
    }
}

impl FromRequestParts<App> for JobSeat {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let principal = Principal::from_request_parts(parts, app).await?;
        let Path((job, site)) = Path::<(JobId, SiteId)>::from_request_parts(parts, app).await?;
        seat(app, &principal, &job, &site)?;
        Ok(Self { job, site })
    }
}

impl FromRequestParts<App> for RoundSeat {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let principal = Principal::from_request_parts(parts, app).await?;
        let Path((job, round, site)) =
            Path::<(JobId, RoundNumber, SiteId)>::from_request_parts(parts, app).await?;
        seat(app, &principal, &job, &site)?;
        Ok(Self { job, round, site })
    }
}
