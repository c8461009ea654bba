//! Clients that go away before they are answered, and ask again.

use std::time::Duration;

use axum::http::StatusCode;
use konclave_openapi::jobs::Job;

use crate::world::{World, developer, new_job};

#[tokio::test]
async fn a_request_that_was_cut_off_and_repeated_makes_one_job() {
    let world = World::new(5).await;
    let first = world.request_job(1, vec![]).await;
    let wanted = new_job(world.job(&first).await.request.model, 1, vec![]);
    // Cut off after ever longer times: before, while and after its entry is queued and written.
    for attempt in 0..40 {
        let key = format!("order-{attempt}");
        let developer = developer();
        let request = world.post_once(&developer, "/v1/jobs", &key, &wanted);
        let _ = tokio::time::timeout(Duration::from_micros(attempt * 50), request).await;
        let (status, answer) = world.post_once(&developer, "/v1/jobs", &key, &wanted).await;
        assert_eq!(status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer));
        let made: Job = serde_json::from_slice(&answer).unwrap();
        let state = world.app().state();
        assert_eq!(state.job_order.len() as u64, attempt + 2, "the repeated request made a second job");
        assert_eq!(state.jobs.len(), state.job_order.len());
        assert_eq!(state.job_order.last(), Some(&made.job));
    }
}
