//! `site revoke` and `client revoke`: keys that are not believed any more.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use konclave_crypto::{IdentityPublicKey, SiteId};

use super::Dir;
use crate::auth::clients::{ClientId, Clients};
use crate::config::{Config, ConfigError, Overrides};
use crate::enrolment::EnrolmentRecord;
use crate::folder::Folder;
use crate::revocation::{self, Revocation, Revoked};

/// The most bytes of a reason.
const MAX_REASON_BYTES: usize = 500;

/// Arguments of `site revoke`.
#[derive(Debug, Args)]
pub struct Site {
    #[command(flatten)]
    dir: Dir,
    /// The site or evaluator
    #[arg(long, value_name = "ID")]
    site: SiteId,
    /// Its identity key, where there is no record of it here; the ledger and GET /v1/sites/ID name it
    #[arg(long, value_name = "HEX")]
    identity_key: Option<IdentityPublicKey>,
    /// Why, for the ledger: everybody reads it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Arguments of `client revoke`.
#[derive(Debug, Args)]
pub struct Client {
    #[command(flatten)]
    dir: Dir,
    /// The client
    #[arg(long, value_name = "ID")]
    client_id: ClientId,
    /// Why, for the ledger
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Why nothing was revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// There is no such member or client.
    #[error("no {kind} `{id}` is {known}; see {}", .folder.display())]
    Unknown {
        /// A site or a client.
        kind: &'static str,
        /// Its id.
        id: String,
        /// What it would be.
        known: &'static str,
        /// Where the known ones are.
        folder: PathBuf,
    },
    /// The reason is no reason.
    #[error("--reason must be 1 to {MAX_REASON_BYTES} bytes of text without line breaks")]
    Reason,
    /// A file cannot be read, written or removed.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Site {
    /// Lays the revocation out for the gateway; the member's enrolment record goes.
    ///
    /// # Errors
    /// [`RevokeError`].
    pub fn run(&self, out: &mut impl Write) -> Result<(), RevokeError> {
        let (folder, reason) = begin(&self.dir, &self.reason)?;
        let path = folder.enrolments().join(format!("{}.json", self.site));
        let record: Option<EnrolmentRecord> = match std::fs::read(&path) {
            Ok(text) => Some(at(&path, serde_json::from_slice(&text).map_err(io::Error::other))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(RevokeError::File { path, source }),
        };
        let mut keys: Vec<IdentityPublicKey> = self.identity_key.into_iter().collect();
        keys.extend(record.iter().map(|record| record.certificate.membership.identity_key));
        keys.extend(record.iter().flat_map(|record| &record.replaces));
        let Some((identity_key, others)) = keys.split_first() else {
            return Err(unknown("site", &self.site, "enrolled", folder.enrolments()));
        };
        let of =
            Revoked::Site { site: self.site.clone(), identity_key: *identity_key, others: others.to_vec() };
        lay_out(&folder, &Revocation { of, reason })?;
        if record.is_some() {
            at(&path, std::fs::remove_file(&path))?;
        }
        writeln!(
            out,
            "{0} is revoked: a running gateway records it within two seconds and takes nothing of it from then on, not \
             even what it is just sending.\nIt comes back with other keys only: konclave-site init in a new folder, then \
             konclave-gateway enrol. Rounds that wait for it end at their deadlines.",
            self.site
        )?;
        Ok(())
    }
}

impl Client {
    /// Lays the revocation out for the gateway; the client's record goes, and with it its tokens.
    ///
    /// # Errors
    /// [`RevokeError`].
    pub fn run(&self, out: &mut impl Write) -> Result<(), RevokeError> {
        let (folder, reason) = begin(&self.dir, &self.reason)?;
        let clients = folder.clients();
        let known = at(&clients, Clients::new(&clients).find(&self.client_id))?;
        let Some(known) = known else {
            return Err(unknown("client", self.client_id.as_str(), "registered", clients));
        };
        let of = Revoked::Client { client: self.client_id.clone(), public_key: known.public_key };
        let laid_out = lay_out(&folder, &Revocation { of, reason });
        let path = clients.join(format!("{}.json", self.client_id.as_str()));
        // On a full disk nothing can be laid out, but the tokens can end: it may be this client that filled it.
        if laid_out.is_ok() || is_full(&laid_out) {
            at(&path, std::fs::remove_file(&path))?;
        }
        laid_out?;
        writeln!(
            out,
            "{0} is revoked: its tokens are refused from now on, and a running gateway records it within two seconds. It \
             comes back with another key only: konclave-gateway client add.",
            self.client_id.as_str()
        )?;
        Ok(())
    }
}

fn begin(dir: &Dir, reason: &str) -> Result<(Folder, String), RevokeError> {
    let config = Config::load(dir.folder(), &Overrides::default())?;
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > MAX_REASON_BYTES || reason.chars().any(char::is_control) {
        return Err(RevokeError::Reason);
    }
    Ok((config.folder, reason.to_owned()))
}

fn lay_out(folder: &Folder, revocation: &Revocation) -> Result<(), RevokeError> {
    let path = folder.revocations();
    at(&path, crate::folder::make_folder(&path).and_then(|()| revocation::put(&path, revocation)))
}

fn is_full(done: &Result<(), RevokeError>) -> bool {
    matches!(done, Err(RevokeError::File { source, .. }) if source.kind() == io::ErrorKind::StorageFull)
}

fn unknown(kind: &'static str, id: impl ToString, known: &'static str, folder: PathBuf) -> RevokeError {
    RevokeError::Unknown { kind, id: id.to_string(), known, folder }
}

fn at<T>(path: &Path, done: io::Result<T>) -> Result<T, RevokeError> {
    done.map_err(|source| RevokeError::File { path: path.to_owned(), source })
}
