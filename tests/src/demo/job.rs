//! The model developer's part: uploads a baseline model and asks for federated learning.

use std::fs;
use std::path::{Path, PathBuf};

use konclave_crypto::Digest;
use konclave_openapi::jobs::{Job, NewJob, Optimizer, TaskSpec, TrainingSpec};
use konclave_openapi::models::{ModelManifest, NewModel};

use super::options::Options;
use crate::consortium::{Programs, call, read_json, text};
use crate::error::HarnessError;
use crate::partner::PartnerClient;

/// What is shared out as rewards: 100,000 units.
pub(super) const BUDGET_MICRO: &str = "100000000000";

/// The whole of the averaged update is applied: federated averaging.
pub(super) const SERVER_RATE_MICRO: u32 = 1_000_000;

/// The model's parameters before the first round, in the developer's folder.
const INITIAL: &str = "initial.f32";

/// The baseline model's file in this project.
pub(super) fn model_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../site-enclave/models/baseline-ecfp4-mlp.pt")
}

/// The digest of the parameters that [`ask`] uploaded.
pub(super) fn initial_parameters(folder: &Path) -> Result<Digest, HarnessError> {
    let file = folder.join(INITIAL);
    Ok(Digest::of(&fs::read(&file).map_err(HarnessError::file("read", file))?))
}

/// How every site trains in a round.
pub(super) fn training(seed: u64) -> TrainingSpec {
    TrainingSpec {
        local_epochs: 2,
        batch_size: 64,
        learning_rate_micro: 1_000,
        weight_decay_micro: 10_000,
        proximal_mu_micro: 0,
        optimizer: Optimizer::Adamw,
        seed,
    }
}

/// Looks into the model, uploads it with its initial parameters and registers it; then asks for the job.
pub(super) fn ask(
    programs: &Programs,
    client: &PartnerClient,
    options: &Options,
    tasks: &[TaskSpec],
    folder: &Path,
) -> Result<Job, HarnessError> {
    fs::create_dir_all(folder).map_err(HarnessError::file("create", folder))?;
    let (model, manifest, initial) = (model_file(), folder.join("manifest.json"), folder.join(INITIAL));
    let words =
        ["model", "inspect", &text(&model), "--manifest", &text(&manifest), "--parameters", &text(&initial)];
    call(&programs.site, &words)?;
    let manifest: ModelManifest = read_json(&manifest)?;
    for file in [&model, &initial] {
        let digest = client.upload(fs::read(file).map_err(HarnessError::file("read", file))?)?;
        if digest != manifest.torchscript && digest != manifest.initial_parameters {
            return Err(HarnessError::unexpected(
                "the model's manifest",
                format!("it does not name {}", file.display()),
            ));
        }
    }
    let model =
        client.register_model(&NewModel { name: "ECFP4 multi-task baseline".to_owned(), manifest })?;
    client.create_job(&NewJob {
        name: format!("ADMET over {} companies", options.sites),
        purpose: "admet-prediction".to_owned(),
        model: model.model,
        tasks: tasks.to_vec(),
        training: training(options.seed),
        server_rate_micro: SERVER_RATE_MICRO,
        rounds: options.rounds,
        scoring_rounds: vec![options.timetable().scoring],
        invited: Vec::new(),
        budget_micro: BUDGET_MICRO.to_owned(),
    })
}
