//! The built programs, and one-off commands with them.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::error::HarnessError;

/// The workspace's programs, from one build.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `konclave-gateway`.
    pub gateway: PathBuf,
    /// `konclave-site`.
    pub site: PathBuf,
    /// `konclave-audit`.
    pub audit: PathBuf,
}

impl Programs {
    /// Finds the programs beside the running one (a test's executable is one folder deeper), or in the folder
    /// that `KONCLAVE_PROGRAMS` names.
    ///
    /// # Errors
    /// [`HarnessError::MissingProgram`] if one is not there.
    pub fn find() -> Result<Self, HarnessError> {
        let here = env::current_exe().map_err(HarnessError::file("find", "the running program"))?;
        let beside = here.parent().unwrap_or(Path::new("."));
        let beside = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
        let folder = env::var_os("KONCLAVE_PROGRAMS").map_or_else(|| beside.to_path_buf(), PathBuf::from);
        let find = |program: &'static str| {
            let path = folder.join(program);
            if path.is_file() {
                Ok(path)
            } else {
                Err(HarnessError::MissingProgram { program, folder: folder.clone() })
            }
        };
        Ok(Self {
            gateway: find("konclave-gateway")?,
            site: find("konclave-site")?,
            audit: find("konclave-audit")?,
        })
    }
}

/// Runs a command to its end, whatever it is.
///
/// # Errors
/// [`HarnessError::Start`].
pub fn output<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Result<Output, HarnessError> {
    Command::new(program)
        .args(arguments)
        .output()
        .map_err(|source| HarnessError::Start { program: program.to_path_buf(), source })
}

/// Runs a command and gives its standard output.
///
/// # Errors
/// [`HarnessError::Command`] with the end of its output if it fails.
pub fn call<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Result<String, HarnessError> {
    let output = output(program, arguments)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let mut words = vec![program.display().to_string()];
    words.extend(arguments.iter().map(|word| word.as_ref().to_string_lossy().into_owned()));
    let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    Err(HarnessError::Command {
        command: words.join(" "),
        status: output.status.to_string(),
        output: last_lines(&all, 25),
    })
}

/// A program as a person in the working folder would name it.
#[must_use]
pub(crate) fn named_from_here(program: &Path) -> String {
    let here = env::current_dir().ok();
    let inside = here.and_then(|here| program.strip_prefix(here).ok().map(Path::to_path_buf));
    inside.unwrap_or_else(|| program.to_path_buf()).display().to_string()
}

/// The last lines of a text.
#[must_use]
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
}
