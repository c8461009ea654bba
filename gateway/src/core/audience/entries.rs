//! Who may read which ledger entry.
//!
//! Whoever may export the ledger (auditors, the council, the operator) reads every entry. Everyone else sees the
//! entries that are common to the consortium, and those about its own organisation: an entry shows nobody more than
//! the operations on what it is about would. Heads, hashes and proofs are common to all, so that everyone can witness.

use std::collections::BTreeSet;

use konclave_crypto::JobId;
use konclave_ledger::records::Record;
use konclave_ledger::{Leaf, Ledger, ReadError};
use konclave_policies::authorization::{Action, Authorizer};

use crate::auth::{Principal, may};
use crate::projections::State;

/// Whose an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryAudience {
    /// Everyone's in the consortium.
    Everyone,
    /// These organisations'.
    Organisations(BTreeSet<String>),
    /// These organisations' and the evaluators': a round, whose sums evaluators check before they score what came of it.
    Round(BTreeSet<String>),
    /// Only for those who may read all of the ledger.
    Verifiers,
}

impl EntryAudience {
    /// Whose an entry with this record is. The state has folded the entry.
    #[must_use]
    pub fn of(record: &Record, state: &State) -> Self {
        match record {
            Record::LedgerCreated { .. }
            | Record::GatewayCertified { .. }
            | Record::LedgerKeyRotated { .. }
            | Record::PolicySet { .. }
            | Record::PolicyProposed { .. }
            | Record::PolicyBalloted { .. }
            | Record::PolicyResolved { .. }
            | Record::ReviewRecorded { .. }
            | Record::SiteEnrolled { .. }
            | Record::SiteRevoked { .. }
            | Record::WitnessStatus { .. } => Self::Everyone,
            Record::ClientRegistered { organisation, .. }
            | Record::ModelRegistered { organisation, .. }
            | Record::ModuleRegistered { organisation, .. } => {
                Self::Organisations(BTreeSet::from([organisation.clone()]))
            }
            Record::DepositRegistered { site, .. } => Self::Organisations(legal_entities(state, [site])),
            Record::JobRequested { job, .. }
            | Record::CohortFixed { job, .. }
            | Record::RosterFixed { job, .. }
            | Record::JobStarted { job }
            | Record::JobAborted { job, .. }
            | Record::JobFinished { job, .. } => Self::Organisations(participants(state, job)),
            Record::RoundContext { job, .. }
            | Record::RoundAgreed { job, .. }
            | Record::RoundOpened { job, .. }
            | Record::RoundTagged { job, .. }
            | Record::RoundVerified { job, .. }
            | Record::RoundAborted { job, .. } => Self::Round(participants(state, job)),
            Record::ConsentGiven { job, site, .. }
            | Record::ConsentRefused { job, site, .. }
            | Record::ParticipationRecorded { job, site, .. } => {
                Self::Organisations(about(state, job, [site]))
            }
            Record::EvaluationRecorded { job, evaluator, .. } => {
                Self::Organisations(about(state, job, [evaluator]))
            }
            // A site reads its own rows at GET /v1/jobs/{job}/contributions; from all of them, or from the scores
            // beside them, follow the others'.
            Record::ContributionScored { job, .. } | Record::RewardStated { job, .. } => {
                Self::Organisations(about(state, job, []))
            }
            Record::GroupFormed { members, .. } => Self::Organisations(legal_entities(state, members)),
            Record::UsageRecorded { job, organisation, .. } => {
                let mut organisations = participants(state, job);
                organisations.insert(organisation.clone());
                Self::Organisations(organisations)
            }
            // A correction is for whom its subject is for, which only the ledger can tell: see `subject`.
            Record::ClientRevoked { .. }
            | Record::EntryCorrected { .. }
            | Record::LedgerExported { .. }
            | Record::OpeningErased { .. } => Self::Verifiers,
        }
    }
}

/// Corrections of corrections that are followed to what they are about.
const MAX_CORRECTIONS: usize = 16;

/// The stored entry that says who may read `stored`: itself; of a correction, what it corrects in the end, so that
/// whoever may read a wrong entry may also read what is right.
///
/// # Errors
/// [`ReadError`].
pub fn subject(ledger: &Ledger, stored: &[u8]) -> Result<Vec<u8>, ReadError> {
    let mut subject = stored.to_vec();
    for _ in 0..MAX_CORRECTIONS {
        let Some(corrected) = corrected_by(&subject) else { break };
        subject = ledger.leaf_bytes(corrected)?.unwrap_or_default();
    }
    Ok(subject)
}

/// The entry that this one corrects, if it is a correction.
fn corrected_by(stored: &[u8]) -> Option<u64> {
    let leaf = Leaf::parse(stored).ok()?;
    let Ok(Record::EntryCorrected { entry, .. }) = Record::parse(&leaf.action, &leaf.record) else {
        return None;
    };
    Some(entry)
}

fn legal_entities<'a>(state: &State, sites: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    let known = sites.into_iter().filter_map(|site| state.sites.get(&site.parse().ok()?));
    known.map(|site| site.legal_entity().to_owned()).collect()
}

/// The organisation that asked for the job, and the sites'.
fn about<'a>(state: &State, job: &str, sites: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    let known = job.parse::<JobId>().ok().and_then(|job| state.jobs.get(&job));
    let mut organisations = legal_entities(state, sites);
    organisations.extend(known.map(|job| job.organisation.clone()));
    organisations
}

/// The organisation that asked for the job, and those of the sites it invites.
fn participants(state: &State, job: &str) -> BTreeSet<String> {
    let known = job.parse::<JobId>().ok().and_then(|job| state.jobs.get(&job));
    let invited: Vec<String> = known.iter().flat_map(|job| &job.invited).map(ToString::to_string).collect();
    about(state, job, &invited)
}

/// What of the ledger's content one principal may read: the policies are asked once, not for every entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryReader {
    whole: bool,
    common: bool,
    scores: bool,
    own: Option<String>,
}

impl EntryReader {
    /// Asks the policies.
    #[must_use]
    pub fn new(authorizer: &Authorizer, principal: &Principal) -> Self {
        let may_read =
            |owner| may(authorizer, principal, Action::ReadLedger, &Action::ReadLedger.on("entry", owner));
        Self {
            whole: may(authorizer, principal, Action::ExportLedger, &Action::ExportLedger.on("ledger", None)),
            common: may_read(None),
            scores: may(authorizer, principal, Action::Evaluate, &Action::Evaluate.on("evaluation", None)),
            own: may_read(Some(&principal.organisation)).then(|| principal.organisation.clone()),
        }
    }

    /// Whether it may read every entry.
    #[must_use]
    pub const fn reads_all(&self) -> bool {
        self.whole
    }

    /// Whether it may read the entry with this [`subject`]. One that this version cannot read is for verifiers only.
    #[must_use]
    pub fn reads(&self, stored: &[u8], state: &State) -> bool {
        if self.whole {
            return true;
        }
        let parsed = Leaf::parse(stored).ok().and_then(|leaf| Record::parse(&leaf.action, &leaf.record).ok());
        match parsed.map(|record| EntryAudience::of(&record, state)) {
            Some(EntryAudience::Everyone) => self.common,
            Some(EntryAudience::Organisations(owners)) => self.is_among(&owners),
            Some(EntryAudience::Round(owners)) => self.common && self.scores || self.is_among(&owners),
            Some(EntryAudience::Verifiers) | None => false,
        }
    }

    fn is_among(&self, owners: &BTreeSet<String>) -> bool {
        self.own.as_ref().is_some_and(|own| owners.contains(own))
    }
}
