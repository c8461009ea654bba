//! Files that a command writes: whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::folder::AuditError;

/// Calls `write` with a file beside `path`, and gives it that name only if all went well.
pub(super) fn whole_file<T, E: From<AuditError>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let failed = |source: io::Error| AuditError::Write { path: path.display().to_string(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = Temporary(path.with_file_name(name));
    let mut out = BufWriter::new(File::create(&temporary.0).map_err(failed)?);
    let done = write(&mut out)?;
    out.flush().and_then(|()| out.get_ref().sync_all()).map_err(failed)?;
    fs::rename(&temporary.0, path).map_err(failed)?;
    Ok(done)
}

/// Removed again, unless it has got its name.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
