//! The record of everything that leaves the site, for its owner.
//!
//! One JSON line a request in `state/egress.ndjson`, written before the request is sent: when, where to, which class
//! of message, how many bytes and their SHA-256. Requests without a body ask for something and carry nothing but
//! their path; the same one again within a minute is counted and written when the minute is over.
//!
//! Lines with a body are on the disk before their request is in the network. A power cut can tear the last line; it is cut
//! off at the next start, because its request was not sent yet.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
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
    /// A tag: 128 sums of a masked update whose own mask is open.
    Tag,
    /// A signed word on an opened sum.
    Verdict,
    /// A signed deposit statement: counts and a commitment.
    Deposit,
    /// A signed evaluation statement: metrics of a global model.
    Evaluation,
    /// A cosignature on a ledger checkpoint.
    Cosignature,
    /// A signed request for a TLS certificate.
    CertificateRequest,
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

/// What a log says in sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressTotals {
    /// By class.
    pub by_class: BTreeMap<MessageClass, EgressTotal>,
    /// Lines that are not of this program's making; they are in no sum.
    pub bad_lines: u64,
}

impl EgressLog {
    /// Opens the log, mode 0600.
    ///
    /// # Errors
    /// The system's reason.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        cut_torn_line(&mut file)?;
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
        self.record_at(method, path, class, body, Instant::now())
    }

    fn record_at(
        &self,
        method: &str,
        path: &str,
        class: MessageClass,
        body: Option<&[u8]>,
        now: Instant,
    ) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.write_expired(now)?;
        if body.is_none() {
            let key = format!("{method} {path}");
            if let Some(read) = inner.reads.get_mut(&key) {
                read.since += 1;
                return Ok(());
            }
            inner.reads.insert(key, Folded { written: now, since: 0 });
        }
        let line = EgressLine {
            time: clock::now_rfc3339(),
            method: method.to_owned(),
            path: path.to_owned(),
            class,
            requests: 1,
            bytes: body.map_or(0, |body| body.len() as u64),
            sha256: body.map(Digest::of),
        };
        write_line(&mut inner.file, &line)?;
        if body.is_some() { inner.file.sync_data() } else { Ok(()) }
    }

    /// Sums the log by class.
    ///
    /// # Errors
    /// The system's reason.
    pub fn totals(path: &Path) -> io::Result<EgressTotals> {
        let mut totals = EgressTotals::default();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(totals),
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).split(b'\n') {
            let Ok(line) = serde_json::from_slice::<EgressLine>(&line?) else {
                totals.bad_lines += 1;
                continue;
            };
            let total = totals.by_class.entry(line.class).or_default();
            total.requests = total.requests.saturating_add(line.requests);
            total.bytes = total.bytes.saturating_add(line.bytes);
        }
        Ok(totals)
    }
}

impl Drop for EgressLog {
    /// Writes what was only counted so far.
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (key, read) in std::mem::take(&mut inner.reads) {
            if let Err(error) = write_folded(&mut inner.file, &key, &read) {
                tracing::error!("cannot complete the egress log: {error}");
            }
        }
    }
}

impl Inner {
    /// Writes the counts whose minute is over, and forgets their paths.
    fn write_expired(&mut self, now: Instant) -> io::Result<()> {
        let expired =
            self.reads.extract_if(.., |_, read| now.saturating_duration_since(read.written) >= FOLD);
        for (key, read) in expired {
            write_folded(&mut self.file, &key, &read)?;
        }
        Ok(())
    }
}

/// One line for the requests that were only counted; none for none.
fn write_folded(file: &mut File, key: &str, read: &Folded) -> io::Result<()> {
    let Some((method, path)) = key.split_once(' ').filter(|_| read.since > 0) else { return Ok(()) };
    let line = EgressLine {
        time: clock::now_rfc3339(),
        method: method.to_owned(),
        path: path.to_owned(),
        class: MessageClass::Read,
        requests: read.since,
        bytes: 0,
        sha256: None,
    };
    write_line(file, &line)
}

/// Cuts a log to its last whole line.
fn cut_torn_line(file: &mut File) -> io::Result<()> {
    const BLOCK: u64 = 4_096;
    let length = file.metadata()?.len();
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        (&*file).take(end - start).read_to_end(&mut block)?;
        if let Some(place) = block.iter().rposition(|byte| *byte == b'\n') {
            end = start + place as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        tracing::warn!("the last line of the egress log was torn, {} bytes are cut off", length - end);
        file.set_len(end)?;
        file.sync_all()?;
    }
    Ok(())
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
        assert_eq!(totals.by_class[&MessageClass::Manifest], EgressTotal { requests: 2, bytes: 6 });
        assert_eq!(totals.by_class[&MessageClass::Read], EgressTotal { requests: 5, bytes: 0 });
        assert_eq!(totals.bad_lines, 0);
    }

    #[test]
    fn a_torn_line_is_cut_off_and_a_foreign_one_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("egress.ndjson");
        EgressLog::open(&path).unwrap().record("PUT", "/a", MessageClass::Manifest, Some(b"abc")).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        for torn in ["{", &whole[..whole.len() - 1], &"x".repeat(10_000)] {
            std::fs::write(&path, format!("{whole}{torn}")).unwrap();
            assert_eq!(EgressLog::totals(&path).unwrap().bad_lines, u64::from(!torn.starts_with("{\"")));
            drop(EgressLog::open(&path).unwrap());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), whole, "{torn}");
        }
        std::fs::write(&path, format!("{whole}\u{feff}not a line\n\n{whole}")).unwrap();
        let totals = EgressLog::totals(&path).unwrap();
        assert_eq!(totals.by_class[&MessageClass::Manifest], EgressTotal { requests: 2, bytes: 6 });
        assert_eq!(totals.bad_lines, 2);
        std::fs::write(&path, "torn from the start").unwrap();
        drop(EgressLog::open(&path).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn paths_that_are_not_asked_again_do_not_stay_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("egress.ndjson");
        let log = EgressLog::open(&path).unwrap();
        let start = Instant::now();
        for page in 0..100 {
            for _ in 0..3 {
                log.record_at("GET", &format!("/{page}"), MessageClass::Read, None, start).unwrap();
            }
        }
        log.record_at("GET", "/last", MessageClass::Read, None, start + FOLD).unwrap();
        assert_eq!(log.inner.lock().unwrap().reads.len(), 1);
        assert_eq!(EgressLog::totals(&path).unwrap().by_class[&MessageClass::Read].requests, 301);
    }
}
