//! What one organisation must not see of another's.

use axum::http::{Method, StatusCode};
use konclave_openapi::evaluations::Evaluation;
use konclave_openapi::jobs::Job;
use konclave_openapi::page::Page;

use crate::world::{Silent, World, developer, rival};

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
