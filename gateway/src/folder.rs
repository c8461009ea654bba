//! The deployment's folder: where everything lies, and how files get there so that they survive a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The folder that `konclave-gateway init` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(PathBuf);

macro_rules! places {
    ($($(#[doc = $doc:literal])+ $name:ident = $path:literal;)+) => {
        impl Folder {
            $($(#[doc = $doc])+ #[must_use] pub fn $name(&self) -> PathBuf { self.0.join($path) })+
        }
    };
}

places! {
    /// The configuration.
    config = "gateway.toml";
    /// The consortium root's seed; to be kept offline, needed only to enrol.
    root_key = "consortium/root.key";
    /// The consortium root's public key, in hexadecimal.
    root_public = "consortium/root.pub";
    /// The serial number of the last membership certificate.
    serial = "consortium/serial";
    /// The gateway's certificate under the consortium root, JSON.
    gateway_certificate = "consortium/gateway.json";
    /// Keys of the gateway.
    keys = "keys";
    /// The seed of the gateway's identity key, which signs round contexts.
    identity_key = "keys/identity.key";
    /// The seed of the key that signs the ledger's checkpoints.
    ledger_key = "keys/ledger.key";
    /// The seed of the key that will sign the checkpoints from the next start on.
    next_ledger_key = "keys/ledger-next.key";
    /// The consortium root's authorisation of that key (DSSE).
    ledger_key_change = "keys/ledger-change.json";
    /// The deployment's TLS certificate authority.
    tls_ca = "tls/ca.pem";
    /// Its private key.
    tls_ca_key = "tls/ca.key";
    /// The TLS certificate the gateway shows.
    tls_certificate = "tls/server.pem";
    /// Its private key.
    tls_key = "tls/server.key";
    /// The rounds policy in force.
    rounds_policy = "policies/rounds.toml";
    /// Cedar policies that replace the embedded ones, if the folder exists.
    authorization_policies = "policies/authorization";
    /// One JSON record for each enrolled member; see [`crate::enrolment`].
    enrolments = "enrolments";
    /// One JSON record for each revoked key; see [`crate::revocation`].
    revocations = "revocations";
    /// One JSON record for each partner client; see [`crate::auth::clients`].
    clients = "clients";
    /// Blobs by digest.
    blobs = "blobs";
    /// Uploads of blobs under way: on the blobs' own file system, so that what is finished only changes its name.
    uploads = "blobs/uploads";
    /// The ledger's files.
    ledger = "ledger";
    /// Openings of commitments in the ledger, which can be erased.
    openings = "openings";
    /// The last head of the ledger that this gateway acknowledged; not part of a backup of the ledger.
    ledger_seen = "ledger-head.seen";
    /// Messages of set-ups and rounds under way.
    rounds = "rounds";
    /// Answers to requests with an idempotency key.
    idempotency = "idempotency";
    /// Client assertions that were used and have not expired.
    used_assertions = "used-assertions.log";
}

impl Folder {
    /// The folder at a path; nothing is read.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The owner only: 0600.
    Secret,
    /// Everyone may read: 0644.
    Public,
}

/// Makes a folder (0700) and its parents; one that exists is left as it is.
///
/// # Errors
/// Those of the file system.
pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_folder(parent)?;
    }
    Ok(())
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Those of the file system.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes a file that did not exist: whole or not at all, durable on return, and never readable by others for a moment.
/// It gets its name when all of it is on the disk; a process that is killed before leaves a file `NAME.*.new`, which
/// nothing reads.
///
/// # Errors
/// `AlreadyExists`, or those of the file system.
pub fn write_new(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(io::Error::other)?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", hex::encode(number)));
    let temporary = path.with_file_name(name);
    let named = write_synced(&temporary, bytes, access).and_then(|()| fs::hard_link(&temporary, path));
    let removed = fs::remove_file(&temporary);
    named.and(removed)?;
    sync_folder(folder_of(path))
}

fn write_synced(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode(access)).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Replaces a file in one step: after a power cut either the old or the new content is there, and the new one
/// once this returned.
///
/// # Errors
/// Those of the file system.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode(access)).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder(folder_of(path))
}

/// Why a secret file was not taken. The operator corrects the file or its access rights.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("{path} cannot be read: {source}; was this folder made by `konclave-gateway init`?")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error("{path} may be read by others (mode {mode:o}); run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its access rights.
        mode: u32,
    },
    /// It is not a 32-byte seed in hexadecimal.
    #[error("{path} does not hold a key: 64 hexadecimal characters are expected; restore it from a backup")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a secret file, refusing one that others may read.
///
/// # Errors
/// [`SecretError`].
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let read = |source| SecretError::Read { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(read)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed { path: path.to_owned(), mode });
    }
    fs::read(path).map(Zeroizing::new).map_err(read)
}

/// Reads a 32-byte seed written by [`write_seed`].
///
/// # Errors
/// [`SecretError`].
pub fn read_seed(path: &Path) -> Result<Zeroizing<[u8; 32]>, SecretError> {
    let text = read_secret(path)?;
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim_ascii(), seed.as_mut())
        .map_err(|_| SecretError::Malformed { path: path.to_owned() })?;
    Ok(seed)
}

/// Writes a 32-byte seed as one line of hexadecimal, 0600, durable on return.
///
/// # Errors
/// `AlreadyExists`, or those of the file system.
pub fn write_seed(path: &Path, seed: &Zeroizing<[u8; 32]>) -> io::Result<()> {
    let mut line = Zeroizing::new([b'\n'; 65]);
    if let Some(digits) = line.get_mut(..64) {
        hex::encode_to_slice(seed.as_ref(), digits).map_err(io::Error::other)?;
    }
    write_new(path, line.as_ref(), Access::Secret)
}

fn mode(access: Access) -> u32 {
    match access {
        Access::Secret => 0o600,
        Access::Public => 0o644,
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_secret_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        write_seed(&path, &Zeroizing::new([7; 32])).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(*read_seed(&path).unwrap(), [7; 32]);
        assert_eq!(
            write_seed(&path, &Zeroizing::new([8; 32])).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(*read_seed(&path).unwrap(), [7; 32]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_seed_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        write_seed(&path, &Zeroizing::new([7; 32])).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read_seed(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn replace_swaps_the_content_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        replace(&path, b"1", Access::Public).unwrap();
        replace(&path, b"2", Access::Public).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
