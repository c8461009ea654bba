//! `ledger rotate-key`: another key for the ledger's checkpoints.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use konclave_ledger::checkpoint::{CheckpointError, log_key};
use konclave_ledger::rotation::{ChangeReason, KeyChange};
use konclave_ledger::statements::{self, StatementError};
use konclave_ledger::{Checkpoint, Origin, OriginError, SigningKey};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::Dir;
use crate::config::{Config, ConfigError, Overrides};
use crate::folder::{Access, SecretError, read_seed, replace, write_seed};

/// Arguments of `ledger rotate-key`.
#[derive(Debug, Args)]
pub struct RotateKey {
    #[command(flatten)]
    dir: Dir,
    /// Why the present key ends: scheduled or compromised
    #[arg(long, value_name = "REASON", value_parser = reason)]
    reason: ChangeReason,
    /// The consortium root's key, brought from where it is kept offline; consortium/root.key without it
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
}

fn reason(text: &str) -> Result<ChangeReason, String> {
    match text {
        "scheduled" => Ok(ChangeReason::Scheduled),
        "compromised" => Ok(ChangeReason::Compromised),
        _ => Err("must be scheduled or compromised".to_owned()),
    }
}

/// Why no key was laid out.
#[derive(Debug, thiserror::Error)]
pub enum RotateKeyError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A change is laid out already.
    #[error(
        "{path} exists: a change is laid out already; start the gateway again to carry it out, and keep the file: it may be the ledger's key already"
    )]
    LaidOut {
        /// The next key.
        path: PathBuf,
    },
    /// The ledger has not begun.
    #[error("{path} is not there: the ledger has not begun; start the gateway once")]
    NotBegun {
        /// The head.
        path: PathBuf,
    },
    /// The ledger's head is not signed by the present key.
    #[error("the ledger's head is not accepted: {0}")]
    Head(#[from] CheckpointError),
    /// The origin line is not usable.
    #[error("the configured origin is not usable: {0}")]
    Origin(#[from] OriginError),
    /// A key cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The change cannot be signed.
    #[error(transparent)]
    Sign(#[from] StatementError),
    /// No random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl RotateKey {
    /// Draws the next key, has the root authorise it, and lays both out for the gateway's next start.
    ///
    /// # Errors
    /// [`RotateKeyError`]; nothing is laid out.
    pub fn run(&self, out: &mut impl Write) -> Result<(), RotateKeyError> {
        let config = Config::load(self.dir.folder(), &Overrides::default())?;
        let folder = &config.folder;
        let origin: Origin = config.settings.origin.parse()?;
        let path = folder.next_ledger_key();
        if path.exists() {
            return Err(RotateKeyError::LaidOut { path });
        }
        let present = SigningKey::from_seed(&*read_seed(&folder.ledger_key())?);
        let old = log_key(origin.clone(), &present);
        let head = folder.ledger().join("head.note");
        let note = std::fs::read(&head).map_err(|_| RotateKeyError::NotBegun { path: head })?;
        let (trusted, _) = Checkpoint::verify(&note, &old)?;
        let root = read_seed(&self.root_key.clone().unwrap_or_else(|| folder.root_key()))?;
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut())?;
        let new = log_key(origin.clone(), &SigningKey::from_seed(&seed));
        let change = KeyChange {
            origin,
            old_vkey: old.to_string(),
            new_vkey: new.to_string(),
            reason: self.reason,
            trusted_size: trusted.size,
            trusted_root: trusted.root,
            made_at: u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or_default(),
        };
        let envelope = statements::sign(&root, &change)?;
        // The key last: without it nothing is laid out.
        let change_file = folder.ledger_key_change();
        replace(&change_file, &envelope.to_bytes(), Access::Public)
            .map_err(|source| RotateKeyError::File { path: change_file, source })?;
        write_seed(&path, &seed).map_err(|source| RotateKeyError::File { path, source })?;
        writeln!(
            out,
            "the next key is laid out: {new}\nRestart the gateway: at its start the ledger takes the key, and {old} signs \
             nothing any more.\nMembers and auditors learn the new key from the ledger, under the consortium root. After a \
             theft tell them also: no head beyond {} entries is to be believed that only the old key signed.",
            change.trusted_size
        )?;
        Ok(())
    }
}
