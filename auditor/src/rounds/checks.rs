//! The named checks of a round, and what came of each.

use std::fmt;

use konclave_crypto::encoding::ApplyError;
use konclave_crypto::verification::{AnnouncementFault, EvidenceError, TagError, Unverified};
use konclave_crypto::{ContextError, SiteId};
use konclave_ledger::Hash;
use serde::Serialize;

use crate::folder::AuditError;

/// A check of a job's rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoundCheck {
    /// Every entry of a round follows the one it has to follow.
    Order,
    /// A roster lists certified sites.
    Roster,
    /// A round starts from the model that the rounds before it led to, and a job ends with it.
    Model,
    /// The gateway signed the round's context, which is the entry's and keeps to the job and its policy.
    Context,
    /// The context's threshold is the quorum of the roster.
    Quorum,
    /// The context's noise costs what its entry says, and no more than the policy allows.
    Privacy,
    /// The agreed set is made of whole batches, is large enough, and a quorum is named for it.
    AgreedSet,
    /// The sites that are named signed that set and those uploads.
    Agreement,
    /// What was opened are the sums over the agreed set, over the round's model.
    Opening,
    /// What was opened is what the sites tagged.
    Announcement,
    /// The sum leads from the model before to the model after.
    NextModel,
    /// The sums of its batches lead to the model of each coalition.
    Coalitions,
    /// The tags are those of the agreed sites, and signed by them.
    Tags,
    /// A sum is what the tags say.
    Sum,
    /// The result is what the named verdicts make it.
    Result,
    /// The sites that are named signed those verdicts.
    Verdicts,
    /// What is said of a site's part is what the agreement says.
    Participation,
}

impl RoundCheck {
    /// What it is called in the report for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Order => "order of entries",
            Self::Roster => "rosters",
            Self::Model => "starting models",
            Self::Context => "contexts",
            Self::Quorum => "quorums",
            Self::Privacy => "privacy costs",
            Self::AgreedSet => "agreed sets",
            Self::Agreement => "signed agreements",
            Self::Opening => "openings",
            Self::Announcement => "announced sums",
            Self::NextModel => "moved models",
            Self::Coalitions => "coalition models",
            Self::Tags => "signed tags",
            Self::Sum => "sums against tags",
            Self::Result => "results",
            Self::Verdicts => "signed verdicts",
            Self::Participation => "participation",
        }
    }
}

/// How often a check was made, and when it was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckTally {
    /// The check.
    pub check: RoundCheck,
    /// How often it passed.
    pub passed: u64,
    /// How often it failed. Each failure is among the findings.
    pub failed: u64,
    /// How often it could not be made.
    pub not_made: u64,
    /// Where and why it could not be made; at most 100.
    pub gaps: Vec<Gap>,
}

/// A check that could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The entry that it is about.
    pub entry: u64,
    /// The job.
    pub job: String,
    /// The round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// Why.
    pub reason: NotMade,
}

/// Why a check could not be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum NotMade {
    /// The auditor does not have the blob.
    NoBlob {
        /// What it is.
        what: &'static str,
        /// Its digest.
        blob: Hash,
    },
    /// A tag is missing for good, and the ledger says so: the result is pending.
    Pending,
    /// It rests on a check that failed or could not be made.
    RestsOn {
        /// That check.
        check: RoundCheck,
    },
}

impl fmt::Display for NotMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBlob { what, .. } => write!(f, "the blob with {what} is not in the folder"),
            Self::Pending => f.write_str("tags are missing, so the result is pending"),
            Self::RestsOn { check } => {
                write!(f, "there is nothing sound to check against ({})", check.name())
            }
        }
    }
}

/// What is wrong with a round's entry, or with the evidence for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoundFault {
    #[error("the entry cannot follow the last one of the job, which {last}")]
    Order { last: &'static str },
    #[error("no such job was asked for")]
    NoJob,
    #[error("`{0}` is not a certified site")]
    NotCertified(String),
    #[error("{field} is not {expected}")]
    Differs { field: &'static str, expected: &'static str },
    #[error("the rounds policy of the job is not in the ledger, or cannot be read")]
    NoPolicy,
    #[error("no consortium root is known")]
    NoRoot,
    #[error("the signed context was refused: {0}")]
    Context(#[from] ContextError),
    #[error("the threshold is {found}, the quorum of {sites} sites {quorum}")]
    Quorum { found: u16, sites: usize, quorum: usize },
    #[error("only {found} sites are said to have signed; the threshold is {threshold}")]
    TooFewSigned { found: usize, threshold: u16 },
    #[error("the agreed set has {found} sites; the context asks for {least}")]
    TooFewAgreed { found: usize, least: u16 },
    #[error("the evidence of the agreed set was refused: {0}")]
    Evidence(#[from] EvidenceError),
    #[error("{0} is said to have signed, but the evidence holds no signature of it")]
    Unsigned(SiteId),
    #[error("{0}")]
    Announcement(#[from] AnnouncementFault),
    #[error("{0}")]
    Sum(#[from] Unverified),
    #[error("a tag cannot be computed: {0}")]
    Tag(#[from] TagError),
    #[error("the sum cannot be applied: {0}")]
    Apply(#[from] ApplyError),
    #[error("the verdict of {0} is not signed by it, is for another sum, or is counted otherwise")]
    Verdict(SiteId),
    #[error("the blob {blob} with {what} was altered: it has another digest")]
    Altered { what: &'static str, blob: Hash },
    #[error("{what} cannot be read: {source}")]
    Unreadable { what: &'static str, source: serde_json::Error },
}

/// Why a check gives nothing.
#[derive(Debug)]
pub(crate) enum Shortfall {
    Fault(Box<RoundFault>),
    NotMade(NotMade),
    Audit(AuditError),
}

/// What comes of a check.
pub(crate) type Checked<T = ()> = Result<T, Shortfall>;

impl<F: Into<RoundFault>> From<F> for Shortfall {
    fn from(fault: F) -> Self {
        Self::Fault(Box::new(fault.into()))
    }
}

impl From<NotMade> for Shortfall {
    fn from(reason: NotMade) -> Self {
        Self::NotMade(reason)
    }
}

impl From<AuditError> for Shortfall {
    fn from(error: AuditError) -> Self {
        Self::Audit(error)
    }
}

/// `Ok` if a field is what it has to be.
pub(super) fn expect(holds: bool, field: &'static str, expected: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(RoundFault::Differs { field, expected }.into()) }
}
