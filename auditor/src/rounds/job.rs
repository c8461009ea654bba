//! A job as its entries tell it, as far as later entries are held against earlier ones.

use konclave_crypto::privacy::PrivacyCost;
use konclave_crypto::setup::{ListedRoster, Signatories};
use konclave_crypto::verification::AgreedSet;
use konclave_crypto::{Digest, SiteId, VerifiedContext};
use konclave_ledger::Hash;
use konclave_ledger::records::{OpenedBatch, OpenedTotal};

use super::checks::{Checked, NotMade, RoundCheck, RoundFault};

/// A job.
pub(super) struct Job {
    pub(super) policy: Hash,
    pub(super) rounds: u32,
    pub(super) scoring_rounds: Vec<u32>,
    /// The server's learning rate, if the request names it.
    pub(super) rate: Option<u32>,
    /// Nothing before keys are there, or if a listed site is not certified.
    pub(super) roster: Option<ListedRoster>,
    pub(super) started: bool,
    pub(super) over: bool,
    /// The model at which the job stands.
    pub(super) model: Hash,
    /// What its rounds cost each site, by their contexts.
    pub(super) privacy_spent: PrivacyCost,
    pub(super) opened: u32,
    /// The last round.
    pub(super) round: Option<Round>,
}

/// How far a round is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Begun,
    Agreed,
    Opened,
    Tagged,
    Verified,
    Rejected,
    Aborted,
}

/// A round, with what its entries said and what of it could be checked.
pub(super) struct Round {
    pub(super) number: u32,
    pub(super) stage: Stage,
    pub(super) scoring: bool,
    pub(super) digest: Hash,
    pub(super) model: Hash,
    /// Nothing if it is not there or was refused.
    pub(super) context: Option<VerifiedContext>,
    pub(super) agreed: Vec<String>,
    pub(super) signed: Vec<String>,
    /// The digest that sites signed, by the entry of the agreement.
    pub(super) agreed_digest: Option<Hash>,
    /// The set that a quorum signed. Nothing if the evidence is not there or was refused.
    pub(super) set: Option<AgreedSet>,
    pub(super) opening: Option<Opening>,
}

/// What was opened, by its entry.
pub(super) struct Opening {
    pub(super) batches: Vec<OpenedBatch>,
    pub(super) total: OpenedTotal,
    pub(super) announcement: Hash,
    pub(super) before: Hash,
    pub(super) after: Hash,
}

impl Stage {
    /// What the last entry of a job said, when another one does not follow it.
    const fn said(self) -> &'static str {
        match self {
            Self::Begun => "began a round",
            Self::Agreed => "fixed the agreed set of a round",
            Self::Opened => "opened a round",
            Self::Tagged => "settled the tags of a round",
            Self::Verified => "ended a round",
            Self::Rejected => "rejected the sum of a round",
            Self::Aborted => "aborted a round",
        }
    }
}

impl Job {
    /// The round under way, if it is this one and at one of these stages.
    pub(super) fn at(&mut self, number: u32, stages: &[Stage]) -> Checked<&mut Round> {
        let last = match &self.round {
            _ if self.over => "ended it",
            Some(round) => round.stage.said(),
            None => "began no round",
        };
        let fits = |round: &&mut Round| round.number == number && stages.contains(&round.stage);
        let under_way = self.round.as_mut().filter(|round| !self.over && fits(round));
        under_way.ok_or_else(|| RoundFault::Order { last }.into())
    }

    /// Whether a round with this number can begin.
    pub(super) fn may_begin(&self, number: u32) -> Checked {
        if self.over || !self.started {
            let last = if self.over { "ended it" } else { "did not start it" };
            return Err(RoundFault::Order { last }.into());
        }
        let last = self.round.as_ref();
        if let Some(round) = last.filter(|round| !matches!(round.stage, Stage::Verified | Stage::Aborted)) {
            return Err(RoundFault::Order { last: round.stage.said() }.into());
        }
        if Some(number) == last.map_or(0, |round| round.number).checked_add(1) {
            Ok(())
        } else {
            Err(RoundFault::Order { last: "was about the round before another one" }.into())
        }
    }

    /// Whether the job can be finished.
    pub(super) fn may_finish(&self) -> Checked {
        match &self.round {
            _ if self.over => Err(RoundFault::Order { last: "ended it" }.into()),
            Some(round) if round.stage == Stage::Verified && self.opened == self.rounds => Ok(()),
            Some(_) | None => Err(RoundFault::Order { last: "left rounds to be opened" }.into()),
        }
    }

    pub(super) fn roster(&self) -> Checked<&ListedRoster> {
        self.roster.as_ref().ok_or_else(|| NotMade::RestsOn { check: RoundCheck::Roster }.into())
    }

    /// Whether all of these are sites of the roster, ascending.
    pub(super) fn lists(&self, names: &[String]) -> Checked<bool> {
        let roster = self.roster()?;
        let known =
            |name: &String| name.parse::<SiteId>().is_ok_and(|site| roster.identity_key(&site).is_some());
        Ok(names.is_sorted_by(|a, b| a < b) && names.iter().all(known))
    }
}

impl Round {
    pub(super) fn context(&self) -> Checked<&VerifiedContext> {
        self.context.as_ref().ok_or_else(|| NotMade::RestsOn { check: RoundCheck::Context }.into())
    }

    pub(super) fn set(&self) -> Checked<&AgreedSet> {
        self.set.as_ref().ok_or_else(|| NotMade::RestsOn { check: RoundCheck::Agreement }.into())
    }

    pub(super) fn opening(&self) -> Checked<&Opening> {
        self.opening.as_ref().ok_or_else(|| NotMade::RestsOn { check: RoundCheck::Opening }.into())
    }
}

/// The number of signatures and verdicts that decides: floor(2n/3) + 1.
pub(super) fn quorum(sites: usize) -> usize {
    sites * 2 / 3 + 1
}

pub(super) fn digest(hash: &Hash) -> Digest {
    Digest(hash.0)
}

/// The sites with these names; nothing if one is no name.
pub(super) fn sites<C: FromIterator<SiteId>>(names: &[String]) -> Option<C> {
    names.iter().map(|name| name.parse::<SiteId>().ok()).collect()
}
