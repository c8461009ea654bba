//! Removing uploads that nobody goes on with.

use std::time::Duration;

use tokio::sync::watch;

use crate::core::App;

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(60 * 60);

/// Removes what has expired, until told to stop. What cannot be removed is tried again.
pub(crate) async fn run(app: App, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            changed = stop.changed() => if changed.is_err() { return } else { continue },
        }
        let (uploads, now) = (app.uploads().clone(), app.clock().now());
        match tokio::task::spawn_blocking(move || uploads.sweep(now)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "expired uploads could not be removed"),
            Err(error) => tracing::error!(%error, "the removal of expired uploads failed"),
        }
    }
}
