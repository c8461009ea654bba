//! The gateway's core: what every handler and the coordinator share.
//!
//! [`App`] is the axum state. A change of the consortium's state is always the same sequence: a command checks the
//! request against the fold ([`crate::projections::State`]), the writer appends ledger entries durably
//! ([`crate::writer`]), the writer applies them to the fold, the command answers. Messages of set-ups and rounds do
//! not go into the ledger; they are made durable in [`crate::rounds_store`] before they are acknowledged.

mod audience;
mod budgets;
pub mod caller;
pub mod clock;
pub mod commands;
mod corrections;
mod exports;
mod jobs;
mod ledger;
pub mod members;
mod models;
mod open;
mod openings;
mod renewals;
mod reviews;
mod revocations;
mod rotation;
mod statements;
pub mod witnesses;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use konclave_crypto::{ConsortiumRoot, Digest, IdentityKey, MembershipCertificate, SiteId, UnixSeconds};
use konclave_policies::authorization::Authorizer;
use tokio::sync::watch;

pub use audience::{EVALUATORS_ONLY, EntryAudience, EntryReader, MEMBERS_ONLY, subject};
pub use budgets::BudgetError;
pub(crate) use budgets::check_round;
pub use caller::{Caller, IdempotencyKey};
pub use clock::Clock;
pub use commands::{CommandError, Entry, Held, digest_of};
pub use exports::{EntryExport, ExportPlace, MAX_EXPORTS};
pub(crate) use jobs::Differenced;
pub use members::{EnrolError, NewClient, NewMember, RegisterError};
pub(crate) use open::ledger_options;
pub use open::{CoreOptions, OpenError, replay};
pub use revocations::RevokeError;
pub use witnesses::Witnesses;

use crate::blobs::BlobStore;
use crate::config::Config;
use crate::coordinator::live::LiveRounds;
use crate::projections::{SiteState, State};
use crate::rounds_store::RoundsStore;
use crate::uploads::Uploads;
use crate::writer::LedgerHandle;

/// The state shared by all handlers. Cloning shares it.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    config: Config,
    blobs: BlobStore,
    uploads: Uploads,
    authorizer: Authorizer,
    identity: IdentityKey,
    certificate: MembershipCertificate,
    root: ConsortiumRoot,
    ledger: LedgerHandle,
    state: Arc<RwLock<State>>,
    rounds: RoundsStore,
    live: LiveRounds,
    witnesses: Witnesses,
    changes: watch::Sender<u64>,
    clock: Clock,
    /// One lock for each aggregate that commands check and change.
    aggregates: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    last_seen: Mutex<BTreeMap<SiteId, UnixSeconds>>,
    /// Places for exports under way.
    exports: exports::Places,
}

impl App {
    /// The configuration the gateway runs under.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The blob store.
    #[must_use]
    pub fn blobs(&self) -> &BlobStore {
        &self.0.blobs
    }

    /// Uploads of blobs under way.
    #[must_use]
    pub fn uploads(&self) -> &Uploads {
        &self.0.uploads
    }

    /// Decides by Cedar policies.
    #[must_use]
    pub fn authorizer(&self) -> &Authorizer {
        &self.0.authorizer
    }

    /// The gateway's identity key, which signs round contexts.
    #[must_use]
    pub fn identity(&self) -> &IdentityKey {
        &self.0.identity
    }

    /// The gateway's certificate under the consortium root.
    #[must_use]
    pub fn certificate(&self) -> &MembershipCertificate {
        &self.0.certificate
    }

    /// The consortium root that enrolled every member.
    #[must_use]
    pub fn consortium_root(&self) -> &ConsortiumRoot {
        &self.0.root
    }

    /// The ledger: reads, and the queue of the one writer.
    #[must_use]
    pub fn ledger(&self) -> &LedgerHandle {
        &self.0.ledger
    }

    /// The fold over the ledger as of the last durable entry. Hold the guard briefly, never over an `await`.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The durable messages of set-ups and rounds.
    #[must_use]
    pub fn rounds(&self) -> &RoundsStore {
        &self.0.rounds
    }

    /// The rounds under way.
    #[must_use]
    pub fn live(&self) -> &LiveRounds {
        &self.0.live
    }

    /// What is kept of the ledger's witnesses.
    #[must_use]
    pub fn witnesses(&self) -> &Witnesses {
        &self.0.witnesses
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// A receiver that is woken after every change of the state or of a round; for long polls and the coordinator.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Wakes all long polls and the coordinator.
    pub fn notify(&self) {
        self.0.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The enrolled member whose TLS client key has this SHA-256 (of the DER SubjectPublicKeyInfo) now. The caller still
    /// checks the name in the certificate and [`SiteState::is_valid_at`].
    #[must_use]
    pub fn member_by_tls_spki(&self, spki: &Digest) -> Option<SiteState> {
        self.state().member_by_tls_spki(spki, self.clock().now()).cloned()
    }

    /// Notes that a member was heard from now.
    pub fn heard_from(&self, site: &SiteId) {
        let now = self.0.clock.now();
        self.0.last_seen.lock().unwrap_or_else(PoisonError::into_inner).insert(site.clone(), now);
    }

    /// When a member was last heard from since this process started.
    #[must_use]
    pub fn last_seen(&self, site: &SiteId) -> Option<UnixSeconds> {
        self.0.last_seen.lock().unwrap_or_else(PoisonError::into_inner).get(site).copied()
    }
}
