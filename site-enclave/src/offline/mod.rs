//! Commands that need no gateway: checking data, looking into models, training and scoring on local files.

mod split;

use clap::Subcommand;

pub use split::{SplitArguments, SplitError, split};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum OfflineCommand {
    /// Divide one file among simulated sites, with a held-out benchmark and a shared sample.
    Split(SplitArguments),
}
