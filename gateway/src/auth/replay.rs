//! Client assertions that were used: each is good for one token, also across a restart.
//!
//! An append-only file of lines `<expiry> <client> <SHA-256 of jti>`, synced before the token is given out. Lines whose
//! time is over are dropped at the next start.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use konclave_crypto::{Digest, UnixSeconds};

use super::clients::ClientId;
use crate::folder::{Access, replace};

/// The most assertions remembered of one client; more than this within five minutes is an attack or a broken client,
/// and takes nothing from the others.
const PER_CLIENT: usize = 1000;

/// Why an assertion was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It was used before. The client makes a fresh one.
    #[error("the assertion was used before; make one with a fresh jti for every request")]
    Replayed,
    /// Too many assertions of this client are remembered. It waits for a few minutes.
    #[error("too many assertions within five minutes")]
    Full,
    /// The file cannot be written.
    #[error("the list of used assertions cannot be written")]
    Io(#[from] io::Error),
}

/// The assertions used within their time.
#[derive(Debug)]
pub struct UsedAssertions(Mutex<Used>);

#[derive(Debug)]
struct Used {
    file: File,
    by_client: ByClient,
}

/// The expiry of every assertion, by client and digest of its `jti`.
type ByClient = BTreeMap<String, BTreeMap<Digest, UnixSeconds>>;

impl UsedAssertions {
    /// Reads the file, dropping what is over, and keeps it open.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path, now: UnixSeconds) -> io::Result<Self> {
        let mut by_client = read(path)?;
        by_client.values_mut().for_each(|of_client| of_client.retain(|_, expiry| *expiry > now));
        by_client.retain(|_, of_client| !of_client.is_empty());
        let lines = by_client
            .iter()
            .flat_map(|(client, known)| known.iter().map(|(jti, expiry)| line(*expiry, client, jti)));
        replace(path, lines.collect::<String>().as_bytes(), Access::Secret)?;
        let file = OpenOptions::new().append(true).mode(0o600).open(path)?;
        Ok(Self(Mutex::new(Used { file, by_client })))
    }

    /// Uses an assertion: durable on return. Blocks for one sync of the disk.
    ///
    /// # Errors
    /// [`ReplayError`]; the assertion gives no token then.
    pub fn take(
        &self,
        client: &ClientId,
        jti: &str,
        expiry: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<(), ReplayError> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Used { file, by_client } = &mut *used;
        let jti = Digest::of(jti.as_bytes());
        let known = by_client.entry(client.to_string()).or_default();
        if known.get(&jti).is_some_and(|expiry| *expiry > now) {
            return Err(ReplayError::Replayed);
        }
        if known.len() >= PER_CLIENT {
            known.retain(|_, expiry| *expiry > now);
            if known.len() >= PER_CLIENT {
                return Err(ReplayError::Full);
            }
        }
        file.write_all(line(expiry, client.as_str(), &jti).as_bytes())?;
        file.sync_data()?;
        known.insert(jti, expiry);
        Ok(())
    }
}

/// A line between two line ends: what a write that failed left of a line before it does not swallow this one.
fn line(expiry: UnixSeconds, client: &str, jti: &Digest) -> String {
    format!("\n{} {client} {jti}\n", expiry.get())
}

/// A line that a power cut or a full disk tore apart belongs to a token that was never given out.
fn read(path: &Path) -> io::Result<ByClient> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut used = ByClient::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        let mut fields = std::str::from_utf8(&line).unwrap_or_default().split(' ');
        let expiry = fields.next().and_then(|text| text.parse().ok());
        let client = fields.next();
        let jti = fields.next().and_then(|text| text.parse().ok());
        if let (Some(expiry), Some(client), Some(jti)) = (expiry, client, jti) {
            used.entry(client.to_owned()).or_default().insert(jti, UnixSeconds(expiry));
        }
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_good_once_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("used.log");
        let (now, expiry) = (UnixSeconds(100), UnixSeconds(400));
        let acme: ClientId = "acme".parse().unwrap();
        let used = UsedAssertions::open(&path, now).unwrap();
        used.take(&acme, "j 1\n", expiry, now).unwrap();
        assert!(matches!(used.take(&acme, "j 1\n", expiry, now), Err(ReplayError::Replayed)));
        used.take(&"other".parse().unwrap(), "j 1\n", expiry, now).unwrap();
        drop(used);
        let used = UsedAssertions::open(&path, now).unwrap();
        assert!(matches!(used.take(&acme, "j 1\n", expiry, now), Err(ReplayError::Replayed)));
        used.take(&acme, "j2", expiry, now).unwrap();
    }

    #[test]
    fn one_client_cannot_use_up_what_is_remembered_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let (now, expiry) = (UnixSeconds(100), UnixSeconds(400));
        let used = UsedAssertions::open(&folder.path().join("used.log"), now).unwrap();
        let busy: ClientId = "busy".parse().unwrap();
        {
            let mut inner = used.0.lock().unwrap();
            let known = inner.by_client.entry(busy.to_string()).or_default();
            known.extend((0..PER_CLIENT).map(|n| (Digest::of(&n.to_be_bytes()), expiry)));
        }
        assert!(matches!(used.take(&busy, "more", expiry, now), Err(ReplayError::Full)));
        used.take(&"other".parse().unwrap(), "more", expiry, now).unwrap();
        used.take(&busy, "more", UnixSeconds(900), UnixSeconds(401)).unwrap();
    }

    #[test]
    fn a_line_after_a_torn_one_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("used.log");
        let (now, expiry) = (UnixSeconds(100), UnixSeconds(400));
        let acme: ClientId = "acme".parse().unwrap();
        let used = UsedAssertions::open(&path, now).unwrap();
        // What a full disk leaves of a line.
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"\n400 acme 12").unwrap();
        used.take(&acme, "a", expiry, now).unwrap();
        drop(used);
        let used = UsedAssertions::open(&path, now).unwrap();
        assert!(matches!(used.take(&acme, "a", expiry, now), Err(ReplayError::Replayed)));
    }

    #[test]
    fn what_is_over_is_forgotten_and_a_torn_line_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("used.log");
        let acme: ClientId = "acme".parse().unwrap();
        let used = UsedAssertions::open(&path, UnixSeconds(100)).unwrap();
        used.take(&acme, "a", UnixSeconds(200), UnixSeconds(100)).unwrap();
        drop(used);
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"900 acme 12");
        std::fs::write(&path, text).unwrap();
        let used = UsedAssertions::open(&path, UnixSeconds(300)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        used.take(&acme, "a", UnixSeconds(600), UnixSeconds(300)).unwrap();
    }
}
