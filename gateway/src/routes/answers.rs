//! What several operations answer with, and what they leave out.

use std::collections::BTreeSet;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use konclave_policies::authorization::Action;
use serde::Serialize;

pub(crate) use crate::auth::may;
use crate::auth::{Principal, authorize};
use crate::core::App;
use crate::error::ApiError;
use crate::extract::Json;
use crate::projections::State;

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

/// Refuses a list to whom the policies show nothing of its kind, not even their own. An empty list would let them believe
/// that there is nothing, and would be an answer to somebody whom the document does not let in.
///
/// # Errors
/// [`ApiError::Forbidden`] with the policies.
pub(crate) fn may_list(app: &App, principal: &Principal, action: Action) -> Result<(), ApiError> {
    authorize(app.authorizer(), principal, action, &action.on("list", Some(&principal.organisation)))
}

/// The owners whose resources a principal sees in a list. The policies are asked once for each owner, and not while the
/// state is locked.
pub(crate) fn visible_owners(
    app: &App,
    principal: &Principal,
    action: Action,
    owners: impl FnOnce(&State) -> BTreeSet<String>,
) -> BTreeSet<String> {
    let mut owners = owners(&app.state());
    owners.retain(|owner| may(app.authorizer(), principal, action, &action.on("list", Some(owner))));
    owners
}
