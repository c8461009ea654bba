//! What a job asks a model to predict: the tasks, their output columns and their scales.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TaskKey;

/// The version of the task file that this program writes and reads.
const TASK_FILE_VERSION: u32 = 1;

/// The kind of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// A number; labels are centred and scaled before training.
    Regression,
    /// Positive or negative; the model's output is a logit.
    Classification,
}

/// One task of a job and the model output that predicts it.
///
/// All sites must use the same values, so they are integers: a label `y` is trained as
/// `(y - center_micro * 1e-6) / (scale_micro * 1e-6)`. Classification tasks have centre 0 and scale 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// The task.
    pub task: TaskKey,
    /// Regression or classification.
    pub kind: TaskKind,
    /// The unit of the labels in the standard format's spelling (empty text: they have none); rows with another
    /// unit are not used and reported. Absent: units are not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The model's output column, from 0.
    pub output: u16,
    /// What is subtracted from a label, in millionths of the unit.
    pub center_micro: i64,
    /// What a centred label is divided by, in millionths of the unit; above 0.
    pub scale_micro: i64,
}

impl TaskSpec {
    /// A label in the model's scale.
    #[must_use]
    pub fn normalise(&self, value: f64) -> f64 {
        (value - self.center()) / self.scale()
    }

    /// A model output in the label's unit.
    #[must_use]
    pub fn restore(&self, output: f64) -> f64 {
        output * self.scale() + self.center()
    }

    fn center(&self) -> f64 {
        from_micro(self.center_micro)
    }

    fn scale(&self) -> f64 {
        from_micro(self.scale_micro)
    }
}

/// Millionths as a number.
fn from_micro(value: i64) -> f64 {
    value as f64 * 1e-6
}

/// The tasks of a job, as a file (`tasks.json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFile {
    /// The layout's version, 1.
    pub version: u32,
    /// The tasks.
    pub tasks: Vec<TaskSpec>,
}

/// Why a task file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TaskFileError {
    /// The file cannot be read.
    #[error("cannot read the task file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Not JSON, or not the layout.
    #[error("the task file {path} is not valid: {source}")]
    Layout {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// Written by another version.
    #[error("the task file has version {0}, this program reads version {TASK_FILE_VERSION}")]
    Version(u32),
    /// Nothing to predict.
    #[error("the task list is empty")]
    Empty,
    /// The same task or output column twice.
    #[error("task {0} is listed twice or shares its output column with another task")]
    Repeated(TaskKey),
    /// A scale that is zero or negative.
    #[error("task {0} has a scale_micro of 0 or less: labels cannot be divided by it")]
    Scale(TaskKey),
}

impl TaskFile {
    /// Checks and wraps a list of tasks.
    ///
    /// # Errors
    /// [`TaskFileError::Empty`], [`TaskFileError::Repeated`] or [`TaskFileError::Scale`].
    pub fn new(tasks: Vec<TaskSpec>) -> Result<Self, TaskFileError> {
        if tasks.is_empty() {
            return Err(TaskFileError::Empty);
        }
        let mut names = BTreeSet::new();
        let mut outputs = BTreeSet::new();
        for task in &tasks {
            if task.scale_micro <= 0 {
                return Err(TaskFileError::Scale(task.task.clone()));
            }
            if !names.insert(&task.task) || !outputs.insert(task.output) {
                return Err(TaskFileError::Repeated(task.task.clone()));
            }
        }
        Ok(Self { version: TASK_FILE_VERSION, tasks })
    }

    /// Reads a task file.
    ///
    /// # Errors
    /// [`TaskFileError`] when it cannot be read or breaks a rule of [`TaskFile::new`].
    pub fn read(path: &Path) -> Result<Self, TaskFileError> {
        let bytes =
            fs::read(path).map_err(|source| TaskFileError::Read { path: path.to_path_buf(), source })?;
        let file: Self = serde_json::from_slice(&bytes)
            .map_err(|source| TaskFileError::Layout { path: path.to_path_buf(), source })?;
        if file.version != TASK_FILE_VERSION {
            return Err(TaskFileError::Version(file.version));
        }
        Self::new(file.tasks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(task: &str, output: u16) -> TaskSpec {
        TaskSpec {
            task: task.parse().unwrap(),
            kind: TaskKind::Regression,
            unit: None,
            output,
            center_micro: -2_500_000,
            scale_micro: 2_000_000,
        }
    }

    #[test]
    fn labels_are_centred_scaled_and_restored() {
        let task = spec("Solubility/Solubility", 0);
        assert!((task.normalise(-0.5) - 1.0).abs() < 1e-12);
        assert!((task.restore(1.0) + 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_shared_output_column_is_refused() {
        let tasks = vec![spec("Solubility/Solubility", 3), spec("Physicochem/logP", 3)];
        assert!(matches!(TaskFile::new(tasks), Err(TaskFileError::Repeated(_))));
    }

    #[test]
    fn a_scale_of_zero_is_refused() {
        let mut task = spec("Solubility/Solubility", 0);
        task.scale_micro = 0;
        assert!(matches!(TaskFile::new(vec![task]), Err(TaskFileError::Scale(_))));
    }

    #[test]
    fn unknown_fields_and_versions_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.json");
        let task = serde_json::to_value(spec("Solubility/Solubility", 0)).unwrap();
        for (text, expected) in [
            (serde_json::json!({"version": 2, "tasks": [task]}), "version 2"),
            (serde_json::json!({"version": 1, "tasks": []}), "empty"),
            (serde_json::json!({"version": 1, "tasks": [], "more": 1}), "not valid"),
        ] {
            fs::write(&path, text.to_string()).unwrap();
            let error = TaskFile::read(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
