//! A look into a TorchScript file before libtorch loads it: which tensors it holds besides parameters.
//!
//! A TorchScript file is a zip archive: `<name>/code/**.py` declares each class with its parameters and buffers,
//! `<name>/data/<n>` holds one record for each tensor storage. libtorch's C interface lists parameters only, so buffers
//! are found here. Format: the serialisation notes in PyTorch's `torch/csrc/jit/docs/serialization.md`.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::model::ModelError;

/// Most bytes of one code file that are read.
const MAX_CODE_BYTES: u64 = 4 << 20;

/// Most records of an archive.
const MAX_RECORDS: usize = 20_000;

/// What an archive holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ArchiveContents {
    /// Names of the buffers that the classes declare.
    pub(super) buffers: Vec<String>,
    /// Tensor storages in the model's state: of parameters, buffers and plain tensor attributes.
    pub(super) storages: usize,
}

impl ArchiveContents {
    /// Reads the archive's directory and class declarations.
    pub(super) fn read(file: &[u8]) -> Result<Self, ModelError> {
        let mut archive = ZipArchive::new(Cursor::new(file)).map_err(|_| ModelError::NotTorchScript)?;
        if archive.len() > MAX_RECORDS {
            return Err(ModelError::NotTorchScript);
        }
        let names = archive
            .file_names()
            .map(|name| name.map(std::borrow::Cow::into_owned))
            .collect::<Result<Vec<String>, _>>()
            .map_err(|_| ModelError::NotTorchScript)?;
        if !names.iter().any(|name| in_folder(name, "code").is_some()) {
            return Err(ModelError::NotTorchScript);
        }
        let storages = names.iter().filter(|name| in_folder(name, "data").is_some()).count();
        let mut buffers = Vec::new();
        for name in names.iter().filter(|name| in_folder(name, "code").is_some_and(is_python)) {
            let record = archive.by_name(name).map_err(|_| ModelError::NotTorchScript)?;
            let mut code = String::new();
            record.take(MAX_CODE_BYTES).read_to_string(&mut code).map_err(|_| ModelError::NotTorchScript)?;
            buffers.extend(declared_buffers(&code));
        }
        buffers.sort();
        buffers.dedup();
        Ok(Self { buffers, storages })
    }
}

/// The rest of the path when a record lies in the archive's folder of that name.
fn in_folder<'a>(record: &'a str, folder: &str) -> Option<&'a str> {
    let (_, path) = record.split_once('/')?;
    path.strip_prefix(folder)?.strip_prefix('/')
}

fn is_python(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| extension == "py")
}

/// The names in lines such as `__buffers__ = ["running_mean", "running_var", ]`.
fn declared_buffers(code: &str) -> impl Iterator<Item = String> {
    code.lines()
        .filter_map(|line| line.trim().strip_prefix("__buffers__ = ["))
        .flat_map(|list| list.trim_end_matches(']').split(','))
        .map(|name| name.trim().trim_matches('"').to_owned())
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_found_in_class_declarations() {
        let code = "class BatchNorm1d(Module):\n  __parameters__ = [\"weight\", ]\n  __buffers__ = [\"running_mean\", \
                    \"num_batches_tracked\", ]\nclass Linear(Module):\n  __buffers__ = []\n";
        assert_eq!(declared_buffers(code).collect::<Vec<_>>(), ["running_mean", "num_batches_tracked"]);
    }

    #[test]
    fn other_files_are_not_torchscript() {
        for file in [&b""[..], b"PK\x03\x04", b"import torch", &[0; 4096]] {
            assert_eq!(ArchiveContents::read(file), Err(ModelError::NotTorchScript));
        }
    }

    #[test]
    fn the_baseline_has_only_parameters() {
        let contents = ArchiveContents::read(include_bytes!("../../models/baseline-ecfp4-mlp.pt")).unwrap();
        assert_eq!(contents, ArchiveContents { buffers: Vec::new(), storages: 6 });
    }
}
