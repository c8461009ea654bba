//! What several operations answer with, and what they leave out.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use konclave_policies::authorization::{Action, Authorizer, Resource};
use serde::Serialize;

use crate::auth::Principal;
use crate::extract::Json;

/// 201 with the new resource and where it is.
pub(crate) struct Created<T> {
    pub(crate) location: String,
    pub(crate) body: T,
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, [(header::LOCATION, self.location)], Json(self.body)).into_response()
    }
}

/// Whether the policies allow it: for leaving out of a list what a principal may not see.
pub(crate) fn may(
    authorizer: &Authorizer,
    principal: &Principal,
    action: Action,
    resource: &Resource,
) -> bool {
    let asking = konclave_policies::authorization::Principal {
        id: principal.id.clone(),
        roles: principal.roles.clone(),
        organisation: principal.organisation.clone(),
    };
    authorizer.decide(&asking, action, resource).allow
}
