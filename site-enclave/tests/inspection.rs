//! Models are looked at in a process of their own, and each only once.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use konclave_site::trainer::{Inspector, ModelError, ModelFault, TorchScriptModel};

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(name)
}

fn inspector(folder: &Path, seconds: u64) -> Inspector {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_konclave-site"));
    Inspector::with_program(program, folder.join("models"), Duration::from_secs(seconds))
}

/// An inspector that fails if it starts a process.
fn without_program(folder: &Path) -> Inspector {
    Inspector::with_program(folder.join("absent"), folder.join("models"), Duration::from_secs(60))
}

fn fault(result: Result<impl Sized, ModelError>) -> ModelFault {
    result.err().unwrap().fault()
}

#[test]
fn a_child_finds_what_the_program_itself_finds() {
    let keep = tempfile::tempdir().unwrap();
    let here = TorchScriptModel::open(&model("attention.pt")).unwrap();
    let found = inspector(keep.path(), 60).inspect(&model("attention.pt")).unwrap();
    assert_eq!(found, *here.manifest());
    assert_eq!(without_program(keep.path()).inspect(&model("attention.pt")).unwrap(), found);
}

#[test]
fn refusals_are_kept_with_their_reason() {
    let keep = tempfile::tempdir().unwrap();
    for (name, category) in [
        ("batch-norm.pt", ModelFault::State),
        ("other-input.pt", ModelFault::Outputs),
        ("make_models.py", ModelFault::Format),
    ] {
        let refused = inspector(keep.path(), 60).inspect(&model(name)).unwrap_err();
        assert_eq!(refused.fault(), category, "{name}: {refused}");
        assert_eq!(without_program(keep.path()).inspect(&model(name)).unwrap_err(), refused);
    }
}

#[test]
fn a_model_that_never_answers_or_takes_all_memory_stops_nobody_and_is_not_tried_again() {
    let keep = tempfile::tempdir().unwrap();
    for name in ["endless.pt", "greedy.pt"] {
        // What libtorch does when it gets no more memory takes its time: an error of its own, or none within the limit.
        let failure = inspector(keep.path(), 8).inspect(&model(name)).unwrap_err();
        assert!(matches!(failure.fault(), ModelFault::Inspection | ModelFault::Outputs), "{name}: {failure}");
        assert_eq!(without_program(keep.path()).inspect(&model(name)).unwrap_err(), failure, "{name}");
    }
}

#[test]
fn faults_of_this_machine_are_tried_again() {
    let keep = tempfile::tempdir().unwrap();
    assert_eq!(fault(without_program(keep.path()).inspect(&model("linear.pt"))), ModelFault::File);
    assert_eq!(fault(inspector(keep.path(), 60).inspect(&model("absent.pt"))), ModelFault::File);
    assert!(inspector(keep.path(), 60).inspect(&model("linear.pt")).is_ok());
}
