//! `ledger rotate-key`: another key for the ledger's checkpoints.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use konclave_ledger::checkpoint::{CheckpointError, log_key};
use konclave_ledger::note::SignedNote;
use konclave_ledger::rotation::{ChangeReason, KeyChange};
use konclave_ledger::statements::{self, StatementError};
use konclave_ledger::{
    Checkpoint, KeylessLedger, Ledger, LedgerOptions, OpenError, Origin, OriginError, SigningKey, VerifierKey,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::Dir;
use crate::config::{Config, ConfigError, Overrides};
use crate::core::ledger_options;
use crate::folder::{Access, Folder, SecretError, read_seed, replace, write_seed};

/// Arguments of `ledger rotate-key`.
#[derive(Debug, Args)]
pub struct RotateKey {
    #[command(flatten)]
    dir: Dir,
    /// Why the present key ends: scheduled, compromised (somebody else may have it) or lost (nobody has it)
    #[arg(long, value_name = "REASON", value_parser = reason)]
    reason: ChangeReason,
    /// A checkpoint that the present key is known to have signed rightly: one that witnesses cosigned, or that a site or
    /// an auditor kept. After a theft nothing beyond it is believed. The ledger's present head without it, except after
    /// a theft
    #[arg(long, value_name = "NOTE")]
    trusted: Option<PathBuf>,
    /// The present key (vkey), as members and auditors know it; needed where keys/ledger.key is gone
    #[arg(long, value_name = "VKEY")]
    old_key: Option<VerifierKey>,
    /// The consortium root's key, brought from where it is kept offline; consortium/root.key without it
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
}

fn reason(text: &str) -> Result<ChangeReason, String> {
    match text {
        "scheduled" => Ok(ChangeReason::Scheduled),
        "compromised" => Ok(ChangeReason::Compromised),
        "lost" => Ok(ChangeReason::Lost),
        _ => Err("must be scheduled, compromised or lost".to_owned()),
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
    /// A gateway runs, or the ledger does not verify under the present key.
    #[error("the ledger does not open: {0}; stop the gateway before its key is changed")]
    Ledger(#[from] OpenError),
    /// After a theft the present head may be the thief's.
    #[error(
        "after a theft the ledger's present head may be the thief's: give a checkpoint that is beyond doubt with --trusted, \
         such as one that witnesses cosigned, or that a site or an auditor kept"
    )]
    NothingTrusted,
    /// The present key is gone.
    #[error("{path} is gone: give the key that it was with --old-key, as members and auditors know it")]
    KeyGone {
        /// The key's file.
        path: PathBuf,
    },
    /// A scheduled change needs the key that it ends.
    #[error("{path} is gone: the reason is lost, or compromised, and not scheduled")]
    NotScheduled {
        /// The key's file.
        path: PathBuf,
    },
    /// What is to be trusted is not a head that the ledger's key signed.
    #[error("{path} is not a head of this ledger: {source}")]
    NotTrusted {
        /// The note.
        path: PathBuf,
        /// Why.
        source: CheckpointError,
    },
    /// What is to be trusted is another history.
    #[error(
        "{path} is signed by this ledger's key, and its {size} entries are not the beginning of this ledger: one of the \
         two is forged. Keep both, and compare with members and auditors before anything is authorised"
    )]
    OtherHistory {
        /// The note.
        path: PathBuf,
        /// Entries of its head.
        size: u64,
    },
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

/// The ledger, held so that no gateway starts meanwhile.
enum Held {
    Whole(Box<Ledger>),
    Keyless(Box<KeylessLedger>),
}

impl Held {
    fn ledger(&self) -> &Ledger {
        match self {
            Self::Whole(ledger) => ledger,
            Self::Keyless(keyless) => keyless.ledger(),
        }
    }
}

/// A head that is authorised as the last one beyond doubt.
struct Trusted {
    head: Checkpoint,
    /// The witnesses whose cosignatures it carries.
    witnesses: Vec<String>,
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
        let head = folder.ledger().join("head.note");
        if !head.exists() {
            return Err(RotateKeyError::NotBegun { path: head });
        }
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut())?;
        let (held, old) = self.hold(folder, &origin, &seed)?;
        let Trusted { head: trusted, witnesses } = self.trusted(held.ledger())?;
        let root = read_seed(&self.root_key.clone().unwrap_or_else(|| folder.root_key()))?;
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
        let cosigned = if witnesses.is_empty() { "no witness".to_owned() } else { witnesses.join(", ") };
        writeln!(
            out,
            "the next key is laid out: {new}\nStart the gateway: at its start the ledger takes the key, and {old} signs \
             nothing any more.\nThe head that is trusted has {} entries and is cosigned by {cosigned}.\nMembers and \
             auditors learn the new key from the ledger, under the consortium root. After a theft tell them also: no head \
             beyond {0} entries is to be believed that only the old key signed.",
            change.trusted_size
        )?;
        Ok(())
    }

    /// Opens the ledger as a gateway would, so that none runs, and all of it is verified before the root signs for it.
    /// Also gives the key that ends.
    fn hold(
        &self,
        folder: &Folder,
        origin: &Origin,
        next: &Zeroizing<[u8; 32]>,
    ) -> Result<(Held, VerifierKey), RotateKeyError> {
        let options = |seed| LedgerOptions { index: false, ..ledger_options(folder, origin, seed) };
        let path = folder.ledger_key();
        if path.exists() {
            let seed = read_seed(&path)?;
            let ledger = Ledger::open(&folder.ledger(), options(&seed))?;
            return Ok((
                Held::Whole(Box::new(ledger)),
                log_key(origin.clone(), &SigningKey::from_seed(&seed)),
            ));
        }
        if self.reason == ChangeReason::Scheduled {
            return Err(RotateKeyError::NotScheduled { path });
        }
        let gone = self.old_key.clone().ok_or(RotateKeyError::KeyGone { path })?;
        let keyless = KeylessLedger::open(&folder.ledger(), options(next), &gone)?;
        Ok((Held::Keyless(Box::new(keyless)), gone))
    }

    /// The head that is beyond doubt: the one given, if it is one of this ledger.
    fn trusted(&self, ledger: &Ledger) -> Result<Trusted, RotateKeyError> {
        let Some(path) = self.trusted.clone() else {
            if self.reason == ChangeReason::Compromised {
                return Err(RotateKeyError::NothingTrusted);
            }
            return Ok(Trusted { head: ledger.head(), witnesses: Vec::new() });
        };
        let bytes =
            std::fs::read(&path).map_err(|source| RotateKeyError::File { path: path.clone(), source })?;
        let refused = |source| RotateKeyError::NotTrusted { path: path.clone(), source };
        let note = SignedNote::parse(&bytes).map_err(|error| refused(error.into()))?;
        let head = Checkpoint::parse_text(&note.text).map_err(refused)?;
        let key = ledger.log_keys().at_size(head.size).ok_or_else(|| refused(CheckpointError::Malformed))?;
        Checkpoint::verify(&bytes, key).map_err(refused)?;
        if ledger.root_at(head.size).ok() != Some(head.root) {
            return Err(RotateKeyError::OtherHistory { path, size: head.size });
        }
        let cosignatures = note
            .signatures
            .iter()
            .filter_map(|line| ledger.enrolled_keys().check_cosignature(line, &head)?.ok());
        let witnesses = cosignatures.map(|cosignature| cosignature.witness().to_string()).collect();
        Ok(Trusted { head, witnesses })
    }
}
