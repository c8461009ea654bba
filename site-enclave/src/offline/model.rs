//! `model`.

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;

use super::OfflineError;
use super::files::write_json;
use crate::trainer::{TorchScriptModel, write_parameters};

/// Commands about a model file.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Check that a TorchScript model can be averaged, and write what its registration needs.
    Inspect {
        /// The model, saved with torch.jit.script(model).save(path).
        model: PathBuf,
        /// Write the manifest to this JSON file.
        #[arg(long, value_name = "OUT")]
        manifest: Option<PathBuf>,
        /// Write the initial parameters to this file (little-endian float32).
        #[arg(long, value_name = "OUT")]
        parameters: Option<PathBuf>,
    },
}

pub(super) fn model(command: &ModelCommand, out: &mut dyn Write) -> Result<(), OfflineError> {
    let ModelCommand::Inspect { model, manifest, parameters } = command;
    let checked = TorchScriptModel::open(model)?;
    let found = checked.manifest();
    writeln!(
        out,
        "{}: {} parameters in {} tensors, {} outputs, no buffers",
        model.display(),
        found.coordinates,
        found.parameters.len(),
        found.heads
    )?;
    for tensor in &found.parameters {
        writeln!(out, "  {} {:?}", tensor.name, tensor.shape)?;
    }
    writeln!(out, "SHA-256 of the file: {}", found.torchscript)?;
    writeln!(out, "SHA-256 of the initial parameters: {}", found.initial_parameters)?;
    if let Some(path) = manifest {
        write_json(path, found)?;
    }
    if let Some(path) = parameters {
        write_parameters(path, checked.initial_parameters())?;
    }
    Ok(())
}
