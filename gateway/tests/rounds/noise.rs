//! Rounds under a policy that asks for noise: sums carry it, the ledger says what they cost, and budgets end.

use axum::http::{Method, StatusCode};
use konclave_crypto::privacy::PrivacyCost;
use konclave_crypto::{Digest, JobId, RoundNumber};
use konclave_openapi::jobs::{Job, JobPhase};
use konclave_openapi::problem::Problem;
use konclave_openapi::rounds::RoundPhase;
use konclave_policies::rounds::{PrivacyRules, RoundPolicy, Scope};

use crate::world::{COORDINATES, Silent, World, developer, new_job, site};

/// A policy whose budgets allow so many rounds to a job, and to a site over all jobs.
fn policy(rounds_of_job: u32, rounds_of_site: u32) -> String {
    let text = |job: u64, site: u64| {
        let exact = RoundPolicy::EMBEDDED.replace("weight_cap = 8192", "weight_cap = 1");
        assert_ne!(exact, RoundPolicy::EMBEDDED);
        format!(
            "{exact}\n[privacy]\nclip_norm_micro = 1000000\nnoise_multiplier_milli = 1500\ncolluders = 1\n\
             job_epsilon_milli = {job}\nsite_epsilon_milli = {site}\ndelta_exponent = 6\n"
        )
    };
    let rules = rules(&text(1, 1));
    let epsilon = |rounds| rules.cost_of(rounds).epsilon_milli(rules.delta());
    text(epsilon(rounds_of_job), epsilon(rounds_of_site))
}

fn rules(text: &str) -> PrivacyRules {
    RoundPolicy::parse("rounds.toml", text).unwrap().privacy.unwrap()
}

async fn ask(world: &World, model: Digest, rounds: u32) -> Result<JobId, Problem> {
    let body = serde_json::to_vec(&new_job(model, rounds, vec![])).unwrap();
    let (status, answer) = world.send(&developer(), Method::POST, "/v1/jobs", body, true).await;
    match status {
        StatusCode::CREATED => Ok(serde_json::from_slice::<Job>(&answer).unwrap().job),
        _ => Err(serde_json::from_slice(&answer).unwrap()),
    }
}

/// The opened sums of a round less what the sites put in.
fn noise(world: &World, job: &JobId, round: u32) -> Vec<Vec<f64>> {
    let opened = world.opened(job, round);
    let batches = opened.batches.iter().map(|batch| {
        let sites: Vec<_> = batch.sites.iter().map(|name| name.parse().unwrap()).collect();
        let exact = world.plain_sum(&sites, round);
        assert_eq!(batch.weight, exact.weight, "the weight has no noise");
        let blob = std::fs::read(world.app().blobs().path(&Digest(batch.sum.0))).unwrap();
        let words = blob.chunks_exact(4).map(|word| i32::from_le_bytes(word.try_into().unwrap()));
        words.zip(exact.coordinates).map(|(sum, exact)| f64::from(sum) - f64::from(exact)).collect()
    });
    batches.collect()
}

fn variance(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64
}

#[tokio::test]
async fn sums_have_the_noise_that_the_policy_asks_for_and_the_ledger_says_what_it_costs() {
    let text = policy(2, 2);
    let mut world = World::with_policy(6, &text).await;
    let job = world.request_job(2, vec![2]).await;
    world.play(&job, &Silent::default()).await;
    let mut costs = PrivacyCost::NONE;
    for (round, sites, summed) in [(1, 6.0, 5), (2, 3.0, 3)] {
        let view = world.round(&job, round).await;
        let context = &view.context.context;
        let terms = context.noise.unwrap();
        assert_eq!(terms, rules(&text).terms(&context.encoding, 200_000, summed));
        for noise in noise(&world, &job, round) {
            // 70,000 values: within 4 %, seven standard errors.
            let found = variance(&noise) / (sites * terms.site_variance as f64);
            assert!((0.96..1.04).contains(&found), "round {round}: {found}");
        }
        let state = world.app().state();
        let recorded = state.jobs[&job].rounds[&RoundNumber::new(round).unwrap()].privacy_cost.unwrap();
        assert_eq!(recorded, terms.cost(summed, COORDINATES as u64));
        costs = costs.and(recorded);
    }
    let privacy = world.job(&job).await.privacy.unwrap();
    assert_eq!((privacy.spent, privacy.rounds_left), (costs, 0));
    assert!(privacy.epsilon_milli <= privacy.budget_epsilon_milli.into());
    assert!(rules(&text).check(costs, Scope::Job).is_ok());
    assert_eq!(world.app().state().privacy_spent(&site(3)), costs);
    let live = world.app().state().clone();
    assert_eq!(world.replayed().await, live);
}

#[tokio::test]
async fn a_job_with_more_rounds_than_its_budget_allows_is_refused_with_the_number_that_it_does() {
    let world = World::with_policy(6, &policy(3, 9)).await;
    let first = world.request_job(1, vec![]).await;
    let model = world.job(&first).await.request.model;
    let refused = ask(&world, model, 4).await.unwrap_err();
    assert_eq!((refused.status, refused.errors[0].at.as_str()), (422, "/rounds"), "{}", refused.detail);
    assert!(refused.detail.contains("it allows 3 more rounds"), "{}", refused.detail);
    ask(&world, model, 3).await.unwrap();
}

#[tokio::test]
async fn an_aborted_round_counts_and_a_round_that_would_overspend_is_not_begun() {
    let mut world = World::with_policy(6, &policy(2, 9)).await;
    let job = world.request_job(2, vec![]).await;
    let upload = [1, 2].map(site).into();
    world.play(&job, &Silent { upload, ..Silent::default() }).await;
    world.clock.advance_seconds(21_601);
    world.play(&job, &Silent::default()).await;
    assert!(matches!(world.round(&job, 1).await.phase, RoundPhase::Aborted { .. }));
    assert_eq!(world.round(&job, 2).await.phase, RoundPhase::Opened);
    let view = world.job(&job).await;
    let JobPhase::Aborted { reason, culprits } = &view.phase else { panic!("{:?}", view.phase) };
    assert!(reason.contains("the privacy budget of the job is too small"), "{reason}");
    assert_eq!((culprits.len(), world.app().state().jobs[&job].rounds.len()), (0, 2));
    // What was opened stays.
    assert_eq!(view.rounds_opened, 1);
}

#[tokio::test]
async fn a_site_that_spent_its_budget_in_other_jobs_takes_part_in_no_more() {
    let mut world = World::with_policy(6, &policy(2, 3)).await;
    let first = world.request_job(2, vec![]).await;
    world.play(&first, &Silent::default()).await;
    let model = world.job(&first).await.request.model;
    // Of three rounds one is left.
    let refused = ask(&world, model, 2).await.unwrap_err();
    assert_eq!((refused.status, refused.errors[0].at.as_str()), (422, "/invited"), "{}", refused.detail);
    assert!(refused.detail.contains("are 0 sites"), "{}", refused.detail);
    let mut named = new_job(model, 2, vec![]);
    named.invited = (1..=6).map(site).collect();
    let body = serde_json::to_vec(&named).unwrap();
    let (_, answer) = world.send(&developer(), Method::POST, "/v1/jobs", body, true).await;
    let refused: Problem = serde_json::from_slice(&answer).unwrap();
    assert!(refused.detail.contains("the privacy budget of site-1 over all its jobs"), "{}", refused.detail);
    // What is promised to a job that has not begun is not there for the next one.
    let second = ask(&world, model, 1).await.unwrap();
    assert!(ask(&world, model, 1).await.is_err());
    // Its round is aborted, and no site has another one.
    let upload = [1, 2].map(site).into();
    world.play(&second, &Silent { upload, ..Silent::default() }).await;
    world.clock.advance_seconds(21_601);
    world.play(&second, &Silent::default()).await;
    let phase = world.job(&second).await.phase;
    assert!(
        matches!(&phase, JobPhase::Aborted { reason, .. } if reason.contains("over all its jobs")),
        "{phase:?}"
    );
}
