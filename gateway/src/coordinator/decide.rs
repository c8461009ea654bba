//! What a job needs next, as a pure function of what is known of it and of the time.
//!
//! Every rule of a job's and a round's life stands here, without I/O: [`decide`] gives at most one [`Step`], the
//! coordinator carries it out, looks again, and asks again until nothing is left to do.

use std::collections::{BTreeMap, BTreeSet};

use konclave_crypto::{RoundNumber, SiteId, UnixSeconds};

/// Seconds that sites which have not signed yet are waited for once a quorum has.
pub const AGREEMENT_GRACE_SECONDS: u64 = 2;
/// The least time that sites have for a tag or a verdict once a quorum has sent its own.
const STRAGGLER_SECONDS: u64 = 5;
/// An upload counts as flowing while its last bytes are at most this old, in seconds.
pub const FLOWING_SECONDS: u64 = 10;
/// Rounds that may abort in a row before the job does.
pub const MAX_ABORTS_IN_A_ROW: u32 = 5;

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
    fn is_over(&self, now: UnixSeconds) -> bool {
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
            if missing.is_empty() {
                Some(Step::CloseUploads { round })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(names: &[&str]) -> BTreeSet<SiteId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn at(seconds: u64) -> UnixSeconds {
        UnixSeconds(seconds)
    }

    fn running() -> JobFacts {
        JobFacts {
            stage: JobStage::Running,
            rounds_wanted: 3,
            rounds_opened: 0,
            aborts_in_a_row: 0,
            next_round: Some(RoundNumber::FIRST),
            scoring_rounds: BTreeSet::from([2]),
            round: None,
            verification: None,
            to_score: None,
            evaluations_until: None,
            reward_stated: false,
        }
    }

    fn in_round(stage: RoundStage) -> JobFacts {
        JobFacts { round: Some(RoundFacts { round: RoundNumber::FIRST, stage }), ..running() }
    }

    fn verifying(stage: VerificationStage) -> JobFacts {
        let verification = Some(VerificationFacts { round: RoundNumber::FIRST, stage });
        JobFacts { verification, rounds_opened: 3, ..running() }
    }

    fn until(deadline: u64) -> Wait {
        Wait { begun: at(0), quorum_since: None, deadline: at(deadline) }
    }

    #[test]
    fn stragglers_have_as_long_again_as_the_quorum_took() {
        let over = |quorum: u64, now: u64| {
            Wait { begun: at(100), quorum_since: Some(at(quorum)), deadline: at(1000) }.is_over(at(now))
        };
        assert!(!over(140, 179) && over(140, 180));
        assert!(!over(101, 105) && over(101, 106), "a little at least");
        assert!(!over(700, 999) && over(700, 1000), "the deadline ends it");
        assert!(!until(1000).is_over(at(999)), "without a quorum nothing else does");
    }

    #[test]
    fn nothing_goes_on_before_the_last_sum_is_verified() {
        let tagging = |missing: &[&str]| {
            verifying(VerificationStage::Tagging { wait: until(100), missing: sites(missing) })
        };
        assert_eq!(decide(&tagging(&["a"]), at(99)), None);
        let settle = Some(Step::SettleTags { round: RoundNumber::FIRST });
        assert_eq!(decide(&tagging(&[]), at(1)), settle);
        assert_eq!(decide(&tagging(&["a"]), at(100)), settle);
        let checking = |silent: &[&str], possible| {
            let silent = sites(silent);
            verifying(VerificationStage::Checking { wait: until(100), silent, possible })
        };
        assert_eq!(decide(&checking(&["a"], true), at(99)), None);
        let close = Some(Step::CloseVerification { round: RoundNumber::FIRST });
        assert_eq!(decide(&checking(&[], true), at(1)), close);
        assert_eq!(decide(&checking(&["a"], false), at(1)), close);
        assert_eq!(decide(&checking(&["a"], true), at(100)), close);
    }

    fn consent(answered: usize, accepted: &[&str]) -> JobFacts {
        let stage = JobStage::Consent {
            deadline: at(100),
            invited: 4,
            answered,
            accepted: sites(accepted),
            min_cohort: 3,
        };
        JobFacts { stage, ..running() }
    }

    #[test]
    fn consent_closes_when_all_answered_or_at_the_deadline() {
        assert_eq!(decide(&consent(3, &["a", "b", "c"]), at(99)), None);
        let cohort = Step::FixCohort { sites: sites(&["a", "b", "c"]) };
        assert_eq!(decide(&consent(4, &["a", "b", "c"]), at(1)), Some(cohort.clone()));
        assert_eq!(decide(&consent(3, &["a", "b", "c"]), at(100)), Some(cohort));
        let aborted = decide(&consent(4, &["a", "b"]), at(1));
        assert!(
            matches!(aborted, Some(Step::AbortJob { reason, .. }) if reason.contains("2 sites consented"))
        );
    }

    #[test]
    fn set_up_names_who_is_missing_at_the_deadline() {
        let keys = |missing: &[&str]| JobFacts {
            stage: JobStage::AdvertiseKeys { deadline: at(100), missing: sites(missing) },
            ..running()
        };
        assert_eq!(decide(&keys(&["c"]), at(99)), None);
        assert_eq!(decide(&keys(&[]), at(99)), Some(Step::FixRoster));
        let aborted = decide(&keys(&["c"]), at(100));
        assert!(matches!(aborted, Some(Step::AbortJob { culprits, .. }) if culprits == sites(&["c"])));
    }

    #[test]
    fn rounds_begin_until_enough_are_open_and_the_second_is_scored() {
        let begin = |opened| decide(&JobFacts { rounds_opened: opened, ..running() }, at(1));
        assert!(matches!(begin(0), Some(Step::BeginRound { scoring: false, .. })));
        assert!(matches!(begin(1), Some(Step::BeginRound { scoring: true, .. })));
        assert_eq!(begin(3), Some(Step::StateReward));
        let aborts = JobFacts { aborts_in_a_row: MAX_ABORTS_IN_A_ROW, ..running() };
        assert!(matches!(decide(&aborts, at(1)), Some(Step::AbortJob { .. })));
    }

    #[test]
    fn a_job_waits_for_evaluations_but_not_for_ever() {
        let done = JobFacts { rounds_opened: 3, evaluations_until: Some(at(50)), ..running() };
        assert_eq!(decide(&done, at(49)), None);
        assert_eq!(decide(&done, at(50)), Some(Step::StateReward));
        let stated = JobFacts { reward_stated: true, ..done };
        assert_eq!(decide(&stated, at(50)), Some(Step::FinishJob));
        let scored = JobFacts { to_score: Some(RoundNumber::FIRST), ..stated };
        assert_eq!(decide(&scored, at(50)), Some(Step::Score { round: RoundNumber::FIRST }));
    }

    fn uploading(missing: &[&str], enough: bool, last_byte: Option<u64>) -> JobFacts {
        in_round(RoundStage::Uploading {
            deadline: at(100),
            extended: at(200),
            last_byte: last_byte.map(at),
            missing: sites(missing),
            enough,
        })
    }

    #[test]
    fn uploads_close_when_complete_or_at_the_deadline_unless_one_still_flows() {
        let close = Some(Step::CloseUploads { round: RoundNumber::FIRST });
        assert_eq!(decide(&uploading(&[], true, None), at(1)), close);
        assert_eq!(decide(&uploading(&["c"], true, None), at(99)), None);
        assert_eq!(decide(&uploading(&["c"], true, None), at(100)), close);
        assert_eq!(decide(&uploading(&["c"], true, Some(95)), at(100)), None);
        assert_eq!(decide(&uploading(&["c"], true, Some(195)), at(200)), close);
        let aborted = decide(&uploading(&["b", "c"], false, None), at(100));
        assert!(matches!(aborted, Some(Step::AbortRound { culprits, .. }) if culprits == sites(&["b", "c"])));
    }

    #[test]
    fn agreement_closes_with_a_quorum_after_a_short_grace() {
        let agreeing = |quorum: Option<u64>, missing: &[&str]| {
            in_round(RoundStage::Agreeing {
                deadline: at(100),
                quorum_since: quorum.map(at),
                missing: sites(missing),
            })
        };
        let close = Some(Step::CloseAgreement { round: RoundNumber::FIRST });
        assert_eq!(decide(&agreeing(None, &["c"]), at(99)), None);
        assert!(matches!(decide(&agreeing(None, &["c"]), at(100)), Some(Step::AbortRound { .. })));
        assert_eq!(decide(&agreeing(Some(50), &["c"]), at(51)), None);
        assert_eq!(decide(&agreeing(Some(50), &["c"]), at(52)), close);
        assert_eq!(decide(&agreeing(Some(50), &[]), at(50)), close);
    }

    fn unmasking(sufficient: bool, missing: &[&str], complaints: &[(&str, &[&str])]) -> RoundStage {
        RoundStage::Unmasking {
            deadline: at(100),
            sufficient,
            missing: sites(missing),
            all_answered: missing.is_empty(),
            complaints: complaints.iter().map(|(of, by)| (of.parse().unwrap(), sites(by))).collect(),
            believed: 3,
        }
    }

    #[test]
    fn unmasking_that_can_no_longer_succeed_closes_at_once_and_names_the_dealer() {
        let abort = |stage, now| match decide(&in_round(stage), at(now)) {
            Some(Step::AbortRound { reason, culprits, .. }) => (reason, culprits),
            other => panic!("{other:?}"),
        };
        let complaints: &[(&str, &[&str])] = &[("d", &["a", "b", "c"]), ("e", &["a"])];
        let (reason, culprits) = abort(unmasking(false, &[], complaints), 1);
        assert_eq!(culprits, sites(&["d"]), "one complaint may be a lie");
        assert!(reason.contains("a, b, c cannot open those of d; a cannot open those of e"), "{reason}");
        // While somebody may still answer it is waited for, then named with the dealer.
        assert_eq!(decide(&in_round(unmasking(false, &["c"], complaints)), at(99)), None);
        let (_, culprits) = abort(unmasking(false, &["c"], complaints), 100);
        assert_eq!(culprits, sites(&["c", "d"]));
        let (reason, culprits) = abort(unmasking(false, &["c"], &[]), 100);
        assert_eq!(
            (reason.as_str(), culprits),
            ("too few sites answered the unmasking in time", sites(&["c"]))
        );
    }

    #[test]
    fn unmasking_closes_as_soon_as_the_answers_suffice() {
        let unmasking = |sufficient| in_round(unmasking(sufficient, &["c"], &[]));
        assert_eq!(decide(&unmasking(true), at(1)), Some(Step::OpenRound { round: RoundNumber::FIRST }));
        assert_eq!(decide(&unmasking(false), at(99)), None);
        assert!(matches!(decide(&unmasking(false), at(100)), Some(Step::AbortRound { .. })));
        assert_eq!(decide(&in_round(RoundStage::Opening), at(1000)), None);
    }
}
