//! Idempotency keys on every command: the same request again is no news, another one under the key is refused.

use axum::http::StatusCode;
use konclave_crypto::JobId;
use konclave_gateway::auth::Principal;
use konclave_ledger::Hash;
use konclave_ledger::statements::{self, ConsentDecision, ConsentStatement, EvaluationStatement};
use konclave_openapi::evaluations::NewEvaluation;
use konclave_openapi::ledger::LedgerExport;
use konclave_openapi::models::{Model, NewModel};
use konclave_openapi::problem::Problem;
use konclave_openapi::work::{WorkItem, WorkList};
use serde::Serialize;
use serde_json::Value;

use crate::privacy::deposit_of;
use crate::world::{START, Silent, World, auditor, developer, evaluator, member, site};

/// Sends a command twice and another one under the same key; only the first makes an entry.
async fn once<T: Serialize>(world: &World, principal: &Principal, path: &str, first: &T, other: &T) {
    let (status, answer) = world.post_once(principal, path, "key-1", first).await;
    assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&answer));
    let size = world.app().state().size;
    let (again, same) = world.post_once(principal, path, "key-1", first).await;
    assert_eq!((again, world.app().state().size), (status, size), "{path}");
    let entry = |answer: &[u8]| serde_json::from_slice::<Value>(answer).unwrap().get("entry").cloned();
    assert_eq!(entry(&same), entry(&answer), "{path}");
    let (refused, answer) = world.post_once(principal, path, "key-1", other).await;
    let problem: Problem = serde_json::from_slice(&answer).unwrap();
    assert_eq!(
        (refused, problem.kind.as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, "/problems/idempotency-mismatch"),
        "{path}"
    );
    assert_eq!(world.app().state().size, size, "{path}");
}

fn consent(world: &World, job: &JobId, detail: &str) -> konclave_ledger::dsse::Envelope {
    let statement = ConsentStatement {
        job: job.to_string(),
        site: site(1).to_string(),
        decision: ConsentDecision::Accept,
        rule: "auto".to_owned(),
        detail: detail.to_owned(),
        policy: Hash::of(b"site policy"),
        made_at: START,
    };
    statements::sign(world.sites[&site(1)].key.seed(), &statement).unwrap()
}

#[tokio::test]
async fn deposits_and_models_are_registered_once_under_a_key() {
    let world = World::new(5).await;
    once(&world, &member(&site(1)), "/v1/deposits", &deposit_of(&world, 1, 50), &deposit_of(&world, 1, 60))
        .await;
    let job = world.request_job(1, vec![]).await;
    let model = world.job(&job).await.request.model;
    let known: Model = world.get(&developer(), &format!("/v1/models/{model}")).await;
    let new = |heads: u16| {
        let manifest = konclave_openapi::models::ModelManifest { heads, ..known.manifest.clone() };
        NewModel { name: "another".to_owned(), manifest }
    };
    once(&world, &developer(), "/v1/models", &new(3), &new(4)).await;
}

#[tokio::test]
async fn consents_and_evaluations_are_taken_once_under_a_key() {
    let mut world = World::new(5).await;
    let job = world.request_job(1, vec![]).await;
    // The first answer stands, so that another one is refused for what it is, with or without a key.
    let (status, _) = world
        .post_once(
            &member(&site(1)),
            &format!("/v1/jobs/{job}/consents"),
            "key-1",
            &consent(&world, &job, ""),
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    let size = world.app().state().size;
    for (detail, expected) in [("", StatusCode::OK), ("other", StatusCode::CONFLICT)] {
        let path = format!("/v1/jobs/{job}/consents");
        let (status, _) =
            world.post_once(&member(&site(1)), &path, "key-1", &consent(&world, &job, detail)).await;
        assert_eq!((status, world.app().state().size), (expected, size));
    }
    world.play(&job, &Silent::default()).await;
    let list: WorkList = world.get(&evaluator(), "/v1/work").await;
    let Some(WorkItem::Evaluate { round, parameters, .. }) = list.items.first() else { panic!("{list:?}") };
    let score = |utility_micro: i64| {
        let statement = EvaluationStatement {
            job: job.to_string(),
            round: round.get(),
            model: Hash(parameters.0),
            utility_micro,
            coalition: Vec::new(),
            benchmark: Hash::of(b"benchmark"),
            metrics: Vec::new(),
            made_at: START,
        };
        NewEvaluation { statement: statements::sign(world.evaluator.seed(), &statement).unwrap() }
    };
    let (status, _) = world.post_once(&evaluator(), "/v1/evaluations", "key-1", &score(1)).await;
    assert_eq!(status, StatusCode::CREATED);
    let size = world.app().state().size;
    for (utility, expected) in [(1, StatusCode::CREATED), (2, StatusCode::CONFLICT)] {
        let (status, _) = world.post_once(&evaluator(), "/v1/evaluations", "key-1", &score(utility)).await;
        assert_eq!((status, world.app().state().size), (expected, size));
    }
}

/// The listing of an export under a key.
async fn listed(world: &World, key: &str) -> LedgerExport {
    let (status, answer) =
        world.post_once(&auditor(), "/v1/ledger/exports", key, &serde_json::json!({})).await;
    assert_eq!(status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer));
    serde_json::from_slice(&answer).unwrap()
}

#[tokio::test]
async fn an_export_asked_for_again_lists_what_it_listed_first() {
    let mut world = World::new(5).await;
    let _: Value = world.post(&member(&site(1)), "/v1/deposits", &deposit_of(&world, 1, 50)).await;
    let first = listed(&world, "key-1").await;
    // Entries, more than the ledger keeps heads of, and a statement come in between.
    let _: Value = world.post(&member(&site(2)), "/v1/deposits", &deposit_of(&world, 2, 50)).await;
    for _ in 0..70 {
        world.grow(4).await;
    }
    for _ in 0..2 {
        let again = listed(&world, "key-1").await;
        assert_eq!((again.size, &again.note), (first.size, &first.note));
        assert_eq!(again.files, first.files);
        world.restart().await;
    }
    let other = listed(&world, "key-2").await;
    assert!(other.size > first.size + 280 && other.files.len() > first.files.len());
    // What it lists can still be fetched, and leads to its head.
    for file in &first.files {
        let answer = world.answer(&auditor(), &format!("/{file}"), None).await;
        assert_eq!(answer.status(), StatusCode::OK, "{file}");
    }
}

#[tokio::test]
async fn an_export_whose_head_was_lost_is_not_answered_with_another() {
    let world = World::new(5).await;
    let first = listed(&world, "key-1").await;
    std::fs::remove_dir_all(world.app().config().folder.idempotency()).unwrap();
    assert_eq!(listed(&world, "key-1").await.size, first.size, "it is among the latest");
    for _ in 0..70 {
        world.grow(1).await;
    }
    let (status, answer) =
        world.post_once(&auditor(), "/v1/ledger/exports", "key-1", &serde_json::json!({})).await;
    let problem: Problem = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, problem.kind.as_str()), (StatusCode::CONFLICT, "/problems/conflict"));
    assert!(problem.detail.contains("new key"), "{}", problem.detail);
}

#[tokio::test]
async fn an_export_is_recorded_once_under_a_key() {
    let world = World::new(5).await;
    let before = world.app().state().exports.len();
    for key in ["key-1", "key-1", "key-2"] {
        let (status, _) =
            world.post_once(&auditor(), "/v1/ledger/exports", key, &serde_json::json!({})).await;
        assert_eq!(status, StatusCode::CREATED);
    }
    assert_eq!(world.app().state().exports.len(), before + 2);
}
