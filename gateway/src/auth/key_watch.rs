//! Takes new token keys while the gateway runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::token_keys::{TokenKeys, TokenKeysError, key_files};
use super::tokens::Tokens;

/// How often the folder is looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// Loads the keys whenever their files change, until told to stop. Keys that cannot be read leave those in use.
pub async fn run(tokens: Arc<Tokens>, folder: PathBuf, mut stop: watch::Receiver<bool>) {
    // The keys in use were loaded before the ledger was verified, which takes a while: they may be others by now.
    let mut seen = Vec::new();
    while !*stop.borrow() {
        if let Err(error) = look(&tokens, &folder, &mut seen) {
            tracing::error!(error = %crate::error::chain(&error), "new token keys are not taken; the old ones stay");
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
}

fn look(tokens: &Tokens, folder: &Path, seen: &mut Vec<PathBuf>) -> Result<(), TokenKeysError> {
    let found = key_files(folder)?;
    if found == *seen {
        return Ok(());
    }
    if tokens.replace_keys(TokenKeys::load(folder)?) {
        tracing::info!("the keys of access tokens were changed");
    }
    // Only now: a file that could not be read is read again.
    *seen = found;
    Ok(())
}

#[cfg(test)]
mod tests {
    use konclave_crypto::UnixSeconds;
    use zeroize::Zeroizing;

    use super::super::clients::Clients;
    use super::super::replay::UsedAssertions;
    use super::*;
    use crate::folder::write_seed;

    #[tokio::test]
    async fn keys_that_were_changed_before_the_first_look_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let key = |number: u8| {
            let path = folder.path().join(format!("token-{number}.key"));
            write_seed(&path, &Zeroizing::new([number; 32])).unwrap();
            path
        };
        let stolen = [key(1), key(2)];
        let keys = TokenKeys::load(folder.path()).unwrap();
        for old in stolen {
            std::fs::remove_file(old).unwrap();
        }
        key(3);
        key(4);
        let used = UsedAssertions::open(&folder.path().join("used.log"), UnixSeconds(1)).unwrap();
        let clients = Clients::new(folder.path());
        let tokens = Arc::new(Tokens::new("https://localhost".into(), keys, clients, used));
        let kids = || tokens.published().keys.into_iter().map(|key| key.kid).collect::<Vec<_>>();
        let before = kids();
        let (stop, stopped) = watch::channel(false);
        let watching = tokio::spawn(run(Arc::clone(&tokens), folder.path().to_owned(), stopped));
        for _ in 0..100 {
            if kids() != before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        stop.send_replace(true);
        watching.await.unwrap();
        let now = kids();
        assert!(before.iter().all(|stolen| !now.contains(stolen)), "no stolen key is left");
        assert_eq!(now.len(), 2);
    }
}
