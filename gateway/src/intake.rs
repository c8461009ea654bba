//! Taking in what the operator put into the deployment's folder: enrolments and clients become ledger entries.
//!
//! `konclave-gateway enrol` and `client add` write files; they work while the gateway is down. The running gateway
//! looks every two seconds and appends what is new. A record at fault holds up neither the others nor the gateway: it
//! is named in the log, and tried again until it is taken or gone.
//!
//! A contact whose client's record was replaced or removed before it was taken in is erased here: no entry carries its
//! commitment, so that nobody could ask for its erasure.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use konclave_ledger::Hash;
use konclave_ledger::openings::Openings;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::auth::clients::{Client, Clients, records};
use crate::core::{App, Caller, EnrolError, NewClient, NewMember, RegisterError, RevokeError};
use crate::enrolment::EnrolmentRecord;
use crate::revocation::{self, Revocation};

/// How often the folders are looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// Why one of the operator's records was not taken in. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// A folder cannot be read.
    #[error("the operator's records in {} cannot be listed; check the folder's access rights", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A record cannot be read.
    #[error("{} cannot be read; write it again with `konclave-gateway`, or remove it", .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A client could not be recorded.
    #[error("the client of {} could not be recorded", .path.display())]
    Client {
        /// The file.
        path: PathBuf,
        /// Why.
        source: RegisterError,
    },
    /// Contacts that no record names could not be erased.
    #[error("contacts in {} that no client's record names could not be erased; remove them by hand", .path.display())]
    Contacts {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A revocation could not be recorded.
    #[error("the revocation in {} ends nothing", .path.display())]
    Revocation {
        /// The file.
        path: PathBuf,
        /// Why.
        source: RevokeError,
    },
    /// The client was revoked.
    #[error("the key of the client in {} was revoked; register it with another one", .path.display())]
    Revoked {
        /// The file.
        path: PathBuf,
    },
    /// An enrolment was refused.
    #[error("the enrolment in {} was refused; enrol the member anew, or remove the file", .path.display())]
    Enrolment {
        /// The file.
        path: PathBuf,
        /// Why.
        source: EnrolError,
    },
}

/// Takes in everything that can be taken in; what could not, and why.
pub async fn take_in(app: &App) -> Vec<IntakeError> {
    let folder = &app.config().folder;
    let mut left = Vec::new();
    // First: what was revoked must not come in again on the way.
    for path in list(&folder.revocations(), &mut left) {
        left.extend(revoke(app, path).await.err());
    }
    for path in list(&folder.enrolments(), &mut left) {
        left.extend(enrol(app, path).await.err());
    }
    for path in list(&folder.clients(), &mut left) {
        left.extend(register(app, path).await.err());
    }
    let path = folder.openings();
    left.extend(forget_contacts(app).map_err(|source| IntakeError::Contacts { path, source }).err());
    left
}

/// Erases the openings that neither an entry nor a client's record names. Whoever is about to write such a record has the
/// lock; then this is for the next look, which the new record brings about.
fn forget_contacts(app: &App) -> io::Result<()> {
    let folder = &app.config().folder;
    let openings = Openings::at(&folder.openings());
    let Some(_lock) = openings.try_lock()? else { return Ok(()) };
    // One that cannot be read may name any of them; it is told as a fault of its own.
    let Ok(clients) = Clients::new(folder.clients()).all() else { return Ok(()) };
    let named: BTreeSet<Hash> = clients.iter().filter_map(|client| client.contact).collect();
    for commitment in openings.commitments()?.difference(&named) {
        if app.state().commitments.contains_key(commitment) {
            continue;
        }
        openings.erase(commitment).map_err(io::Error::other)?;
        tracing::info!(%commitment, "a contact that was never registered is erased");
    }
    Ok(())
}

fn list(folder: &Path, left: &mut Vec<IntakeError>) -> Vec<PathBuf> {
    records(folder).unwrap_or_else(|source| {
        left.push(IntakeError::Folder { path: folder.to_owned(), source });
        Vec::new()
    })
}

async fn enrol(app: &App, path: PathBuf) -> Result<(), IntakeError> {
    let record: EnrolmentRecord = read(&path)?;
    let membership = &record.certificate.membership;
    let folder = app.config().folder.revocations();
    // Also one that ended a key before this gateway knew it.
    let revoked =
        revocation::read_all(&folder).map_err(|source| IntakeError::Folder { path: folder, source })?;
    if revoked.iter().any(|known| known.of.identity_keys().contains(&membership.identity_key)) {
        let source = EnrolError::Revoked { site: membership.site.clone() };
        return Err(IntakeError::Enrolment { path, source });
    }
    let member = NewMember {
        certificate: record.certificate,
        witness_vkey: record.witness_vkey,
        tls_spki: record.tls_spki,
    };
    let enrolled = app.enrol(&Caller::gateway("operator-records"), member).await;
    enrolled.map_err(|source| IntakeError::Enrolment { path, source })
}

async fn revoke(app: &App, path: PathBuf) -> Result<(), IntakeError> {
    let record: Revocation = read(&path)?;
    let revoked = app.revoke(&Caller::gateway("operator-records"), &record).await;
    revoked.map_err(|source| IntakeError::Revocation { path, source })
}

async fn register(app: &App, path: PathBuf) -> Result<(), IntakeError> {
    let record: Client = read(&path)?;
    let named = (record.client_id.to_string(), record.public_key.pem().to_owned());
    if app.state().revoked_clients.contains(&named) {
        // `client revoke` was cut off before it removed the record, or a power cut brought it back: tokens follow from it.
        std::fs::remove_file(&path).map_err(|source| IntakeError::Record { path: path.clone(), source })?;
        return Err(IntakeError::Revoked { path });
    }
    let client = NewClient {
        client: record.client_id.to_string(),
        organisation: record.organisation,
        roles: record.roles,
        public_key: record.public_key.pem().to_owned(),
        contact: record.contact,
        certificate_bound: record.certificate_bound,
    };
    let registered = app.register_client(&Caller::gateway("operator-records"), client).await;
    registered.map_err(|source| IntakeError::Client { path, source })
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, IntakeError> {
    let parsed = std::fs::read(path).and_then(|text| serde_json::from_slice(&text).map_err(io::Error::other));
    parsed.map_err(|source| IntakeError::Record { path: path.to_owned(), source })
}

/// Takes in what changes, until told to stop; what could not be taken in is tried again each time, and told once.
pub async fn run(app: App, mut stop: watch::Receiver<bool>) {
    let mut seen = BTreeMap::new();
    let mut told = BTreeSet::new();
    while !*stop.borrow() {
        let folder = &app.config().folder;
        match stamps(&[folder.enrolments(), folder.clients(), folder.revocations()]) {
            Ok(stamps) if stamps != seen || !told.is_empty() => {
                let left: BTreeSet<String> =
                    take_in(&app).await.iter().map(|error| crate::error::chain(error).to_string()).collect();
                for error in left.difference(&told) {
                    tracing::error!(%error, "an operator's record is not taken in; it is tried again");
                }
                (seen, told) = (stamps, left);
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the operator's folders cannot be read"),
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
}

fn stamps(folders: &[PathBuf]) -> io::Result<BTreeMap<PathBuf, (SystemTime, u64)>> {
    let mut stamps = BTreeMap::new();
    for path in
        folders.iter().map(|folder| records(Path::new(folder))).collect::<io::Result<Vec<_>>>()?.concat()
    {
        let metadata = std::fs::metadata(&path)?;
        stamps.insert(path, (metadata.modified()?, metadata.len()));
    }
    Ok(stamps)
}
