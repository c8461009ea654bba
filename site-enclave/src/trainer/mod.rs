//! Local training: from the global parameters and the site's own measurements to a change of the parameters.
//!
//! The driver knows only [`LocalUpdate`]; [`TorchTrainer`] implements it with a TorchScript model and libtorch. A
//! [`LocalDelta`] is what masking takes: a vector of changes and the number of labels it was learned from.
//!
//! A model is code, and a site runs only models whose digest it has agreed to. Before that its file is checked
//! ([`ArchiveError`]), and it is run in a bounded process without keys and data ([`Inspector`]). The operators that the
//! code may call are not limited to a list of safe ones; those known to reach files or unchecked memory are refused.
//!
//! Not here: clipping, quantisation, noise and masks (crate konclave-crypto).

mod archive;
mod device;
mod examples;
mod inspect;
mod loss;
mod manifest;
mod model;
mod predict;
mod torch;
mod update;

pub use archive::ArchiveError;
pub use device::{CUDA_FOLDER_VARIABLE, CudaError, device_name, load_cuda_half, training_device};
pub(crate) use examples::Examples;
pub use examples::UnusedLabels;
pub use inspect::{INSPECT_COMMAND, Inspector, ModelFault, inspect_here};
pub use manifest::{
    ModelManifest, ParameterFileError, ParameterTensor, parameters_from_bytes, parameters_to_bytes,
    read_parameters, write_parameters,
};
pub use model::{ModelError, TorchScriptModel};
pub use predict::predict;
pub use torch::TorchTrainer;
pub use update::{
    Hyperparameters, LocalDelta, LocalUpdate, Optimizer, TaskLoss, TrainError, TrainProgress, TrainingReport,
    TrainingTask,
};
