//! Scores that must be refused, and which scores are paid by.

use axum::http::{Method, StatusCode};
use konclave_crypto::{IdentityKey, JobId, MemberRole, SiteId};
use konclave_gateway::auth::Principal;
use konclave_gateway::core::{Caller, NewMember};
use konclave_ledger::Hash;
use konclave_ledger::statements::{self, DataClass, DepositStatement, EvaluationStatement, TaskCount};
use konclave_openapi::contributions::Statement;
use konclave_openapi::deposits::{Deposit, NewDeposit};
use konclave_openapi::evaluations::{Evaluation, NewEvaluation};
use konclave_openapi::page::Page;
use konclave_openapi::problem::Problem;
use konclave_openapi::work::{WorkItem, WorkList};
use zeroize::Zeroizing;

use crate::site::evaluation;
use crate::world::{START, Silent, World, auditor, evaluator, evaluator_named, member, site};

/// What an evaluator is asked for, as the statements that would answer it.
async fn wanted(world: &World, principal: &Principal) -> Vec<EvaluationStatement> {
    let list: WorkList = world.get(principal, "/v1/work").await;
    let statement = |item: &WorkItem| {
        let WorkItem::Evaluate { job, round, parameters, coalition } = item else {
            panic!("an evaluator is asked for {item:?}");
        };
        evaluation(job, *round, *parameters, coalition, START)
    };
    list.items.iter().map(statement).collect()
}

async fn state(
    world: &World,
    principal: &Principal,
    key: &IdentityKey,
    statement: &EvaluationStatement,
) -> (StatusCode, Vec<u8>) {
    let statement = statements::sign(key.seed(), statement).unwrap();
    let body = serde_json::to_vec(&NewEvaluation { statement }).unwrap();
    world.send(principal, Method::POST, "/v1/evaluations", body, true).await
}

async fn scoring_round() -> (World, JobId) {
    let mut world = World::new(6).await;
    let job = world.request_job(2, vec![1]).await;
    world.play(&job, &Silent::default()).await;
    (world, job)
}

#[tokio::test]
async fn a_score_of_anything_else_than_was_asked_for_is_refused() {
    let (world, _) = scoring_round().await;
    let asked = wanted(&world, &evaluator()).await;
    let good = asked.iter().find(|statement| statement.coalition.len() == 3).unwrap().clone();
    let case = |change: fn(&mut EvaluationStatement)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad
    };
    let before = world.app().state().clone();
    for (at, status, bad) in [
        ("model", 422, case(|bad| bad.model = Hash::of(b"other parameters"))),
        ("round", 422, case(|bad| bad.round = 2)),
        ("round", 422, case(|bad| bad.round = 0)),
        ("coalition", 422, case(|bad| drop(bad.coalition.pop()))),
        ("coalition", 422, case(|bad| bad.coalition = Vec::new())),
        ("utility_micro", 422, case(|bad| bad.utility_micro = 1_000_000_000_001)),
        ("utility_micro", 422, case(|bad| bad.utility_micro = i64::from(i32::MIN) * 1_000_000)),
        ("", 404, case(|bad| bad.job = "job-99".to_owned())),
    ] {
        let (found, answer) = state(&world, &evaluator(), &world.evaluator, &bad).await;
        let problem: Problem = serde_json::from_slice(&answer).unwrap();
        let named = problem.errors.first().map_or("", |error| error.at.as_str());
        assert_eq!((found.as_u16(), named), (status, at), "{}", problem.detail);
    }
    // Signed by somebody else, and sent by somebody who is no evaluator.
    let (found, _) = state(&world, &evaluator(), &world.sites[&site(1)].key, &good).await;
    assert_eq!(found, StatusCode::UNPROCESSABLE_ENTITY);
    let (found, _) = state(&world, &member(&site(1)), &world.sites[&site(1)].key, &good).await;
    assert_eq!(found, StatusCode::FORBIDDEN);
    assert_eq!(*world.app().state(), before);

    // The first score stands; the same statement again is no news.
    let (found, first) = state(&world, &evaluator(), &world.evaluator, &good).await;
    assert_eq!(found, StatusCode::CREATED);
    let (_, again) = state(&world, &evaluator(), &world.evaluator, &good).await;
    let entry = |answer: &[u8]| serde_json::from_slice::<Evaluation>(answer).unwrap().entry;
    assert_eq!(entry(&first), entry(&again));
    let better = EvaluationStatement { utility_micro: good.utility_micro + 1, ..good.clone() };
    let (found, answer) = state(&world, &evaluator(), &world.evaluator, &better).await;
    let problem: Problem = serde_json::from_slice(&answer).unwrap();
    assert_eq!((found.as_u16(), problem.kind.as_str()), (409, "/problems/already-sent"));
}

#[tokio::test]
async fn a_score_after_the_deadline_is_refused() {
    let (world, job) = scoring_round().await;
    let asked = wanted(&world, &evaluator()).await;
    let deadline = world.opened(&job, 2).evaluation_deadline.get();
    world.clock.advance_seconds(deadline - world.clock.now().get());
    let (found, answer) = state(&world, &evaluator(), &world.evaluator, &asked[0]).await;
    let problem: Problem = serde_json::from_slice(&answer).unwrap();
    assert_eq!((found.as_u16(), problem.kind.as_str()), (409, "/problems/wrong-round"));
    assert!(wanted(&world, &evaluator()).await.is_empty());
}

fn benchmark(evaluator: &SiteId, key: &IdentityKey, rows: &[u8]) -> NewDeposit {
    let statement = DepositStatement {
        site: evaluator.to_string(),
        legal_entity: None,
        data_class: DataClass::Benchmark,
        catalogue_tasks: vec![TaskCount {
            task: "Solubility/Solubility".to_owned(),
            records: 10,
            unique_structures: 10,
            scaffolds: 5,
            censored: 0,
        }],
        files: Vec::new(),
        row_commitment: Hash::of(rows),
        made_at: START,
    };
    NewDeposit { statement: statements::sign(key.seed(), &statement).unwrap() }
}

#[tokio::test]
async fn an_evaluator_scores_on_the_benchmark_it_deposited_before_the_round() {
    let mut world = World::new(6).await;
    let id: SiteId = "benchmark".parse().unwrap();
    let first = benchmark(&id, &world.evaluator, b"rows");
    let _: Deposit = world.post(&evaluator(), "/v1/deposits", &first).await;
    let job = world.request_job(1, vec![1]).await;
    world.play(&job, &Silent::default()).await;
    // Another benchmark, chosen once the models are known.
    let later = benchmark(&id, &world.evaluator, b"benchmark");
    let _: Deposit = world.post(&evaluator(), "/v1/deposits", &later).await;
    for mut statement in wanted(&world, &evaluator()).await {
        let (found, answer) = state(&world, &evaluator(), &world.evaluator, &statement).await;
        let problem: Problem = serde_json::from_slice(&answer).unwrap();
        assert_eq!((found.as_u16(), problem.errors[0].at.as_str()), (422, "benchmark"));
        statement.benchmark = Hash::of(b"rows");
        let (found, _) = state(&world, &evaluator(), &world.evaluator, &statement).await;
        assert_eq!(found, StatusCode::CREATED);
    }
}

#[tokio::test]
async fn the_pay_follows_the_scores_that_were_recorded_not_those_of_a_later_evaluator() {
    let mut world = World::new(6).await;
    // A second evaluator, before the first one by name.
    let second: SiteId = "a-benchmark".parse().unwrap();
    let key = IdentityKey::from_seed(Zeroizing::new([33; 32]));
    let record = world.certificate(&second, MemberRole::Evaluator, &key, START * 2);
    let new = NewMember {
        certificate: record.certificate,
        witness_vkey: record.witness_vkey,
        tls_spki: record.tls_spki,
    };
    world.app().enrol(&Caller::gateway("test"), new).await.unwrap();
    let job = world.request_job(2, vec![1]).await;
    let nobody = Silent { upload: world.sites.keys().cloned().collect(), ..Silent::default() };
    // The first round is opened and scored; the second one has begun.
    let first = Silent::default();
    while world.job(&job).await.rounds_opened == 0 {
        world.coordinate(&job).await;
        for id in world.sites.keys().cloned().collect::<Vec<_>>() {
            let list: WorkList = world.get(&member(&id), "/v1/work").await;
            for item in list.items {
                world.work(&id, item, &first).await;
            }
        }
        world.coordinate(&job).await;
    }
    // The evaluator is asked once the tags are settled.
    world.play(&job, &nobody).await;
    world.evaluate().await;
    world.play(&job, &nobody).await;
    assert_eq!(world.app().state().jobs[&job].contributions.len(), 1);
    let principal = evaluator_named(second);
    for mut statement in wanted(&world, &principal).await {
        // By these scores one batch would be worth more than the other.
        statement.utility_micro =
            if statement.coalition.contains(&"site-1".to_owned()) { 9_000_000 } else { 0 };
        assert_eq!(state(&world, &principal, &key, &statement).await.0, StatusCode::CREATED);
    }
    world.play(&job, &Silent::default()).await;
    world.evaluate().await;
    world.coordinate(&job).await;
    let statements: Page<Statement> = world.get(&auditor(), &format!("/v1/jobs/{job}/statements")).await;
    let values: Vec<i128> =
        statements.items[0].statement.batches.iter().map(|batch| batch.shapley_micro.numerator()).collect();
    assert_eq!(values, [0, 0]);
}
