//! Opening the core: the ledger, the state folded from it, the rounds that were under way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use konclave_crypto::{ConsortiumRoot, IdentityKey, MembershipCertificate};
use konclave_ledger::openings::{OpeningError, Openings};
use konclave_ledger::records::Record;
use konclave_ledger::{Ledger, LedgerOptions, Origin, SigningKey};
use konclave_policies::authorization::Authorizer;
use konclave_policies::rounds::{PolicyError, RoundPolicy};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::rotation::RotateError;
use super::{App, Caller, Clock, CommandError, Entry, Inner, Witnesses, exports, openings, rotation};
use crate::blobs::BlobStore;
use crate::config::Config;
use crate::coordinator::live::LiveRounds;
use crate::folder::Folder;
use crate::projections::{FoldError, State, to_hash};
use crate::rounds_store::RoundsStore;
use crate::uploads::Uploads;
use crate::writer::{LedgerHandle, OnStop, Writer};

/// Disk space kept back for the entries that must still be written when the disk is full; see [`crate::writer`].
const DISK_RESERVE: u64 = 16 << 20;

/// How this program opens the ledger of a folder.
pub(crate) fn ledger_options(folder: &Folder, origin: &Origin, seed: &Zeroizing<[u8; 32]>) -> LedgerOptions {
    LedgerOptions {
        origin: origin.clone(),
        signer: Box::new(SigningKey::from_seed(seed)),
        software: concat!("konclave-gateway/", env!("CARGO_PKG_VERSION")).to_owned(),
        index: true,
        reserve_bytes: DISK_RESERVE,
        seen: Some(folder.ledger_seen()),
    }
}

/// What the core is opened with. The ledger, the blobs and the round messages lie in the configuration's folder.
pub struct CoreOptions {
    /// The configuration.
    pub config: Config,
    /// The Cedar policies.
    pub authorizer: Authorizer,
    /// The gateway's identity key.
    pub identity: IdentityKey,
    /// The gateway's certificate under the consortium root.
    pub certificate: MembershipCertificate,
    /// The consortium root.
    pub root: ConsortiumRoot,
    /// The seed of the ledger's signing key; none if it is gone and another one is laid out.
    pub ledger_seed: Option<Zeroizing<[u8; 32]>>,
    /// The rounds policy's text.
    pub rounds_policy: String,
    /// The clock.
    pub clock: Clock,
    /// Ends the process when the ledger can no longer be written.
    pub on_stop: OnStop,
}

/// Why the core does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The origin line is not usable.
    #[error("the configured origin is not usable: {0}")]
    Origin(#[from] konclave_ledger::OriginError),
    /// The ledger does not open.
    #[error("the ledger does not open: {0}")]
    Ledger(#[from] konclave_ledger::OpenError),
    /// The change of the ledger's key cannot be carried out.
    #[error(transparent)]
    Rotation(#[from] RotateError),
    /// An opening that the ledger says is erased cannot be erased.
    #[error("what must be erased cannot be: {0}")]
    Erasure(#[from] OpeningError),
    /// An entry cannot be read.
    #[error("the ledger cannot be replayed: {0}")]
    Read(#[from] konclave_ledger::ReadError),
    /// An entry cannot be folded.
    #[error("the ledger cannot be replayed: {0}; was it written by a newer version?")]
    Fold(#[from] FoldError),
    /// The rounds policy is at fault.
    #[error("the rounds policy is at fault: {0}")]
    Policy(#[from] PolicyError),
    /// The gateway's certificate is not one of this consortium, or its key another one.
    #[error("the gateway's certificate is not accepted: {0}")]
    Certificate(#[from] konclave_crypto::MembershipError),
    /// The gateway's certificate is for another key.
    #[error("the gateway's certificate is for another identity key than keys/identity.key")]
    OtherIdentity,
    /// The folder of the round messages cannot be used.
    #[error("the gateway's folder cannot be used: {0}")]
    Folder(#[from] std::io::Error),
    /// The first entries could not be appended.
    #[error("the first entries could not be appended: {0}")]
    First(#[from] CommandError),
}

impl App {
    /// Opens the ledger, folds the state from it, and records what is new: the ledger itself, the gateway's
    /// certificate, the rounds policy. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(options: CoreOptions) -> Result<Self, OpenError> {
        options.root.verify(&options.certificate, options.clock.now())?;
        if options.certificate.membership.identity_key != options.identity.public() {
            return Err(OpenError::OtherIdentity);
        }
        let policy = RoundPolicy::parse("policies/rounds.toml", &options.rounds_policy)?;
        let folder = options.config.folder.clone();
        let origin = options.config.settings.origin.parse::<Origin>()?;
        crate::folder::make_folder(&folder.ledger())?;
        let ledger_options = |seed: &Zeroizing<[u8; 32]>| ledger_options(&folder, &origin, seed);
        let present = options.ledger_seed.as_ref();
        let mut ledger = rotation::open_with_present_key(&folder, present, &options.clock, ledger_options)?;
        let state = replay(&ledger)?;
        let kept = Openings::at(&folder.openings());
        kept.clear_unfinished()?;
        openings::erase_again(&kept, &state)?;
        ledger.require_witnesses(state.witness_rules().quorum.into());
        let witnesses = Witnesses::new(&ledger, &state, options.clock.unix_millis());
        // Clears interrupted uploads: only now, under the ledger's lock, are they certainly no other process's.
        let blobs = BlobStore::at(&folder.blobs())?;
        let announced = options.config.settings.limits.open_upload_bytes;
        let uploads = Uploads::open(&folder.uploads(), blobs.clone(), announced, options.clock.now())?;
        let vkey = ledger.verifier_key().to_string();
        let state = Arc::new(RwLock::new(state));
        let (changes, _) = watch::channel(0);
        let writer = Writer {
            ledger,
            state: Arc::clone(&state),
            changes: changes.clone(),
            clock: options.clock.clone(),
            on_stop: options.on_stop,
        };
        let app = Self(Arc::new(Inner {
            blobs,
            uploads,
            authorizer: options.authorizer,
            identity: options.identity,
            certificate: options.certificate,
            root: options.root,
            ledger: LedgerHandle::start(writer)?,
            state,
            rounds: RoundsStore::open(&folder.rounds())?,
            live: LiveRounds::default(),
            witnesses,
            changes,
            clock: options.clock,
            aggregates: Mutex::new(BTreeMap::new()),
            last_seen: Mutex::new(BTreeMap::new()),
            exports: exports::Places::default(),
            config: options.config,
        }));
        app.record_beginning(vkey, &policy, options.rounds_policy).await?;
        let quorum = app.state().witness_rules().quorum;
        app.witnesses().asked_since(quorum, app.clock().unix_millis());
        Ok(app)
    }

    async fn record_beginning(
        &self,
        vkey: String,
        policy: &RoundPolicy,
        text: String,
    ) -> Result<(), CommandError> {
        let gateway = serde_json::to_value(self.certificate())?;
        let certificate = to_hash(&self.certificate().digest());
        let (known, known_policy) = {
            let state = self.state();
            (state.gateway.clone(), state.policy)
        };
        let mut entries = Vec::new();
        match known {
            None => {
                let root = self.consortium_root().0.to_string();
                let record = Record::LedgerCreated { vkey, root, gateway };
                let object = format!("ledger/{}", self.config().settings.origin);
                entries
                    .push(Entry::new(object, "the ledger begins", record).changing(None, Some(certificate)));
            }
            Some(known) if known != *self.certificate() => {
                let record = Record::GatewayCertified { gateway };
                let entry = Entry::new("gateway", "the gateway's certificate was renewed", record)
                    .changing(Some(to_hash(&known.digest())), Some(certificate));
                entries.push(entry);
            }
            Some(_) => {}
        }
        if known_policy != Some(policy.digest()) {
            let digest = to_hash(&policy.digest());
            let entry = Entry::new(
                "policies/rounds",
                "the rounds policy in the gateway's folder",
                Record::PolicySet { policy: digest, text },
            )
            .changing(known_policy.as_ref().map(to_hash), Some(digest));
            entries.push(entry);
        }
        if !entries.is_empty() {
            let held = self.lock("ledger").await;
            self.append(&held, &Caller::gateway("start"), entries).await?;
        }
        Ok(())
    }
}

/// The state that follows from a ledger's entries.
///
/// # Errors
/// [`OpenError::Read`] or [`OpenError::Fold`].
pub fn replay(ledger: &Ledger) -> Result<State, OpenError> {
    let mut state = State::default();
    for (index, leaf) in (0..).zip(ledger.leaves(0..ledger.head().size)) {
        state.apply(index, &leaf?)?;
    }
    Ok(state)
}
