//! Why messages and rebuilt rounds are refused.

use konclave_crypto::aggregator::{Abort, Rejection};
use konclave_crypto::{ContextError, SiteId};

use crate::rounds_store::{RoundKey, StoreError};

/// Why a message was not accepted. The round is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It belongs to another phase.
    #[error("{key} is in phase {phase}; {message} are taken in phase {belongs}")]
    WrongPhase {
        /// The round.
        key: RoundKey,
        /// Where it stands.
        phase: &'static str,
        /// What was sent.
        message: &'static str,
        /// Where it belongs.
        belongs: &'static str,
    },
    /// The round changed hands within this moment; the same message again will be taken.
    #[error("{key} is being reloaded; send the message again")]
    Stale {
        /// The round.
        key: RoundKey,
    },
    /// A body without a manifest.
    #[error("the manifest of {site} must come before its masked update")]
    NoManifest {
        /// The site.
        site: SiteId,
    },
    /// The protocol refuses it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It could not be stored, or another one was before.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a round could not be rebuilt from its stored messages. It is aborted; nothing of it was opened.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The stored context does not fit the roster.
    #[error("the stored context is refused: {0}")]
    Context(#[from] ContextError),
    /// A stored message is refused, though it was accepted before.
    #[error("a stored message is refused: {0}")]
    Rejected(#[from] Rejection),
    /// A phase that was closed does not close.
    #[error("a phase that was closed before does not close: {0}")]
    Abort(#[from] Abort),
    /// The messages lead to another agreed set than the one that was shown to the sites.
    #[error("stored messages are missing: they lead to another agreed set than the one proposed")]
    OtherProposal,
    /// The ledger says that the sums are open, but what was opened is not stored.
    #[error("what was opened is not stored any more: the tags cannot be gathered")]
    NoOpening,
    /// A file could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
