//! The gateway dies after every message and comes back from its folder.

use konclave_openapi::jobs::JobPhase;

use crate::world::{Silent, World, only};

#[tokio::test]
async fn a_gateway_that_dies_after_every_message_opens_the_same_sums() {
    let mut world = World::new(5).await;
    world.restarts = true;
    let job = world.request_job(1, vec![]).await;
    world.play(&job, &Silent::default()).await;
    assert_eq!(world.check_opening(&job, 1).concat().len(), 5);
    world.evaluate().await;
    world.restart().await;
    world.coordinate(&job).await;
    assert_eq!(world.job(&job).await.phase, JobPhase::Finished);
}

#[tokio::test]
async fn a_scoring_round_with_a_lost_site_survives_restarts_in_each_phase() {
    let mut world = World::new(9).await;
    world.restarts = true;
    let job = world.request_job(1, vec![1]).await;
    let silent = Silent { agree: only(4), unmask: only(4), ..Silent::default() };
    world.play(&job, &silent).await;
    world.clock.advance_seconds(3);
    world.play(&job, &silent).await;
    assert_eq!(world.check_opening(&job, 1).iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3]);
    // Parameters before and after, and the six coalitions in between.
    assert_eq!(world.evaluate().await, 8);
}

#[tokio::test]
async fn an_opening_is_repeated_with_the_same_result() {
    let mut world = World::new(5).await;
    let job = world.request_job(1, vec![]).await;
    world.play(&job, &Silent::default()).await;
    let opened = world.opened(&job, 1);
    // As if the process had died after the ledger entry and before the bodies were deleted.
    let bodies = world.folder.path().join(format!("rounds/{job}/1/bodies"));
    std::fs::create_dir_all(&bodies).unwrap();
    std::fs::write(bodies.join("site-1.masked"), b"left over").unwrap();
    world.restart().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let coordinator = tokio::spawn(konclave_gateway::coordinator::run(world.app().clone(), stopped));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    stop.send_replace(true);
    coordinator.await.unwrap();
    assert!(!bodies.exists(), "what a crash left is not swept up");
    assert_eq!(world.opened(&job, 1), opened);
}

#[tokio::test]
async fn lost_messages_abort_the_round_and_nothing_else() {
    let mut world = World::new(5).await;
    let job = world.request_job(1, vec![]).await;
    let nobody_agrees = Silent { agree: world.sites.keys().cloned().collect(), ..Silent::default() };
    world.play(&job, &nobody_agrees).await;
    // Somebody deletes a manifest: the proposal that sites may have seen cannot be rebuilt.
    let manifests = world.folder.path().join(format!("rounds/{job}/1/manifests"));
    std::fs::remove_file(manifests.join("site-2.json")).unwrap();
    world.restart().await;
    world.coordinate(&job).await;
    let phase = world.round(&job, 1).await.phase;
    let konclave_openapi::rounds::RoundPhase::Aborted { reason, .. } = phase else { panic!("{phase:?}") };
    assert!(reason.contains("could not be brought back"), "{reason}");
    world.play(&job, &Silent::default()).await;
    assert_eq!(world.check_opening(&job, 2).concat().len(), 5);
}
