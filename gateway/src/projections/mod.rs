//! The consortium's state as a pure fold over the ledger.
//!
//! [`State::apply`] is the only way to change it, and it reads nothing but the entry: delete every index, replay the
//! ledger, and the same state comes back. It does no I/O and knows no clock; every time in it was recorded.
//! It checks references (a consent names a known job), not rules: rules are checked before an entry is appended.

mod apply;
mod apply_audit;
mod apply_jobs;
pub mod audit;
pub mod jobs;
pub mod members;
pub mod rounds;
pub mod scores;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use konclave_crypto::privacy::PrivacyCost;
use konclave_crypto::{Digest, IdentityPublicKey, JobId, MembershipCertificate, SiteId, UnixSeconds};
use konclave_ledger::Hash;
use konclave_ledger::records::RecordError;
use konclave_policies::rounds::{RoundPolicy, WitnessRules};

pub use audit::{ReviewState, WitnessStatusState};
pub use jobs::{ConsentState, JobState, PhaseState};
pub use members::{ClientState, DepositState, ModelState, SiteState};
pub use rounds::{
    AgreedState, OpenedState, OutcomeState, ParticipationState, RoundState, TagsState, VerificationState,
};
pub use scores::{ContributionState, EvaluationState, StatementState};

/// Everything that follows from the ledger's entries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Entries folded so far: the index of the next one.
    pub size: u64,
    /// The gateway's certificate, once the ledger was created.
    pub gateway: Option<MembershipCertificate>,
    /// The rounds policy in force.
    pub policy: Option<Digest>,
    /// Every rounds policy that ever was in force.
    pub policies: BTreeMap<Digest, Arc<RoundPolicy>>,
    /// Enrolled sites and evaluators.
    pub sites: BTreeMap<SiteId, SiteState>,
    /// Which site has which TLS client key, or had it before another replaced it.
    pub tls_spki: BTreeMap<Digest, SiteId>,
    /// Identity keys that were revoked.
    pub revoked_keys: BTreeSet<IdentityPublicKey>,
    /// TLS client keys of members that were revoked.
    pub revoked_tls: BTreeSet<Digest>,
    /// Clients that were revoked, each with the key (PEM) that it had.
    pub revoked_clients: BTreeSet<(String, String)>,
    /// Partner clients by id.
    pub clients: BTreeMap<String, ClientState>,
    /// Deposits, oldest first.
    pub deposits: Vec<DepositState>,
    /// Models, oldest first.
    pub models: Vec<ModelState>,
    /// Jobs by id.
    pub jobs: BTreeMap<JobId, JobState>,
    /// Job ids, oldest first.
    pub job_order: Vec<JobId>,
    /// Evaluations, oldest first.
    pub evaluations: Vec<EvaluationState>,
    /// The exports made: the entry and the size exported.
    pub exports: Vec<(u64, u64)>,
    /// Which entries correct an entry.
    pub corrections: BTreeMap<u64, Vec<u64>>,
    /// Commitments, and the first entry that carries each.
    pub commitments: BTreeMap<Hash, u64>,
    /// Commitments whose opening was erased, and the entry that says so.
    pub erased: BTreeMap<Hash, u64>,
    /// Reviews by auditors, oldest first.
    pub reviews: Vec<ReviewState>,
    /// What the last entry about the witnesses said.
    pub witness_status: Option<WitnessStatusState>,
    /// Requests that carried an idempotency key.
    pub idempotency: BTreeMap<Digest, IdempotentRequest>,
}

/// A request that was carried out under an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotentRequest {
    /// The digest of its body.
    pub body: Digest,
    /// The first entry it made.
    pub entry: u64,
}

/// An entry that cannot be folded. On replay: the ledger was written by other software or tampered with.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The entry comes out of order.
    #[error("entry {index} cannot be folded into a state of {size} entries")]
    OutOfOrder {
        /// The entry's index.
        index: u64,
        /// Entries folded so far.
        size: u64,
    },
    /// The action or the record is not known.
    #[error("entry {index}: {source}")]
    Record {
        /// The entry's index.
        index: u64,
        /// What is wrong.
        source: RecordError,
    },
    /// A field does not hold what it must.
    #[error("entry {index}: {field} of `{action}` is not valid")]
    Field {
        /// The entry's index.
        index: u64,
        /// The action.
        action: &'static str,
        /// The field.
        field: &'static str,
    },
    /// The ledger's format knows the action, but this version does not act on it: it was written by a newer one.
    #[error("entry {index}: `{action}` asks for a newer version")]
    Reserved {
        /// The entry's index.
        index: u64,
        /// The action.
        action: &'static str,
    },
    /// The entry is about something that no earlier entry made.
    #[error("entry {index}: `{action}` is about an unknown {what} `{id}`")]
    Unknown {
        /// The entry's index.
        index: u64,
        /// The action.
        action: &'static str,
        /// The kind of thing.
        what: &'static str,
        /// Its id.
        id: String,
    },
}

impl State {
    /// The member whose TLS client key this is at `now`.
    #[must_use]
    pub fn member_by_tls_spki(&self, spki: &Digest, now: UnixSeconds) -> Option<&SiteState> {
        self.sites.get(self.tls_spki.get(spki)?).filter(|member| member.accepts_tls(spki, now))
    }

    /// The rounds policy in force.
    #[must_use]
    pub fn current_policy(&self) -> Option<&Arc<RoundPolicy>> {
        self.policies.get(self.policy.as_ref()?)
    }

    /// What the rounds policy in force asks of the ledger's witnesses.
    #[must_use]
    pub fn witness_rules(&self) -> WitnessRules {
        self.current_policy().map(|policy| policy.witnesses).unwrap_or_default()
    }

    /// A model by its id.
    #[must_use]
    pub fn model(&self, model: &Digest) -> Option<&ModelState> {
        self.models.iter().find(|known| known.model == *model)
    }

    /// What all jobs have cost a site of its privacy budget.
    #[must_use]
    pub fn privacy_spent(&self, site: &SiteId) -> PrivacyCost {
        self.jobs.values().filter(|job| job.cohort.contains(site)).map(JobState::privacy_spent).sum()
    }

    /// The evaluation of these parameters in this job, if there is one.
    #[must_use]
    pub fn evaluation_of(&self, job: &JobId, parameters: &Digest) -> Option<&EvaluationState> {
        self.evaluations.iter().find(|known| known.job == *job && known.parameters == *parameters)
    }
}

/// The ledger's name for a digest.
#[must_use]
pub fn to_hash(digest: &Digest) -> Hash {
    Hash(digest.0)
}

/// The protocol's name for a hash.
#[must_use]
pub fn to_digest(hash: &Hash) -> Digest {
    Digest(hash.0)
}
