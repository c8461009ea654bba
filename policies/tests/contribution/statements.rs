//! One statement worked out by hand, and inputs that no job can have.

use konclave_crypto::Digest;
use konclave_policies::contribution::{
    Amount, Coalition, CoalitionScore, MAX_SCORE_MICRO, Ratio, ShapleyError, SiteEvidence, StatementError,
    StatementInputs, contribution_table, reward_statement,
};
use konclave_policies::rounds::{DataClass, RoundPolicy};

use crate::games::{SCORING, deposit, job, round, site_id};

fn site(index: usize, entity: &str, records: u64) -> SiteEvidence {
    SiteEvidence {
        site: site_id(index),
        legal_entity: entity.to_owned(),
        rounds: (1..=10).map(round).collect(),
        deposits: vec![deposit(index, 0, DataClass::InVitro, [records, 0, 0])],
    }
}

/// Six sites of six entities in two batches of three; v = 0.1, 0.3, 0.2, 0.6.
fn six() -> StatementInputs {
    let records = [100, 200, 700, 50, 50, 0];
    let names = ["Alpha", "Beta", "Gamma", "Delta", "Epsilon", "Zeta"];
    let sites =
        names.iter().zip(records).enumerate().map(|(index, (name, records))| site(index, name, records));
    let batches = vec![(0..3).map(site_id).collect(), (3..6).map(site_id).collect()];
    let mut inputs = job(sites.collect(), batches, &[100_000, 300_000, 200_000, 600_000]);
    inputs.reward.budget_micro = 1_000_000;
    inputs
}

#[test]
fn worked_by_hand() {
    let statement = reward_statement(&six()).unwrap();
    // phi_0 = ((0.3 - 0.1) + (0.6 - 0.2)) / 2 = 0.3, phi_1 = ((0.2 - 0.1) + (0.6 - 0.3)) / 2 = 0.2.
    let values: Vec<_> = statement.batches.iter().map(|batch| batch.shapley_micro).collect();
    assert_eq!(values, [Ratio::from(300_000), Ratio::from(200_000)]);
    // 900,000 for value: 540,000 to batch 0 by 1:2:7, 360,000 to batch 1 by 1:1:0.
    // 100,000 for participation in six equal parts: four of 16,667 and two of 16,666.
    let amounts: Vec<_> = statement
        .lines
        .iter()
        .map(|line| {
            (
                line.legal_entity.as_str(),
                line.value_amount.micro(),
                line.participation_amount.micro(),
                line.value_micro,
            )
        })
        .collect();
    let expected = [
        ("Alpha", 54_000, 16_667, 30_000),
        ("Beta", 108_000, 16_667, 60_000),
        ("Delta", 180_000, 16_667, 100_000),
        ("Epsilon", 180_000, 16_666, 100_000),
        ("Gamma", 378_000, 16_667, 210_000),
        ("Zeta", 0, 16_666, 0),
    ];
    assert_eq!(amounts, expected);
    assert_eq!((statement.returned, statement.returned_reason), (Amount::ZERO, None));
    assert!(statement.provisional);

    let beta = &statement.lines[1];
    assert_eq!(
        beta.reason.en,
        "Beta is paid 0.124667 credit: 0.108000 for value and 0.016667 for participation. \
         In scoring round 7, batch 0 (3 sites) changed the benchmark score by +0.300000 (exact Shapley value among \
         2 batches). The legal entity holds 20.0000 % of that batch's evidence. \
         The value is provisional: one partition into batches cannot tell the sites of a batch apart, so a batch's \
         value is divided by evidence (rounds taken part in and deposited data). \
         Its updates are in the sums of 10 rounds; over all legal entities these counts add up to 60."
    );
    assert!(
        beta.reason.ko.starts_with("Beta에 지급되는 금액은 0.124667 credit입니다."),
        "{}",
        beta.reason.ko
    );
    assert!(beta.reason.ko.contains("비중은 20.0000%입니다"), "{}", beta.reason.ko);
    assert!(statement.lines[5].reason.en.contains("no evidence in that batch"));
}

#[test]
fn the_table_shows_what_each_site_brought() {
    let rows = contribution_table(&six()).unwrap();
    assert_eq!(rows.len(), 6);
    assert_eq!((rows[2].batch, rows[2].batch_share_ppm, rows[2].value_micro), (Some(0), 700_000, 210_000));
    // 10 rounds x class weight 100 x 700 records.
    assert_eq!((rows[2].evidence.records, rows[2].evidence.weight.as_str()), (700, "700000"));
    assert!(rows.iter().all(|row| row.provisional && row.standard_error_micro.is_none()));
    assert_eq!(rows.iter().map(|row| row.value_micro).sum::<i64>(), 500_000);
}

#[test]
fn a_value_part_that_nobody_earned_goes_back_and_is_said() {
    let mut inputs = six();
    for row in &mut inputs.scoring.as_mut().unwrap().scores {
        row.score_micro = -row.score_micro;
    }
    let statement = reward_statement(&inputs).unwrap();
    assert_eq!((statement.paid.micro(), statement.returned.micro()), (100_000, 900_000));
    let reason = statement.returned_reason.unwrap();
    assert!(
        reason.en.contains("0.900000 credit, the value part, goes back to the developer"),
        "{}",
        reason.en
    );
    assert!(reason.ko.contains("전액을 the developer에 반환합니다"), "{}", reason.ko);
    assert_eq!(statement.lines[0].value_micro, -30_000);

    let mut without = six();
    without.scoring = None;
    let statement = reward_statement(&without).unwrap();
    assert_eq!(statement.returned.micro(), 900_000);
    assert!(statement.returned_reason.unwrap().en.contains("no scoring round was held"));
    assert!(statement.batches.is_empty());

    for site in &mut without.sites {
        site.rounds.clear();
    }
    let statement = reward_statement(&without).unwrap();
    assert_eq!(statement.returned, statement.budget);
    assert!(statement.returned_reason.unwrap().en.contains("nobody took part"));
}

#[test]
fn a_batch_without_evidence_leaves_its_part_to_the_others() {
    let mut inputs = six();
    inputs.sites[3..].iter_mut().for_each(|site| site.deposits.clear());
    let statement = reward_statement(&inputs).unwrap();
    let by_value: Vec<_> = statement.lines.iter().map(|line| line.value_amount.micro()).collect();
    assert_eq!(by_value, [90_000, 180_000, 0, 0, 630_000, 0]);
}

#[test]
fn inputs_follow_the_policy_they_quote() {
    let policy = RoundPolicy::embedded().unwrap();
    let mut inputs = six();
    inputs.reward.budget_micro = policy.reward.budget_micro;
    assert!(inputs.follows(&policy));
    inputs.reward.evidence.scaffold += 1;
    assert!(!inputs.follows(&policy));
    inputs.reward = policy.reward.clone();
    inputs.policy = Digest::of(b"another");
    assert!(!inputs.follows(&policy));
}

#[test]
fn contradictions_are_refused() {
    type Spoil = fn(&mut StatementInputs);
    fn scoring(inputs: &mut StatementInputs) -> &mut konclave_policies::contribution::ScoringRound {
        inputs.scoring.as_mut().unwrap()
    }
    let cases: [(Spoil, StatementError); 12] = [
        (|i| i.sites.push(i.sites[0].clone().stripped()), StatementError::DuplicateSite { site: site_id(0) }),
        (
            |i| i.sites[1].deposits = i.sites[0].deposits.clone(),
            StatementError::DuplicateDeposit {
                site: site_id(1),
                statement: Digest::of(b"0/0"),
                task: "task-0".to_owned(),
            },
        ),
        (
            |i| i.sites[1].deposits[0].records = u64::MAX,
            StatementError::CountTooLarge { site: site_id(1), statement: Digest::of(b"1/0") },
        ),
        (
            |i| scoring(i).batches[1].push(site_id(77)),
            StatementError::UnknownSite { batch: 1, site: site_id(77) },
        ),
        (
            |i| scoring(i).batches[1].push(site_id(0)),
            StatementError::SiteInTwoBatches { batch: 1, site: site_id(0) },
        ),
        (|i| scoring(i).batches[1].clear(), StatementError::EmptyBatch { batch: 1 }),
        (
            |i| _ = i.sites[4].rounds.remove(&round(SCORING)),
            StatementError::NotInScoringRound { site: site_id(4), round: round(SCORING) },
        ),
        (
            |i| {
                let row = scoring(i).scores[2];
                scoring(i).scores.push(row);
            },
            StatementError::DuplicateScore { bits: 2 },
        ),
        (
            |i| scoring(i).scores[1].score_micro = MAX_SCORE_MICRO + 1,
            StatementError::ScoreTooLarge { bits: 1, score_micro: MAX_SCORE_MICRO + 1 },
        ),
        (
            |i| _ = scoring(i).scores.pop(),
            StatementError::Shapley(ShapleyError::MissingScore { bits: 3, batches: 2 }),
        ),
        (
            |i| {
                let coalition = Coalition::from_bits(9);
                scoring(i).scores.push(CoalitionScore { coalition, score_micro: 0 });
            },
            StatementError::Shapley(ShapleyError::UnknownCoalition { bits: 9, batches: 2 }),
        ),
        (
            |i| i.reward.participation_share_ppm = 1_000_001,
            StatementError::RuleOutOfRange {
                key: "reward.participation_share_ppm",
                found: 1_000_001,
                most: 1_000_000,
            },
        ),
    ];
    for (spoil, expected) in cases {
        let mut inputs = six();
        spoil(&mut inputs);
        assert_eq!(reward_statement(&inputs).unwrap_err(), expected);
        assert_eq!(contribution_table(&inputs).unwrap_err(), expected);
    }
}

#[test]
fn the_largest_inputs_fit() {
    let mut inputs = six();
    inputs.reward.budget_micro = konclave_policies::rounds::RewardRules::MAX_BUDGET_MICRO;
    let largest = 1_000_000_000_000;
    for site in &mut inputs.sites {
        site.deposits[0].class = DataClass::InHuman;
        (site.deposits[0].records, site.deposits[0].unique_structures) = (largest, largest);
        site.deposits[0].scaffolds = largest;
        site.rounds = (1..=2_000).map(round).collect();
    }
    for (row, score) in inputs.scoring.as_mut().unwrap().scores.iter_mut().zip([-1, 1, 1, 1]) {
        row.score_micro = score * MAX_SCORE_MICRO;
    }
    let statement = reward_statement(&inputs).unwrap();
    assert_eq!(statement.paid, statement.budget);
    let json = serde_json::to_value(&statement).unwrap();
    assert_eq!(json["budget"], "9000000000000000");
    assert_eq!(json["lines"][0]["value_micro"], 333_333_333_333_i64);

    inputs.data_class_weights.in_human = u32::MAX;
    inputs.reward.evidence.record = u32::MAX;
    inputs.sites[0].deposits =
        (0..20_000).map(|place| deposit(0, place, DataClass::InHuman, [largest, 0, 0])).collect();
    assert!(matches!(reward_statement(&inputs), Err(StatementError::EvidenceTooLarge { .. })));
}

trait Stripped {
    fn stripped(self) -> Self;
}

impl Stripped for SiteEvidence {
    /// Without deposits, so that only the site itself is a duplicate.
    fn stripped(mut self) -> Self {
        self.deposits.clear();
        self
    }
}
