//! What a job needs next, as a pure function of what is known of it and of the time.
//!
//! Every rule of a job's and a round's life stands here, without I/O: [`decide`] gives at most one [`Step`], the
//! coordinator carries it out, looks again, and asks again until nothing is left to do.

mod known;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use konclave_crypto::{RoundNumber, SiteId, UnixSeconds};

pub use known::{JobFacts, JobStage, RoundFacts, RoundStage, VerificationFacts, VerificationStage, Wait};

/// Seconds that sites which have not signed yet are waited for once a quorum has.
pub const AGREEMENT_GRACE_SECONDS: u64 = 2;
/// An upload counts as flowing while its last bytes are at most this old, in seconds.
pub const FLOWING_SECONDS: u64 = 10;
/// Rounds that may abort in a row before the job does.
pub const MAX_ABORTS_IN_A_ROW: u32 = 5;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Close consent with these sites.
    FixCohort {
        /// Who accepted.
        sites: BTreeSet<SiteId>,
    },
    /// All keys are here.
    FixRoster,
    /// All ciphertexts are here.
    StartJob,
    /// End the job.
    AbortJob {
        /// Why.
        reason: String,
        /// Who caused it.
        culprits: BTreeSet<SiteId>,
    },
    /// Begin a round.
    BeginRound {
        /// Its number.
        round: RoundNumber,
        /// Whether each batch is opened by itself.
        scoring: bool,
    },
    /// Propose the agreed set.
    CloseUploads {
        /// The round.
        round: RoundNumber,
    },
    /// The agreed set stands.
    CloseAgreement {
        /// The round.
        round: RoundNumber,
    },
    /// Open the sums.
    OpenRound {
        /// The round.
        round: RoundNumber,
    },
    /// Settle the tags of an opened sum.
    SettleTags {
        /// The round.
        round: RoundNumber,
    },
    /// Write down what the sites found.
    CloseVerification {
        /// The round.
        round: RoundNumber,
    },
    /// Nothing is opened in this round.
    AbortRound {
        /// The round.
        round: RoundNumber,
        /// Why.
        reason: String,
        /// Who caused it.
        culprits: BTreeSet<SiteId>,
    },
    /// Score the contributions of a scoring round.
    Score {
        /// The round.
        round: RoundNumber,
    },
    /// State the rewards.
    StateReward,
    /// The job is done.
    FinishJob,
}

/// The next step, if there is one now.
#[must_use]
pub fn decide(job: &JobFacts, now: UnixSeconds) -> Option<Step> {
    match &job.stage {
        JobStage::Consent { deadline, invited, answered, accepted, min_cohort } => {
            let closed = answered >= invited || now >= *deadline;
            closed.then(|| {
                if accepted.len() >= *min_cohort {
                    Step::FixCohort { sites: accepted.clone() }
                } else {
                    let (got, needed) = (accepted.len(), min_cohort);
                    let reason = format!("{got} sites consented, the rounds policy asks for {needed}");
                    Step::AbortJob { reason, culprits: BTreeSet::new() }
                }
            })
        }
        JobStage::AdvertiseKeys { deadline, missing } => {
            set_up(*deadline, missing, now, Step::FixRoster, "did not advertise their keys in time")
        }
        JobStage::Encapsulate { deadline, missing } => {
            set_up(*deadline, missing, now, Step::StartJob, "did not send their ciphertexts in time")
        }
        JobStage::Running => decide_running(job, now),
        JobStage::Over => None,
    }
}

fn set_up(
    deadline: UnixSeconds,
    missing: &BTreeSet<SiteId>,
    now: UnixSeconds,
    done: Step,
    fault: &str,
) -> Option<Step> {
    if missing.is_empty() {
        Some(done)
    } else if now >= deadline {
        let reason = format!("{} sites {fault}", missing.len());
        Some(Step::AbortJob { reason, culprits: missing.clone() })
    } else {
        None
    }
}

fn decide_running(job: &JobFacts, now: UnixSeconds) -> Option<Step> {
    if let Some(verification) = &job.verification {
        return decide_verification(verification, now);
    }
    if let Some(round) = job.to_score {
        return Some(Step::Score { round });
    }
    if let Some(round) = &job.round {
        return decide_round(round, now);
    }
    if job.rounds_opened < job.rounds_wanted {
        if job.aborts_in_a_row >= MAX_ABORTS_IN_A_ROW {
            let reason = format!("{MAX_ABORTS_IN_A_ROW} rounds in a row were aborted");
            return Some(Step::AbortJob { reason, culprits: BTreeSet::new() });
        }
        let Some(round) = job.next_round else {
            let reason = "the round numbers of this job are used up".to_owned();
            return Some(Step::AbortJob { reason, culprits: BTreeSet::new() });
        };
        let scoring = job.scoring_rounds.contains(&job.rounds_opened.saturating_add(1));
        return Some(Step::BeginRound { round, scoring });
    }
    match job.evaluations_until {
        Some(until) if now < until => None,
        Some(_) | None if !job.reward_stated => Some(Step::StateReward),
        Some(_) | None => Some(Step::FinishJob),
    }
}

fn decide_round(facts: &RoundFacts, now: UnixSeconds) -> Option<Step> {
    let round = facts.round;
    let abort = |reason: String, culprits: &BTreeSet<SiteId>| {
        Some(Step::AbortRound { round, reason, culprits: culprits.clone() })
    };
    match &facts.stage {
        RoundStage::Uploading { deadline, extended, last_byte, missing, enough } => {
            let flowing =
                last_byte.is_some_and(|last| now.get() < last.get().saturating_add(FLOWING_SECONDS));
            if missing.is_empty() && *enough {
                Some(Step::CloseUploads { round })
            } else if missing.is_empty() {
                // Those that did not upload were revoked.
                abort("too few sites are left".to_owned(), missing)
            } else if now < *deadline || (flowing && now < *extended) {
                None
            } else if *enough {
                Some(Step::CloseUploads { round })
            } else {
                abort("too few sites uploaded in time".to_owned(), missing)
            }
        }
        RoundStage::Agreeing { deadline, quorum_since, missing } => match quorum_since {
            Some(since) => {
                let waited = now.get() >= since.get().saturating_add(AGREEMENT_GRACE_SECONDS);
                (missing.is_empty() || waited || now >= *deadline).then_some(Step::CloseAgreement { round })
            }
            None if now >= *deadline => {
                abort("too few sites signed the agreed set in time".to_owned(), missing)
            }
            None => None,
        },
        RoundStage::Unmasking { deadline, sufficient, missing, all_answered, complaints, believed } => {
            if *sufficient {
                Some(Step::OpenRound { round })
            } else if *all_answered || now >= *deadline {
                let blamed = complaints.iter().filter(|(_, by)| by.len() >= *believed);
                let culprits = missing.iter().chain(blamed.map(|(dealer, _)| dealer)).cloned().collect();
                abort(unmasking_fault(complaints), &culprits)
            } else {
                None
            }
        }
        RoundStage::Opening => None,
        RoundStage::Lost { reason } => abort(reason.clone(), &BTreeSet::new()),
    }
}

/// No round begins before the sum of the last one is verified: sites train only on what they have checked.
fn decide_verification(facts: &VerificationFacts, now: UnixSeconds) -> Option<Step> {
    let round = facts.round;
    match &facts.stage {
        VerificationStage::Tagging { wait, missing } => {
            (missing.is_empty() || wait.is_over(now)).then_some(Step::SettleTags { round })
        }
        VerificationStage::Checking { wait, silent, possible } => {
            (silent.is_empty() || !possible || wait.is_over(now)).then_some(Step::CloseVerification { round })
        }
    }
}

/// Why the masks cannot be removed, with who complained of whom: also complaints too few to blame anybody are told.
fn unmasking_fault(complaints: &BTreeMap<SiteId, BTreeSet<SiteId>>) -> String {
    if complaints.is_empty() {
        return "too few sites answered the unmasking in time".to_owned();
    }
    let of =
        |(dealer, by): (&SiteId, &BTreeSet<SiteId>)| format!("{} cannot open those of {dealer}", some_of(by));
    let told: Vec<String> = complaints.iter().take(NAMED).map(of).collect();
    let more = complaints.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more dealers") } else { String::new() };
    format!("shares were dealt that cannot be opened: {}{more}", told.join("; "))
}

/// Sites that a reason names one by one: it must fit into a ledger entry.
const NAMED: usize = 8;

/// The sites by name, if they are not too many.
#[must_use]
pub fn some_of(sites: &BTreeSet<SiteId>) -> String {
    let named: Vec<&str> = sites.iter().take(NAMED).map(SiteId::as_str).collect();
    match sites.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
