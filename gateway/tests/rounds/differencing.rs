//! Two jobs whose sums would show a single site's update are not both run.

use axum::http::{Method, StatusCode};
use konclave_crypto::{Digest, JobId, SiteId};
use konclave_openapi::jobs::{Job, JobPhase};
use konclave_openapi::problem::Problem;
use konclave_openapi::work::WorkItem;

use crate::privacy::refuse;
use crate::world::{Silent, World, developer, new_job, site};

async fn ask(world: &World, model: Digest, invited: &[usize]) -> Result<JobId, Problem> {
    let mut request = new_job(model, 1, vec![]);
    request.invited = invited.iter().map(|index| site(*index)).collect();
    let body = serde_json::to_vec(&request).unwrap();
    let (status, answer) = world.send(&developer(), Method::POST, "/v1/jobs", body, true).await;
    match status {
        StatusCode::CREATED => Ok(serde_json::from_slice::<Job>(&answer).unwrap().job),
        _ => Err(serde_json::from_slice(&answer).unwrap()),
    }
}

#[tokio::test]
async fn almost_the_same_sites_are_not_invited_to_the_same_parameters_again() {
    let mut world = World::new(8).await;
    let first = world.request_job(1, vec![]).await;
    let model = world.job(&first).await.request.model;
    world.play(&first, &Silent::default()).await;
    for invited in [&[1, 2, 3, 4, 5, 6, 7][..], &[3, 4, 5, 6, 7, 8]] {
        let refused = ask(&world, model, invited).await.unwrap_err();
        assert_eq!((refused.status, refused.errors[0].at.as_str()), (422, "/invited"), "{}", refused.detail);
        assert!(refused.detail.contains(&first.to_string()), "{}", refused.detail);
    }
    ask(&world, model, &[1, 2, 3, 4, 5, 6, 7, 8]).await.unwrap();
    // Three sites less is a batch; then neither set may be approached.
    ask(&world, model, &[1, 2, 3, 4, 5]).await.unwrap();
    assert!(ask(&world, model, &[1, 2, 3, 4, 5, 6]).await.is_err());
}

#[tokio::test]
async fn a_refusal_does_not_make_such_a_cohort_out_of_a_fine_invitation() {
    let mut world = World::new(6).await;
    let first = world.request_job(1, vec![]).await;
    let model = world.job(&first).await.request.model;
    world.play(&first, &Silent::default()).await;
    let again = ask(&world, model, &[1, 2, 3, 4, 5, 6]).await.unwrap();
    for index in 1..=5 {
        world.work(&site(index), WorkItem::Consent { job: again.clone() }, &Silent::default()).await;
    }
    refuse(&world, &again, 6).await;
    world.play(&again, &Silent::default()).await;
    let job = world.job(&again).await;
    let JobPhase::Aborted { reason, culprits } = &job.phase else { panic!("{:?}", job.phase) };
    assert!(reason.contains(&first.to_string()), "{reason}");
    assert_eq!(culprits, &Vec::<SiteId>::new());

    // It opened nothing, so that it stands in nobody's way.
    ask(&world, model, &[1, 2, 3, 4, 5, 6]).await.unwrap();
}
