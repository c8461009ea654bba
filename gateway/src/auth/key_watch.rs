//! Takes new token keys while the gateway runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::token_keys::{TokenKeys, key_files};
use super::tokens::Tokens;

/// How often the folder is looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// Loads the keys whenever their files change, until told to stop. Keys that cannot be read leave those in use.
pub async fn run(tokens: Arc<Tokens>, folder: PathBuf, mut stop: watch::Receiver<bool>) {
    let mut seen = key_files(&folder).unwrap_or_default();
    while !*stop.borrow() {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            changed = stop.changed() => if changed.is_err() { return },
        }
        let found = match key_files(&folder) {
            Ok(found) if found == seen => continue,
            Ok(found) => found,
            Err(error) => {
                tracing::error!(error = %crate::error::chain(&error), "the token keys cannot be looked at");
                continue;
            }
        };
        match TokenKeys::load(&folder) {
            Ok(keys) => {
                tokens.replace_keys(keys);
                // Only now: a file that was seen half written is read again.
                seen = found;
                tracing::info!("the keys of access tokens were changed");
            }
            Err(error) => {
                tracing::error!(error = %crate::error::chain(&error), "new token keys are not taken; the old ones stay");
            }
        }
    }
}
