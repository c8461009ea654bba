//! What the ledger says of a job's rounds, every entry of it proven under the head that this site's witness has seen.
//!
//! A gateway's answers alone bind nothing: two of them can agree with each other and still be made up for one site. What
//! stands in the ledger is the same for all, stays there, and is what auditors compute the sums and models from. So
//! a site trains only where the ledger holds, in this order:
//!
//! ```text
//! round.opened or round.aborted of every round since the last opened one     the model to start from
//! the head that the context names                                            not older than those entries
//! round.context of this round with this context's digest                     after that head
//! ```

use konclave_crypto::privacy::PrivacyCost;
use konclave_crypto::{Digest, JobId, RoundNumber, VerifiedContext};
use konclave_ledger::Leaf;
use konclave_ledger::records::Record;
use tokio::sync::Mutex;

use super::error::StepError;
use super::learner::Learner;
use super::member::Member;
use super::session::ABORTS_IN_A_ROW;
use super::site::Site;
use crate::client::GatewayClient;
use crate::witness::Witness;

/// Why the ledger gives no ground for a round. The gateway is at fault.
#[derive(Debug, thiserror::Error)]
pub enum HistoryFault {
    /// No such entry.
    #[error(
        "the ledger shows no {action} entry of round {round} {of}: this site does not take part in what is not recorded"
    )]
    Unrecorded {
        /// The round.
        round: RoundNumber,
        /// The missing action.
        action: &'static str,
        /// Which one.
        of: &'static str,
    },
    /// A proven entry that is not what was asked for.
    #[error("entry {index} of the ledger is no {action} entry of the round: {reason}")]
    Entry {
        /// Its index.
        index: u64,
        /// The action asked for.
        action: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The ledger has another model than the context.
    #[error(
        "round {round} starts from model {context}, but by the ledger the job stands at {ledger}: this site trains on no \
         other model"
    )]
    OtherModel {
        /// The round.
        round: RoundNumber,
        /// The context's model.
        context: Digest,
        /// The ledger's.
        ledger: Digest,
    },
    /// More aborted rounds in a row than a job may have.
    #[error(
        "more than {ABORTS_IN_A_ROW} rounds before round {round} were aborted: the job should have ended"
    )]
    Aborts {
        /// The round.
        round: RoundNumber,
    },
    /// The named head is from before the last round ended.
    #[error(
        "the context of round {round} names a ledger of {named} entries, but the round before it ended in entry {ended}"
    )]
    OldHead {
        /// The round.
        round: RoundNumber,
        /// The size in the context.
        named: u64,
        /// The index of the entry that ended the round before.
        ended: u64,
    },
}

/// How a round ended, by its proven entry.
enum Ending {
    Opened { after: Digest },
    Aborted,
}

/// Where a job stands by the ledger.
pub(super) struct Standing {
    pub(super) model: Digest,
    /// The round that the model came of; nothing for the developer's own.
    pub(super) came_of: Option<RoundNumber>,
    /// The entry that ended the round before.
    ended: Option<u64>,
}

impl<L: Learner> Site<L> {
    /// The ledger as this site's witness has seen it.
    pub(super) fn ledger(&self) -> ProvenLedger<'_> {
        ProvenLedger::new(&self.member, &self.witness)
    }

    /// Checks that the ledger holds a context, and that the model it names is where the ledger says the job stands. Gives
    /// the round that the model came of; nothing for the developer's own.
    pub(super) async fn check_history(
        &self,
        initial: Digest,
        verified: &VerifiedContext,
    ) -> Result<Option<RoundNumber>, StepError> {
        let context = verified.context();
        let (job, round) = (&context.job, context.round);
        let ledger = self.ledger();
        let Standing { model: standing, came_of, ended } = ledger.standing(job, round, initial).await?;
        if context.model != standing {
            let (context, ledger) = (context.model, standing);
            return Err(HistoryFault::OtherModel { round, context, ledger }.into());
        }
        if let Some(ended) = ended.filter(|ended| context.ledger_size <= *ended) {
            return Err(HistoryFault::OldHead { round, named: context.ledger_size, ended }.into());
        }
        let digest = verified.digest();
        let cost = context.privacy_cost().map_or(0, PrivacyCost::nano_rho);
        // What a round costs stands there for all; less than it does would hide what was told of this site.
        let wanted = |record: &Record| {
            matches!(record, Record::RoundContext { context, privacy_cost, .. }
                if context.0 == *digest.as_bytes() && privacy_cost.unwrap_or(0) >= cost)
        };
        match ledger.entry(job, round, "round.context", wanted).await? {
            Some((index, _)) if index >= context.ledger_size => Ok(came_of),
            Some((index, _)) => {
                let reason = "it stands before the head that the context names".to_owned();
                Err(HistoryFault::Entry { index, action: "round.context", reason }.into())
            }
            None => {
                let (action, of) = ("round.context", "with this context's digest and privacy cost");
                Err(HistoryFault::Unrecorded { round, action, of }.into())
            }
        }
    }
}

/// The ledger as this member's witness has seen it: entries count only with a proof.
#[derive(Clone, Copy)]
pub(super) struct ProvenLedger<'a> {
    client: &'a GatewayClient,
    witness: &'a Mutex<Witness>,
}

impl<'a> ProvenLedger<'a> {
    pub(super) fn new(member: &'a Member, witness: &'a Mutex<Witness>) -> Self {
        Self { client: &member.client, witness }
    }

    /// The model that the ledger's entries before a round lead to, and the entry that ended the round before.
    pub(super) async fn standing(
        &self,
        job: &JobId,
        round: RoundNumber,
        initial: Digest,
    ) -> Result<Standing, StepError> {
        let mut ended = None;
        for back in 1..=ABORTS_IN_A_ROW + 1 {
            let Some(earlier) =
                round.get().checked_sub(back).and_then(|number| RoundNumber::new(number).ok())
            else {
                return Ok(Standing { model: initial, came_of: None, ended });
            };
            let (index, ending) = self.ending(job, earlier).await?;
            ended = ended.max(Some(index));
            if let Ending::Opened { after } = ending {
                return Ok(Standing { model: after, came_of: Some(earlier), ended });
            }
        }
        Err(HistoryFault::Aborts { round }.into())
    }

    async fn ending(&self, job: &JobId, round: RoundNumber) -> Result<(u64, Ending), StepError> {
        if let Some((index, Record::RoundOpened { parameters_after, .. })) =
            self.entry(job, round, "round.opened", |_| true).await?
        {
            return Ok((index, Ending::Opened { after: Digest(parameters_after.0) }));
        }
        match self.entry(job, round, "round.aborted", |_| true).await? {
            Some((index, _)) => Ok((index, Ending::Aborted)),
            None => {
                let (action, of) = ("round.opened or round.aborted", "though a later one is to begin");
                Err(HistoryFault::Unrecorded { round, action, of }.into())
            }
        }
    }

    /// The first wanted entry of a round with an action, proven to be in the ledger and to be what it is asked for as.
    pub(super) async fn entry(
        &self,
        job: &JobId,
        round: RoundNumber,
        action: &'static str,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<Option<(u64, Record)>, StepError> {
        for entry in self.client.round_entries(job, round, action).await? {
            let index = entry.index;
            let wrong = |reason: String| StepError::from(HistoryFault::Entry { index, action, reason });
            let leaf = Leaf::parse(entry.leaf.as_bytes()).map_err(|error| wrong(error.to_string()))?;
            let record =
                Record::parse(&leaf.action, &leaf.record).map_err(|error| wrong(error.to_string()))?;
            if record.action() != action || !is_of(&record, job, round) {
                return Err(wrong("it is about something else".to_owned()));
            }
            if wanted(&record) {
                self.witness.lock().await.check_entry(self.client, index, entry.leaf.as_bytes()).await?;
                return Ok(Some((index, record)));
            }
        }
        Ok(None)
    }
}

/// Whether a record is about a round of a job.
fn is_of(record: &Record, its_job: &JobId, its_round: RoundNumber) -> bool {
    matches!(
        record,
        Record::RoundContext { job, round, .. }
            | Record::RoundOpened { job, round, .. }
            | Record::RoundTagged { job, round, .. }
            | Record::RoundAborted { job, round, .. }
            if job == its_job.as_str() && *round == its_round.get()
    )
}
