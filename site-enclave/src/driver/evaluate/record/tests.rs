//! What is answered, and how often.

use konclave_crypto::{Encoding, MaskGraph};
use konclave_ledger::Hash;
use konclave_ledger::statements::{self, EvaluationStatement};

use super::*;

fn request(rounds: u32, scoring_rounds: &[u32]) -> NewJob {
    serde_json::from_value(serde_json::json!({
        "name": "job", "purpose": "admet", "model": Digest::of(b"model"), "tasks": [],
        "training": {
            "local_epochs": 1, "batch_size": 64, "learning_rate_micro": 1000, "weight_decay_micro": 0,
            "proximal_mu_micro": 0, "optimizer": "sgd", "seed": 1
        },
        "server_rate_micro": 1_000_000, "rounds": rounds, "scoring_rounds": scoring_rounds, "invited": [],
        "budget_micro": "0"
    }))
    .unwrap()
}

fn site(name: &str) -> SiteId {
    name.parse().unwrap()
}

fn context(mode: Mode) -> RoundContext {
    let batches = [["alpha", "beta"], ["gamma", "delta"]];
    RoundContext {
        job: "job".parse().unwrap(),
        round: RoundNumber::FIRST,
        model: Digest::of(b"before"),
        roster: Digest::of(b"roster"),
        batches: batches.iter().map(|batch| batch.iter().map(|name| site(name)).collect()).collect(),
        mode,
        encoding: Encoding { tensors: Vec::new(), quantisation_bits: 16, ring_bits: 32, weight_cap: 1 },
        threshold: 3,
        min_agreed: 3,
        min_batch: 2,
        mask_graph: MaskGraph::Complete,
        policy: Digest::of(b"policy"),
        training: Digest::of(b"training"),
        ledger_size: 1,
        ledger_root: Digest::of(b"ledger"),
        noise: None,
    }
}

fn statement() -> Envelope {
    let statement = EvaluationStatement {
        job: "job".to_owned(),
        round: 1,
        model: Hash::ZERO,
        coalition: Vec::new(),
        benchmark: Hash::ZERO,
        metrics: Vec::new(),
        utility_micro: 0,
        made_at: 0,
    };
    statements::sign(&[1; 32], &statement).unwrap()
}

#[test]
fn only_questions_of_the_round_are_answered() {
    let (before, after, other) = (Digest::of(b"before"), Digest::of(b"after"), Digest::of(b"other"));
    let ask = |mode, parameters, coalition: &[&[&str]]| {
        let coalition: Vec<Vec<SiteId>> =
            coalition.iter().map(|batch| batch.iter().map(|name| site(name)).collect()).collect();
        Question::of(&context(mode), parameters, Some(after), &coalition)
    };
    assert_eq!(ask(Mode::Full, before, &[]), Ok(Question::Before));
    assert_eq!(ask(Mode::Full, after, &[]), Ok(Question::After));
    assert!(ask(Mode::Full, other, &[]).is_err());
    assert!(ask(Mode::Full, other, &[&["alpha", "beta"]]).is_err());
    let one = ask(Mode::Group, other, &[&["alpha", "beta"]]).unwrap();
    // A batch without the site that dropped out is the same batch.
    assert_eq!(one, ask(Mode::Group, other, &[&["beta"]]).unwrap());
    assert_ne!(one, ask(Mode::Group, other, &[&["alpha", "beta"], &["gamma"]]).unwrap());
    for coalition in [
        &[&["alpha", "gamma"][..]][..],
        &[&["alpha"], &["beta"]],
        &[&["alpha", "beta"], &["alpha", "beta"]],
        &[&["zeta"]],
        &[&[]],
    ] {
        assert!(ask(Mode::Group, other, coalition).is_err(), "{coalition:?}");
    }
}

#[test]
fn each_question_is_answered_once_and_no_more_than_the_job_asks_for() {
    let keep = tempfile::tempdir().unwrap();
    let (disk, folder) = (Disk::default(), SiteFolder::new(keep.path()));
    let (job, parameters, other) = ("job".parse().unwrap(), Digest::of(b"p"), Digest::of(b"q"));
    let round = |number| RoundNumber::new(number).unwrap();
    let coalition = Question::Coalition([0].into());
    {
        let record = JobRecord::open(&disk, &folder, &job, &request(2, &[2])).unwrap();
        assert_eq!(record.answered(round(1), &Question::After, parameters).unwrap(), None);
        record.keep(round(1), &Question::After, parameters, &statement()).unwrap();
        record.keep(round(3), &coalition, parameters, &statement()).unwrap();
    }
    // After a restart.
    let record = JobRecord::open(&disk, &folder, &job, &request(2, &[2])).unwrap();
    assert_eq!(record.answered(round(1), &Question::After, parameters).unwrap(), Some(statement()));
    assert_eq!(record.answered(round(3), &coalition, parameters).unwrap(), Some(statement()));
    assert_eq!(record.answered(round(3), &Question::Before, other).unwrap(), None);
    for (number, question, asked) in
        [(1, &Question::After, other), (2, &Question::After, parameters), (1, &coalition, parameters)]
    {
        let refused = record.answered(round(number), question, asked);
        assert!(matches!(refused, Err(StepError::Evaluation { .. })), "{number} {question:?}");
    }
    let changed = JobRecord::open(&disk, &folder, &job, &request(3, &[2])).err();
    assert!(matches!(changed, Some(StepError::Changed { what: "request", .. })));
    assert_eq!(open_jobs(&folder).unwrap(), std::slice::from_ref(&job));
    close(&disk, &folder, &job).unwrap();
    assert!(open_jobs(&folder).unwrap().is_empty());
}
