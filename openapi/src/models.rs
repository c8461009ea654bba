//! Models and blobs.

use konclave_crypto::Digest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One trainable tensor of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ParameterTensor {
    /// Its name in the TorchScript module.
    pub name: String,
    /// Its shape.
    pub shape: Vec<u64>,
}

/// What a TorchScript model is made of. `konclave-site model inspect MODEL.pt` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelManifest {
    /// Trainable tensors, sorted by name: the order of the flat parameter vector.
    pub parameters: Vec<ParameterTensor>,
    /// The sum of the tensors' sizes.
    pub coordinates: u64,
    /// Width of the output: the most tasks the model can serve.
    pub heads: u16,
    /// The TorchScript file's SHA-256; the blob must be uploaded.
    pub torchscript: Digest,
    /// The SHA-256 of the initial flat parameter vector (little-endian f32); the blob must be uploaded.
    pub initial_parameters: Digest,
}

/// Registers a baseline model whose blobs were uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewModel {
    /// A name for people, 1 to 120 characters.
    pub name: String,
    /// What the model is made of.
    pub manifest: ModelManifest,
}

/// A registered model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Model {
    /// Its id: the digest of its manifest.
    pub model: Digest,
    /// A name for people.
    pub name: String,
    /// The organisation that registered it.
    pub organisation: String,
    /// What the model is made of.
    pub manifest: ModelManifest,
    /// The ledger entry that registered it.
    pub entry: u64,
}

/// A stored blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Blob {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length in bytes.
    pub bytes: u64,
}
