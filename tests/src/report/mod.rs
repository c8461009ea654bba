//! The report of a run: `report.html` for people and `summary.json`, the same as data.

mod bars;
mod curves;
mod markup;
mod page;
mod participation;
pub mod summary;
mod tables;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use summary::Summary;
pub(crate) use tables::units;

/// Where the two files are.
#[derive(Debug, Clone)]
pub struct Written {
    /// The page.
    pub html: PathBuf,
    /// The data.
    pub json: PathBuf,
}

/// Writes both files into a folder, which must exist.
///
/// # Errors
/// The file system's.
pub fn write(folder: &Path, summary: &Summary) -> io::Result<Written> {
    let written = Written { html: folder.join("report.html"), json: folder.join("summary.json") };
    let mut json = serde_json::to_string_pretty(summary)?;
    json.push('\n');
    fs::write(&written.json, json)?;
    fs::write(&written.html, page::html(summary))?;
    Ok(written)
}

#[cfg(test)]
mod tests;
