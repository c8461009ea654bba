//! A strict reading of a TorchScript file, before libtorch sees it.
//!
//! A TorchScript file is a zip archive: `<name>/code/**.py` declares each class with its parameters and buffers,
//! `<name>/data.pkl` is a pickle of the module's state whose tensors point into the records `<name>/data/<n>`, and
//! `<name>/constants.pkl` is one of the code's constant tensors, with records `<name>/constants/<n>`. Format: the
//! serialisation notes in PyTorch's `torch/csrc/jit/docs/serialization.md`.
//!
//! libtorch takes what these pickles claim for true: the size of a storage, the shape and strides of a tensor, the class
//! of an object. A false claim makes it read and write memory that is not its own. So nothing of a model developer's
//! file reaches libtorch but records that were read here, in an archive written here: what this module does not know,
//! libtorch does not get. Files of `torch.jit.save` pass; other pickles, other archives and sparse, quantised, strided or
//! shared tensors do not.

mod code;
mod operators;
mod pickle;
mod records;
mod types;

use code::Declarations;
use pickle::{Root, Tensors};
use records::Records;

use super::model::ModelError;

/// Most bytes of all code files, and of each pickle.
const MAX_TEXT_BYTES: usize = 4 << 20;

/// Why a file that is a TorchScript archive is not given to libtorch: the model developer's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// A record of the archive breaks a rule.
    #[error("record {record}: {rule}")]
    Record {
        /// Its path, without the archive's own name.
        record: String,
        /// The rule.
        rule: &'static str,
    },
    /// A code file is not as `torch.jit.save` writes them.
    #[error("code file {file}, line {line}: {rule}")]
    Code {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The rule.
        rule: &'static str,
    },
    /// A pickle is not as `torch.jit.save` writes them, or claims what is not so.
    #[error("{record}, byte {at}: {rule}")]
    Pickle {
        /// Which of the two.
        record: &'static str,
        /// Where the offending instruction begins.
        at: usize,
        /// The rule.
        rule: &'static str,
    },
}

/// An archive that passed all checks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CheckedArchive {
    /// The checked records alone, in an archive written here: what libtorch may load.
    pub(super) canonical: Vec<u8>,
    /// Names of the buffers that the classes declare, sorted.
    pub(super) buffers: Vec<String>,
    /// Tensors in the model's state: parameters, buffers and plain tensor attributes.
    pub(super) tensors: usize,
}

impl CheckedArchive {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ModelError::NotTorchScript`] for another kind of file, [`ModelError::Archive`] for one that breaks a rule.
    pub(super) fn read(file: &[u8]) -> Result<Self, ModelError> {
        let records = Records::read(file)?;
        let declarations = Declarations::read(records.code())?;
        let mut tensors = Tensors::new("data.pkl", records.folder("data/"));
        pickle::run(records.required("data.pkl")?, &declarations, Root::Module, &mut tensors)?;
        let in_state = tensors.finish()?;
        let mut constants = Tensors::new("constants.pkl", records.folder("constants/"));
        pickle::run(records.required("constants.pkl")?, &declarations, Root::Constants, &mut constants)?;
        constants.finish()?;
        Ok(Self { canonical: records.rewritten()?, buffers: declarations.buffers(), tensors: in_state })
    }
}

#[cfg(test)]
mod tests;
