//! What a check of data files found.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use super::{Censoring, Label, Measurement, RejectedRow, RowError, TaskKey, TaskKind};

/// Fewest actives, and fewest inactives, of a classification task.
pub const QUORUM_CLASS: u64 = 25;

/// Fewest values of a regression task.
pub const QUORUM_VALUES: u64 = 50;

/// Fewest values of a regression task that are not censored.
pub const QUORUM_EXACT: u64 = 25;

/// Rejected rows printed for each file; the JSON report has all.
const SHOWN: usize = 20;

/// What a check of data files found: each row is in exactly one of the counts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ValidationReport {
    /// The task catalogue used.
    pub catalogue: String,
    /// Each file.
    pub files: Vec<FileReport>,
    /// Different structures among the accepted rows.
    pub molecules: u64,
    /// Counts for each task.
    pub tasks: BTreeMap<TaskKey, TaskCounts>,
}

/// One file's rows.
#[derive(Debug, Clone, Serialize)]
pub struct FileReport {
    /// The file.
    pub file: PathBuf,
    /// Usable rows.
    pub accepted: u64,
    /// Rows without any text.
    pub blank: u64,
    /// Rows that cannot be used.
    pub rejected: Vec<RejectedRow>,
    /// Columns that are not read.
    pub ignored_columns: Vec<String>,
}

impl Serialize for RejectedRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            row: u64,
            reason: &'a str,
        }
        Row { row: self.row, reason: &self.reason.to_string() }.serialize(serializer)
    }
}

/// One task's labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TaskCounts {
    /// Quantities that are not censored.
    pub exact: u64,
    /// Censored quantities.
    pub censored: u64,
    /// Positive results.
    pub positive: u64,
    /// Negative results.
    pub negative: u64,
    /// Quantities in each unit.
    pub units: BTreeMap<String, u64>,
}

/// Whether a task has enough labels to be trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quorum {
    /// It has.
    Met,
    /// It has not.
    Missed {
        /// What is missing, for people.
        reason: String,
    },
}

impl TaskCounts {
    pub(super) fn count(&mut self, measurement: &Measurement) {
        match measurement.label {
            Label::Class(true) => self.positive += 1,
            Label::Class(false) => self.negative += 1,
            Label::Quantity { censoring, .. } => {
                match censoring {
                    Censoring::Exact => self.exact += 1,
                    Censoring::AtMost | Censoring::AtLeast => self.censored += 1,
                }
                *self.units.entry(measurement.unit.clone()).or_default() += 1;
            }
        }
    }

    /// All labels.
    #[must_use]
    pub fn labels(&self) -> u64 {
        self.exact + self.censored + self.positive + self.negative
    }

    /// The kind of most of its labels.
    #[must_use]
    pub fn kind(&self) -> TaskKind {
        if self.positive + self.negative > self.exact + self.censored {
            TaskKind::Classification
        } else {
            TaskKind::Regression
        }
    }

    /// The unit of most of its quantities; empty without any.
    #[must_use]
    pub fn main_unit(&self) -> &str {
        self.units.iter().max_by_key(|(_, count)| **count).map_or("", |(unit, _)| unit)
    }

    /// The programme's rule: a classification task needs 25 actives and 25 inactives, a regression task 50 values in one
    /// unit of which 25 are not censored.
    #[must_use]
    pub fn quorum(&self) -> Quorum {
        let missing = match self.kind() {
            TaskKind::Classification => {
                [("positive", self.positive, QUORUM_CLASS), ("negative", self.negative, QUORUM_CLASS)]
            }
            TaskKind::Regression => {
                let in_main_unit = self.units.values().copied().max().unwrap_or(0);
                [
                    ("values in one unit", in_main_unit, QUORUM_VALUES),
                    ("uncensored", self.exact, QUORUM_EXACT),
                ]
            }
        };
        let reasons: Vec<String> = missing
            .iter()
            .filter(|(_, found, needed)| found < needed)
            .map(|(what, found, needed)| format!("{found} {what}, {needed} needed"))
            .collect();
        if reasons.is_empty() { Quorum::Met } else { Quorum::Missed { reason: reasons.join("; ") } }
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Met => formatter.write_str("quorum met"),
            Self::Missed { reason } => write!(formatter, "below quorum: {reason}"),
        }
    }
}

impl ValidationReport {
    /// Usable rows of all files.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.files.iter().map(|file| file.accepted).sum()
    }

    /// Rows of all files that cannot be used.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.files.iter().map(|file| file.rejected.len() as u64).sum()
    }
}

impl ValidationReport {
    /// The report for a log: counts, and of rejected rows the row, the column and the kind of error. No cell's text is in
    /// it, not even as part of a task's name.
    pub fn without_cells(&self) -> impl Iterator<Item = String> {
        let files = self.files.iter().flat_map(|file| {
            let (path, rejected) = (file.file.display(), file.rejected.len());
            let head =
                format!("{path}: {} rows accepted, {rejected} rejected, {} blank", file.accepted, file.blank);
            let rows = file.rejected.iter().take(SHOWN).map(|rejected| {
                let (column, kind) = rejected.reason.place_and_kind();
                format!("  row {}, {column}: {kind}", rejected.row)
            });
            let more = rejected.checked_sub(SHOWN).filter(|more| *more > 0);
            let more =
                more.map(|more| format!("  and {more} more rejected rows: see `konclave-site check-data`"));
            std::iter::once(head).chain(rows).chain(more)
        });
        let met = self.tasks.values().filter(|counts| counts.quorum() == Quorum::Met).count();
        let (molecules, tasks) = (self.molecules, self.tasks.len());
        let sums =
            format!("{molecules} molecules, {tasks} tasks, {met} of them with a quorum ({})", self.catalogue);
        files.chain(std::iter::once(sums))
    }
}

impl fmt::Display for ValidationReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            writeln!(
                formatter,
                "{}: {} rows accepted, {} rejected, {} blank",
                file.file.display(),
                file.accepted,
                file.rejected.len(),
                file.blank
            )?;
            if !file.ignored_columns.is_empty() {
                writeln!(formatter, "  columns not read: {}", file.ignored_columns.join(", "))?;
            }
            for rejected in file.rejected.iter().take(SHOWN) {
                writeln!(formatter, "  row {}: {}", rejected.row, rejected.reason)?;
            }
            if let Some(more) = file.rejected.len().checked_sub(SHOWN).filter(|more| *more > 0) {
                writeln!(formatter, "  and {more} more rejected rows: write them all with --json")?;
            }
        }
        writeln!(formatter, "{} molecules, {} tasks ({})", self.molecules, self.tasks.len(), self.catalogue)?;
        for (task, counts) in &self.tasks {
            let detail = match counts.kind() {
                TaskKind::Classification => {
                    format!("{} positive, {} negative", counts.positive, counts.negative)
                }
                TaskKind::Regression => {
                    let units: Vec<String> = counts
                        .units
                        .iter()
                        .map(|(unit, count)| {
                            format!("{count} in {}", if unit.is_empty() { "no unit" } else { unit })
                        })
                        .collect();
                    format!("{} exact, {} censored; {}", counts.exact, counts.censored, units.join(", "))
                }
            };
            writeln!(formatter, "  {task}: {detail}; {}", counts.quorum())?;
        }
        Ok(())
    }
}

impl RowError {
    /// A rejected row with this reason.
    pub(super) fn at(self, row: u64) -> RejectedRow {
        RejectedRow { row, reason: self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regression(exact: u64, censored: u64) -> TaskCounts {
        let units = BTreeMap::from([("uM".to_owned(), exact + censored)]);
        TaskCounts { exact, censored, units, ..TaskCounts::default() }
    }

    #[test]
    fn quorum_of_regression_tasks() {
        assert_eq!(regression(25, 25).quorum(), Quorum::Met);
        assert!(matches!(regression(24, 60).quorum(), Quorum::Missed { .. }));
        assert!(matches!(regression(49, 0).quorum(), Quorum::Missed { .. }));
    }

    #[test]
    fn quorum_of_classification_tasks() {
        let counts = TaskCounts { positive: 25, negative: 25, ..TaskCounts::default() };
        assert_eq!((counts.kind(), counts.quorum()), (TaskKind::Classification, Quorum::Met));
        let counts = TaskCounts { positive: 400, negative: 24, ..TaskCounts::default() };
        assert_eq!(counts.quorum().to_string(), "below quorum: 24 negative, 25 needed");
    }

    #[test]
    fn values_in_several_units_do_not_add_up_to_a_quorum() {
        let mut counts = regression(60, 0);
        counts.units = BTreeMap::from([("uM".to_owned(), 30), ("nM".to_owned(), 30)]);
        assert!(matches!(counts.quorum(), Quorum::Missed { .. }));
    }
}
