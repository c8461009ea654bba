//! Commands that need no gateway: checking data, looking into models, training and scoring on local files.
//!
//! A data scientist tries a model on the site's own data with them before the site consents to a job, and the
//! demonstration makes its comparison models with them. Nothing here reads keys or opens a connection.

mod check_data;
mod files;
mod model;
mod score;
mod split;
mod train;

use std::io::{self, Write};

use clap::Subcommand;

pub use check_data::CheckDataArguments;
pub use files::FileError;
pub use model::ModelCommand;
pub use score::ScoreArguments;
pub use split::{SplitArguments, SplitError};
pub use train::{TrainArguments, TrainingFile};

use crate::data::{CatalogueError, CollectError, TaskFileError};
use crate::evaluator::ScoreError;
use crate::features::StructureError;
use crate::trainer::{ModelError, ParameterFileError, TrainError};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum OfflineCommand {
    /// Check files in the K-MELLODDY standard format: what can be used, what not and why, and which tasks have a quorum.
    CheckData(CheckDataArguments),
    /// Look into a TorchScript model.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Train a model on local files. The result stays here: it is for comparison, not for upload.
    Train(TrainArguments),
    /// Measure a model on a local file.
    Score(ScoreArguments),
    /// Divide one file among simulated sites, with a held-out benchmark and a shared sample.
    Split(SplitArguments),
    /// Print the digest of the reference structures' fingerprints, which must be the same at all sites.
    Features,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The task catalogue is broken.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A data file cannot be loaded.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// A task file cannot be used.
    #[error(transparent)]
    TaskFile(#[from] TaskFileError),
    /// A parameter file cannot be used.
    #[error(transparent)]
    Parameters(#[from] ParameterFileError),
    /// The model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Scoring failed.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The file cannot be split.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// A JSON file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The chemistry library is defective.
    #[error("the reference structures cannot be fingerprinted: {0}")]
    Reference(#[from] StructureError),
    /// Standard output is closed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

impl OfflineCommand {
    /// Runs the command and prints its result to `out`.
    ///
    /// # Errors
    /// [`OfflineError`], whose text says what to do.
    pub fn run(&self, out: &mut dyn Write) -> Result<(), OfflineError> {
        match self {
            Self::CheckData(arguments) => check_data::check_data(arguments, out),
            Self::Model(command) => model::model(command, out),
            Self::Train(arguments) => train::train(arguments, out),
            Self::Score(arguments) => score::score_files(arguments, out),
            Self::Split(arguments) => {
                for line in split::split(arguments)? {
                    writeln!(out, "{line}")?;
                }
                Ok(())
            }
            Self::Features => {
                writeln!(out, "{}", crate::features::reference_digest()?)?;
                Ok(())
            }
        }
    }
}
