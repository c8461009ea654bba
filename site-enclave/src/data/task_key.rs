//! The name of a prediction task.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest accepted task name in bytes.
const MAX_LENGTH: usize = 160;

/// The name of a prediction task: `Test/Test_Type[/Measurement_Type][@qualifier]`.
///
/// The parts are the columns of the standard format in the catalogue's spelling; the qualifier is the test subject
/// or the pH where the standard format has one, because human and mouse values of one assay are different tasks.
/// Only the measurement type may contain `/` (`T1/2`, `Vd/F`). Example: `Plasma_protein_binding/PPB@Human`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskKey(String);

/// Why a text is not a task name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskKeyError {
    /// A part is missing or empty.
    #[error("task name {0:?} lacks a part: expected Test/Test_Type[/Measurement_Type][@qualifier]")]
    MissingPart(String),
    /// A character outside printable text, or a second qualifier.
    #[error("task name {0:?} has a character that task names cannot have")]
    Character(String),
    /// Longer than a name may be.
    #[error("task name of {0} bytes: at most {MAX_LENGTH} are accepted")]
    TooLong(usize),
}

impl TaskKey {
    /// Builds the name from the standard format's parts; empty optional parts are left out.
    ///
    /// # Errors
    /// [`TaskKeyError`] when a part has a character that a name cannot have.
    pub fn from_parts(
        test: &str,
        test_type: &str,
        measurement_type: &str,
        qualifier: &str,
    ) -> Result<Self, TaskKeyError> {
        let mut name = format!("{test}/{test_type}");
        for (separator, part) in [('/', measurement_type), ('@', qualifier)] {
            if !part.is_empty() {
                name.push(separator);
                name.push_str(part);
            }
        }
        name.parse()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaskKey {
    type Err = TaskKeyError;

    fn from_str(text: &str) -> Result<Self, TaskKeyError> {
        if text.len() > MAX_LENGTH {
            return Err(TaskKeyError::TooLong(text.len()));
        }
        if text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\')) {
            return Err(TaskKeyError::Character(text.to_owned()));
        }
        let (path, qualifier) = match text.split_once('@') {
            Some((path, qualifier)) => (path, Some(qualifier)),
            None => (text, None),
        };
        if qualifier.is_some_and(|qualifier| qualifier.contains('@')) {
            return Err(TaskKeyError::Character(text.to_owned()));
        }
        let mut parts = path.splitn(3, '/');
        let mandatory = [parts.next(), parts.next()];
        let complete = mandatory.iter().all(|part| part.is_some_and(|part| !part.trim().is_empty()))
            && parts.next() != Some("")
            && qualifier != Some("");
        if complete { Ok(Self(text.to_owned())) } else { Err(TaskKeyError::MissingPart(text.to_owned())) }
    }
}

impl TryFrom<String> for TaskKey {
    type Error = TaskKeyError;

    fn try_from(text: String) -> Result<Self, TaskKeyError> {
        text.parse()
    }
}

impl From<TaskKey> for String {
    fn from(key: TaskKey) -> Self {
        key.0
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurement_types_may_contain_a_slash() {
        let key = TaskKey::from_parts("In_vivo_PK", "PK_iv", "T1/2", "Rat").unwrap();
        assert_eq!(key.as_str(), "In_vivo_PK/PK_iv/T1/2@Rat");
        assert_eq!(key.as_str().parse::<TaskKey>().unwrap(), key);
    }

    #[test]
    fn optional_parts_are_left_out() {
        assert_eq!(
            TaskKey::from_parts("Solubility", "Solubility", "", "").unwrap().as_str(),
            "Solubility/Solubility"
        );
    }

    #[test]
    fn broken_names_are_refused() {
        for text in ["", "Solubility", "/x", "a/", "a/b/", "a/b@", "a/b@c@d", "a/b\n", "a/\"b"] {
            assert!(text.parse::<TaskKey>().is_err(), "{text:?} was accepted");
        }
        assert_eq!("a/".repeat(90).parse::<TaskKey>(), Err(TaskKeyError::TooLong(180)));
    }
}
