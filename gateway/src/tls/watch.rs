//! Takes new TLS files while the gateway runs, and renews its own certificate in good time.
//!
//! New connections get what is new; open ones, and the rounds that go over them, stay as they are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum_server::tls_rustls::RustlsConfig;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::renewal::{RenewalError, Shown, renew_server};
use super::server_config;
use crate::error::chain;
use crate::folder::Folder;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// How often the certificate's age is looked at, in periods: an hour.
const AGE: u32 = 1800;

/// Looks at the files until told to stop. Files that cannot be used leave those in use.
pub async fn run(tls: RustlsConfig, folder: Folder, mut stop: watch::Receiver<bool>) {
    let mut seen = stamps(&folder);
    for look in 0_u32.. {
        if *stop.borrow() {
            return;
        }
        if look.is_multiple_of(AGE) {
            renew_if_due(&folder);
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            changed = stop.changed() => if changed.is_err() { return },
        }
        let found = stamps(&folder);
        if found == seen {
            continue;
        }
        match server_config(&folder) {
            Ok(config) => {
                tls.reload_from_config(Arc::new(config));
                // Only now: files that were seen half written are read again.
                seen = found;
                tracing::info!("the gateway shows another TLS certificate from now on");
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "new TLS files are not taken; the old ones stay in use");
            }
        }
    }
}

/// Renews the gateway's certificate once half of its life is over.
fn renew_if_due(folder: &Folder) {
    let now = OffsetDateTime::now_utc();
    let due = Shown::read(folder).map(|shown| shown.is_half_over(now)).map_err(RenewalError::from);
    match due.and_then(|due| if due { renew_server(folder, &[], now).map(Some) } else { Ok(None) }) {
        Ok(None) => {}
        Ok(Some(shown)) => {
            tracing::info!(not_after = %shown.not_after, "the gateway's TLS certificate is renewed")
        }
        Err(error) => {
            tracing::error!(error = %chain(&error), "the gateway's TLS certificate is due and was not renewed; `konclave-gateway tls renew` does it where the authority's key is");
        }
    }
}

/// When the files changed last. One that is not there has no time.
fn stamps(folder: &Folder) -> BTreeMap<PathBuf, Option<(SystemTime, u64)>> {
    let paths = [folder.tls_certificate(), folder.tls_key(), folder.tls_ca()];
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    paths.into_iter().map(|path| (path.clone(), stamp(&path))).collect()
}
