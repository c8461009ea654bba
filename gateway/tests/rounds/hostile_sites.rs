//! The attacks of a hostile site on a round: what it sends, who is named, and that the others' sum is opened exactly, or
//! nothing is. `SECURITY.md` maps each attack to its tests.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use konclave_crypto::messages::{Manifest, SeedBytes};
use konclave_crypto::setup::{KemPublicKey, advertise};
use konclave_crypto::{Digest, JobId, RoundNumber, SiteId};
use konclave_openapi::problem::Problem;
use konclave_openapi::rounds::RoundPhase;
use konclave_openapi::work::WorkItem;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::world::{Silent, World, member, only, site};

const FIRST: RoundNumber = RoundNumber::FIRST;

/// The hostile site does nothing by itself.
fn left_to_the_test(index: usize) -> Silent {
    Silent { upload: only(index), agree: only(index), unmask: only(index), ..Silent::default() }
}

async fn stored(world: &World, job: &JobId, name: &str) -> Manifest {
    let path = world.folder.path().join(format!("rounds/{job}/1/manifests/{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

async fn reason_and_culprits(world: &World, job: &JobId) -> (String, Vec<SiteId>) {
    let phase = world.round(job, 1).await.phase;
    let RoundPhase::Aborted { reason, culprits } = phase else { panic!("{phase:?}") };
    (reason, culprits)
}

/// Lets the round go on without the hostile site once the others have done their part.
async fn finish_without(world: &mut World, job: &JobId, silent: &Silent) {
    world.play(job, silent).await;
    world.clock.advance_seconds(3);
    world.play(job, silent).await;
}

#[tokio::test]
async fn a_late_upload_is_refused_and_is_not_in_the_sum() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![]).await;
    let silent = Silent { upload: only(6), ..Silent::default() };
    world.play(&job, &silent).await;
    let body = world.mask(&site(6), &job, FIRST).await;
    world.clock.advance_seconds(21_601);
    world.coordinate(&job).await;
    assert_eq!(world.round(&job, 1).await.phase, RoundPhase::Agreeing);

    let path = format!("/v1/jobs/{job}/rounds/1/uploads/{}?offset=0", site(6));
    let (status, answer) = world.send(&member(&site(6)), Method::PUT, &path, body.clone(), false).await;
    let problem: Problem = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, problem.kind.as_str()), (StatusCode::CONFLICT, "/problems/wrong-round"));
    let kept = world.folder.path().join(format!("rounds/{job}/1/bodies/site-6.masked"));
    assert_eq!(std::fs::metadata(&kept).unwrap().len(), 0, "its file was made for the manifest");

    finish_without(&mut world, &job, &silent).await;
    let summed = world.check_opening(&job, 1).concat();
    assert!(summed.len() == 5 && !summed.contains(&site(6)), "{summed:?}");
}

#[tokio::test]
async fn a_manifest_of_an_earlier_round_is_refused_in_the_next() {
    let mut world = World::new(5).await;
    let job = world.request_job(2, vec![]).await;
    let everyone: BTreeSet<SiteId> = world.sites.keys().cloned().collect();
    world.play(&job, &Silent { agree: everyone, ..Silent::default() }).await;
    let old = stored(&world, &job, "site-1").await;
    // The first round goes on to its end; the second waits for site 1's update.
    world.play(&job, &Silent { upload: only(1), ..Silent::default() }).await;
    assert_eq!(world.round(&job, 2).await.phase, RoundPhase::Uploading);
    let path = format!("/v1/jobs/{job}/rounds/2/manifests/{}", site(1));
    let problem = world.refused(&member(&site(1)), &path, &old).await;
    assert_eq!(problem.kind, "/problems/rejected");
    assert!(problem.detail.contains("context"), "{}", problem.detail);
    assert_eq!(problem.errors[0].at, "site-1");
}

#[tokio::test]
async fn a_corrupted_share_names_its_author_and_the_sum_is_opened_without_its_help() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![]).await;
    // Four of the five answers that are needed.
    let silent = Silent { unmask: BTreeSet::from([site(2), site(3)]), ..Silent::default() };
    world.play(&job, &silent).await;
    let mut answer = world.shares(&site(2), &job, FIRST).await;
    let share = answer.self_mask_shares.get_mut(&site(4)).unwrap();
    let mut bytes = share.value.0;
    bytes[0] ^= 1;
    share.value = SeedBytes(bytes);
    let answer = answer.sign(&world.sites[&site(2)].key);
    let path = format!("/v1/jobs/{job}/rounds/1/unmasking/{}", site(2));
    let problem = world.refused(&member(&site(2)), &path, &answer).await;
    assert_eq!((problem.kind.as_str(), problem.errors[0].at.as_str()), ("/problems/rejected", "site-2"));
    assert!(problem.detail.contains("site-4"), "{}", problem.detail);
    assert_eq!(world.round(&job, 1).await.phase, RoundPhase::Unmasking);
    finish_without(&mut world, &job, &Silent { unmask: only(2), ..Silent::default() }).await;
    assert_eq!(world.check_opening(&job, 1).concat().len(), 6);
}

#[tokio::test]
async fn shares_that_their_dealer_sealed_wrong_do_not_stop_the_round() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![]).await;
    let silent = left_to_the_test(3);
    world.play(&job, &silent).await;
    // One receiver gets rubbish; five of the six shares are good.
    let body =
        world.mask_and_lie(&site(3), &job, FIRST, |manifest, _| manifest.sealed[0].sealed[40] ^= 1).await;
    world.send_body(&site(3), &job, FIRST, &body).await;
    finish_without(&mut world, &job, &Silent::default()).await;
    assert_eq!(world.check_opening(&job, 1).concat().len(), 6);
}

#[tokio::test]
async fn garbage_in_an_upload_aborts_the_round_and_names_the_batch() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![]).await;
    let silent = left_to_the_test(3);
    world.play(&job, &silent).await;
    let body = world
        .mask_and_lie(&site(3), &job, FIRST, |_, body| {
            // Not in the last lane: the sum of weights stays a right one.
            let coordinates = body.len() / 2;
            body[..coordinates].iter_mut().step_by(3).for_each(|byte| *byte = byte.wrapping_add(77));
        })
        .await;
    world.send_body(&site(3), &job, FIRST, &body).await;
    world.play(&job, &silent).await;
    world.clock.advance_seconds(3);
    world.coordinate(&job).await;
    for index in [1, 2, 4, 5, 6] {
        let item = WorkItem::Unmask { job: job.clone(), round: FIRST };
        world.work(&site(index), item, &Silent::default()).await;
    }
    world.clock.advance_seconds(3);
    world.coordinate(&job).await;
    let (reason, culprits) = reason_and_culprits(&world, &job).await;
    assert!(reason.contains("at fault is at least one of site-1, site-2, site-3"), "{reason}");
    assert!(culprits.is_empty(), "nothing shows which of the batch it was: {culprits:?}");
    // Nothing was opened, and the model stands where it was.
    assert_eq!(world.job(&job).await.rounds_opened, 0);
}

#[tokio::test]
async fn a_liar_about_pairwise_seeds_is_left_out_of_the_sum() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![]).await;
    world.play(&job, &left_to_the_test(3)).await;
    let body = world
        .mask_and_lie(&site(3), &job, FIRST, |manifest, _| {
            let hashes = manifest.signed.header.pair_seed_hashes.values_mut();
            hashes.for_each(|hash| *hash = Digest::of(hash.as_bytes()));
        })
        .await;
    world.send_body(&site(3), &job, FIRST, &body).await;
    finish_without(&mut world, &job, &left_to_the_test(3)).await;
    let summed = world.check_opening(&job, 1).concat();
    assert!(summed.len() == 5 && !summed.contains(&site(3)), "{summed:?}");
}

#[tokio::test]
async fn malformed_and_low_order_keys_are_refused_naming_the_site_or_the_field() {
    let mut world = World::new(5).await;
    let job = world.request_job(1, vec![]).await;
    for index in 1..=5 {
        world.work(&site(index), WorkItem::Consent { job: job.clone() }, &Silent::default()).await;
    }
    world.coordinate(&job).await;
    let own = &world.sites[&site(1)];
    let good = advertise(&job, &own.key, &own.certificate, &mut ChaCha20Rng::from_seed([79; 32])).1;
    let path = format!("/v1/jobs/{job}/keys/{}", site(1));
    let bytes = |change: fn(&mut [u8])| {
        let mut bytes = *good.kem_key.as_bytes();
        change(&mut bytes);
        let mut bad = good.clone();
        bad.kem_key = KemPublicKey::from(bytes);
        bad.sign(&own.key)
    };
    // Zero is a point of low order; a lattice coefficient of 0xfff is not reduced.
    for bad in [bytes(|bytes| bytes[..32].fill(0)), bytes(|bytes| bytes[32..40].fill(0xff))] {
        let problem = world.refused(&member(&site(1)), &path, &bad).await;
        assert_eq!(problem.kind, "/problems/rejected");
        assert!(problem.detail.contains("the KEM key of `site-1` is malformed"), "{}", problem.detail);
    }
    let mut short = serde_json::to_value(&good).unwrap();
    short["kem_key"] = short["kem_key"].as_str().unwrap()[4..].into();
    let problem = world.refused(&member(&site(1)), &path, &short).await;
    assert_eq!(
        (problem.kind.as_str(), problem.errors[0].at.as_str()),
        ("/problems/invalid-request", "/kem_key")
    );
    world.put(&member(&site(1)), &path, &good).await;
}
