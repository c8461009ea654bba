//! Renewal of the TLS certificate: at the half of its life, or when the site's people ask for it (`konclave-site renew`).
//!
//! Requests under way keep the connection they have; the gateway takes the old certificate for seven days more. A kill at
//! any moment leaves a site that starts and goes on (see [`TlsKeys`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use konclave_openapi::sites::Enrolment;
use tokio::time::Instant;

use super::member::{Member, SiteError};
use crate::client::{ClientError, TlsMaterial};
use crate::clock;
use crate::config::{Asked, Enrolled, EnrolmentError, TlsCertificate, enrolment_request, renewal_request};
use crate::keystore::{DiskError, KeyError, SiteKeys, TlsKeys};

/// How often is looked whether the site's people ask for it.
const LOOK: Duration = Duration::from_secs(1);
/// How often the certificate's age is looked at, and the first pause after a failure.
const AGE: Duration = Duration::from_secs(60);
/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Why a renewal failed. The old certificate stays in use, and it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The gateway could not be reached or refused.
    #[error(transparent)]
    Gateway(#[from] ClientError),
    /// A key could not be made, read or stored.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The stored enrolment does not hold, or what came back is not this site's.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// The stored certificate cannot be read.
    #[error("the TLS certificate in {path} cannot be read: {detail}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        detail: String,
    },
    /// A file cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Renews the certificate whenever it is time, as long as the service runs.
pub(super) async fn keep_renewing(member: Arc<Member>) -> Result<(), SiteError> {
    let mut next_look_at_age = Instant::now();
    let mut failures = 0_u32;
    loop {
        let asked = member.folder.renewal_wish().is_file();
        if asked || Instant::now() >= next_look_at_age {
            match renew_if_due(&member, asked).await {
                Ok(renewed) => {
                    if let Some(certificate) = renewed {
                        let until = clock::rfc3339(certificate.not_after);
                        tracing::info!("the TLS certificate is renewed, until {until}");
                    }
                    failures = 0;
                    next_look_at_age = Instant::now() + AGE;
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    tell(&member, &error);
                    let pause = AGE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
                    next_look_at_age = Instant::now() + pause;
                    // A wish is tried again, too, but not every second.
                    if asked {
                        tokio::time::sleep(AGE / 4).await;
                    }
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn tell(member: &Member, error: &RenewalError) {
    let nearly_over = stored(member).is_ok_and(|(_, certificate)| certificate.is_nearly_over(clock::now()));
    if nearly_over {
        tracing::error!("the TLS certificate is nearly over and was not renewed: {error}");
    } else {
        tracing::warn!("the TLS certificate was not renewed yet: {error}");
    }
}

async fn renew_if_due(member: &Member, asked: bool) -> Result<Option<TlsCertificate>, RenewalError> {
    let (_, certificate) = stored(member)?;
    if !asked && !certificate.is_half_over(clock::now()) {
        return Ok(None);
    }
    renew(member).await.map(Some)
}

/// Renews the certificate now; what holds from then on.
///
/// # Errors
/// [`RenewalError`]; the old certificate stays in use.
pub async fn renew(member: &Member) -> Result<TlsCertificate, RenewalError> {
    let (mut enrolment, old) = stored(member)?;
    let site = member.site();
    // An earlier renewal may have been cut off before its end: its key is in force, and no longer the next one.
    TlsKeys::settle(&member.disk, member.folder.path(), &old.spki)?;
    let next = TlsKeys::next_or_draw(&member.disk, member.folder.path())?;
    let request = renewal_request(site, old.key_digest(), &member.keys, &next)?;
    enrolment.tls_certificate = member.client.renew_certificate(site, &request).await?.tls_certificate;
    let keys = SiteKeys::read(&member.disk, member.folder.path(), site)?;
    let enrolled = Enrolled::check(enrolment.clone(), &keys, None, clock::now())?;
    let renewed = parsed(member, &enrolled.tls_certificate)?;
    if renewed.spki != next.spki()? {
        let detail = "it is not over the key that was asked for".to_owned();
        return Err(EnrolmentError::NotOurs { field: "TLS certificate", detail }.into());
    }
    member.disk.write(&member.folder.enrolment(), &serde_json::to_vec_pretty(&enrolment)?)?;
    TlsKeys::settle(&member.disk, member.folder.path(), &renewed.spki)?;
    member.client.show(&TlsMaterial {
        gateway_ca: &enrolled.gateway_ca,
        certificate: &enrolled.tls_certificate,
        key: next.pem(),
    })?;
    // The operator enrols anew with this file once the membership itself runs out.
    let membership = enrolled.certificate.membership;
    let asked = Asked { site: membership.site, legal_entity: membership.legal_entity, role: membership.role };
    let request = enrolment_request(&asked, &keys, &next)?;
    member.disk.write(&member.folder.enrolment_request(), &serde_json::to_vec_pretty(&request)?)?;
    member.disk.erase(&member.folder.renewal_wish())?;
    Ok(renewed)
}

/// What the site was enrolled with, and the certificate in it.
fn stored(member: &Member) -> Result<(Enrolment, TlsCertificate), RenewalError> {
    let path = member.folder.enrolment();
    let bytes = member.disk.read(&path)?.ok_or_else(|| EnrolmentError::Missing(path.clone()))?;
    let enrolment: Enrolment =
        serde_json::from_slice(&bytes).map_err(|source| EnrolmentError::Layout { path, source })?;
    let certificate = parsed(member, &enrolment.tls_certificate)?;
    Ok((enrolment, certificate))
}

fn parsed(member: &Member, pem: &str) -> Result<TlsCertificate, RenewalError> {
    TlsCertificate::parse(pem)
        .map_err(|detail| RenewalError::Certificate { path: member.folder.enrolment(), detail })
}
