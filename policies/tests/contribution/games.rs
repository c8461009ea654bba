//! Random jobs to pay for, and hands to change one thing about them.

use std::collections::{BTreeMap, BTreeSet};

use konclave_crypto::{Digest, RoundNumber, SiteId};
use konclave_policies::contribution::{
    Coalition, CoalitionScore, DepositEvidence, ScoringRound, SiteEvidence, StatementInputs,
};
use konclave_policies::rounds::{DataClass, RoundPolicy};
use proptest::prelude::*;

/// The round in which batches are scored.
pub(crate) const SCORING: u32 = 7;

pub(crate) fn site_id(index: usize) -> SiteId {
    format!("site-{index:02}").parse().unwrap()
}

pub(crate) fn round(number: u32) -> RoundNumber {
    RoundNumber::new(number).unwrap()
}

pub(crate) fn deposit(site: usize, place: usize, class: DataClass, counts: [u64; 3]) -> DepositEvidence {
    let [records, unique_structures, scaffolds] = counts;
    DepositEvidence {
        task: format!("task-{place}"),
        class,
        records,
        unique_structures,
        scaffolds,
        statement: Digest::of(format!("{site}/{place}").as_bytes()),
    }
}

/// A job under the built-in policy with these sites and, if there are batches, scores by coalition bits.
pub(crate) fn job(sites: Vec<SiteEvidence>, batches: Vec<Vec<SiteId>>, scores: &[i64]) -> StatementInputs {
    let policy = RoundPolicy::embedded().unwrap();
    let scores = Coalition::all(batches.len())
        .zip(scores)
        .map(|(coalition, score_micro)| CoalitionScore { coalition, score_micro: *score_micro })
        .collect();
    let scoring = (!batches.is_empty()).then(|| ScoringRound {
        round: round(SCORING),
        context: Digest::of(b"context"),
        evaluator: "evaluator".parse().unwrap(),
        benchmark: Digest::of(b"benchmark"),
        batches,
        scores,
    });
    StatementInputs {
        job: "job-1".parse().unwrap(),
        policy: policy.digest(),
        reward: policy.reward.clone(),
        data_class_weights: policy.data_class_weights.clone(),
        budget_holder: "the developer".to_owned(),
        sites,
        scoring,
    }
}

fn classes() -> impl Strategy<Value = DataClass> {
    prop_oneof![
        Just(DataClass::InVitro),
        Just(DataClass::InVivo),
        Just(DataClass::InHuman),
        Just(DataClass::Pk),
        Just(DataClass::FailedCandidate)
    ]
}

/// One site: its entity, batch (none: not opened), rounds and deposits.
type DrawnSite = (usize, Option<usize>, BTreeSet<u32>, Vec<(DataClass, [u64; 3])>);

fn a_site() -> impl Strategy<Value = DrawnSite> {
    let counts = [0..20_000_u64, 0..10_000, 0..2_000];
    (
        0..12_usize,
        proptest::option::weighted(0.9, 0..4_usize),
        proptest::collection::btree_set(1..12_u32, 0..10),
        proptest::collection::vec((classes(), counts), 0..4),
    )
}

/// A random job of 1 to 12 sites in up to 4 batches, with any budget and participation share.
pub(crate) fn any_job() -> impl Strategy<Value = StatementInputs> {
    (
        proptest::collection::vec(a_site(), 1..12),
        proptest::collection::vec(-3_000_000..3_000_000_i64, 16),
        prop_oneof![0..50_u64, 0..=9_000_000_000_000_000_u64],
        0..=1_000_000_u32,
    )
        .prop_map(|(drawn, scores, budget, share)| {
            let mut batches = BTreeMap::<usize, Vec<SiteId>>::new();
            let mut sites = Vec::new();
            for (index, (entity, batch, mut rounds, deposits)) in drawn.into_iter().enumerate() {
                if let Some(batch) = batch {
                    batches.entry(batch).or_default().push(site_id(index));
                    rounds.insert(SCORING);
                }
                let deposits = deposits
                    .into_iter()
                    .enumerate()
                    .map(|(place, (class, counts))| deposit(index, place, class, counts));
                sites.push(SiteEvidence {
                    site: site_id(index),
                    legal_entity: format!("entity {entity}"),
                    rounds: rounds.into_iter().map(round).collect(),
                    deposits: deposits.collect(),
                });
            }
            let mut inputs = job(sites, batches.into_values().collect(), &scores);
            inputs.reward.budget_micro = budget;
            inputs.reward.participation_share_ppm = share;
            inputs
        })
}

/// Batches in another order, with the coalitions' bits moved along.
pub(crate) fn reorder_batches(inputs: &mut StatementInputs, order: &[usize]) {
    let Some(scoring) = &mut inputs.scoring else { return };
    let order: Vec<_> = order.iter().copied().filter(|batch| *batch < scoring.batches.len()).collect();
    scoring.batches = order.iter().map(|old| scoring.batches[*old].clone()).collect();
    for row in &mut scoring.scores {
        let bits = order.iter().enumerate().filter(|(_, old)| row.coalition.contains(**old));
        row.coalition = Coalition::from_bits(bits.map(|(new, _)| 1_u16 << new).sum());
    }
}
