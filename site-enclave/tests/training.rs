//! Local training on small files: it learns, repeats exactly, and refuses what it cannot do.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write as _;
use std::path::Path;

use konclave_site::data::{Catalogue, Collection, TaskKind, TaskSpec};
use konclave_site::evaluator::{TaskMetrics, score};
use konclave_site::trainer::{
    Hyperparameters, LocalDelta, LocalUpdate, Optimizer, TorchScriptModel, TorchTrainer, TrainError,
    TrainingTask, training_device,
};

fn model() -> TorchScriptModel {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/linear.pt");
    TorchScriptModel::open(&path).unwrap()
}

/// Alcohols and acids of growing length: the value is high where the chain starts with fluorine, acids are positive.
fn collection() -> Collection {
    let mut text = String::from(
        "SMILES_Structure_Parent,Test,Test_Type,Measurement_Relation,Measurement_Value,Measurement_Unit\n",
    );
    for length in 1..=30 {
        let chain = "C".repeat(length);
        let (start, value) = if length % 2 == 0 { ("F", 2.5) } else { ("", 0.5) };
        writeln!(text, "{start}{chain}O,Solubility,Solubility,,{value},uM").unwrap();
        writeln!(text, "{start}{chain}O,Toxicity,hERG,,,Negative").unwrap();
        writeln!(text, "{chain}C(=O)O,Toxicity,hERG,,,Positive").unwrap();
        writeln!(text, "{chain}C(=O)O,Physicochem,pKa,>,4,").unwrap();
        writeln!(text, "{chain}N,Solubility,Solubility,,{value},mg/L").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.csv");
    std::fs::write(&path, text).unwrap();
    let (collection, report) =
        Collection::load(&[path], &Catalogue::embedded().unwrap(), &mut |_| {}).unwrap();
    assert_eq!((report.accepted(), report.rejected()), (150, 0));
    collection
}

fn spec(task: &str, kind: TaskKind, output: u16, unit: Option<&str>) -> TaskSpec {
    TaskSpec {
        task: task.parse().unwrap(),
        kind,
        unit: unit.map(str::to_owned),
        output,
        center_micro: if kind == TaskKind::Regression { 1_500_000 } else { 0 },
        scale_micro: 1_000_000,
    }
}

fn tasks() -> Vec<TaskSpec> {
    vec![
        spec("Solubility/Solubility", TaskKind::Regression, 2, Some("uM")),
        spec("Toxicity/hERG", TaskKind::Classification, 0, None),
    ]
}

fn settings() -> Hyperparameters {
    Hyperparameters {
        local_epochs: 30,
        batch_size: 16,
        learning_rate_micro: 5_000,
        ..Hyperparameters::default()
    }
}

fn train(tasks: &[TaskSpec], settings: &Hyperparameters, seed: u64) -> Result<LocalDelta, TrainError> {
    let model = model();
    let start = model.initial_parameters().to_vec();
    let task = TrainingTask { parameters: &start, tasks, hyperparameters: settings, seed };
    TorchTrainer::new(model, collection()).train(&task, &mut |_| {})
}

fn after(delta: &LocalDelta) -> Vec<f32> {
    model().initial_parameters().iter().zip(&delta.delta).map(|(old, change)| old + change).collect()
}

#[test]
fn it_learns_both_kinds_of_task() {
    let delta = train(&tasks(), &settings(), 1).unwrap();
    let report = score(&model(), &after(&delta), &tasks(), &collection(), training_device()).unwrap();
    let [regression, classification] = report.tasks.as_slice() else { panic!("two tasks") };
    assert!(regression.score_micro.unwrap() > 800_000, "{regression:?}");
    assert!(
        matches!(classification.metrics, Some(TaskMetrics::Classification(m)) if m.auroc_micro > 990_000),
        "{classification:?}"
    );
    assert_eq!((regression.labels, classification.labels, report.molecules), (30, 60, 60));
    assert_eq!(delta.weight, 90);
    assert_eq!(delta.report.unused.unit, 30);
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_seed_others() {
    let first = train(&tasks(), &settings(), 7).unwrap();
    assert_eq!(first.delta, train(&tasks(), &settings(), 7).unwrap().delta);
    assert_ne!(first.delta, train(&tasks(), &settings(), 8).unwrap().delta);
}

#[test]
fn untouched_outputs_stay_as_they_are() {
    let settings = Hyperparameters { weight_decay_micro: 0, ..settings() };
    let delta = train(&tasks(), &settings, 1).unwrap().delta.clone();
    let weights = |output: usize| &delta[4 + output * 2048..4 + (output + 1) * 2048];
    assert!(weights(1).iter().chain(weights(3)).all(|change| *change == 0.0));
    assert!(weights(0).iter().any(|change| *change != 0.0) && weights(2).iter().any(|change| *change != 0.0));
}

#[test]
fn a_satisfied_bound_teaches_nothing() {
    let mut task = spec("Physicochem/pKa", TaskKind::Regression, 1, None);
    let settings = Hyperparameters { weight_decay_micro: 0, ..settings() };
    // The model starts near its centre: far above the label, "more than 4" is already true.
    task.center_micro = 100_000_000;
    let satisfied = train(std::slice::from_ref(&task), &settings, 1).unwrap();
    assert!(satisfied.delta.iter().all(|change| *change == 0.0));
    task.center_micro = -100_000_000;
    let violated = train(&[task], &settings, 1).unwrap();
    assert!(violated.delta.iter().any(|change| *change != 0.0));
}

#[test]
fn the_proximal_term_holds_the_model_near_its_start() {
    let norm = |delta: &LocalDelta| delta.delta.iter().map(|x| x * x).sum::<f32>().sqrt();
    let free = train(&tasks(), &settings(), 1).unwrap();
    let held = train(&tasks(), &Hyperparameters { proximal_mu_micro: 10_000_000, ..settings() }, 1).unwrap();
    assert!(norm(&held) < 0.5 * norm(&free), "{} {}", norm(&held), norm(&free));
}

#[test]
fn progress_is_told_after_each_epoch_and_loss_falls() {
    let model = model();
    let start = model.initial_parameters().to_vec();
    let (tasks, settings) = (tasks(), Hyperparameters { optimizer: Optimizer::Sgd, ..settings() });
    let task = TrainingTask { parameters: &start, tasks: &tasks, hyperparameters: &settings, seed: 1 };
    let mut told = Vec::new();
    TorchTrainer::new(model, collection()).train(&task, &mut |progress| told.push(progress)).unwrap();
    assert_eq!(told.iter().map(|p| p.epochs_done).collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
    assert!(told[29].loss < 0.5 * told[0].loss, "{} {}", told[29].loss, told[0].loss);
}

#[test]
fn impossible_requests_are_refused() {
    let absent = [spec("Toxicity/Ames", TaskKind::Classification, 0, None)];
    assert!(matches!(train(&absent, &settings(), 1), Err(TrainError::NoLabels { tasks: 1 })));
    let beyond = [spec("Toxicity/hERG", TaskKind::Classification, 4, None)];
    assert!(matches!(train(&beyond, &settings(), 1), Err(TrainError::Output { output: 4, heads: 4, .. })));
    let other_kind = [spec("Toxicity/hERG", TaskKind::Regression, 0, None)];
    assert!(matches!(train(&other_kind, &settings(), 1), Err(TrainError::NoLabels { .. })));
    for broken in [
        Hyperparameters { local_epochs: 0, ..settings() },
        Hyperparameters { batch_size: 0, ..settings() },
        Hyperparameters { learning_rate_micro: 0, ..settings() },
        Hyperparameters { learning_rate_micro: 10_000_001, ..settings() },
    ] {
        assert!(matches!(train(&tasks(), &broken, 1), Err(TrainError::Hyperparameter { .. })));
    }
}

#[test]
fn parameters_of_the_wrong_length_are_refused() {
    let (tasks, settings) = (tasks(), settings());
    let task = TrainingTask { parameters: &[0.0; 9], tasks: &tasks, hyperparameters: &settings, seed: 1 };
    let error = TorchTrainer::new(model(), collection()).train(&task, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("9 parameter values"), "{error}");
}

#[test]
fn divergence_is_an_error_and_not_an_update() {
    let settings = Hyperparameters {
        optimizer: Optimizer::Sgd,
        learning_rate_micro: 10_000_000,
        local_epochs: 200,
        ..settings()
    };
    assert!(matches!(train(&tasks()[..1], &settings, 1), Err(TrainError::Diverged { .. })));
}
