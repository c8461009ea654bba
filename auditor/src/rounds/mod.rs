//! The rounds of each job, recomputed from the ledger and from what blobs the auditor has.
//!
//! ```text
//! round.context -> round.agreed -> round.opened -> round.tagged -> round.verified -> the next round.context
//!     model          whole batches     sums, model      tags           verdicts          the model after
//! ```
//! From entries alone: that they stand in this order, that each says what the earlier ones say, that the context is
//! signed and keeps to the policy, and that models follow each other. With the documents that entries name: that a
//! quorum signed the agreed set, and sites their tags and verdicts. With the sums: that they are what the tags say, and
//! lead to the next model. A check that lacks a blob is counted as not made, never as passed.

mod agreement;
mod begin;
mod checks;
mod job;
mod opening;
mod policy;
mod privacy;
mod tags;

use std::collections::BTreeMap;
use std::path::PathBuf;

use konclave_crypto::privacy::PrivacyCost;
use konclave_crypto::setup::ListedRoster;
use konclave_crypto::{MemberRole, UnixSeconds};
use konclave_ledger::records::Record;
use konclave_ledger::{Hash, Leaf};

use self::begin::{Beginning, Signer};
use self::checks::{Shortfall, expect};
use self::job::{Job, Opening, Stage};
use self::policy::PolicyLimits;
use crate::blobs::Blobs;
use crate::folder::AuditError;
use crate::members::Members;
use crate::report::Report;

pub use self::checks::{CheckTally, Gap, NotMade, RoundCheck};
pub(crate) use self::checks::{Checked, RoundFault};

/// Where an entry stands, and what it is about.
pub(crate) struct Place<'a> {
    pub(crate) index: u64,
    pub(crate) job: &'a str,
    pub(crate) round: Option<u32>,
}

/// What the checks need: the blobs to look into, and the report to write to.
struct Tools<'a> {
    blobs: &'a Blobs,
    report: &'a mut Report,
}

impl Tools<'_> {
    /// Notes what came of a check, and gives what it made if it passed.
    fn note<T>(
        &mut self,
        check: RoundCheck,
        place: &Place<'_>,
        outcome: Checked<T>,
    ) -> Result<Option<T>, AuditError> {
        match outcome {
            Ok(made) => {
                self.report.passed(check);
                Ok(Some(made))
            }
            Err(Shortfall::Fault(fault)) => {
                self.report.failed(check, place, &fault);
                Ok(None)
            }
            Err(Shortfall::NotMade(reason)) => {
                self.report.not_made(check, place, reason);
                Ok(None)
            }
            Err(Shortfall::Audit(error)) => Err(error),
        }
    }
}

/// All jobs, by the entries so far: of each no more than its last round.
pub(crate) struct RoundAudit {
    blobs: Blobs,
    policies: BTreeMap<Hash, PolicyLimits>,
    jobs: BTreeMap<String, Job>,
}

impl RoundAudit {
    pub(crate) fn new(blobs: Option<PathBuf>) -> Self {
        Self { blobs: Blobs::new(blobs), policies: BTreeMap::new(), jobs: BTreeMap::new() }
    }

    /// Checks an entry, if it is about a job's rounds. `time` is when the ledger took it.
    pub(crate) fn entry(
        &mut self,
        leaf: &Leaf,
        record: &Record,
        time: UnixSeconds,
        members: &Members,
        report: &mut Report,
    ) -> Result<(), AuditError> {
        if let Record::PolicySet { policy, text } = record {
            if let Some(limits) = PolicyLimits::parse(text).filter(|_| Hash::of(text.as_bytes()) == *policy) {
                self.policies.insert(*policy, limits);
            }
            return Ok(());
        }
        if let Record::JobRequested { job, .. } = record {
            if let Some(requested) = Job::requested(record) {
                self.jobs.entry(job.clone()).or_insert(requested);
            }
            return Ok(());
        }
        let Some((job, round)) = about(record) else { return Ok(()) };
        let place = Place { index: leaf.seq, job, round };
        let mut tools = Tools { blobs: &self.blobs, report };
        let Some(known) = self.jobs.get_mut(job) else {
            tools.note(RoundCheck::Order, &place, Checked::<()>::Err(RoundFault::NoJob.into()))?;
            return Ok(());
        };
        if round.is_none() {
            return of_job(known, &place, record, members, &mut tools);
        }
        if let Record::RoundContext { round, context, signed, scoring, parameters, privacy_cost, .. } = record
        {
            let (scoring, privacy_cost) = (*scoring, *privacy_cost);
            let said = Beginning { round: *round, context, signed, scoring, parameters, privacy_cost };
            let (policy, signer) = (self.policies.get(&known.policy), Signer { root: members.root(), time });
            return begin::begin(known, &place, &said, policy, &signer, &mut tools);
        }
        of_round(known, &place, leaf, record, &mut tools)
    }
}

/// The job and the round that an entry is about, if it is checked here.
fn about(record: &Record) -> Option<(&str, Option<u32>)> {
    if let Record::RosterFixed { job, .. }
    | Record::JobStarted { job }
    | Record::JobAborted { job, .. }
    | Record::JobFinished { job, .. } = record
    {
        return Some((job, None));
    }
    if let Record::RoundContext { job, round, .. }
    | Record::RoundAgreed { job, round, .. }
    | Record::RoundOpened { job, round, .. }
    | Record::RoundTagged { job, round, .. }
    | Record::RoundVerified { job, round, .. }
    | Record::RoundAborted { job, round, .. }
    | Record::ParticipationRecorded { job, round, .. } = record
    {
        return Some((job, Some(*round)));
    }
    None
}

impl Job {
    /// The job as it was asked for.
    fn requested(record: &Record) -> Option<Self> {
        let Record::JobRequested { request, initial_parameters, rounds, scoring_rounds, policy, .. } = record
        else {
            return None;
        };
        let rate = request.get("server_rate_micro").and_then(serde_json::Value::as_u64);
        Some(Self {
            policy: *policy,
            rounds: *rounds,
            scoring_rounds: scoring_rounds.clone(),
            rate: rate.and_then(|rate| u32::try_from(rate).ok()),
            roster: None,
            started: false,
            over: false,
            model: *initial_parameters,
            privacy_spent: PrivacyCost::NONE,
            opened: 0,
            round: None,
        })
    }

    /// The roster of sites that the consortium root has certified by now.
    fn fix_roster(&mut self, name: &str, digest: &Hash, sites: &[String], members: &Members) -> Checked {
        let mut certified = Vec::with_capacity(sites.len());
        for site in sites {
            let member = members.membership(site).filter(|member| member.role == MemberRole::Site);
            certified.push(member.cloned().ok_or_else(|| RoundFault::NotCertified(site.clone()))?);
        }
        expect(sites.is_sorted_by(|a, b| a < b), "the list of sites", "ascending")?;
        let job = name.parse().map_err(|_| RoundFault::NoJob)?;
        self.roster = Some(ListedRoster::new(job, job::digest(digest), certified));
        Ok(())
    }
}

/// Entries about a job as a whole.
fn of_job(
    known: &mut Job,
    place: &Place<'_>,
    record: &Record,
    members: &Members,
    tools: &mut Tools<'_>,
) -> Result<(), AuditError> {
    if let Record::RosterFixed { roster, sites, .. } = record {
        let fixed = known.fix_roster(place.job, roster, sites, members);
        tools.note(RoundCheck::Roster, place, fixed)?;
    } else if let Record::JobStarted { .. } = record {
        known.started = true;
    } else if let Record::JobFinished { parameters, .. } = record {
        tools.note(RoundCheck::Order, place, known.may_finish())?;
        let last = expect(*parameters == known.model, "the final model", "the one that the rounds led to");
        tools.note(RoundCheck::Model, place, last)?;
        known.over = true;
    } else {
        known.over = true;
    }
    Ok(())
}

/// Entries about a round that has begun.
fn of_round(
    known: &mut Job,
    place: &Place<'_>,
    leaf: &Leaf,
    record: &Record,
    tools: &mut Tools<'_>,
) -> Result<(), AuditError> {
    if let Record::RoundAgreed { round, agreed, signed, evidence, .. } = record {
        let said = agreement::Agreement { round: *round, agreed, signed, evidence, digest: leaf.new };
        return agreement::agree(known, place, &said, tools);
    }
    if let Record::ParticipationRecorded { round, site, uploaded, agreed, signed, .. } = record {
        let said =
            agreement::Part { round: *round, site, uploaded: *uploaded, agreed: *agreed, signed: *signed };
        return agreement::took_part(known, place, &said, tools);
    }
    if let Record::RoundOpened {
        round,
        context,
        batches,
        total,
        announcement,
        parameters_before,
        parameters_after,
        coalitions,
        ..
    } = record
    {
        let opening = Opening {
            batches: batches.clone(),
            total: total.clone(),
            announcement: *announcement,
            before: *parameters_before,
            after: *parameters_after,
        };
        let said = opening::Said { round: *round, context, opening, coalitions: coalitions.as_ref() };
        return opening::open(known, place, said, tools);
    }
    if let Record::RoundTagged {
        round, announcement, evidence, tagged, uploads, missing, false_tags, ..
    } = record
    {
        let said = tags::Tags { round: *round, announcement, evidence, tagged, uploads, missing, false_tags };
        return tags::settle(known, place, &said, tools);
    }
    if let Record::RoundVerified { round, announcement, result, accepted, rejected, evidence, .. } = record {
        let said = tags::Found { round: *round, announcement, result: *result, accepted, rejected, evidence };
        return tags::verify(known, place, &said, tools);
    }
    if let Record::RoundAborted { round, .. } = record {
        let ended =
            known.at(*round, &[Stage::Begun, Stage::Agreed]).map(|round| round.stage = Stage::Aborted);
        tools.note(RoundCheck::Order, place, ended)?;
    }
    Ok(())
}
