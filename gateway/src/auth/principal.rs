//! The principal of a request: a partner client by its access token, else a member by its client certificate.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use konclave_crypto::{Digest, MemberRole, SiteId, UnixSeconds};
use konclave_policies::authorization::Role;

use super::certificate::{PresentedCertificate, Thumbprint, shown};
use super::standing::{LetIn, Registration};
use super::tokens::Tokens;
use crate::core::App;
use crate::error::ApiError;

/// Who asks, as authentication established it. An axum extractor: without a valid credential the handler does not
/// run and the client gets a 401 problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// A site id or client id.
    pub id: String,
    /// What it may act as.
    pub roles: Vec<Role>,
    /// The organisation it acts for; of a member, its legal entity.
    pub organisation: String,
    /// The member, if it came with a client certificate.
    pub member: Option<MemberPrincipal>,
}

/// A member of the consortium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberPrincipal {
    /// Its id.
    pub site: SiteId,
    /// `site` or `evaluator`.
    pub role: MemberRole,
}

impl Principal {
    /// The member that asks; a partner client has no part in what only members do.
    ///
    /// # Errors
    /// [`ApiError::Unauthenticated`].
    pub fn member(&self) -> Result<&MemberPrincipal, ApiError> {
        self.member.as_ref().ok_or_else(|| {
            ApiError::unauthenticated("only members do this: connect with a site's client certificate")
        })
    }

    /// The member that asks, if it is the site the path names.
    ///
    /// # Errors
    /// [`ApiError::Unauthenticated`], or [`ApiError::Forbidden`] for another site's place.
    pub fn member_as(&self, site: &SiteId) -> Result<&MemberPrincipal, ApiError> {
        let member = self.member()?;
        if member.site == *site {
            return Ok(member);
        }
        Err(ApiError::Forbidden {
            principal: self.id.clone(),
            action: "act for".to_owned(),
            resource: format!("site {site}"),
            policy_ids: vec!["own-site-only".to_owned()],
        })
    }
}

impl FromRequestParts<App> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let (principal, registration) = match (
            parts.headers.contains_key(header::AUTHORIZATION),
            shown(&parts.extensions),
        ) {
            (false, Some(der)) => member(app, der)?,
            (true, certificate) => {
                // Which of the two would be meant? A gateway that guesses can be made to guess wrong.
                if certificate.is_some_and(|der| is_members(app, der)) {
                    return Err(ApiError::unauthenticated(
                        "the connection shows a member's certificate and the request a token; send one of the two",
                    ));
                }
                let shown = certificate.map(Thumbprint::of);
                client(parts, shown.as_ref(), app.clock().now()).await?
            }
            (false, None) => {
                return Err(ApiError::unauthenticated(
                    "send `Authorization: Bearer TOKEN` (see POST /oauth/token), or connect with a client certificate",
                ));
            }
        };
        if let Some(let_in) = parts.extensions.get::<LetIn>() {
            let_in.note(registration, &app.state());
        }
        parts.extensions.insert(principal.clone());
        Ok(principal)
    }
}

/// Whether a client certificate has the key of an enrolled member.
pub(crate) fn is_members(app: &App, der: &[u8]) -> bool {
    PresentedCertificate::parse(der).is_ok_and(|known| app.member_by_tls_spki(&known.spki).is_some())
}

/// The key of a client certificate in force (SHA-256 of its SubjectPublicKeyInfo): a member's whose membership is, or a
/// registered client's. Every other one was signed by the authority, too, but stands for nobody.
pub(crate) fn in_force(app: &App, der: &[u8]) -> Option<Digest> {
    let presented = PresentedCertificate::parse(der).ok()?;
    let is_in_force = match app.member_by_tls_spki(&presented.spki) {
        Some(member) => member.site.as_str() == presented.name && member.is_valid_at(app.clock().now()),
        None => app.is_client(&presented.name),
    };
    is_in_force.then_some(presented.spki)
}

/// The member a client certificate belongs to: its name and its key must be those of the enrolment.
fn member(app: &App, der: &[u8]) -> Result<(Principal, Registration), ApiError> {
    let presented = PresentedCertificate::parse(der)?;
    let unknown = || {
        ApiError::unknown_certificate(
            "the client certificate is not that of an enrolled member; enrol again, or ask the operator whether \
             the gateway has taken the enrolment in",
        )
    };
    let member = app.member_by_tls_spki(&presented.spki).ok_or_else(unknown)?;
    let membership = &member.certificate.membership;
    if membership.site.as_str() != presented.name {
        return Err(unknown());
    }
    let now = app.clock().now();
    if !member.is_valid_at(now) {
        return Err(ApiError::unknown_certificate(format!(
            "the membership of {} is over or was revoked; enrol again",
            membership.site
        )));
    }
    let role = match membership.role {
        MemberRole::Site => Role::Site,
        MemberRole::Evaluator => Role::Evaluator,
        MemberRole::Gateway => return Err(unknown()),
    };
    app.heard_from(&membership.site);
    let registration =
        Registration::Member { site: membership.site.clone(), identity_key: membership.identity_key };
    let principal = Principal {
        id: membership.site.to_string(),
        roles: vec![role],
        organisation: membership.legal_entity.clone(),
        member: Some(MemberPrincipal { site: membership.site.clone(), role: membership.role }),
    };
    Ok((principal, registration))
}

/// The partner client of a bearer token, over a connection that showed this certificate.
async fn client(
    parts: &Parts,
    shown: Option<&Thumbprint>,
    now: UnixSeconds,
) -> Result<(Principal, Registration), ApiError> {
    let token = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| ApiError::unauthenticated("the Authorization header is not `Bearer TOKEN`"))?;
    let tokens = parts
        .extensions
        .get::<Arc<Tokens>>()
        .ok_or_else(|| ApiError::internal("the token service is not part of this router"))?;
    let access = tokens.verify(token, shown, now)?;
    let desk = Arc::clone(tokens);
    let access = tokio::task::spawn_blocking(move || desk.still_granted(access))
        .await
        .map_err(ApiError::internal)??;
    let registration = Registration::Client { client: access.client_id.clone(), key: access.client_key };
    let principal = Principal {
        id: access.client_id,
        roles: access.roles,
        organisation: access.organisation,
        member: None,
    };
    Ok((principal, registration))
}
