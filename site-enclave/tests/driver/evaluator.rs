//! An evaluator scores what follows from the sites' uploads, and nothing that a gateway puts in its place.

use konclave_site::driver::SiteError;
use tokio::task::JoinHandle;

use crate::field::Field;
use crate::support::gateway::{COORDINATES, Gateway};

/// Four sites in two batches, whose first round is scored.
fn scoring(tell: impl FnOnce(&mut Gateway)) -> Field {
    let two = |text: String| text.replace("scoring_batch_size = 3", "scoring_batch_size = 2");
    Field::under(two, 4, |gateway| {
        gateway.request.scoring_rounds = vec![1];
        gateway.rounds_wanted = 1;
        tell(gateway);
    })
}

/// What a site gives: no two coalitions have the same mean, and none the mean zero.
fn given(index: usize) -> Vec<f32> {
    (0..COORDINATES).map(|place| 0.01 * (1 << index) as f32 + 0.002 * place as f32).collect()
}

fn start(field: &mut Field) -> Vec<JoinHandle<Result<(), SiteError>>> {
    let mut running: Vec<_> = (0..4).map(|index| field.start_with(index, given(index))).collect();
    running.push(field.start_evaluator());
    running
}

/// Lets everything run until the evaluator refuses for this reason, and gives how many coalitions it scored before.
async fn refusal(reason: &str, tell: impl FnOnce(&mut Gateway)) -> usize {
    let mut field = scoring(tell);
    let running = start(&mut field);
    field.refused(reason).await;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    running.iter().for_each(JoinHandle::abort);
    let gateway = field.gateway.lock().unwrap();
    gateway.evaluations_seen.iter().filter(|seen| !seen.coalition.is_empty()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_scoring_round_is_scored_for_every_coalition() {
    let mut field = scoring(|_| {});
    let running = start(&mut field);
    field.until("four scores", |gateway| gateway.evaluations_seen.len() == 4).await;
    running.iter().for_each(JoinHandle::abort);
    let gateway = field.gateway.lock().unwrap();
    for seen in &gateway.evaluations_seen {
        // The mean of the members' first coordinates; all sites have the same weight.
        let members = |name: &String| seen.coalition.is_empty() || seen.coalition.contains(name);
        let firsts: Vec<f32> = ["site-a", "site-b", "site-c", "site-d"]
            .iter()
            .enumerate()
            .filter(|(_, name)| members(&(**name).to_owned()))
            .map(|(index, _)| given(index)[0])
            .collect();
        let before = seen.model.0 == *konclave_crypto::Digest::of(&[0; 4 * COORDINATES]).as_bytes();
        let mean = if before { 0.0 } else { firsts.iter().sum::<f32>() / firsts.len() as f32 };
        let wanted = f64::from(mean) * 1e6;
        assert!((seen.utility_micro as f64 - wanted).abs() < 200.0, "{seen:?}: {wanted}");
    }
    assert_eq!(gateway.evaluations_seen.iter().filter(|seen| seen.coalition.len() == 2).count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_sum_of_a_batch_is_refused_by_the_evaluator_though_the_total_is_right() {
    let reason = "the tags do not add up to the announced sum";
    assert_eq!(refusal(reason, |gateway| gateway.shifts_sums = true).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_sum_of_a_batch_than_the_tagged_one_is_refused_by_the_evaluator() {
    let reason = "the sums in the ledger are not those that the sites tagged";
    assert_eq!(refusal(reason, |gateway| gateway.records_other_sums = true).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_model_of_a_coalition_is_refused_by_the_evaluator() {
    let reason = "the parameters do not follow from the round's model and the sums of the uploads";
    assert_eq!(refusal(reason, |gateway| gateway.wrong_coalitions = true).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_model_before_or_after_a_round_is_refused_by_the_evaluator() {
    let reason = "the ledger's entry starts from another model than the round";
    assert_eq!(refusal(reason, |gateway| gateway.wrong_starts = true).await, 0);
    let reason = "the parameters do not follow from the round's model and the sums of the uploads";
    assert_eq!(refusal(reason, |gateway| gateway.wrong_models = true).await, 3, "the coalitions are right");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_is_missing_by_the_ledger_leaves_the_round_pending_and_scored() {
    let mut field = scoring(|gateway| {
        gateway.loses_tags_of.insert("site-b".parse().unwrap());
    });
    let running = start(&mut field);
    field.until("four scores", |gateway| gateway.evaluations_seen.len() == 4).await;
    field.refused("a sum is scored that is not verified, tags of 1 sites are missing").await;
    running.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_the_gateway_keeps_to_itself_is_no_missing_tag() {
    let tell = |gateway: &mut Gateway| {
        gateway.loses_tags_of.insert("site-b".parse().unwrap());
        gateway.denies_lost_tags = true;
    };
    // The batch without it is right, and may be scored.
    assert!(refusal("tags are missing, so the sum cannot be checked yet", tell).await <= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_global_model_of_an_ordinary_round_is_checked_too() {
    for (wrong, reason) in [(false, ""), (true, "the tags do not add up to the announced sum")] {
        let mut field = Field::of(4, |gateway| {
            gateway.rounds_wanted = 1;
            gateway.wrong_sums = wrong;
            gateway.loses_tags_of.insert("site-c".parse().unwrap());
        });
        let running = start(&mut field);
        if wrong {
            field.refused(reason).await;
            assert!(field.gateway.lock().unwrap().evaluations_seen.is_empty());
        } else {
            field.until("a score", |gateway| gateway.evaluations_seen.len() == 1).await;
        }
        running.iter().for_each(JoinHandle::abort);
    }
}
