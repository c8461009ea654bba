//! The laws of contribution and reward.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test reports by panicking, its helpers too"
)]

mod games;
mod statements;

use std::collections::BTreeMap;

use games::{any_job, reorder_batches, round, site_id};
use konclave_crypto::Digest;
use konclave_policies::contribution::{
    Coalition, Ratio, RewardLine, RewardStatement, StatementInputs, contribution_table, reward_statement,
    shapley,
};
use konclave_policies::rounds::DataClass;
use proptest::prelude::*;

/// Scores of all coalitions of m batches.
fn games(most: usize) -> impl Strategy<Value = (usize, Vec<i64>)> {
    (0..=most).prop_flat_map(|m| (Just(m), proptest::collection::vec(any::<i64>(), 1 << m)))
}

fn table(scores: &[i64]) -> BTreeMap<Coalition, i64> {
    (0_u16..).map(Coalition::from_bits).zip(scores.iter().copied()).collect()
}

/// Every order in which m batches can join.
fn orders(m: usize) -> Vec<Vec<usize>> {
    if m == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(m - 1);
    shorter
        .iter()
        .flat_map(|order| {
            (0..m).map(move |place| {
                let mut longer = order.clone();
                longer.insert(place, m - 1);
                longer
            })
        })
        .collect()
}

fn sum(values: &[Ratio]) -> Ratio {
    values.iter().fold(Ratio::ZERO, |sum, value| sum.checked_add(*value).unwrap())
}

fn paid(statement: &RewardStatement) -> u128 {
    statement.lines.iter().map(|line| u128::from(line.amount.micro())).sum()
}

fn line<'a>(statement: &'a RewardStatement, entity: &str) -> &'a RewardLine {
    statement.lines.iter().find(|line| line.legal_entity == entity).unwrap()
}

fn batch_of(inputs: &StatementInputs, site: usize) -> Option<usize> {
    let batches = &inputs.scoring.as_ref()?.batches;
    batches.iter().position(|batch| batch.contains(&site_id(site)))
}

proptest! {
    #[test]
    fn shapley_is_the_mean_gain_over_all_orders_of_joining((m, scores) in games(6)) {
        let orders = orders(m);
        let mut gains = vec![0_i128; m];
        for order in &orders {
            let mut joined = 0_usize;
            for batch in order {
                let before = i128::from(scores[joined]);
                joined |= 1 << batch;
                gains[*batch] += i128::from(scores[joined]) - before;
            }
        }
        let count = i128::try_from(orders.len()).unwrap();
        let expected: Vec<_> = gains.into_iter().map(|gain| Ratio::new(gain, count).unwrap()).collect();
        prop_assert_eq!(shapley(m, &table(&scores)).unwrap(), expected);
    }

    #[test]
    fn shapley_values_sum_to_the_whole_gain((m, scores) in games(8)) {
        let values = shapley(m, &table(&scores)).unwrap();
        let gain = i128::from(scores[scores.len() - 1]) - i128::from(scores[0]);
        prop_assert_eq!(sum(&values), Ratio::new(gain, 1).unwrap());
    }

    #[test]
    fn a_batch_that_never_changes_the_score_is_worth_nothing((m, scores) in games(6), who: usize) {
        prop_assume!(m > 0);
        let bit = 1 << (who % m);
        let without: Vec<_> = (0..scores.len()).map(|bits| scores[bits & !bit]).collect();
        prop_assert_eq!(shapley(m, &table(&without)).unwrap()[who % m], Ratio::ZERO);
    }

    #[test]
    fn batches_that_do_the_same_are_worth_the_same((m, scores) in games(6), a: usize, b: usize) {
        prop_assume!(m > 1);
        let (a, b) = (a % m, b % m);
        let exchanged = |bits: usize| {
            let (has_a, has_b) = (bits >> a & 1, bits >> b & 1);
            bits & !(1 << a) & !(1 << b) | has_a << b | has_b << a
        };
        let symmetric: Vec<_> = (0..scores.len()).map(|bits| scores[bits.min(exchanged(bits))]).collect();
        let values = shapley(m, &table(&symmetric)).unwrap();
        prop_assert_eq!(values[a], values[b]);
    }

    #[test]
    fn the_budget_is_exact_to_the_unit(inputs in any_job()) {
        let statement = reward_statement(&inputs).unwrap();
        prop_assert_eq!(paid(&statement), u128::from(statement.paid.micro()));
        prop_assert_eq!(paid(&statement) + u128::from(statement.returned.micro()), u128::from(inputs.reward.budget_micro));
        prop_assert_eq!(
            u128::from(statement.value_part.micro()) + u128::from(statement.participation_part.micro()),
            u128::from(inputs.reward.budget_micro)
        );
        for line in &statement.lines {
            prop_assert_eq!(line.amount.micro(), line.value_amount.micro() + line.participation_amount.micro());
        }
        // Each part is paid out whole or goes back whole, and what goes back is said.
        let by_value: u64 = statement.lines.iter().map(|line| line.value_amount.micro()).sum();
        let by_rounds: u64 = statement.lines.iter().map(|line| line.participation_amount.micro()).sum();
        prop_assert!(by_value == statement.value_part.micro() || by_value == 0);
        prop_assert!(by_rounds == statement.participation_part.micro() || by_rounds == 0);
        prop_assert_eq!(statement.returned_reason.is_some(), statement.returned.micro() > 0);
    }

    #[test]
    fn the_value_part_goes_only_to_evidence_in_batches_that_raised_the_score(inputs in any_job()) {
        let statement = reward_statement(&inputs).unwrap();
        let rows = contribution_table(&inputs).unwrap();
        for line in &statement.lines {
            let earns = rows.iter().filter(|row| row.legal_entity == line.legal_entity).any(|row| {
                let raised = row.batch.is_some_and(|batch| {
                    statement.batches[usize::from(batch)].shapley_micro.numerator() > 0
                });
                raised && row.evidence.weight != "0"
            });
            prop_assert!(earns || line.value_amount.micro() == 0, "{:?}", line);
            prop_assert!(line.evidence.rounds > 0 || line.amount.micro() == 0, "{:?}", line);
        }
    }

    #[test]
    fn order_does_not_matter(inputs in any_job(), turn: usize, order in Just((0..4).collect::<Vec<usize>>()).prop_shuffle()) {
        let mut other = inputs.clone();
        let places = other.sites.len();
        other.sites.rotate_left(turn % places);
        other.sites.iter_mut().for_each(|site| site.deposits.reverse());
        if let Some(scoring) = &mut other.scoring {
            scoring.scores.reverse();
            scoring.batches.iter_mut().for_each(|batch| batch.reverse());
        }
        let expected = reward_statement(&inputs).unwrap();
        let same = reward_statement(&other).unwrap();
        prop_assert_eq!(serde_json::to_vec(&same).unwrap(), serde_json::to_vec(&expected).unwrap());
        // Batches under other numbers: the numbers in the texts change, no amount does.
        reorder_batches(&mut other, &order);
        let renumbered = reward_statement(&other).unwrap();
        for (a, b) in renumbered.lines.iter().zip(&expected.lines) {
            prop_assert_eq!((&a.legal_entity, a.value_amount, a.participation_amount, a.value_micro),
                (&b.legal_entity, b.value_amount, b.participation_amount, b.value_micro));
        }
    }

    #[test]
    fn equal_sites_of_a_batch_get_the_same_to_the_unit(inputs in any_job()) {
        let mut inputs = inputs;
        let Some(batch) = batch_of(&inputs, 0) else { return Ok(()) };
        // A twin of the first site, alone in its entity, beside it in the batch.
        let mut twin = inputs.sites[0].clone();
        twin.site = site_id(90);
        twin.legal_entity = "twin b".to_owned();
        for deposit in &mut twin.deposits {
            deposit.statement = Digest::of(deposit.statement.as_bytes());
        }
        inputs.sites[0].legal_entity = "twin a".to_owned();
        inputs.sites.push(twin);
        inputs.scoring.as_mut().unwrap().batches[batch].push(site_id(90));
        let statement = reward_statement(&inputs).unwrap();
        let (a, b) = (line(&statement, "twin a"), line(&statement, "twin b"));
        prop_assert_eq!(a.value_micro, b.value_micro);
        prop_assert!(a.value_amount.micro().abs_diff(b.value_amount.micro()) <= 1);
        prop_assert!(a.participation_amount.micro().abs_diff(b.participation_amount.micro()) <= 1);
    }

    #[test]
    fn more_evidence_never_earns_less(inputs in any_job(), which in 0..4_u8, more in 1..5_000_u64) {
        let before = reward_statement(&inputs).unwrap();
        let entity = inputs.sites[0].legal_entity.clone();
        let mut raised = inputs.clone();
        match (which, raised.sites[0].deposits.first_mut()) {
            (0, Some(deposit)) => deposit.records += more,
            (1, Some(deposit)) => deposit.unique_structures += more,
            (2, Some(deposit)) => deposit.scaffolds += more,
            (3, _) => _ = raised.sites[0].rounds.insert(round(50)),
            (_, _) => raised.sites[0].deposits.push(games::deposit(0, 9, DataClass::InVivo, [more, 0, 0])),
        }
        let after = reward_statement(&raised).unwrap();
        let (before, after) = (line(&before, &entity), line(&after, &entity));
        prop_assert!(after.participation_amount >= before.participation_amount);
        // With sites in several batches, an entity's first evidence in one may draw the pot of others.
        let one_site = inputs.sites.iter().filter(|site| site.legal_entity == entity).count() == 1;
        if one_site {
            prop_assert!(after.value_amount >= before.value_amount, "{before:?} {after:?}");
        }
    }

    #[test]
    fn two_sites_under_one_roof_are_one_player(inputs in any_job(), at: usize) {
        // A site cut in two that trained in the same rounds and divides the deposits: same payout.
        let Some(batch) = batch_of(&inputs, 0) else { return Ok(()) };
        let mut cut = inputs.clone();
        let first = &mut cut.sites[0];
        let mut second = first.clone();
        second.site = site_id(91);
        let at = at % (first.deposits.len() + 1);
        second.deposits = first.deposits.split_off(at);
        cut.sites.push(second);
        cut.scoring.as_mut().unwrap().batches[batch].push(site_id(91));
        let (whole, cut) = (reward_statement(&inputs).unwrap(), reward_statement(&cut).unwrap());
        let amounts = |statement: &RewardStatement| {
            Vec::from_iter(statement.lines.iter().map(|line| (line.legal_entity.clone(), line.value_amount, line.participation_amount)))
        };
        prop_assert_eq!(amounts(&whole), amounts(&cut));
    }

    #[test]
    fn a_statement_reads_back_as_it_was_written(inputs in any_job()) {
        let statement = reward_statement(&inputs).unwrap();
        let bytes = serde_json::to_vec(&statement).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<RewardStatement>(&bytes).unwrap(), &statement);
        let inputs_bytes = serde_json::to_vec(&inputs).unwrap();
        let again: StatementInputs = serde_json::from_slice(&inputs_bytes).unwrap();
        prop_assert_eq!(reward_statement(&again).unwrap(), statement);
        // Through a JSON tree as well, as a ledger record is read.
        let tree: serde_json::Value = serde_json::from_slice(&inputs_bytes).unwrap();
        prop_assert_eq!(serde_json::from_value::<StatementInputs>(tree).unwrap(), inputs);
    }
}
