//! One round as the ledger tells it. The messages in between are in [`crate::rounds_store`].

use std::collections::BTreeMap;

use konclave_crypto::privacy::PrivacyCost;
use konclave_crypto::{Digest, RoundNumber, SiteId, UnixSeconds};
use konclave_ledger::records::{Document, OpenedBatch, OpenedTotal, OpenedUpload, SumResult};

/// A round.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundState {
    /// Its number.
    pub round: RoundNumber,
    /// The digest of its context.
    pub context: Digest,
    /// The signed context.
    pub signed: Document,
    /// Whether each batch is opened by itself.
    pub scoring: bool,
    /// What it costs each site of its privacy budget; none if sums are exact.
    pub privacy_cost: Option<PrivacyCost>,
    /// The parameters that sites train from.
    pub parameters_before: Digest,
    /// When uploads close.
    pub deadline: UnixSeconds,
    /// When it began (RFC 3339).
    pub started_at: String,
    /// The entry of its context.
    pub entry: u64,
    /// The agreed set, once a quorum signed it.
    pub agreed: Option<AgreedState>,
    /// How it ended.
    pub outcome: OutcomeState,
    /// What each site did, once opened.
    pub participation: BTreeMap<SiteId, ParticipationState>,
}

/// The agreed set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreedState {
    /// The sites whose uploads are summed.
    pub agreed: Vec<SiteId>,
    /// The sites that signed it.
    pub signed: Vec<SiteId>,
    /// The blob with the proposal and the signatures.
    pub evidence: Digest,
    /// When unmasking closes.
    pub deadline: UnixSeconds,
}

/// How a round ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutcomeState {
    /// It has not ended.
    Open,
    /// The sums are open.
    Opened(Box<OpenedState>),
    /// Nothing was opened.
    Aborted {
        /// Why.
        reason: String,
        /// Who caused it, where known.
        culprits: Vec<SiteId>,
    },
}

/// What was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedState {
    /// One sum, or one for each batch of a scoring round.
    pub batches: Vec<OpenedBatch>,
    /// The sum over all sites.
    pub total: OpenedTotal,
    /// What tags and verdicts are signed for.
    pub announcement: Digest,
    /// How far its verification is.
    pub verification: VerificationState,
    /// The parameters after.
    pub parameters_after: Digest,
    /// In a scoring round, the parameters of every coalition.
    pub coalitions: Option<Document>,
    /// When evaluations of it no longer count.
    pub evaluation_deadline: UnixSeconds,
}

/// How far the verification of an opened sum is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerificationState {
    /// The agreed sites send their tags.
    Tagging {
        /// Until when.
        deadline: UnixSeconds,
    },
    /// The tags are settled, and sites say what they find.
    Checking {
        /// The tags.
        tags: TagsState,
        /// Until when.
        deadline: UnixSeconds,
    },
    /// It is over.
    Settled {
        /// The tags.
        tags: TagsState,
        /// What it comes to.
        result: SumResult,
        /// Who accepts.
        accepted: Vec<SiteId>,
        /// Who found it wrong.
        rejected: Vec<SiteId>,
    },
}

/// The tags of an opened sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagsState {
    /// The blob with them.
    pub evidence: Digest,
    /// Who sent its own.
    pub tagged: Vec<SiteId>,
    /// Whose tag is computed from a body.
    pub uploads: Vec<OpenedUpload>,
    /// Whose tag is missing for good.
    pub missing: Vec<SiteId>,
    /// Who sent a false one.
    pub false_tags: Vec<SiteId>,
}

impl VerificationState {
    /// The tags, once settled.
    #[must_use]
    pub fn tags(&self) -> Option<&TagsState> {
        match self {
            Self::Tagging { .. } => None,
            Self::Checking { tags, .. } | Self::Settled { tags, .. } => Some(tags),
        }
    }

    /// Whether nothing more is waited for.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Settled { .. })
    }
}

/// What one site did in an opened round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParticipationState {
    /// Its masked upload was complete in time.
    pub uploaded: bool,
    /// Its update is in an opened sum.
    pub agreed: bool,
    /// It signed the agreed set.
    pub signed: bool,
    /// It answered the unmasking.
    pub unmasked: bool,
}

impl RoundState {
    /// What was opened, if it was.
    #[must_use]
    pub fn opened(&self) -> Option<&OpenedState> {
        match &self.outcome {
            OutcomeState::Opened(opened) => Some(opened),
            OutcomeState::Open | OutcomeState::Aborted { .. } => None,
        }
    }
}
