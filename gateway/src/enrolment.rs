//! Enrolment: what the operator signed, kept as one JSON record for each member in the deployment's folder.
//!
//! `konclave-gateway enrol` writes the record; the running gateway appends it to the ledger.

use std::io;
use std::path::Path;

use konclave_crypto::{Digest, IdentityPublicKey, MembershipCertificate, SiteId};
use serde::{Deserialize, Serialize};

use crate::auth::clients::records;
use crate::folder::{Access, replace};

/// One enrolled member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentRecord {
    /// Its certificate under the consortium root.
    pub certificate: MembershipCertificate,
    /// The verification key of its cosignatures (C2SP signed-note vkey).
    pub witness_vkey: String,
    /// SHA-256 of the DER SubjectPublicKeyInfo of its TLS client certificate.
    pub tls_spki: Digest,
    /// Identity keys of records that this one replaced. One of them can still be in force, if the gateway did not take this
    /// record in; a revocation ends them, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<IdentityPublicKey>,
}

/// All records of a folder, by site; none if there is no folder.
///
/// # Errors
/// If the folder or a record cannot be read; the message names the file.
pub fn read_all(folder: &Path) -> io::Result<Vec<EnrolmentRecord>> {
    records(folder)?
        .iter()
        .map(|path| {
            let text = std::fs::read(path)?;
            serde_json::from_slice(&text)
                .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
        })
        .collect()
}

/// Writes a member's record, replacing an earlier one; durable on return.
///
/// # Errors
/// Those of the file system.
pub fn put(folder: &Path, record: &EnrolmentRecord) -> io::Result<()> {
    let site: &SiteId = &record.certificate.membership.site;
    let text = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
    replace(&folder.join(format!("{site}.json")), &text, Access::Public)
}
