//! Which models are accepted for averaging, and what the refusals say. Models: `tests/models/make_models.py`.

#![expect(clippy::expect_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};

use konclave_site::trainer::{ArchiveError, ModelError, TorchScriptModel, parameters_to_bytes};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(name)
}

fn refusal(name: &str) -> ModelError {
    TorchScriptModel::open(&path(name)).expect_err("the model must be refused")
}

#[test]
fn a_model_is_described_in_a_fixed_order() {
    let model = TorchScriptModel::open(&path("linear.pt")).unwrap();
    let manifest = model.manifest();
    let tensors: Vec<(&str, &[u64])> =
        manifest.parameters.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect();
    assert_eq!(tensors, [("heads.bias", &[4][..]), ("heads.weight", &[4, 2048][..])]);
    assert_eq!((manifest.coordinates, manifest.heads), (4 + 4 * 2048, 4));
    let initial = model.initial_parameters();
    assert_eq!(initial.len(), 4 + 4 * 2048);
    assert!(initial[..4].iter().all(|bias| *bias == 0.0) && initial[4..].iter().any(|weight| *weight != 0.0));
    let again = TorchScriptModel::open(&path("linear.pt")).unwrap();
    assert_eq!(again.manifest(), manifest);
    assert_eq!(again.manifest().initial_parameters, konclave_digest(&parameters_to_bytes(initial)));
}

fn konclave_digest(bytes: &[u8]) -> konclave_crypto::Digest {
    konclave_crypto::Digest::of(bytes)
}

#[test]
fn the_committed_baseline_is_accepted() {
    let baseline = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/baseline-ecfp4-mlp.pt");
    let model = TorchScriptModel::open(&baseline).unwrap();
    assert_eq!(model.manifest().heads, 32);
    assert!((300_000..600_000).contains(&model.manifest().coordinates));
}

#[test]
fn buffers_are_refused_by_name() {
    let ModelError::Buffers { names } = refusal("batch-norm.pt") else { panic!("another refusal") };
    assert_eq!(names, ["num_batches_tracked", "running_mean", "running_var"]);
    assert!(refusal("batch-norm.pt").to_string().contains("LayerNorm"));
}

#[test]
fn tensors_that_would_not_be_averaged_are_refused() {
    assert_eq!(refusal("hidden-tensor.pt"), ModelError::HiddenTensors { tensors: 3, parameters: 2 });
}

#[test]
fn other_number_types_are_refused() {
    let ModelError::ParameterKind { name, kind } = refusal("double-precision.pt") else {
        panic!("another refusal")
    };
    assert_eq!((name.as_str(), kind.as_str()), ("layer.bias", "double"));
}

#[test]
fn models_of_another_shape_are_refused() {
    assert!(matches!(refusal("other-input.pt"), ModelError::Forward { .. }));
    assert!(matches!(refusal("other-output.pt"), ModelError::OutputShape { batch: 2, .. }));
    assert_eq!(refusal("no-parameters.pt"), ModelError::NoParameters);
}

#[test]
fn code_that_reaches_for_files_is_refused() {
    let refusal = refusal("reader.pt");
    assert!(matches!(refusal, ModelError::Archive(ArchiveError::Code { .. })), "{refusal}");
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let whole = std::fs::read(path("linear.pt")).unwrap();
    for length in [0, 10, whole.len() / 2, whole.len() - 30] {
        assert_eq!(
            TorchScriptModel::from_bytes(whole[..length].to_vec()).unwrap_err(),
            ModelError::NotTorchScript
        );
    }
    let mut broken_code = whole.clone();
    let code = whole.windows(11).position(|window| window == b"def forward").unwrap();
    broken_code[code..code + 11].copy_from_slice(b"def forw(rd");
    let error = TorchScriptModel::from_bytes(broken_code).unwrap_err();
    assert!(matches!(error, ModelError::Load { .. } | ModelError::Archive(_)), "{error:?}");
    assert!(matches!(refusal("absent.pt"), ModelError::File { .. }));
}
