//! A small model and jobs for it.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use konclave_crypto::{Digest, JobId};
use konclave_openapi::jobs::{Job, JobPhase, NewJob, Optimizer, TaskKind, TaskSpec, TrainingSpec};
use konclave_openapi::models::{ModelManifest, NewModel, ParameterTensor};
use konclave_tests::consortium::{Consortium, call, wait_until};
use konclave_tests::partner::PartnerClient;

/// The shapes of the small model's two tensors.
pub(crate) const SHAPES: [(&str, &[u64]); 2] = [("layer.bias", &[47]), ("layer.weight", &[30, 31])];

/// Its number of parameters.
pub(crate) const COORDINATES: usize = 47 + 30 * 31;

/// Uploads a model that only the tests' own learners can train, and asks for rounds with it.
pub(crate) fn ask(developer: &PartnerClient, rounds: u32, scoring_rounds: Vec<u32>) -> Job {
    ask_for(developer, &SHAPES, rounds, scoring_rounds)
}

/// The same with tensors of other shapes.
pub(crate) fn ask_for(
    developer: &PartnerClient,
    shapes: &[(&str, &[u64])],
    rounds: u32,
    scoring_rounds: Vec<u32>,
) -> Job {
    let torchscript =
        b"a stand-in for a TorchScript file: the learners of these tests do not open it".to_vec();
    let coordinates: u64 = shapes.iter().map(|(_, shape)| shape.iter().product::<u64>()).sum();
    let initial: Vec<u8> =
        (0..coordinates).flat_map(|index| (index as f32 / 1e3).sin().to_le_bytes()).collect();
    let manifest = ModelManifest {
        parameters: shapes
            .iter()
            .map(|(name, shape)| ParameterTensor { name: (*name).to_owned(), shape: shape.to_vec() })
            .collect(),
        coordinates,
        heads: 1,
        torchscript: Digest::of(&torchscript),
        initial_parameters: Digest::of(&initial),
    };
    developer.upload(torchscript).unwrap();
    developer.upload(initial).unwrap();
    let model = developer.register_model(&NewModel { name: "small".to_owned(), manifest }).unwrap();
    let name = format!("{rounds} rounds of known vectors");
    developer.create_job(&request(name, model.model, rounds, scoring_rounds)).unwrap()
}

fn request(name: String, model: Digest, rounds: u32, scoring_rounds: Vec<u32>) -> NewJob {
    NewJob {
        name,
        purpose: "admet-prediction".to_owned(),
        model,
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
    }
}

/// Waits until a job's first round takes uploads.
pub(crate) fn wait_for_a_round(consortium: &Consortium, developer: &PartnerClient, job: &JobId) {
    let begun = || Ok((!developer.rounds(job)?.is_empty()).then_some(()));
    wait_until("the first round", Duration::from_secs(60), begun, || consortium.gateway_log(30)).unwrap();
}

/// Waits until a job's rounds are all open.
pub(crate) fn wait_for_the_end(consortium: &Consortium, developer: &PartnerClient, job: &JobId) -> Job {
    let look = || {
        let job = developer.job(job)?;
        Ok(matches!(job.phase, JobPhase::Finished | JobPhase::Aborted { .. }).then_some(job))
    };
    let limit = Duration::from_secs(120);
    let job = wait_until("the end of the job", limit, look, || consortium.gateway_log(30)).unwrap();
    assert_eq!(job.phase, JobPhase::Finished, "{}", consortium.gateway_log(30));
    job
}

/// Asks for rounds of the baseline model, which real enclaves train on their own files.
pub(crate) fn ask_for_training(
    consortium: &Consortium,
    developer: &PartnerClient,
    folder: &Path,
    rounds: u32,
) -> Job {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../site-enclave/models/baseline-ecfp4-mlp.pt");
    let (manifest, initial) = (folder.join("manifest.json"), folder.join("initial.f32"));
    let words = ["model", "inspect", "--manifest", "--parameters"].map(OsStr::new);
    let [group, inspect, to_manifest, to_parameters] = words;
    let words = [
        group,
        inspect,
        model.as_os_str(),
        to_manifest,
        manifest.as_os_str(),
        to_parameters,
        initial.as_os_str(),
    ];
    call(&consortium.programs.site, &words).unwrap();
    developer.upload(fs::read(&model).unwrap()).unwrap();
    developer.upload(fs::read(&initial).unwrap()).unwrap();
    let manifest = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    let model = developer.register_model(&NewModel { name: "baseline".to_owned(), manifest }).unwrap();
    let name = format!("{rounds} real rounds");
    developer.create_job(&request(name, model.model, rounds, Vec::new())).unwrap()
}
