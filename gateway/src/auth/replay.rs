//! Client assertions that were used: each is good for one token, also across a restart.
//!
//! A file of lines `<expiry> <client> <SHA-256 of jti>`, appended and synced before the token is given out. Lines whose time
//! is over are dropped at a start, and when the file has grown beyond a bound.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use konclave_crypto::{Digest, UnixSeconds};

use super::clients::ClientId;
use crate::folder::{Access, replace};

/// The most assertions remembered of one client; more than this within five minutes is an attack or a broken client,
/// and takes nothing from the others.
const PER_CLIENT: usize = 1000;

/// The file is written anew once it has this many bytes, or twice those of the lines whose time was not over then.
const REWRITTEN_AT: u64 = 8 << 20;

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
    path: PathBuf,
    file: File,
    /// How many bytes the file has.
    bytes: u64,
    /// With how many it is written anew.
    rewritten_at: u64,
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
        Ok(Self(Mutex::new(Used::write(path, read(path, now)?)?)))
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
        if used.bytes >= used.rewritten_at {
            used.drop_what_is_over(now)?;
        }
        let Used { file, bytes, by_client, .. } = &mut *used;
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
        let line = line(expiry, client.as_str(), &jti);
        *bytes += length(&line);
        file.write_all(line.as_bytes())?;
        file.sync_data()?;
        known.insert(jti, expiry);
        Ok(())
    }
}

impl Used {
    /// Writes the file with these lines alone, durably, and opens it for more.
    fn write(path: &Path, by_client: ByClient) -> io::Result<Self> {
        let lines = by_client
            .iter()
            .flat_map(|(client, known)| known.iter().map(|(jti, expiry)| line(*expiry, client, jti)))
            .collect::<String>();
        replace(path, lines.as_bytes(), Access::Secret)?;
        let file = OpenOptions::new().append(true).mode(0o600).open(path)?;
        let bytes = length(&lines);
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
            rewritten_at: REWRITTEN_AT.max(bytes.saturating_mul(2)),
            by_client,
        })
    }

    /// On an error nothing is forgotten, and the next assertion tries again: the file that is open may have lost its name.
    fn drop_what_is_over(&mut self, now: UnixSeconds) -> io::Result<()> {
        let mut by_client = self.by_client.clone();
        by_client.values_mut().for_each(|of_client| of_client.retain(|_, expiry| *expiry > now));
        by_client.retain(|_, of_client| !of_client.is_empty());
        *self = Self::write(&self.path, by_client)?;
        Ok(())
    }
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// A line between two line ends: what a write that failed left of a line before it does not swallow this one.
fn line(expiry: UnixSeconds, client: &str, jti: &Digest) -> String {
    format!("\n{} {client} {jti}\n", expiry.get())
}

/// What is not over. A line that a power cut or a full disk tore apart belongs to a token that was never given out.
fn read(path: &Path, now: UnixSeconds) -> io::Result<ByClient> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut used = ByClient::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        let mut fields = std::str::from_utf8(&line).unwrap_or_default().split(' ');
        let expiry = fields.next().and_then(|text| text.parse().ok()).map(UnixSeconds);
        let client = fields.next();
        let jti = fields.next().and_then(|text| text.parse().ok());
        if let (Some(expiry), Some(client), Some(jti)) = (expiry, client, jti)
            && expiry > now
        {
            used.entry(client.to_owned()).or_default().insert(jti, expiry);
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
    fn the_file_is_written_anew_when_it_has_grown_and_forgets_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("used.log");
        let length = || std::fs::metadata(&path).unwrap().len();
        let acme: ClientId = "acme".parse().unwrap();
        let used = UsedAssertions::open(&path, UnixSeconds(100)).unwrap();
        // What a gateway that ran for long has in its file.
        let mut over = OpenOptions::new().append(true).open(&path).unwrap();
        let written = line(UnixSeconds(150), "busy", &Digest::of(b"over"));
        over.write_all(written.repeat(1000).as_bytes()).unwrap();
        used.0.lock().unwrap().bytes = REWRITTEN_AT - 1;
        used.take(&acme, "before", UnixSeconds(400), UnixSeconds(200)).unwrap();
        assert!(length() > 50_000);
        used.take(&acme, "after", UnixSeconds(400), UnixSeconds(200)).unwrap();
        assert!(length() < 500, "{}", length());
        let is_known = |used: &UsedAssertions, jti| {
            let again = used.take(&acme, jti, UnixSeconds(400), UnixSeconds(200));
            matches!(again, Err(ReplayError::Replayed))
        };
        assert!(is_known(&used, "before") && is_known(&used, "after"));
        drop(used);
        let used = UsedAssertions::open(&path, UnixSeconds(200)).unwrap();
        assert!(is_known(&used, "before") && is_known(&used, "after"));
    }

    #[test]
    fn what_is_not_over_is_no_reason_to_write_the_file_at_every_assertion() {
        let folder = tempfile::tempdir().unwrap();
        let known: BTreeMap<_, _> =
            (0..120_u32).map(|n| (Digest::of(&n.to_be_bytes()), UnixSeconds(400))).collect();
        let clients = (0..1000).map(|n| (format!("client-{n}"), known.clone())).collect();
        let used = Used::write(&folder.path().join("used.log"), clients).unwrap();
        assert!(used.bytes > REWRITTEN_AT, "{}", used.bytes);
        assert!(used.rewritten_at >= 2 * used.bytes);
    }

    #[test]
    fn what_is_over_is_not_even_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("used.log");
        let of = |expiry, n: u32| line(UnixSeconds(expiry), "acme", &Digest::of(&n.to_be_bytes()));
        let lines = (0..1000).map(|n| of(if n == 7 { 400 } else { 200 }, n)).collect::<String>();
        std::fs::write(&path, lines).unwrap();
        assert_eq!(read(&path, UnixSeconds(200)).unwrap()["acme"].len(), 1);
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
