//! A site revoked in the middle of a job: nobody waits for it, and the rounds go on without it.

use konclave_gateway::core::Caller;
use konclave_gateway::revocation::{Revocation, Revoked};
use konclave_openapi::jobs::JobPhase;

use crate::world::{START, Silent, World, site};

async fn revoke(world: &World, index: usize) {
    let id = site(index);
    let identity_key = world.app().state().sites[&id].certificate.membership.identity_key;
    let of = Revoked::Site { site: id, identity_key, others: Vec::new() };
    let revocation = Revocation { of, reason: "its key was stolen".to_owned() };
    world.app().revoke(&Caller::gateway("test"), &revocation).await.unwrap();
}

fn without_uploads_of(sites: impl IntoIterator<Item = usize>) -> Silent {
    Silent { upload: sites.into_iter().map(site).collect(), ..Silent::default() }
}

#[tokio::test]
async fn a_round_does_not_wait_for_a_revoked_site() {
    let mut world = World::new(6).await;
    let job = world.request_job(2, vec![]).await;
    // All but the last one work; the round waits for it.
    world.play(&job, &without_uploads_of([6])).await;
    let waiting = world.app().state().jobs[&job].current_round().unwrap().round;
    assert_eq!(waiting.get(), 1);
    revoke(&world, 6).await;
    world.sites.remove(&site(6));
    world.play(&job, &Silent::default()).await;
    let state = world.app().state().clone();
    let known = &state.jobs[&job];
    for round in known.rounds.values() {
        assert!(round.opened().is_some(), "{:?}", round.outcome);
        assert!(!round.agreed.as_ref().unwrap().agreed.contains(&site(6)));
    }
    assert_eq!(known.rounds_opened(), 2);
    assert_eq!(world.clock.now().get(), START, "no deadline was waited for");
    world.evaluate().await;
    world.coordinate(&job).await;
    assert!(matches!(world.job(&job).await.phase, JobPhase::Finished));
    let state = world.app().state().clone();
    assert!(world.replayed().await == state, "the replayed state is not the live one");
}

#[tokio::test]
async fn a_round_that_a_revocation_leaves_too_small_ends_at_once() {
    let mut world = World::new(5).await;
    let job = world.request_job(1, vec![]).await;
    world.play(&job, &without_uploads_of([3, 4, 5])).await;
    let before = world.app().state().jobs[&job].aborts_in_a_row();
    for index in [3, 4, 5] {
        revoke(&world, index).await;
        world.sites.remove(&site(index));
    }
    world.play(&job, &Silent::default()).await;
    assert_eq!(world.clock.now().get(), START, "no deadline was waited for");
    assert!(world.app().state().jobs[&job].aborts_in_a_row() > before);
}
