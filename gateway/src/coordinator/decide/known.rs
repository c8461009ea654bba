//! What [`super::decide`] decides by: where a job, its round and its verification stand, and what is missing.

use std::collections::{BTreeMap, BTreeSet};

use konclave_crypto::{RoundNumber, SiteId, UnixSeconds};

/// The least time that sites have for a tag or a verdict once a quorum has sent its own.
const STRAGGLER_SECONDS: u64 = 5;

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFacts {
    /// Where it stands.
    pub stage: JobStage,
    /// Rounds that must open.
    pub rounds_wanted: u32,
    /// Rounds that were opened.
    pub rounds_opened: u32,
    /// Rounds aborted since the last one that opened.
    pub aborts_in_a_row: u32,
    /// The number the next round gets; absent when the numbers are used up.
    pub next_round: Option<RoundNumber>,
    /// Which opened rounds, counted from 1, are scoring rounds.
    pub scoring_rounds: BTreeSet<u32>,
    /// The round under way.
    pub round: Option<RoundFacts>,
    /// The last round, if its sum is open and not verified yet.
    pub verification: Option<VerificationFacts>,
    /// A scoring round whose evaluations are complete and whose contribution is not scored yet.
    pub to_score: Option<RoundNumber>,
    /// Until when evaluations are waited for; absent when none is missing.
    pub evaluations_until: Option<UnixSeconds>,
    /// Whether the reward statement is made.
    pub reward_stated: bool,
}

/// Where a job stands, with what decides when it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobStage {
    /// Invited sites are asked for consent.
    Consent {
        /// When invitations lapse.
        deadline: UnixSeconds,
        /// How many are invited.
        invited: usize,
        /// How many answered.
        answered: usize,
        /// Who accepted.
        accepted: BTreeSet<SiteId>,
        /// How many must.
        min_cohort: usize,
    },
    /// Sites advertise keys.
    AdvertiseKeys {
        /// When the job aborts.
        deadline: UnixSeconds,
        /// Who has not.
        missing: BTreeSet<SiteId>,
    },
    /// Sites exchange ciphertexts.
    Encapsulate {
        /// When the job aborts.
        deadline: UnixSeconds,
        /// Who has not.
        missing: BTreeSet<SiteId>,
    },
    /// Rounds run.
    Running,
    /// It is over.
    Over,
}

/// What is known of the round under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundFacts {
    /// Its number.
    pub round: RoundNumber,
    /// Where it stands.
    pub stage: RoundStage,
}

/// Where a round stands, with what decides when it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoundStage {
    /// Sites upload.
    Uploading {
        /// When uploads close.
        deadline: UnixSeconds,
        /// The latest that a flowing upload can put it off to.
        extended: UnixSeconds,
        /// When bytes of an upload came last.
        last_byte: Option<UnixSeconds>,
        /// Whose upload is not complete.
        missing: BTreeSet<SiteId>,
        /// Whether what is complete suffices.
        enough: bool,
    },
    /// Sites sign.
    Agreeing {
        /// When agreement closes.
        deadline: UnixSeconds,
        /// Since when a quorum has signed.
        quorum_since: Option<UnixSeconds>,
        /// Which uploaders have not.
        missing: BTreeSet<SiteId>,
    },
    /// Sites unmask.
    Unmasking {
        /// When unmasking closes.
        deadline: UnixSeconds,
        /// Whether the answers suffice.
        sufficient: bool,
        /// Who was asked and has not answered.
        missing: BTreeSet<SiteId>,
        /// Whether everyone who could answer has: waiting brings nothing more.
        all_answered: bool,
        /// For each dealer, who could not open the shares it dealt.
        complaints: BTreeMap<SiteId, BTreeSet<SiteId>>,
        /// How many complaints blame a dealer; fewer may all come from sites that lie.
        believed: usize,
    },
    /// The sums are being opened, or were not when the gateway last stopped.
    Opening,
    /// Its messages cannot be brought back.
    Lost {
        /// Why.
        reason: String,
    },
}

/// What is known of the verification of an opened sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationFacts {
    /// The round.
    pub round: RoundNumber,
    /// Where it stands.
    pub stage: VerificationStage,
}

/// A wait for sites that may have gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// When it began.
    pub begun: UnixSeconds,
    /// Since when a quorum has answered, if the others can be done without.
    pub quorum_since: Option<UnixSeconds>,
    /// When it ends in any case.
    pub deadline: UnixSeconds,
}

impl Wait {
    /// Stragglers have as long again as the quorum took, and a little at least.
    pub(super) fn is_over(&self, now: UnixSeconds) -> bool {
        let patience = self.quorum_since.map(|since| {
            let took = since.get().saturating_sub(self.begun.get());
            since.get().saturating_add(took.max(STRAGGLER_SECONDS))
        });
        now >= self.deadline || patience.is_some_and(|end| now.get() >= end)
    }
}

/// Where the verification of an opened sum stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerificationStage {
    /// Sites send their tags.
    Tagging {
        /// Since when and until when.
        wait: Wait,
        /// Who has not.
        missing: BTreeSet<SiteId>,
    },
    /// Sites check the sum.
    Checking {
        /// Since when and until when.
        wait: Wait,
        /// Who has said nothing.
        silent: BTreeSet<SiteId>,
        /// Whether the tags are there that it takes.
        possible: bool,
    },
}
