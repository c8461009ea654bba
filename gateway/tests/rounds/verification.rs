//! The verification of opened sums: tags, tags that are missing or false, verdicts.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use konclave_crypto::messages::{SumTag, SumVerdict, TagValue};
use konclave_crypto::verification::Unverified;
use konclave_crypto::{Digest, JobId, RoundNumber};
use konclave_ledger::records::SumResult;
use konclave_openapi::jobs::JobPhase;
use konclave_openapi::rounds::{RoundPhase, Verification};

use crate::world::{Silent, World, developer, evaluator, member, only, site};

const FIRST: RoundNumber = RoundNumber::FIRST;

async fn verification(world: &World, job: &JobId, round: u32) -> Verification {
    world.round(job, round).await.verification.unwrap()
}

/// A round whose sum is open, with nobody's tag.
async fn untagged(sites: usize, scoring: bool) -> (World, JobId, Silent) {
    let mut world = World::new(sites).await;
    let job = world.request_job(1, if scoring { vec![1] } else { vec![] }).await;
    let silent = Silent { tag: world.sites.keys().cloned().collect(), ..Silent::default() };
    world.play(&job, &silent).await;
    assert_eq!(world.round(&job, 1).await.phase, RoundPhase::Opened);
    (world, job, silent)
}

#[tokio::test]
async fn every_site_verifies_every_sum_before_the_next_round_begins() {
    let mut world = World::new(6).await;
    let job = world.request_job(2, vec![2]).await;
    let mut silent = Silent { verify: only(4), ..Silent::default() };
    world.play(&job, &silent).await;
    let waiting = verification(&world, &job, 1).await;
    assert_eq!((waiting.result, waiting.tagged.len()), (SumResult::Pending, 6));
    assert!(waiting.deadline.is_some() && world.job(&job).await.current_round.is_none());

    silent.verify.clear();
    world.play(&job, &silent).await;
    for round in [1, 2] {
        let verified = verification(&world, &job, round).await;
        assert_eq!((verified.result, verified.accepted.len()), (SumResult::Verified, 6));
        assert!(verified.rejected.is_empty() && verified.missing.is_empty());
        let folder = world.folder.path().join(format!("rounds/{job}/{round}"));
        assert!(!folder.join("bodies").exists() && !folder.join("opening.json").exists());
    }
    let live = world.app().state().clone();
    assert_eq!(world.replayed().await, live);
}

#[tokio::test]
async fn the_tag_of_a_silent_site_is_computed_by_everybody_from_its_masked_body() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![]).await;
    let silent = Silent { tag: only(5), verify: only(5), ..Silent::default() };
    world.play(&job, &silent).await;
    // Five of six are a quorum: the last one is waited for a little longer, not until the deadline.
    world.clock.advance_seconds(4);
    world.play(&job, &silent).await;
    assert!(verification(&world, &job, 1).await.tags.is_none());
    world.clock.advance_seconds(1);
    world.play(&job, &silent).await;
    let checking = verification(&world, &job, 1).await;
    assert_eq!((checking.tagged.len(), checking.missing.len()), (5, 0));
    world.check_sum(&site(1), &job, FIRST).await.unwrap();
    world.clock.advance_seconds(4);
    assert!(!world.coordinate(&job).await);
    world.clock.advance_seconds(1);
    world.coordinate(&job).await;
    let verified = verification(&world, &job, 1).await;
    assert_eq!((verified.result, verified.accepted.len()), (SumResult::Verified, 5));

    // Body and seeds are for the job's sites and the evaluator.
    let opened = world.opened(&job, 1);
    let body = opened.verification.tags().unwrap().uploads[0].body;
    for (principal, status) in [
        (member(&site(2)), StatusCode::OK),
        (evaluator(), StatusCode::OK),
        (developer(), StatusCode::FORBIDDEN),
    ] {
        for blob in [body.to_string(), verified.tags.unwrap().to_string()] {
            let (found, _) =
                world.send(&principal, Method::GET, &format!("/v1/blobs/{blob}"), Vec::new(), true).await;
            assert_eq!(found, status, "{principal}");
        }
    }
}

#[tokio::test]
async fn in_a_scoring_round_a_missing_tag_leaves_the_sum_pending_and_no_body_is_shown() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![1]).await;
    let silent = Silent { tag: only(5), ..Silent::default() };
    world.play(&job, &silent).await;
    world.clock.advance_seconds(899);
    world.play(&job, &silent).await;
    assert!(verification(&world, &job, 1).await.tags.is_none(), "nothing stands in for it: it is waited for");
    world.clock.advance_seconds(2);
    world.play(&job, &silent).await;
    let pending = verification(&world, &job, 1).await;
    assert_eq!((pending.result, pending.missing.clone()), (SumResult::Pending, vec![site(5)]));
    assert!(world.opened(&job, 1).verification.tags().unwrap().uploads.is_empty());
    let missing = Unverified::Missing { sites: BTreeSet::from([site(5)]) };
    assert_eq!(world.check_sum(&site(1), &job, FIRST).await, Err(missing));
}

#[tokio::test]
async fn a_false_tag_is_found_named_and_made_up_for() {
    let (mut world, job, mut silent) = untagged(6, false).await;
    let honest = world.tag(&site(3), &job, FIRST).await;
    let mut value = *honest.value.as_bytes();
    value[0] ^= 1;
    let key = &world.sites[&site(3)].key;
    let lie = SumTag::sign(honest.context, site(3), honest.announcement, TagValue::from(value), key);
    let path = format!("/v1/jobs/{job}/rounds/1/tags/{}", site(3));
    world.put(&member(&site(3)), &path, &lie).await;
    silent.tag.clear();
    world.play(&job, &silent).await;
    let verified = verification(&world, &job, 1).await;
    assert_eq!((verified.false_tags.clone(), verified.tagged.len()), (vec![site(3)], 5));
    assert_eq!((verified.result, verified.accepted.len()), (SumResult::Verified, 6));
}

#[tokio::test]
async fn tags_for_another_opening_of_other_sites_or_twice_are_refused() {
    let (mut world, job, _) = untagged(6, false).await;
    let path = |index: usize| format!("/v1/jobs/{job}/rounds/1/tags/{}", site(index));
    let good = world.tag(&site(1), &job, FIRST).await;
    let foreign = world.refused(&member(&site(2)), &path(2), &good).await;
    assert_eq!(foreign.kind, "/problems/rejected");
    assert_eq!(world.refused(&member(&site(2)), &path(1), &good).await.status, 403);
    let mut other = good.clone();
    other.announcement = Digest([7; 32]);
    let refused = world.refused(&member(&site(1)), &path(1), &other).await;
    assert!(refused.detail.contains("not for the announced opening"), "{}", refused.detail);
    world.put(&member(&site(1)), &path(1), &good).await;
    world.put(&member(&site(1)), &path(1), &good).await;
    let changed = SumTag { value: TagValue::from([0; 512]), ..good };
    assert_eq!(world.refused(&member(&site(1)), &path(1), &changed).await.kind, "/problems/already-sent");
}

#[tokio::test]
async fn a_quorums_verdict_stands_and_without_one_a_rejected_sum_ends_the_job() {
    for (liars, result) in [(1, SumResult::Verified), (2, SumResult::Rejected)] {
        let mut world = World::new(6).await;
        let job = world.request_job(1, vec![]).await;
        let silent = Silent { verify: world.sites.keys().cloned().collect(), ..Silent::default() };
        world.play(&job, &silent).await;
        let announcement = verification(&world, &job, 1).await.announcement;
        let context = world.round(&job, 1).await.context_digest;
        for index in 1..=6 {
            let accepted = index > liars;
            let key = &world.sites[&site(index)].key;
            let verdict = SumVerdict::sign(context, site(index), announcement, accepted, key);
            let path = format!("/v1/jobs/{job}/rounds/1/verdicts/{}", site(index));
            let other = SumVerdict::sign(context, site(index), Digest([1; 32]), accepted, key);
            assert_eq!(world.refused(&member(&site(index)), &path, &other).await.kind, "/problems/rejected");
            let mut forged = verdict.clone();
            forged.accepted = !accepted;
            assert_eq!(world.refused(&member(&site(index)), &path, &forged).await.kind, "/problems/rejected");
            world.put(&member(&site(index)), &path, &verdict).await;
        }
        world.coordinate(&job).await;
        let settled = verification(&world, &job, 1).await;
        assert_eq!((settled.result, settled.rejected.len()), (result, liars));
        let aborted = matches!(&world.job(&job).await.phase, JobPhase::Aborted { reason, .. }
            if reason.contains("found the sum of round 1 wrong"));
        assert_eq!(aborted, result == SumResult::Rejected);
    }
}

#[tokio::test]
async fn a_liar_and_a_slow_site_do_not_end_a_job() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![]).await;
    let silent = Silent { verify: world.sites.keys().cloned().collect(), ..Silent::default() };
    world.play(&job, &silent).await;
    let announcement = verification(&world, &job, 1).await.announcement;
    let context = world.round(&job, 1).await.context_digest;
    for index in 1..=6 {
        if index == 6 {
            // Five have spoken, but only four accept: the sixth is still waited for.
            world.clock.advance_seconds(60);
            assert!(!world.coordinate(&job).await);
        }
        let key = &world.sites[&site(index)].key;
        let verdict = SumVerdict::sign(context, site(index), announcement, index > 1, key);
        let path = format!("/v1/jobs/{job}/rounds/1/verdicts/{}", site(index));
        world.put(&member(&site(index)), &path, &verdict).await;
    }
    world.coordinate(&job).await;
    let settled = verification(&world, &job, 1).await;
    assert_eq!((settled.result, settled.accepted.len()), (SumResult::Verified, 5));
}

#[tokio::test]
async fn a_gateway_that_lost_what_it_opened_leaves_the_sum_pending() {
    let (mut world, job, silent) = untagged(5, false).await;
    std::fs::remove_file(world.folder.path().join(format!("rounds/{job}/1/opening.json"))).unwrap();
    world.restart().await;
    world.play(&job, &silent).await;
    let pending = verification(&world, &job, 1).await;
    assert_eq!((pending.result, pending.missing.len()), (SumResult::Pending, 5));
    assert_eq!(world.check_opening(&job, 1).concat().len(), 5);
}
