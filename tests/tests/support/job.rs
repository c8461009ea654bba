//! A small model and jobs for it.

use konclave_crypto::Digest;
use konclave_openapi::jobs::{Job, NewJob, Optimizer, TaskKind, TaskSpec, TrainingSpec};
use konclave_openapi::models::{ModelManifest, NewModel, ParameterTensor};
use konclave_tests::partner::PartnerClient;

/// The shapes of the small model's two tensors.
pub(crate) const SHAPES: [(&str, &[u64]); 2] = [("layer.bias", &[47]), ("layer.weight", &[30, 31])];

/// Its number of parameters.
pub(crate) const COORDINATES: usize = 47 + 30 * 31;

/// Uploads a model that only the tests' own learners can train, and asks for rounds with it.
pub(crate) fn ask(developer: &PartnerClient, rounds: u32, scoring_rounds: Vec<u32>) -> Job {
    let torchscript =
        b"a stand-in for a TorchScript file: the learners of these tests do not open it".to_vec();
    let initial: Vec<u8> =
        (0..COORDINATES).flat_map(|index| (index as f32 / 1e3).sin().to_le_bytes()).collect();
    let manifest = ModelManifest {
        parameters: SHAPES
            .iter()
            .map(|(name, shape)| ParameterTensor { name: (*name).to_owned(), shape: shape.to_vec() })
            .collect(),
        coordinates: COORDINATES as u64,
        heads: 1,
        torchscript: Digest::of(&torchscript),
        initial_parameters: Digest::of(&initial),
    };
    developer.upload(torchscript).unwrap();
    developer.upload(initial).unwrap();
    let model = developer.register_model(&NewModel { name: "small".to_owned(), manifest }).unwrap();
    let request = NewJob {
        name: format!("{rounds} rounds of known vectors"),
        purpose: "admet-prediction".to_owned(),
        model: model.model,
        tasks: vec![TaskSpec {
            task: "Solubility/Solubility".to_owned(),
            kind: TaskKind::Regression,
            unit: None,
            output: 0,
            center_micro: -3_000_000,
            scale_micro: 2_000_000,
        }],
        training: TrainingSpec {
            local_epochs: 1,
            batch_size: 16,
            learning_rate_micro: 1_000,
            weight_decay_micro: 0,
            proximal_mu_micro: 0,
            optimizer: Optimizer::Sgd,
            seed: 7,
        },
        server_rate_micro: 1_000_000,
        rounds,
        scoring_rounds,
        invited: Vec::new(),
        budget_micro: "1000000007".to_owned(),
    };
    developer.create_job(&request).unwrap()
}

/// A job that nobody will work on, to have one in the lists.
pub(crate) fn ask_for_nothing_much(developer: &PartnerClient, rounds: u32) -> Job {
    ask(developer, rounds, Vec::new())
}
