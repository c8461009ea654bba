//! An auditor's copy of the ledger, fetched file by file.

use std::fs;
use std::path::{Component, Path};

use konclave_openapi::ledger::LedgerExport;
use serde_json::json;

use super::PartnerClient;
use crate::error::HarnessError;

/// What was fetched.
#[derive(Debug, Clone)]
pub struct Exported {
    /// Entries.
    pub size: u64,
    /// The signed note.
    pub note: String,
    /// Files beside the note.
    pub files: usize,
}

impl PartnerClient {
    /// Fetches the ledger as it stands into an empty folder.
    ///
    /// # Errors
    /// The gateway's and the file system's; a file name that leads out of the folder is refused.
    pub fn export_ledger(&self, folder: &Path) -> Result<Exported, HarnessError> {
        let status = self.checkpoint()?;
        let key = format!("export-{}-{}", self.key().client(), status.size);
        let export: LedgerExport = self.post("/v1/ledger/exports", &key, &json!({}))?;
        for file in &export.files {
            let relative = Path::new(file.trim_start_matches('/'));
            if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(HarnessError::unexpected(
                    "the export's list of files",
                    format!("{file:?} leads elsewhere"),
                ));
            }
            let bytes = self.get_bytes(&format!("/{}", relative.display()))?;
            write(&folder.join(relative), &bytes)?;
        }
        write(&folder.join("checkpoint"), export.note.as_bytes())?;
        Ok(Exported { size: export.size, note: export.note, files: export.files.len() })
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), HarnessError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(HarnessError::file("create", folder))?;
    }
    fs::write(path, bytes).map_err(HarnessError::file("write", path))
}
