//! Jobs from request to reward statement.

use konclave_openapi::contributions::{Contribution, Statement};
use konclave_openapi::deposits::Deposit;
use konclave_openapi::jobs::JobPhase;
use konclave_openapi::page::Page;
use konclave_openapi::rounds::RoundPhase;

use crate::world::{Silent, World, auditor, evaluator, only, site};

#[tokio::test]
async fn a_job_runs_to_its_end_and_pays_exactly_its_budget() {
    let mut world = World::new(6).await;
    let job = world.request_job(2, vec![2]).await;
    world.play(&job, &Silent::default()).await;

    // The first round opens one sum over all, the second one for each batch of three.
    assert_eq!(world.check_opening(&job, 1).concat().len(), 6);
    let batches = world.check_opening(&job, 2);
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(world.round(&job, 2).await.phase, RoundPhase::Opened);

    // The job waits for the scores: three global models (one of them before the scoring round) and two coalitions.
    assert_eq!(world.job(&job).await.phase, JobPhase::Running);
    assert_eq!(world.evaluate().await, 4);
    assert_eq!(world.evaluate().await, 0);
    world.coordinate(&job).await;
    assert_eq!(world.job(&job).await.phase, JobPhase::Finished);

    let tables: Page<Contribution> = world.get(&auditor(), &format!("/v1/jobs/{job}/contributions")).await;
    assert_eq!(tables.items[0].rows.len(), 6);
    let statements: Page<Statement> = world.get(&auditor(), &format!("/v1/jobs/{job}/statements")).await;
    let statement = &statements.items[0].statement;
    assert_eq!(statement.budget.micro(), 1_000_000);
    assert_eq!(statement.paid.micro() + statement.returned.micro(), 1_000_000);
    assert_eq!(statement.lines.iter().map(|line| line.amount.micro()).sum::<u64>(), statement.paid.micro());

    let live = world.app().state().clone();
    assert_eq!(world.replayed().await, live, "live state and replayed state differ");
}

#[tokio::test]
async fn a_site_lost_before_its_upload_is_left_out() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![]).await;
    let silent = Silent { upload: only(3), ..Silent::default() };
    world.play(&job, &silent).await;
    assert_eq!(world.round(&job, 1).await.phase, RoundPhase::Uploading);
    world.clock.advance_seconds(21_601);
    world.play(&job, &silent).await;
    let opened = world.check_opening(&job, 1).concat();
    assert!(opened.len() == 5 && !opened.contains(&site(3)), "{opened:?}");
}

#[tokio::test]
async fn a_site_lost_after_its_upload_is_in_the_exact_sum() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![]).await;
    let silent = Silent { agree: only(2), unmask: only(2), ..Silent::default() };
    world.play(&job, &silent).await;
    // Five of six signed: a quorum. The coordinator waits a moment for the sixth, then goes on.
    assert_eq!(world.round(&job, 1).await.phase, RoundPhase::Agreeing);
    world.clock.advance_seconds(3);
    world.play(&job, &silent).await;
    assert_eq!(world.check_opening(&job, 1).concat().len(), 6);
    let round = world.round(&job, 1).await;
    assert!(!round.signed.contains(&site(2)) && round.agreed.contains(&site(2)));
}

#[tokio::test]
async fn a_round_with_too_few_uploads_is_aborted_and_the_next_one_opens() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![]).await;
    let mut silent = Silent { upload: only(1), ..Silent::default() };
    silent.upload.insert(site(4));
    world.play(&job, &silent).await;
    world.clock.advance_seconds(21_601);
    world.coordinate(&job).await;
    let aborted = world.round(&job, 1).await;
    let RoundPhase::Aborted { reason, culprits } = aborted.phase else { panic!("{:?}", aborted.phase) };
    assert!(reason.contains("too few sites uploaded"), "{reason}");
    assert_eq!(culprits, [site(1), site(4)]);
    let bodies = world.folder.path().join(format!("rounds/{job}/1/bodies"));
    assert!(!bodies.exists(), "masked bodies outlive their round");

    world.play(&job, &Silent::default()).await;
    assert_eq!(world.check_opening(&job, 2).concat().len(), 6);
}

#[tokio::test]
async fn a_job_without_enough_consent_ends_with_the_reason() {
    let world = World::new(6).await;
    let job = world.request_job(1, vec![]).await;
    world.clock.advance_seconds(259_201);
    world.coordinate(&job).await;
    let phase = world.job(&job).await.phase;
    assert!(
        matches!(&phase, JobPhase::Aborted { reason, .. } if reason.contains("0 sites consented")),
        "{phase:?}"
    );
}

#[tokio::test]
async fn sums_of_batches_are_for_the_evaluator_only() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![1]).await;
    world.play(&job, &Silent::default()).await;
    let opened = world.opened(&job, 1);
    let (sum, after) = (opened.batches[0].sum, opened.parameters_after);
    let coalitions = konclave_gateway::coordinator::evaluations::coalitions(&opened, world.app().blobs());
    let coalitions = coalitions.unwrap();
    assert_eq!(coalitions.len(), 4);
    let (before, part) = (coalitions[0].parameters, coalitions[1].parameters);
    for (principal, path, status) in [
        (crate::world::member(&site(1)), format!("/v1/blobs/{sum}"), 403),
        (evaluator(), format!("/v1/blobs/{sum}"), 200),
        (crate::world::member(&site(1)), format!("/v1/blobs/{after}"), 200),
        (crate::world::developer(), format!("/v1/blobs/{after}"), 200),
        (crate::world::developer(), format!("/v1/blobs/{sum}"), 403),
        (crate::world::member(&site(1)), format!("/v1/blobs/{part}"), 403),
        (crate::world::developer(), format!("/v1/blobs/{part}"), 403),
        (evaluator(), format!("/v1/blobs/{part}"), 200),
        (crate::world::member(&site(1)), format!("/v1/blobs/{before}"), 200),
        (evaluator(), format!("/v1/blobs/{before}"), 200),
    ] {
        let (found, _) = world.send(&principal, axum::http::Method::GET, &path, Vec::new(), true).await;
        assert_eq!(found.as_u16(), status, "{principal} {path}");
    }
}

#[tokio::test]
async fn a_deposit_stated_after_the_cohort_is_fixed_does_not_count() {
    let mut world = World::new(6).await;
    let stated = crate::ledger::deposit(&world, 50);
    let _: Deposit = world.post(&crate::world::member(&site(1)), "/v1/deposits", &stated).await;
    let job = world.request_job(1, vec![1]).await;
    world.play(&job, &Silent::default()).await;
    let late = crate::ledger::deposit(&world, 5_000_000);
    let _: Deposit = world.post(&crate::world::member(&site(1)), "/v1/deposits", &late).await;
    world.evaluate().await;
    world.coordinate(&job).await;
    let statements: Page<Statement> = world.get(&auditor(), &format!("/v1/jobs/{job}/statements")).await;
    let lines = &statements.items[0].statement.lines;
    let records =
        |entity: &str| lines.iter().find(|line| line.legal_entity == entity).unwrap().evidence.records;
    assert_eq!((records("site-1 Ltd"), records("site-2 Ltd")), (50, 0));
}
