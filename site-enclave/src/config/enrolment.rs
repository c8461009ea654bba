//! What the site was enrolled with: its certificates, and the three keys it pins.
//!
//! The consortium root, the gateway's TLS CA and the ledger's key are taken once, at `join`, where a person compares
//! fingerprints; from then on nothing that the gateway says can change them.

use std::path::{Path, PathBuf};

use konclave_crypto::{
    ConsortiumRoot, MemberRole, MembershipCertificate, MembershipError, SiteId, UnixSeconds,
};
use konclave_ledger::note::{SignatureType, VerifierKey};
use konclave_openapi::sites::Enrolment;

use super::tls_certificate::TlsCertificate;
use crate::client::TlsMaterial;
use crate::keystore::{Disk, DiskError, SiteKeys};

/// A checked enrolment.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// The membership certificate.
    pub certificate: MembershipCertificate,
    /// The pinned consortium root.
    pub root: ConsortiumRoot,
    /// The pinned key of the ledger.
    pub ledger_key: VerifierKey,
    /// The pinned CA of the gateway's TLS certificate, PEM.
    pub gateway_ca: String,
    /// The TLS client certificate, PEM.
    pub tls_certificate: String,
    /// Where the gateway listens.
    pub gateway_url: String,
}

/// Why an enrolment is not this site's, or not usable.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// The file cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is none.
    #[error(
        "{0} is missing: run `konclave-site join --dir DIR --enrolment FILE` with the file that the operator sent back"
    )]
    Missing(PathBuf),
    /// Not an enrolment.
    #[error("{path} is no enrolment: {source}")]
    Layout {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// The certificate does not hold under the root in the same file, or not now.
    #[error("the membership certificate does not hold: {0}")]
    Membership(#[from] MembershipError),
    /// Something in it belongs to another site or another key.
    #[error("the enrolment's {field} is not this site's: {detail}; was the file made from another request?")]
    NotOurs {
        /// What.
        field: &'static str,
        /// How it differs.
        detail: String,
    },
    /// A key or certificate in it cannot be read.
    #[error("the enrolment's {field} cannot be read: {detail}")]
    Malformed {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

/// What the site asked to be enrolled as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its pseudonym.
    pub site: SiteId,
    /// The legal entity behind it.
    pub legal_entity: String,
    /// Its role.
    pub role: MemberRole,
}

impl Enrolled {
    /// Reads and checks a stored enrolment at every start.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub fn read(disk: &Disk, path: &Path, keys: &SiteKeys, now: UnixSeconds) -> Result<Self, EnrolmentError> {
        let bytes = disk.read(path)?.ok_or_else(|| EnrolmentError::Missing(path.to_path_buf()))?;
        let enrolment: Enrolment = serde_json::from_slice(&bytes)
            .map_err(|source| EnrolmentError::Layout { path: path.to_path_buf(), source })?;
        Self::check(enrolment, keys, None, now)
    }

    /// Checks that an enrolment is for these keys, and for what was asked.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub fn check(
        enrolment: Enrolment,
        keys: &SiteKeys,
        asked: Option<&Asked>,
        now: UnixSeconds,
    ) -> Result<Self, EnrolmentError> {
        let not_ours = |field, detail: String| Err(EnrolmentError::NotOurs { field, detail });
        let root = ConsortiumRoot(enrolment.consortium_root);
        root.verify(&enrolment.certificate, now)?;
        let member = &enrolment.certificate.membership;
        if member.identity_key != keys.identity.public() {
            let detail = format!("{}, this site has {}", member.identity_key, keys.identity.public());
            return not_ours("identity key", detail);
        }
        if let Some(asked) = asked
            && (&member.site, &member.legal_entity, member.role)
                != (&asked.site, &asked.legal_entity, asked.role)
        {
            let detail = format!(
                "{} of {} as {}, asked for was {} of {} as {}",
                member.site,
                member.legal_entity,
                member.role.as_str(),
                asked.site,
                asked.legal_entity,
                asked.role.as_str()
            );
            return not_ours("membership", detail);
        }
        let own_witness = keys.witness.verifier_key().to_string();
        if member.witness_vkey != own_witness {
            return not_ours("witness key", format!("{}, this site has {own_witness}", member.witness_vkey));
        }
        check_tls(&enrolment.tls_certificate, keys, &member.site)?;
        let ledger_key: VerifierKey = enrolment
            .ledger_key
            .parse()
            .map_err(|error| EnrolmentError::Malformed { field: "ledger key", detail: format!("{error}") })?;
        if ledger_key.signature_type() != SignatureType::Log {
            let detail = "it is a witness's key, not a log's".to_owned();
            return Err(EnrolmentError::Malformed { field: "ledger key", detail });
        }
        Ok(Self {
            root,
            ledger_key,
            certificate: enrolment.certificate,
            gateway_ca: enrolment.tls_ca,
            tls_certificate: enrolment.tls_certificate,
            gateway_url: enrolment.gateway_url,
        })
    }

    /// The site's pseudonym.
    #[must_use]
    pub fn site(&self) -> &SiteId {
        &self.certificate.membership.site
    }

    /// What a connection to the gateway needs.
    ///
    /// # Errors
    /// [`EnrolmentError::NotOurs`] if none of the keys is the certificate's.
    pub fn tls<'a>(&'a self, keys: &'a SiteKeys) -> Result<TlsMaterial<'a>, EnrolmentError> {
        let field = "TLS certificate";
        let certificate = TlsCertificate::parse(&self.tls_certificate)
            .map_err(|detail| EnrolmentError::Malformed { field, detail })?;
        let key = keys.tls.with_spki(&certificate.spki).ok_or_else(|| EnrolmentError::NotOurs {
            field,
            detail: "it is over another key than keys/tls.key".to_owned(),
        })?;
        Ok(TlsMaterial { gateway_ca: &self.gateway_ca, certificate: &self.tls_certificate, key: key.pem() })
    }
}

/// Checks that the TLS certificate is over the site's own key and name.
fn check_tls(pem: &str, keys: &SiteKeys, site: &SiteId) -> Result<(), EnrolmentError> {
    let certificate = TlsCertificate::parse(pem)
        .map_err(|detail| EnrolmentError::Malformed { field: "TLS certificate", detail })?;
    if keys.tls.with_spki(&certificate.spki).is_none() {
        let detail = "it is over another key than keys/tls.key".to_owned();
        return Err(EnrolmentError::NotOurs { field: "TLS certificate", detail });
    }
    if certificate.name.as_deref() != Some(site.as_str()) {
        let name = certificate.name.as_deref().unwrap_or("missing or not the only one");
        let detail = format!("its common name is {name}, not {site}");
        return Err(EnrolmentError::NotOurs { field: "TLS certificate", detail });
    }
    Ok(())
}
