use std::collections::BTreeSet;

use konclave_crypto::{Digest, JobId};
use konclave_openapi::jobs::{JobPhase, NewJob, Optimizer, TaskKind, TaskSpec, TrainingSpec};

use super::*;

fn job() -> Job {
    let rounds = RoundPolicy::embedded().unwrap();
    let purpose = rounds.approved_purposes.first().unwrap().clone();
    let job: JobId = "job-1".parse().unwrap();
    Job {
        job,
        request: NewJob {
            name: "a job".into(),
            purpose,
            model: Digest::of(b"model"),
            tasks: vec![TaskSpec {
                task: "Physicochem/logD".into(),
                kind: TaskKind::Regression,
                unit: None,
                output: 0,
                center_micro: 0,
                scale_micro: 1_000_000,
            }],
            training: TrainingSpec {
                local_epochs: 1,
                batch_size: 32,
                learning_rate_micro: 1000,
                weight_decay_micro: 0,
                proximal_mu_micro: 0,
                optimizer: Optimizer::Adamw,
                seed: 1,
            },
            server_rate_micro: 1_000_000,
            rounds: 10,
            scoring_rounds: vec![5],
            invited: ["a", "b", "c", "d", "e", "f"].map(|site| site.parse().unwrap()).to_vec(),
            budget_micro: "1000".into(),
        },
        organisation: "dev".into(),
        phase: JobPhase::Running,
        consents: Vec::new(),
        roster: None,
        sites: Vec::new(),
        global_parameters: Digest::of(b"p"),
        rounds_opened: 0,
        current_round: None,
        policy: rounds.digest(),
        privacy: None,
        created_at: "2026-01-01T00:00:00Z".into(),
        entry: 1,
    }
}

fn answer(change: impl FnOnce(&mut Job), own: &str) -> Answer {
    let mut job = job();
    change(&mut job);
    let own = SitePolicy::parse("policy.toml", own).unwrap();
    decide(&job, &"a".parse().unwrap(), &RoundPolicy::embedded().unwrap(), &own, PrivacyCost::NONE)
}

#[test]
fn a_job_within_the_policies_is_consented_to_with_its_digests() {
    let answer = answer(|_| {}, SitePolicy::EMBEDDED);
    assert_eq!(answer.decision, ConsentDecision::Accept, "{}", answer.detail);
    assert!(answer.detail.contains(&job().request.training_digest().to_string()));
    assert!(answer.detail.contains(&job().request.model.to_string()));
}

#[test]
fn each_refusal_names_its_rule() {
    let stricter = "consent = \"auto\"\nmin_agreed = 200\n";
    for (change, own, rule) in [
        (
            (|job| job.request.purpose = "advertising".into()) as fn(&mut Job),
            SitePolicy::EMBEDDED,
            "approved_purposes",
        ),
        (|job| job.policy = Digest::of(b"another"), SitePolicy::EMBEDDED, "policy"),
        (|job| job.request.invited.truncate(2), SitePolicy::EMBEDDED, "min_cohort"),
        (|job| job.request.invited.retain(|site| site.as_str() != "a"), SitePolicy::EMBEDDED, "invited"),
        (|job| job.request.rounds = 0, SitePolicy::EMBEDDED, "rounds"),
        (|job| job.request.rounds = MOST_ROUNDS + 1, SitePolicy::EMBEDDED, "rounds"),
        (|_| {}, "consent = \"never\"\n", "consent"),
        (|_| {}, "consent = \"auto\"\ntasks = [\"Toxicity/hERG\"]\n", "tasks"),
        (|_| {}, stricter, "min_agreed"),
        (|_| {}, "consent = \"auto\"\nmin_agreed = 3\nclip_micro = 100000000\n", "policy"),
    ] {
        let answer = answer(change, own);
        assert_eq!(
            (answer.decision, answer.rule.as_str()),
            (ConsentDecision::Refuse, rule),
            "{}",
            answer.detail
        );
    }
}

#[test]
fn the_signed_answer_verifies_under_the_identity_key() {
    let keep = tempfile::tempdir().unwrap();
    let site: SiteId = "a".parse().unwrap();
    let keys = SiteKeys::create(&crate::keystore::Disk::default(), keep.path(), &site).unwrap();
    let envelope = sign(&Answer::refuse("tasks", "no labels"), &job(), &site, &keys).unwrap();
    let key = konclave_ledger::PublicKey(*keys.identity.public().as_bytes());
    let stated: ConsentStatement = statements::verify(&envelope, &key).unwrap();
    assert_eq!((stated.rule.as_str(), stated.decision), ("tasks", ConsentDecision::Refuse));
    assert_eq!(stated.policy.as_bytes(), job().policy.as_bytes());
}

#[test]
fn the_terms_of_a_round_are_those_of_its_context() {
    let terms = at_consent(&job(), &RoundPolicy::embedded().unwrap());
    assert_eq!(terms.sites, 6);
    assert_eq!(terms.threshold, 5);
    assert!(terms.scoring_batch_size.is_some());
    assert_eq!(terms.tasks, BTreeSet::from(["Physicochem/logD".to_owned()]));
}
