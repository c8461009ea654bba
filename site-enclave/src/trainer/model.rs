//! TorchScript models: checked, and loaded as often as needed.

use std::fs;
use std::path::{Path, PathBuf};

use konclave_crypto::Digest;
use tch::nn::VarStore;
use tch::{CModule, Device, Kind, TchError, Tensor};

use super::archive::{ArchiveError, CheckedArchive};
use super::device::with_libtorch;
use super::inspect::ModelFault;
use super::manifest::{ModelManifest, ParameterTensor, parameters_to_bytes};
use crate::features::FINGERPRINT_BITS;

/// Largest model file, in bytes.
const MAX_FILE_BYTES: u64 = 2 << 30;

/// Why a model cannot be trained by secure aggregation. All are the model developer's to mend, except
/// [`ModelError::File`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read.
    #[error("cannot read the model {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// Not a TorchScript archive.
    #[error("the model is not a TorchScript file: save it with torch.jit.script(model).save(path)")]
    NotTorchScript,
    /// The file makes claims that are not so, or is not as `torch.jit.save` writes it.
    #[error("the model file is refused: {0}; save it with torch.jit.script(model).save(path)")]
    Archive(#[from] ArchiveError),
    /// libtorch could not load it.
    #[error("libtorch cannot load the model: {reason}")]
    Load {
        /// The library's first line of explanation.
        reason: String,
    },
    /// State that is not a parameter.
    #[error(
        "the model keeps state in buffers ({}), which cannot be averaged: replace BatchNorm by LayerNorm or GroupNorm \
         and register no buffers", names.join(", ")
    )]
    Buffers {
        /// The buffers' names.
        names: Vec<String>,
    },
    /// Tensors that are neither parameters nor declared buffers.
    #[error(
        "the model holds {tensors} tensors but only {parameters} parameters: make the others parameters or constants \
         in the code, because they would not be averaged"
    )]
    HiddenTensors {
        /// Tensors in the file.
        tensors: usize,
        /// Parameters that libtorch lists.
        parameters: usize,
    },
    /// Nothing to train.
    #[error("the model has no parameters")]
    NoParameters,
    /// A parameter that is not single precision.
    #[error("parameter {name} has type {kind}: only float32 parameters can be averaged")]
    ParameterKind {
        /// The parameter.
        name: String,
        /// Its element type.
        kind: String,
    },
    /// A parameter that starts infinite or not a number.
    #[error("parameter {name} is not finite at the start")]
    NotFinite {
        /// The parameter.
        name: String,
    },
    /// The forward pass failed on a batch of fingerprints.
    #[error("the model does not accept a batch of {FINGERPRINT_BITS}-bit fingerprints: {reason}")]
    Forward {
        /// The library's first line of explanation.
        reason: String,
    },
    /// The output is not one row of task outputs for each molecule.
    #[error("for {batch} molecules the model returns shape {shape:?}: expected [{batch}, outputs]")]
    OutputShape {
        /// Molecules in the batch.
        batch: i64,
        /// The shape returned.
        shape: Vec<i64>,
    },
    /// A look at it in a process of its own refused it, or failed.
    #[error("{reason}")]
    Refused {
        /// The kind of fault.
        category: ModelFault,
        /// In words, for this site's log.
        reason: String,
    },
    /// The given parameters do not fit.
    #[error("{found} parameter values were given, the model has {expected}")]
    ParameterCount {
        /// Values given.
        found: usize,
        /// Values needed.
        expected: u64,
    },
}

impl ModelError {
    /// The kind of fault: what others may be told of it.
    #[must_use]
    pub fn fault(&self) -> ModelFault {
        match self {
            Self::File { .. } => ModelFault::File,
            Self::NotTorchScript | Self::Archive(_) | Self::Load { .. } => ModelFault::Format,
            Self::Buffers { .. }
            | Self::HiddenTensors { .. }
            | Self::NoParameters
            | Self::ParameterKind { .. }
            | Self::NotFinite { .. }
            | Self::ParameterCount { .. } => ModelFault::State,
            Self::Forward { .. } | Self::OutputShape { .. } => ModelFault::Outputs,
            Self::Refused { category, .. } => *category,
        }
    }
}

/// Reads a model file, if it is not too large.
///
/// # Errors
/// [`ModelError::File`].
pub(super) fn read_model(path: &Path) -> Result<Vec<u8>, ModelError> {
    let unreadable = |reason: String| ModelError::File { path: path.to_path_buf(), reason };
    let bytes = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(unreadable(format!("{bytes} bytes, at most {MAX_FILE_BYTES} are accepted")));
    }
    fs::read(path).map_err(|error| unreadable(error.to_string()))
}

/// The first line of libtorch's explanation: the rest is a C++ backtrace.
pub(super) fn reason(error: &TchError) -> String {
    let text = error.to_string();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
    line.chars().take(300).collect()
}

/// A TorchScript model that passed all checks.
#[derive(Debug, Clone)]
pub struct TorchScriptModel {
    /// The checked records in an archive written here: all that libtorch gets of the file.
    canonical: Vec<u8>,
    manifest: ModelManifest,
    initial: Vec<f32>,
}

impl TorchScriptModel {
    /// Reads and checks a model file.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        Self::from_bytes(read_model(path)?)
    }

    /// Checks a model file's bytes.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn from_bytes(file: Vec<u8>) -> Result<Self, ModelError> {
        let torchscript = Digest::of(&file);
        let CheckedArchive { canonical, buffers, tensors } = CheckedArchive::read(&file)?;
        drop(file);
        if !buffers.is_empty() {
            return Err(ModelError::Buffers { names: buffers });
        }
        with_libtorch(|| {
            let loaded = LoadedModel::load(&canonical, Device::Cpu)?;
            if loaded.parameters.is_empty() {
                return Err(ModelError::NoParameters);
            }
            if tensors > loaded.parameters.len() {
                return Err(ModelError::HiddenTensors { tensors, parameters: loaded.parameters.len() });
            }
            let parameters = loaded.describe()?;
            let initial = loaded.parameters()?;
            let manifest = ModelManifest {
                coordinates: parameters.iter().map(ParameterTensor::elements).sum(),
                parameters,
                heads: loaded.heads()?,
                torchscript,
                initial_parameters: Digest::of(&parameters_to_bytes(&initial)),
            };
            Ok(Self { canonical, manifest, initial })
        })
    }

    /// What the model is made of.
    #[must_use]
    pub fn manifest(&self) -> &ModelManifest {
        &self.manifest
    }

    /// The parameters that the file holds, in the manifest's order.
    #[must_use]
    pub fn initial_parameters(&self) -> &[f32] {
        &self.initial
    }

    /// Loads a fresh copy with the given parameters.
    pub(crate) fn load(&self, parameters: &[f32], device: Device) -> Result<LoadedModel, ModelError> {
        if parameters.len() as u64 != self.manifest.coordinates {
            return Err(ModelError::ParameterCount {
                found: parameters.len(),
                expected: self.manifest.coordinates,
            });
        }
        let mut loaded = LoadedModel::load(&self.canonical, device)?;
        loaded.set_parameters(parameters)?;
        Ok(loaded)
    }
}

/// A model in libtorch's memory.
///
/// tch's `TrainableCModule` would register the parameters under names with `_` for `.`, which can collide; here they are
/// registered by position and keep their true names.
pub(crate) struct LoadedModel {
    pub(crate) module: CModule,
    /// The parameters, for the optimiser.
    pub(crate) store: VarStore,
    /// The parameters sorted by name; the tensors share their storage with the module.
    pub(crate) parameters: Vec<(String, Tensor)>,
}

impl LoadedModel {
    fn load(file: &[u8], device: Device) -> Result<Self, ModelError> {
        let refused = |error: TchError| ModelError::Load { reason: reason(&error) };
        let module = CModule::load_data_on_device(&mut &*file, device).map_err(refused)?;
        let mut parameters = module.named_parameters().map_err(refused)?;
        parameters.sort_by(|one, other| one.0.cmp(&other.0));
        let store = VarStore::new(device);
        for (position, (_, tensor)) in parameters.iter().enumerate() {
            let trainable = tensor.requires_grad();
            let _shared =
                store.root().add(&format!("parameter{position}"), tensor.shallow_clone(), trainable);
        }
        Ok(Self { module, store, parameters })
    }

    fn describe(&self) -> Result<Vec<ParameterTensor>, ModelError> {
        let mut described = Vec::with_capacity(self.parameters.len());
        for (name, tensor) in &self.parameters {
            if tensor.kind() != Kind::Float {
                return Err(ModelError::ParameterKind {
                    name: name.clone(),
                    kind: format!("{:?}", tensor.kind()).to_lowercase(),
                });
            }
            let shape = tensor.size().iter().map(|length| length.unsigned_abs()).collect();
            described.push(ParameterTensor { name: name.clone(), shape });
        }
        Ok(described)
    }

    /// All parameters as one vector.
    pub(crate) fn parameters(&self) -> Result<Vec<f32>, ModelError> {
        let mut flat = Vec::new();
        for (name, tensor) in &self.parameters {
            let values = tensor
                .f_flatten(0, -1)
                .and_then(|flattened| flattened.f_to_device(Device::Cpu))
                .and_then(Vec::<f32>::try_from)
                .map_err(|error| ModelError::Load { reason: reason(&error) })?;
            if values.iter().any(|value| !value.is_finite()) {
                return Err(ModelError::NotFinite { name: name.clone() });
            }
            flat.extend(values);
        }
        Ok(flat)
    }

    fn set_parameters(&mut self, values: &[f32]) -> Result<(), ModelError> {
        let refused = |error: TchError| ModelError::Load { reason: reason(&error) };
        let mut rest = values;
        let _no_grad = tch::no_grad_guard();
        for (_, tensor) in &mut self.parameters {
            let (own, later) = rest.split_at_checked(tensor.numel()).unwrap_or((rest, &[]));
            rest = later;
            let source = Tensor::f_from_slice(own)
                .and_then(|flat| flat.f_view(tensor.size().as_slice()))
                .map_err(refused)?;
            tensor.f_copy_(&source).map_err(refused)?;
        }
        Ok(())
    }

    /// The output width, found by a forward pass over an empty fingerprint.
    fn heads(&self) -> Result<u16, ModelError> {
        const BATCH: i64 = 2;
        let failed = |error: TchError| ModelError::Forward { reason: reason(&error) };
        let _no_grad = tch::no_grad_guard();
        let input =
            Tensor::f_zeros([BATCH, FINGERPRINT_BITS as i64], (Kind::Float, Device::Cpu)).map_err(failed)?;
        let shape = self.module.forward_ts(&[input]).map_err(failed)?.size();
        match shape.as_slice() {
            [BATCH, heads] => u16::try_from(*heads).ok().filter(|heads| *heads > 0),
            _ => None,
        }
        .ok_or(ModelError::OutputShape { batch: BATCH, shape })
    }
}
