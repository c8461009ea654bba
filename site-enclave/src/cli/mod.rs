//! The command line of `konclave-site`.

mod init;
mod join;
mod process;
mod renew;
mod service;
mod status;
mod witness;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use init::{InitArguments, Role, init};
pub use join::{JoinArguments, join};
pub use process::harden;
pub use renew::{RenewArguments, renew};
pub use status::{StatusArguments, status};
pub use witness::{CompareArguments, WitnessArguments, WitnessCommand, WitnessStatusArguments, compare};

use crate::client::ClientError;
use crate::config::{ConfigError, ConfigFlags, EnrolmentError};
use crate::data::{CatalogueError, CollectError};
use crate::deposit::CommitError;
use crate::driver::{RenewalError, SiteError};
use crate::keystore::{DiskError, KeyError};
use crate::offline::{OfflineCommand, OfflineError};
use crate::trainer::{INSPECT_COMMAND, inspect_here};

/// The site enclave of a Konclave consortium: what runs beside a data owner's data.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the site's keys and the request to be enrolled with.
    Init(InitArguments),
    /// Take the operator's enrolment: check it, pin its keys, write site.toml.
    Join(JoinArguments),
    /// Run the site: witness the ledger, train, mask, upload.
    Run(ServiceArguments),
    /// Run the benchmark evaluator.
    Evaluate(ServiceArguments),
    /// Renew the TLS certificate now; a running service does so by itself at the half of its life.
    Renew(RenewArguments),
    /// Show the site's state: alarm, ledger head, jobs and rounds, and what has left the site.
    Status(StatusArguments),
    /// Show this site's ledger head to others, and compare theirs with it.
    #[command(subcommand)]
    Witness(WitnessCommand),
    /// Look at a model within bounds and print what it is made of: the service starts this for itself.
    #[command(name = INSPECT_COMMAND, hide = true)]
    InspectModel {
        /// The model.
        model: PathBuf,
    },
    /// Commands that need no gateway.
    #[command(flatten)]
    Offline(OfflineCommand),
}

/// What `run` and `evaluate` take.
#[derive(Debug, clap::Args)]
pub struct ServiceArguments {
    /// The site's folder.
    #[arg(long, value_name = "FOLDER", env = "KONCLAVE_SITE_DIR")]
    pub dir: PathBuf,
    /// Settings that win over site.toml.
    #[command(flatten)]
    pub flags: ConfigFlags,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A key file.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A file.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The enrolment.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The list of tasks that the program brings along.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The measurements.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// No usable row.
    #[error("none of the {rows} rows in the data files can be used: see `konclave-site check-data`")]
    NoData {
        /// Rows read.
        rows: u64,
    },
    /// The commitment to the measurements.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The service.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The TLS certificate was not renewed.
    #[error("the TLS certificate was not renewed: {0}")]
    Renewal(#[from] RenewalError),
    /// The service runs, but has not renewed the certificate.
    #[error(
        "the running service has not renewed the TLS certificate within {seconds} s; its log says why, and it goes on trying"
    )]
    NotRenewed {
        /// How long was waited.
        seconds: u64,
    },
    /// The egress log.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The request of `init`.
    #[error("cannot make the enrolment request: {0}")]
    Request(String),
    /// The site was joined to another consortium.
    #[error(
        "this site is already joined to the consortium with root {pinned}; {offered} is another. If that is meant, move \
         {file} away first"
    )]
    OtherRoot {
        /// The pinned root.
        pinned: String,
        /// The offered root.
        offered: String,
        /// The pinned membership.
        file: PathBuf,
    },
    /// The site has cosigned nothing.
    #[error("{0}: this site has cosigned no ledger head yet: run `konclave-site run` first")]
    NothingCosigned(PathBuf),
    /// The runtime.
    #[error("cannot start: {0}")]
    Runtime(#[from] std::io::Error),
    /// A command that needs no gateway.
    #[error(transparent)]
    Offline(#[from] OfflineError),
}

/// Runs a command; errors go to stderr in full.
#[must_use]
pub fn execute(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        Command::Init(given) => init(&given).map(|text| print(&text)),
        Command::Join(given) => join(&given).map(|text| print(&text)),
        Command::Renew(given) => renew(&given).map(|text| print(&text)),
        Command::Status(given) => status(&given).map(|text| print(&text)),
        Command::Run(given) => service::run(&given),
        Command::Evaluate(given) => service::evaluate(&given),
        Command::Witness(command) => match witness::witness(&command) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::InspectModel { model } => {
            inspect_here(&model).map(|text| print(&text)).map_err(CommandError::from)
        }
        Command::Offline(command) => command.run(&mut std::io::stdout().lock()).map_err(CommandError::from),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("konclave-site: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints to stdout; a closed pipe is the reader's wish, not an error.
fn print(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}
