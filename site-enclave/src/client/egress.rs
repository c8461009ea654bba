//! The record of everything that leaves the site, for its owner.
//!
//! One JSON line a request in `state/egress.ndjson`, written before the request is sent: when, where to, which class
//! of message, how many bytes and their SHA-256. Requests without a body ask for something and carry nothing but
//! their path; the same one again within a minute is counted and written with the next line of its kind.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use konclave_crypto::Digest;
use serde::{Deserialize, Serialize};

use crate::clock;

/// How long the same bodiless request is only counted.
const FOLD: Duration = Duration::from_secs(60);

/// What a request carries. There are no others: a site sends nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageClass {
    /// No body: it asks.
    Read,
    /// A signed consent or refusal.
    Consent,
    /// A KEM public key.
    KeyAdvertisement,
    /// KEM ciphertexts to other sites.
    KemCiphertexts,
    /// A manifest: hashes and sealed shares.
    Manifest,
    /// A part of a masked update.
    MaskedUpdate,
    /// A signature over the agreed set.
    Agreement,
    /// Shares that remove masks from the sum of the agreed set.
    Unmasking,
    /// A signed deposit statement: counts and a commitment.
    Deposit,
    /// A signed evaluation statement: metrics of a global model.
    Evaluation,
    /// A cosignature on a ledger checkpoint.
    Cosignature,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressLine {
    /// When (RFC 3339).
    pub time: String,
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// What it carries.
    pub class: MessageClass,
    /// Requests this line stands for; more than 1 only where there is no body.
    pub requests: u64,
    /// Bytes of the body.
    pub bytes: u64,
    /// SHA-256 of the body; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// The log, open for appending.
#[derive(Debug)]
pub struct EgressLog {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    reads: BTreeMap<String, Folded>,
}

#[derive(Debug)]
struct Folded {
    written: Instant,
    since: u64,
}

/// Sums over a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EgressTotal {
    /// Requests.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl EgressLog {
    /// Opens the log, mode 0600.
    ///
    /// # Errors
    /// The system's reason.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Self { path: path.to_path_buf(), inner: Mutex::new(Inner { file, reads: BTreeMap::new() }) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records a request that is about to be sent.
    ///
    /// # Errors
    /// The system's reason; then the request must not be sent.
    pub fn record(
        &self,
        method: &str,
        path: &str,
        class: MessageClass,
        body: Option<&[u8]>,
    ) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut requests = 1;
        if body.is_none() {
            let key = format!("{method} {path}");
            let now = Instant::now();
            inner.reads.retain(|_, read| read.since > 0 || now.duration_since(read.written) < FOLD);
            match inner.reads.get_mut(&key) {
                Some(read) if now.duration_since(read.written) < FOLD => {
                    read.since += 1;
                    return Ok(());
                }
                Some(read) => {
                    requests += std::mem::take(&mut read.since);
                    read.written = now;
                }
                None => {
                    inner.reads.insert(key, Folded { written: now, since: 0 });
                }
            }
        }
        let line = EgressLine {
            time: clock::now_rfc3339(),
            method: method.to_owned(),
            path: path.to_owned(),
            class,
            requests,
            bytes: body.map_or(0, |body| body.len() as u64),
            sha256: body.map(Digest::of),
        };
        write_line(&mut inner.file, &line)
    }

    /// Sums the log by class.
    ///
    /// # Errors
    /// The system's reason, or [`io::ErrorKind::InvalidData`] for a line of another hand.
    pub fn totals(path: &Path) -> io::Result<BTreeMap<MessageClass, EgressTotal>> {
        let mut totals = BTreeMap::<MessageClass, EgressTotal>::new();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(totals),
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).lines() {
            let line: EgressLine = serde_json::from_str(&line?)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let total = totals.entry(line.class).or_default();
            total.requests += line.requests;
            total.bytes += line.bytes;
        }
        Ok(totals)
    }
}

impl Drop for EgressLog {
    /// Writes what was only counted so far.
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (key, read) in std::mem::take(&mut inner.reads) {
            let Some((method, path)) = key.split_once(' ').filter(|_| read.since > 0) else { continue };
            let line = EgressLine {
                time: clock::now_rfc3339(),
                method: method.to_owned(),
                path: path.to_owned(),
                class: MessageClass::Read,
                requests: read.since,
                bytes: 0,
                sha256: None,
            };
            if let Err(error) = write_line(&mut inner.file, &line) {
                tracing::error!("cannot complete the egress log: {error}");
            }
        }
    }
}

fn write_line(file: &mut File, line: &EgressLine) -> io::Result<()> {
    let mut text = serde_json::to_string(line).map_err(io::Error::other)?;
    text.push('\n');
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_written_one_by_one_and_reads_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("egress.ndjson");
        let log = EgressLog::open(&path).unwrap();
        log.record("PUT", "/v1/a", MessageClass::Manifest, Some(b"abc")).unwrap();
        log.record("PUT", "/v1/a", MessageClass::Manifest, Some(b"abc")).unwrap();
        for _ in 0..5 {
            log.record("GET", "/v1/work?wait_seconds=20", MessageClass::Read, None).unwrap();
        }
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains(&Digest::of(b"abc").to_string()));
        let totals = EgressLog::totals(&path).unwrap();
        assert_eq!(totals[&MessageClass::Manifest], EgressTotal { requests: 2, bytes: 6 });
        assert_eq!(totals[&MessageClass::Read], EgressTotal { requests: 5, bytes: 0 });
    }
}
