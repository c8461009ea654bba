//! Why a step of a job failed, and what that means for the job.

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use konclave_crypto::encoding::EncodingError;
use konclave_crypto::setup::{ChainError, RosterError, SetupError};
use konclave_crypto::site::{AgreeError, MaskError, UnmaskError};
use konclave_crypto::verification::{EvidenceError, TagError, Unverified};
use konclave_crypto::{ContextError, Digest, JobId, RoundNumber};
use konclave_ledger::statements::StatementError;
use konclave_policies::rounds::PolicyError;
use konclave_policies::site::Refusal;

use super::history::HistoryFault;
use super::learner::LearnerFault;
use crate::client::ClientError;
use crate::consent::PolicyFault;
use crate::keystore::{Disk, DiskError, SpendingError, StateError};
use crate::trainer::ParameterFileError;
use crate::witness::WitnessFault;

/// Why a step failed. The job is tried again later; other jobs go on.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The gateway could not be reached or refused.
    #[error(transparent)]
    Gateway(#[from] ClientError),
    /// The site's own state forbids it or failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The account of the privacy budget cannot be used.
    #[error(transparent)]
    Spending(#[from] SpendingError),
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A stored answer cannot be read.
    #[error("the stored answer to job {job} cannot be read: {source}")]
    StoredAnswer {
        /// The job.
        job: JobId,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// There is no policy to decide by.
    #[error(transparent)]
    Policy(PolicyFault),
    /// The site's policy is looser than the consortium's.
    #[error(transparent)]
    OwnPolicy(#[from] PolicyError),
    /// A statement could not be signed.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The model or the data do not allow it.
    #[error(transparent)]
    Learning(#[from] LearnerFault),
    /// The site never consented, so it gives no key and no update.
    #[error("this site did not consent to job {job}: it takes no part, whatever is asked")]
    NoConsent {
        /// The job.
        job: JobId,
    },
    /// The job is no longer the one that was consented to: the gateway's fault.
    #[error("job {job} has another {what} than this site consented to: it takes no further part")]
    Changed {
        /// The job.
        job: JobId,
        /// What differs.
        what: &'static str,
    },
    /// The roster does not hold.
    #[error("the roster was refused: {0}")]
    Roster(#[from] RosterError),
    /// The roster lacks this site's own key or has another one: the gateway's fault.
    #[error("the roster of job {job} does not hold the key that this site advertised: refused")]
    OwnKey {
        /// The job.
        job: JobId,
    },
    /// The roster is not the one that the gateway announced.
    #[error("the advertisements of job {job} do not make the roster that the gateway names: refused")]
    OtherRoster {
        /// The job.
        job: JobId,
    },
    /// Fewer sites than this site takes part with.
    #[error("the roster has {found} sites, this site takes part with at least {least}")]
    SmallRoster {
        /// Sites in it.
        found: usize,
        /// The policy's floor.
        least: u16,
    },
    /// The key set-up failed.
    #[error("the key set-up was refused: {0}")]
    Setup(#[from] SetupError),
    /// A round's context does not hold.
    #[error("the context of round {round} was refused: {source}")]
    Context {
        /// The round.
        round: RoundNumber,
        /// Why.
        source: ContextError,
    },
    /// A round's context says something else than the job or the round.
    #[error("the context of round {round} was refused: its {field} is not the job's")]
    ContextField {
        /// The round.
        round: RoundNumber,
        /// The field.
        field: &'static str,
    },
    /// A round's number is beyond what the job can reach.
    #[error(
        "round {round} was refused: a job of {rounds} rounds ends before it, however many rounds are aborted"
    )]
    Beyond {
        /// The round.
        round: RoundNumber,
        /// Rounds asked for.
        rounds: u32,
    },
    /// The ledger gives no ground for the round.
    #[error(transparent)]
    History(#[from] HistoryFault),
    /// This site already gave shares for an update of the model.
    #[error(
        "round {round} trains on model {model}, for which this site already gave shares in round {earlier}: it masks no          second update of one model, because the difference of two sums could be a single site's update. This site takes          part again once a round is opened without it; if none can be, the job has to be asked for anew"
    )]
    SpentModel {
        /// The round.
        round: RoundNumber,
        /// The model.
        model: Digest,
        /// The round in which shares were given.
        earlier: u32,
    },
    /// This site gave shares in as many rounds as were asked for.
    #[error("round {round} was refused: this site gave shares in {given} rounds, all that the job asked for")]
    RoundsUsed {
        /// The round.
        round: RoundNumber,
        /// Rounds in which shares were given.
        given: usize,
    },
    /// A round's context breaks the site's policy.
    #[error("round {round}: {refusal}")]
    Terms {
        /// The round.
        round: RoundNumber,
        /// The broken rule.
        refusal: Refusal,
    },
    /// The evaluator does not answer the question.
    #[error("an evaluation in round {round} of job {job} is refused: {rule}")]
    Evaluation {
        /// The job.
        job: JobId,
        /// The round.
        round: RoundNumber,
        /// The broken rule.
        rule: &'static str,
    },
    /// The ledger contradicts what this site has seen.
    #[error(transparent)]
    Witness(#[from] WitnessFault),
    /// The global parameters cannot be used.
    #[error("the global parameters cannot be used: {0}")]
    Parameters(#[from] ParameterFileError),
    /// The chains are beyond the round.
    #[error(transparent)]
    Chains(#[from] ChainError),
    /// The update cannot be encoded.
    #[error("the update cannot be encoded: {0}")]
    Encoding(#[from] EncodingError),
    /// The update cannot be masked.
    #[error("the update cannot be masked: {0}")]
    Mask(#[from] MaskError),
    /// The proposed set was refused.
    #[error("the proposed set of round {round} was refused: {source}")]
    Agreement {
        /// The round.
        round: RoundNumber,
        /// Why.
        source: AgreeError,
    },
    /// The unmasking request was refused.
    #[error("the unmasking request of round {round} was refused: {source}")]
    Unmasking {
        /// The round.
        round: RoundNumber,
        /// Why.
        source: UnmaskError,
    },
    /// The request for a tag was refused.
    #[error("the request for a tag in round {round} was refused: {source}")]
    Tag {
        /// The round.
        round: RoundNumber,
        /// Why.
        source: TagError,
    },
    /// The agreed set of a round is not shown.
    #[error("the agreed set of round {round} is not shown by what the gateway gives: {source}")]
    Evidence {
        /// The round.
        round: RoundNumber,
        /// Why.
        source: EvidenceError,
    },
    /// The gateway does not say what it takes to check an opened sum.
    #[error("the gateway does not give {what} of round {round}: its sum cannot be checked")]
    NoEvidence {
        /// The round.
        round: RoundNumber,
        /// What is missing.
        what: &'static str,
    },
    /// Something that the gateway gives for checking a sum cannot be read.
    #[error("the {what} of round {round} cannot be read: {source}")]
    Unreadable {
        /// The round.
        round: RoundNumber,
        /// What.
        what: &'static str,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// An opened sum cannot be checked yet.
    #[error("the sum of round {round} is not verified: {source}")]
    Unverified {
        /// The round.
        round: RoundNumber,
        /// Why.
        source: Unverified,
    },
    /// This site found an opened sum wrong.
    #[error(
        "the sum of round {round}, or the model after it, is not what the sites' uploads give: this site trains on \
         nothing that follows from it"
    )]
    WrongSum {
        /// The round.
        round: RoundNumber,
    },
    /// The gateway has a message of this site that the site does not know of.
    #[error(
        "the gateway has {what} of this site in round {round} of job {job}, but this site's state knows of none: the state was \
         restored from an older copy. The site takes no further part in this round"
    )]
    Forgotten {
        /// The job.
        job: JobId,
        /// The round.
        round: RoundNumber,
        /// What.
        what: &'static str,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// A computation was stopped, for example by a defect in a library.
    #[error("{doing} stopped unexpectedly: {reason}")]
    Stopped {
        /// What was being done.
        doing: &'static str,
        /// The reason, as far as known.
        reason: String,
    },
}

impl From<PolicyFault> for StepError {
    fn from(fault: PolicyFault) -> Self {
        // An alarm must be seen as one.
        if let PolicyFault::Ledger(fault) = fault { Self::Witness(fault) } else { Self::Policy(fault) }
    }
}

impl StepError {
    /// Whether the step came too late or too early: nothing is wrong, the site asks for work again.
    #[must_use]
    pub fn moves_on(&self) -> bool {
        matches!(self, Self::State(StateError::Closed { .. }))
            || matches!(self, Self::Gateway(error) if error.is_over())
    }

    /// Whether everything must stop until the owner has looked.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        matches!(self, Self::Witness(WitnessFault::Alarm(_)))
    }
}

/// Runs heavy work off the async threads.
pub(super) async fn blocking<T, F>(doing: &'static str, work: F) -> Result<T, StepError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StepError::Stopped { doing, reason: error.to_string() })
}

/// The system's generator. Masks and shares are drawn from it directly: a generator of our own would hold in memory, and
/// leave there, a state that all of them follow from. It is asked once here, so that a system that gives no random
/// numbers is an error and not the end of a thread.
pub(super) fn fresh_random() -> Result<UnwrapErr<SysRng>, StepError> {
    let mut first = [0; 1];
    getrandom::fill(&mut first).map_err(|error| StepError::Random(error.to_string()))?;
    Ok(UnwrapErr(SysRng))
}

/// The folder of blobs, made if it is not there.
pub(super) fn blob_folder(
    disk: &Disk,
    folder: &crate::config::SiteFolder,
) -> Result<std::path::PathBuf, StepError> {
    let blobs = folder.blobs();
    disk.create_folder(&blobs)?;
    Ok(blobs)
}
