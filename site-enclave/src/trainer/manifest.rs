//! What a model is made of, and its parameters as a flat vector.

use std::fs;
use std::path::{Path, PathBuf};

use konclave_crypto::Digest;
use serde::{Deserialize, Serialize};

/// One parameter tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterTensor {
    /// Its name in the TorchScript module.
    pub name: String,
    /// Its shape.
    pub shape: Vec<u64>,
}

impl ParameterTensor {
    /// The number of its elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// What a TorchScript model is made of.
///
/// Every site derives it from the model file itself, so that the flat vector means the same everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelManifest {
    /// The parameter tensors, sorted by name in byte order: the order of the flat vector, each tensor row by row.
    pub parameters: Vec<ParameterTensor>,
    /// The sum of the tensors' elements.
    pub coordinates: u64,
    /// Width of the output: the most tasks the model can serve.
    pub heads: u16,
    /// The TorchScript file's SHA-256.
    pub torchscript: Digest,
    /// The SHA-256 of the initial parameters as a file (see [`write_parameters`]).
    pub initial_parameters: Digest,
}

/// Why a parameter file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParameterFileError {
    /// The file cannot be read or written.
    #[error("cannot use the parameter file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Not four bytes for each parameter.
    #[error("the parameters have {found} bytes, the model needs {expected} (4 for each of its parameters)")]
    Length {
        /// Bytes found.
        found: u64,
        /// Bytes needed.
        expected: u64,
    },
    /// Infinite or not a number.
    #[error("parameter {index} is not a finite number")]
    NotFinite {
        /// Its position, from 0.
        index: usize,
    },
}

/// A parameter vector as bytes: IEEE 754 single precision, little-endian, nothing else.
#[must_use]
pub fn parameters_to_bytes(parameters: &[f32]) -> Vec<u8> {
    parameters.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A parameter vector from bytes.
///
/// # Errors
/// [`ParameterFileError::Length`] unless there are `coordinates` values, [`ParameterFileError::NotFinite`] for one
/// that no training can start from.
pub fn parameters_from_bytes(bytes: &[u8], coordinates: u64) -> Result<Vec<f32>, ParameterFileError> {
    let found = bytes.len() as u64;
    let expected = coordinates.saturating_mul(4);
    if found != expected {
        return Err(ParameterFileError::Length { found, expected });
    }
    let (values, _) = bytes.as_chunks::<4>();
    let parameters: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
    match parameters.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(ParameterFileError::NotFinite { index }),
        None => Ok(parameters),
    }
}

/// Reads a parameter file (`.f32`).
///
/// # Errors
/// [`ParameterFileError`].
pub fn read_parameters(path: &Path, coordinates: u64) -> Result<Vec<f32>, ParameterFileError> {
    let bytes =
        fs::read(path).map_err(|source| ParameterFileError::File { path: path.to_path_buf(), source })?;
    parameters_from_bytes(&bytes, coordinates)
}

/// Writes a parameter file (`.f32`).
///
/// # Errors
/// [`ParameterFileError::File`].
pub fn write_parameters(path: &Path, parameters: &[f32]) -> Result<(), ParameterFileError> {
    fs::write(path, parameters_to_bytes(parameters))
        .map_err(|source| ParameterFileError::File { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_survive_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.f32");
        let parameters = vec![0.0, -1.5, f32::MIN_POSITIVE, 3.25e30];
        write_parameters(&path, &parameters).unwrap();
        assert_eq!(read_parameters(&path, 4).unwrap(), parameters);
    }

    #[test]
    fn wrong_lengths_and_infinities_are_refused() {
        assert!(matches!(
            parameters_from_bytes(&[0; 9], 2),
            Err(ParameterFileError::Length { found: 9, expected: 8 })
        ));
        let bytes = parameters_to_bytes(&[1.0, f32::NAN]);
        assert!(matches!(parameters_from_bytes(&bytes, 2), Err(ParameterFileError::NotFinite { index: 1 })));
    }

    #[test]
    fn the_byte_layout_is_little_endian() {
        assert_eq!(parameters_to_bytes(&[1.0]), [0, 0, 0x80, 0x3f]);
    }
}
