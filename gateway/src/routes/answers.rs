//! What several operations answer with, and what they leave out.

use std::collections::BTreeSet;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use konclave_policies::authorization::Action;
use serde::Serialize;

use crate::auth::Principal;
pub(crate) use crate::auth::may;
use crate::core::App;
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
