//! Changing the ledger's key at a start of the gateway.
//!
//! `konclave-gateway ledger rotate-key` lays the next key and the root's authorisation beside the present key. The next
//! start appends the change and puts the next key in the present one's place, which may be gone. Stopped anywhere in
//! between, the start after it goes on: whether the change is in the ledger, the ledger itself says.

use std::fs;
use std::io;
use std::path::PathBuf;

use konclave_ledger::dsse::{DsseError, Envelope};
use konclave_ledger::rotation::KeyChange;
use konclave_ledger::{
    AppendError, EntryDraft, KeylessLedger, Ledger, LedgerOptions, OpenError, SigningKey, Timestamp,
    TimestampError, VerifierKey,
};
use zeroize::Zeroizing;

use super::Clock;
use crate::folder::{Folder, SecretError, read_seed, sync_folder};

/// Why the ledger's key was not changed. The gateway doesn't start with a change half done.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The next key cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file cannot be read or put in its place.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The authorisation is not an envelope.
    #[error(
        "{path} is not the authorisation of a key change: {source}; run `konclave-gateway ledger rotate-key` again"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DsseError,
    },
    /// The authorisation is of something else.
    #[error(
        "{path} authorises no change of the ledger's key; run `konclave-gateway ledger rotate-key` again"
    )]
    NoChange {
        /// The file.
        path: PathBuf,
    },
    /// The ledger did not take the change.
    #[error("the ledger's key was not changed: {0}; the next key is still laid out")]
    Refused(#[source] AppendError),
    /// Whether the ledger took the change is not known: the next key may be its key already.
    #[error("{0}. Start the gateway again; keep keys/ledger-next.key: it may be the ledger's key already")]
    Unknown(#[source] AppendError),
    /// The clock cannot be read.
    #[error("the clock cannot be read: {0}")]
    Clock(#[from] TimestampError),
    /// The ledger does not open with the next key either.
    #[error(transparent)]
    Open(#[from] Box<OpenError>),
}

/// Opens the ledger with its present key, carrying out a change of key that is laid out. The present key may be gone.
pub(super) fn open_with_present_key(
    folder: &Folder,
    present: Option<&Zeroizing<[u8; 32]>>,
    clock: &Clock,
    options: impl Fn(&Zeroizing<[u8; 32]>) -> LedgerOptions,
) -> Result<Ledger, super::OpenError> {
    let open = |seed| Ledger::open(&folder.ledger(), options(seed));
    let next = folder.next_ledger_key();
    if let Some(seed) = present.filter(|_| !next.exists()) {
        return Ok(open(seed)?);
    }
    let next_seed = read_seed(&next).map_err(RotateError::from)?;
    let ledger = match present.map(open) {
        Some(Ok(mut ledger)) => {
            rotate(&mut ledger, folder, &next_seed, clock)?;
            ledger
        }
        None => match open(&next_seed) {
            Ok(ledger) => ledger,
            Err(OpenError::Head(_)) => {
                replace_the_lost(folder, options(&next_seed), clock)?;
                open(&next_seed)?
            }
            Err(error) => return Err(error.into()),
        },
        // The change is in the ledger already: only the files were not put in their places.
        Some(Err(OpenError::KeySuperseded { .. } | OpenError::Head(_))) => {
            open(&next_seed).map_err(|error| RotateError::Open(Box::new(error)))?
        }
        Some(Err(error)) => return Err(error.into()),
    };
    put_in_place(folder)?;
    tracing::warn!(key = %ledger.verifier_key(), "the ledger's key was changed; members learn it from the ledger");
    Ok(ledger)
}

fn rotate(
    ledger: &mut Ledger,
    folder: &Folder,
    next: &Zeroizing<[u8; 32]>,
    clock: &Clock,
) -> Result<(), RotateError> {
    let (envelope, now) = (authorisation(folder)?, Timestamp::from_unix_millis(clock.unix_millis())?);
    let rotated = ledger.rotate_key(Box::new(SigningKey::from_seed(next)), &envelope, draft(), now);
    rotated.map(|_| ()).map_err(not_changed)
}

/// The change where the present key is gone. It is authorised by the root alone; which key is gone, the change says.
fn replace_the_lost(folder: &Folder, options: LedgerOptions, clock: &Clock) -> Result<(), RotateError> {
    let (envelope, now) = (authorisation(folder)?, Timestamp::from_unix_millis(clock.unix_millis())?);
    // Not verified yet: the ledger checks the root's signature, and that this is the key that it had.
    let payload = envelope.unverified_payload().ok();
    let change: Option<KeyChange> = payload.and_then(|payload| serde_json::from_slice(&payload).ok());
    let gone: Option<VerifierKey> = change.and_then(|change| change.old_vkey.parse().ok());
    let gone = gone.ok_or_else(|| RotateError::NoChange { path: folder.ledger_key_change() })?;
    let keyless = KeylessLedger::open(&folder.ledger(), options, &gone)
        .map_err(|error| RotateError::Open(Box::new(error)))?;
    keyless.replace_key(&envelope, draft(), now).map(drop).map_err(not_changed)
}

fn authorisation(folder: &Folder) -> Result<Envelope, RotateError> {
    let path = folder.ledger_key_change();
    let bytes = fs::read(&path).map_err(|source| RotateError::File { path: path.clone(), source })?;
    Envelope::parse(&bytes).map_err(|source| RotateError::Malformed { path, source })
}

fn draft() -> EntryDraft {
    EntryDraft {
        actor: "gateway".to_owned(),
        role: "gateway".to_owned(),
        reason: "the consortium root authorised another key".to_owned(),
        request_id: "task/rotate-ledger-key".to_owned(),
        ..EntryDraft::default()
    }
}

fn not_changed(error: AppendError) -> RotateError {
    match error {
        AppendError::Ambiguous(_) | AppendError::Poisoned => RotateError::Unknown(error),
        AppendError::Draft { .. }
        | AppendError::StatementMissing { .. }
        | AppendError::NotSigned(_)
        | AppendError::NotStored(_)
        | AppendError::Rotation(_) => RotateError::Refused(error),
    }
}

/// The next key becomes the present one; the old one is gone with it.
fn put_in_place(folder: &Folder) -> Result<(), RotateError> {
    let (next, present) = (folder.next_ledger_key(), folder.ledger_key());
    let moved = fs::rename(&next, present).and_then(|()| sync_folder(&folder.keys()));
    moved.map_err(|source| RotateError::File { path: next, source })
}
