//! A job: consent, set-up, rounds, end.

use std::collections::{BTreeMap, BTreeSet};

use konclave_crypto::privacy::PrivacyCost;
use konclave_crypto::{Digest, JobId, RoundNumber, SiteId, UnixSeconds};
use konclave_openapi::jobs::NewJob;

use super::rounds::{OpenedState, OutcomeState, RoundState};
use super::scores::{ContributionState, StatementState};

/// A job as the ledger tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobState {
    /// Its id.
    pub job: JobId,
    /// The organisation that asked.
    pub organisation: String,
    /// What was asked.
    pub request: NewJob,
    /// The sites invited.
    pub invited: Vec<SiteId>,
    /// Which opened rounds, counted from 1, are opened batch by batch.
    pub scoring_rounds: BTreeSet<u32>,
    /// The reward budget in micro-units.
    pub budget_micro: u64,
    /// The rounds policy it runs under.
    pub policy: Digest,
    /// When it was asked for (RFC 3339).
    pub created_at: String,
    /// The entry that created it.
    pub entry: u64,
    /// The answers to the invitation.
    pub consents: BTreeMap<SiteId, ConsentState>,
    /// Where it stands.
    pub phase: PhaseState,
    /// The consenting sites, once consent is closed.
    pub cohort: Vec<SiteId>,
    /// The entry that closed consent: deposits after it do not count for this job.
    pub cohort_entry: Option<u64>,
    /// The roster's digest, once keys are advertised.
    pub roster: Option<Digest>,
    /// The current global parameters.
    pub parameters: Digest,
    /// Its rounds.
    pub rounds: BTreeMap<RoundNumber, RoundState>,
    /// The contribution figures of each scored round.
    pub contributions: BTreeMap<RoundNumber, ContributionState>,
    /// The reward statement.
    pub statement: Option<StatementState>,
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PhaseState {
    /// Invited sites are asked for consent.
    Consent {
        /// When invitations lapse.
        deadline: UnixSeconds,
    },
    /// Consenting sites advertise their KEM keys.
    AdvertiseKeys {
        /// When the job aborts.
        deadline: UnixSeconds,
    },
    /// Sites exchange KEM ciphertexts.
    Encapsulate {
        /// When the job aborts.
        deadline: UnixSeconds,
    },
    /// Rounds run.
    Running,
    /// All rounds are done.
    Finished,
    /// It ended early.
    Aborted {
        /// Why.
        reason: String,
        /// Who caused it, where known.
        culprits: Vec<SiteId>,
    },
}

/// One site's answer to an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentState {
    /// Whether it takes part.
    pub accepted: bool,
    /// The rule that refused.
    pub rule: Option<String>,
    /// The signed statement.
    pub statement: Digest,
}

impl JobState {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, PhaseState::Finished | PhaseState::Aborted { .. })
    }

    /// How many rounds were opened.
    #[must_use]
    pub fn rounds_opened(&self) -> u32 {
        let opened =
            self.rounds.values().filter(|round| matches!(round.outcome, OutcomeState::Opened(_))).count();
        u32::try_from(opened).unwrap_or(u32::MAX)
    }

    /// The round under way.
    #[must_use]
    pub fn current_round(&self) -> Option<&RoundState> {
        self.rounds.values().next_back().filter(|round| round.outcome == OutcomeState::Open)
    }

    /// The last round, if its sum is open and not verified yet.
    #[must_use]
    pub fn unverified_round(&self) -> Option<(&RoundState, &OpenedState)> {
        let round = self.rounds.values().next_back()?;
        let opened = round.opened().filter(|opened| !opened.verification.is_settled())?;
        Some((round, opened))
    }

    /// How many rounds in a row were aborted, up to now.
    #[must_use]
    pub fn aborts_in_a_row(&self) -> u32 {
        let aborted = |round: &&RoundState| matches!(round.outcome, OutcomeState::Aborted { .. });
        u32::try_from(self.rounds.values().rev().take_while(aborted).count()).unwrap_or(u32::MAX)
    }

    /// What its rounds have cost each of its sites of its privacy budget.
    #[must_use]
    pub fn privacy_spent(&self) -> PrivacyCost {
        self.rounds.values().filter_map(|round| round.privacy_cost).sum()
    }

    /// The sites that consented, sorted.
    pub fn accepted(&self) -> impl Iterator<Item = &SiteId> {
        self.consents.iter().filter(|(_, consent)| consent.accepted).map(|(site, _)| site)
    }
}
