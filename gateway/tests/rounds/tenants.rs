//! What one organisation must not see of another's.

use axum::http::{Method, StatusCode};
use konclave_crypto::JobId;
use konclave_openapi::evaluations::Evaluation;
use konclave_openapi::jobs::Job;
use konclave_openapi::page::Page;

use crate::world::{Silent, World, developer, member, operator, rival, site};

/// Ids of jobs and models that are somebody else's and ids that nobody has: no answer may tell them apart, at no stage of
/// a job.
#[tokio::test]
async fn what_is_anothers_is_answered_like_what_is_not_there() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![1]).await;
    same_as_absent(&mut world, &job).await;
    world.play(&job, &Silent::default()).await;
    same_as_absent(&mut world, &job).await;
    world.evaluate().await;
    world.coordinate(&job).await;
    same_as_absent(&mut world, &job).await;
}

async fn same_as_absent(world: &mut World, job: &JobId) {
    let own: Page<Job> = world.get(&developer(), "/v1/jobs").await;
    let model = own.items[0].request.model.to_string();
    let nobodys = "f".repeat(64);
    let jobs = ["", "/rounds", "/rounds/1", "/roster", "/contributions", "/statements"]
        .map(|path| (format!("/v1/jobs/{job}{path}"), format!("/v1/jobs/job-none{path}")));
    let models = [
        (format!("/v1/models/{model}"), format!("/v1/models/{nobodys}")),
        (format!("/v1/blobs/{model}"), format!("/v1/blobs/{nobodys}")),
    ];
    for (foreign, absent) in jobs.into_iter().chain(models) {
        let mut answers = Vec::new();
        for path in [&foreign, &absent] {
            let (status, body) = world.send(&rival(), Method::GET, path, Vec::new(), true).await;
            let mut body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            body.as_object_mut().unwrap().remove("request_id");
            let text = body.to_string().replace(&job.to_string(), "ID").replace("job-none", "ID");
            answers.push((status, text.replace(&model, "ID").replace(&nobodys, "ID")));
        }
        assert_eq!(answers[0], answers[1], "{foreign}");
        assert!(answers[0].0.is_client_error(), "{foreign}: {}", answers[0].0);
    }
}

#[tokio::test]
async fn a_rival_organisation_sees_nothing_of_a_job() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![1]).await;
    world.play(&job, &Silent::default()).await;
    world.evaluate().await;
    world.coordinate(&job).await;
    for path in ["", "/rounds", "/rounds/1", "/roster", "/contributions", "/statements"] {
        let path = format!("/v1/jobs/{job}{path}");
        let (own, _) = world.send(&developer(), Method::GET, &path, Vec::new(), true).await;
        let (other, _) = world.send(&rival(), Method::GET, &path, Vec::new(), true).await;
        assert_eq!(other, StatusCode::FORBIDDEN, "{path}");
        assert!(own == StatusCode::OK || path.ends_with("/roster"), "{path}: {own}");
    }
    let jobs: Page<Job> = world.get(&developer(), "/v1/jobs").await;
    assert_eq!(jobs.items.len(), 1);
    let jobs: Page<Job> = world.get(&rival(), "/v1/jobs").await;
    assert!(jobs.items.is_empty());
    let scores: Page<Evaluation> = world.get(&developer(), "/v1/evaluations").await;
    assert!(!scores.items.is_empty());
    for path in ["/v1/evaluations".to_owned(), format!("/v1/evaluations?job={job}")] {
        let scores: Page<Evaluation> = world.get(&rival(), &path).await;
        assert!(scores.items.is_empty(), "{path}");
    }
}

/// An empty list says that there is nothing; to whom nothing of a kind is ever shown it would say so of what there is.
#[tokio::test]
async fn a_list_of_what_a_role_may_never_see_is_refused_and_not_empty() {
    let world = World::new(6).await;
    let job = world.request_job(1, vec![1]).await;
    let contributions = format!("/v1/jobs/{job}/contributions");
    let statements = format!("/v1/jobs/{job}/statements");
    for (principal, path) in [
        (operator(), "/v1/deposits"),
        (developer(), "/v1/deposits"),
        (operator(), contributions.as_str()),
        (operator(), statements.as_str()),
        (member(&site(1)), "/v1/evaluations"),
    ] {
        let (status, body) = world.send(&principal, Method::GET, path, Vec::new(), true).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{principal}: {path}");
        assert!(!String::from_utf8_lossy(&body).contains("items"), "{principal}: {path}");
    }
    for (principal, path) in [
        (member(&site(1)), "/v1/deposits"),
        (member(&site(1)), contributions.as_str()),
        (developer(), statements.as_str()),
        (developer(), "/v1/evaluations"),
    ] {
        let (status, _) = world.send(&principal, Method::GET, path, Vec::new(), true).await;
        assert_eq!(status, StatusCode::OK, "{principal}: {path}");
    }
}
