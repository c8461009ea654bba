//! Masked updates that break off, come late, or outlive the round in memory.

use axum::http::{Method, StatusCode};
use konclave_crypto::{JobId, RoundNumber};
use konclave_gateway::rounds_store::{BodyFile, RoundKey};
use konclave_openapi::rounds::{RoundPhase, UploadOffset};
use konclave_openapi::work::WorkItem;
use tokio::sync::OwnedMutexGuard;

use crate::world::{Silent, World, member, only, site};

const ROUND: RoundNumber = RoundNumber::FIRST;

/// Five of six sites have uploaded; the sixth has sent its manifest, and its body is still to come.
async fn last_upload_missing() -> (World, JobId, RoundKey, Vec<u8>) {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![]).await;
    world.play(&job, &Silent { upload: only(6), ..Silent::default() }).await;
    let body = world.mask(&site(6), &job, ROUND).await;
    let key = RoundKey { job: job.clone(), round: ROUND };
    (world, job, key, body)
}

/// The body of site 6 as an upload under way holds it.
async fn held_body(world: &World, key: &RoundKey) -> OwnedMutexGuard<BodyFile> {
    let sender = site(6);
    let body = world.app().with_round(key, &site(6), move |live, _| live.body(&sender)).await.unwrap();
    body.try_lock_owned().unwrap()
}

async fn resume(world: &World, job: &JobId, offset: usize, rest: &[u8]) -> StatusCode {
    let path = format!("/v1/jobs/{job}/rounds/1/uploads/{}?offset={offset}", site(6));
    world.send(&member(&site(6)), Method::PUT, &path, rest.to_vec(), false).await.0
}

#[tokio::test]
async fn a_body_whose_last_bytes_were_not_acknowledged_counts_once_the_site_asks_again() {
    let (mut world, job, key, bytes) = last_upload_missing().await;
    // The connection breaks while the last bytes are made durable: all is stored, nothing was counted.
    let mut body = held_body(&world, &key).await;
    body.begin(0).unwrap();
    body.append(&bytes).unwrap();
    body.sync().unwrap();
    drop(body);
    assert!(!world.round(&job, 1).await.uploaded.contains(&site(6)));
    assert_eq!(resume(&world, &job, bytes.len(), &[]).await, StatusCode::OK);
    assert!(world.round(&job, 1).await.uploaded.contains(&site(6)), "stored, acknowledged and left out");
    world.play(&job, &Silent::default()).await;
    assert_eq!(world.check_opening(&job, 1).concat().len(), 6);
}

#[tokio::test]
async fn a_round_brought_back_under_a_running_upload_does_not_touch_its_bytes() {
    let (mut world, job, key, bytes) = last_upload_missing().await;
    let (first, second) = (bytes.len() / 3, bytes.len() / 2);
    let mut body = held_body(&world, &key).await;
    body.begin(0).unwrap();
    body.append(&bytes[..first]).unwrap();
    body.sync().unwrap();
    body.append(&bytes[first..second]).unwrap();
    // A message of another site could not be stored: the round is dropped from memory and brought back.
    world.app().live().discard(&key);
    assert!(!world.round(&job, 1).await.uploaded.contains(&site(6)));
    body.append(&bytes[second..]).unwrap();
    body.sync().unwrap();
    assert!(body.is_complete());
    drop(body);
    let stored = world.folder.path().join(format!("rounds/{job}/1/bodies/{}.masked", site(6)));
    assert!(std::fs::read(stored).unwrap() == bytes, "the stored body is not the one that was sent");
    assert_eq!(resume(&world, &job, bytes.len(), &[]).await, StatusCode::OK);
    world.play(&job, &Silent::default()).await;
    assert_eq!(world.check_opening(&job, 1).concat().len(), 6);
}

#[tokio::test]
async fn a_body_that_is_complete_when_its_round_is_brought_back_counts_though_its_upload_still_holds_it() {
    let (world, job, key, bytes) = last_upload_missing().await;
    let mut body = held_body(&world, &key).await;
    body.begin(0).unwrap();
    body.append(&bytes).unwrap();
    body.sync().unwrap();
    world.app().live().discard(&key);
    assert!(world.round(&job, 1).await.uploaded.contains(&site(6)));
}

#[tokio::test]
async fn a_body_that_is_complete_after_uploads_closed_does_not_cost_the_round() {
    let (mut world, job, key, bytes) = last_upload_missing().await;
    let mut body = held_body(&world, &key).await;
    body.begin(0).unwrap();
    world.clock.advance_seconds(21_601);
    world.coordinate(&job).await;
    assert_eq!(world.round(&job, 1).await.phase, RoundPhase::Agreeing);
    body.append(&bytes).unwrap();
    body.sync().unwrap();
    drop(body);
    assert_eq!(resume(&world, &job, bytes.len(), &[]).await, StatusCode::CONFLICT);
    world.restart().await;
    world.play(&job, &Silent::default()).await;
    let opened = world.check_opening(&job, 1).concat();
    assert!(opened.len() == 5 && !opened.contains(&site(6)), "{opened:?}");
}

#[tokio::test]
async fn asking_how_far_an_upload_is_does_not_put_off_the_deadline() {
    let (world, job, _, bytes) = last_upload_missing().await;
    world.clock.advance_seconds(21_599);
    let path = format!("/v1/jobs/{job}/rounds/1/uploads/{}", site(6));
    let _: UploadOffset = world.get(&member(&site(6)), &path).await;
    assert_eq!(resume(&world, &job, 0, &[]).await, StatusCode::OK, "an empty part");
    world.clock.advance_seconds(1);
    world.coordinate(&job).await;
    assert_eq!(world.round(&job, 1).await.phase, RoundPhase::Agreeing);
    drop(bytes);
}

#[tokio::test]
async fn bytes_that_come_put_off_the_deadline() {
    let (mut world, job, _, bytes) = last_upload_missing().await;
    world.clock.advance_seconds(21_599);
    assert_eq!(resume(&world, &job, 0, &bytes[..1000]).await, StatusCode::OK);
    world.clock.advance_seconds(1);
    world.coordinate(&job).await;
    assert_eq!(world.round(&job, 1).await.phase, RoundPhase::Uploading);
    assert_eq!(resume(&world, &job, 1000, &bytes[1000..]).await, StatusCode::OK);
    let nothing_to_upload = WorkItem::Upload { job: job.clone(), round: ROUND };
    let list: konclave_openapi::work::WorkList = world.get(&member(&site(6)), "/v1/work").await;
    assert!(!list.items.contains(&nothing_to_upload));
    world.play(&job, &Silent::default()).await;
    assert_eq!(world.check_opening(&job, 1).concat().len(), 6);
}
