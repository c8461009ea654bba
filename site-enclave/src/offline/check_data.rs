//! `check-data`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::OfflineError;
use super::files::write_json;
use crate::data::{Catalogue, Collection};

/// Arguments of `check-data`.
#[derive(Debug, Args)]
pub struct CheckDataArguments {
    /// Files in the K-MELLODDY standard format (CSV).
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write the whole report, with every rejected row, to this file.
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
}

pub(super) fn check_data(arguments: &CheckDataArguments, out: &mut dyn Write) -> Result<(), OfflineError> {
    let (_, report) = Collection::load(&arguments.files, &Catalogue::embedded()?, &mut |_| {})?;
    write!(out, "{report}")?;
    if let Some(path) = &arguments.json {
        write_json(path, &report)?;
    }
    Ok(())
}
