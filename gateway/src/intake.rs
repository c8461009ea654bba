//! Taking in what the operator put into the deployment's folder: enrolments and clients become ledger entries.
//!
//! `konclave-gateway enrol` and `client add` write files; they work while the gateway is down. The running gateway
//! looks every two seconds and appends what is new.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::auth::clients::{Clients, records};
use crate::core::{App, Caller, CommandError, EnrolError, NewClient, NewMember};
use crate::enrolment;

/// How often the folders are looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// Why the folders were not taken in. The operator corrects the file that is named.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// A folder or a record cannot be read.
    #[error("the operator's records cannot be read")]
    Io(#[from] io::Error),
    /// A client could not be recorded.
    #[error("a client could not be recorded")]
    Client(#[source] CommandError),
    /// An enrolment was refused.
    #[error("the enrolment of {site} was refused")]
    Enrolment {
        /// Whose.
        site: String,
        /// Why.
        source: EnrolError,
    },
}

/// Takes in everything once.
///
/// # Errors
/// The first [`IntakeError`]; what came before it was taken in.
pub async fn take_in(app: &App) -> Result<(), IntakeError> {
    let caller = Caller::gateway("operator-records");
    let folder = app.config().folder.clone();
    for record in enrolment::read_all(&folder.enrolments())? {
        let site = record.certificate.membership.site.to_string();
        let member = NewMember {
            certificate: record.certificate,
            witness_vkey: record.witness_vkey,
            tls_spki: record.tls_spki,
        };
        app.enrol(&caller, member).await.map_err(|source| IntakeError::Enrolment { site, source })?;
    }
    for client in Clients::new(folder.clients()).all()? {
        let client = NewClient {
            client: client.client_id.to_string(),
            organisation: client.organisation,
            roles: client.roles,
            public_key: client.public_key.pem().to_owned(),
        };
        app.register_client(&caller, client).await.map_err(IntakeError::Client)?;
    }
    Ok(())
}

/// Takes in what changes, until told to stop.
pub async fn run(app: App, mut stop: watch::Receiver<bool>) {
    let mut seen = BTreeMap::new();
    while !*stop.borrow() {
        let folder = &app.config().folder;
        match stamps(&[folder.enrolments(), folder.clients()]) {
            Ok(stamps) if stamps != seen => {
                // Noted before the result is known: a record at fault is named once, not every two seconds.
                seen = stamps;
                if let Err(error) = take_in(&app).await {
                    tracing::error!(error = %crate::error::chain(&error), "the operator's records");
                }
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
