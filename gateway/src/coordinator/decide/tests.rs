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
    assert!(matches!(aborted, Some(Step::AbortJob { reason, .. }) if reason.contains("2 sites consented")));
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
    // The missing ones were revoked: either the rest are enough or there is nothing to wait for.
    let left = decide(&uploading(&[], false, None), at(1));
    assert!(matches!(left, Some(Step::AbortRound { culprits, .. }) if culprits.is_empty()));
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
    assert_eq!((reason.as_str(), culprits), ("too few sites answered the unmasking in time", sites(&["c"])));
}

#[test]
fn unmasking_closes_as_soon_as_the_answers_suffice() {
    let unmasking = |sufficient| in_round(unmasking(sufficient, &["c"], &[]));
    assert_eq!(decide(&unmasking(true), at(1)), Some(Step::OpenRound { round: RoundNumber::FIRST }));
    assert_eq!(decide(&unmasking(false), at(99)), None);
    assert!(matches!(decide(&unmasking(false), at(100)), Some(Step::AbortRound { .. })));
    assert_eq!(decide(&in_round(RoundStage::Opening), at(1000)), None);
}
