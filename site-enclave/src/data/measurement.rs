//! One measured value: a quantity, possibly censored, or a class.

use serde::{Deserialize, Serialize};

use super::{TaskKey, TaskKind};

/// How a measured quantity relates to the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Censoring {
    /// The value itself.
    Exact,
    /// The true value is at most this (`<`, `<=`).
    AtMost,
    /// The true value is at least this (`>`, `>=`).
    AtLeast,
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Label {
    /// A number in the row's unit; finite.
    Quantity {
        /// The number.
        value: f64,
        /// How it relates to the true value.
        censoring: Censoring,
    },
    /// Positive or negative.
    Class(bool),
}

impl Label {
    /// The kind of task that such a label teaches.
    #[must_use]
    pub fn kind(self) -> TaskKind {
        match self {
            Self::Quantity { .. } => TaskKind::Regression,
            Self::Class(_) => TaskKind::Classification,
        }
    }
}

/// One usable row.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// The line of the file on which the row starts, from 1; the header is a line too.
    pub row: u64,
    /// The compound's identifier at the site; may be empty.
    pub compound: String,
    /// The parent structure as SMILES, not yet read as a molecule.
    pub structure: String,
    /// The task.
    pub task: TaskKey,
    /// What was measured.
    pub label: Label,
    /// The unit with one spelling for each character, empty for classes.
    pub unit: String,
}

/// Why the relation, value and unit of a row make no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// No value.
    #[error("the measurement has no value")]
    NoValue,
    /// Not a number and not a class.
    #[error("value {0:?} is neither a number nor Positive or Negative")]
    NotANumber(String),
    /// Infinite or not a number.
    #[error("value {0:?} is not finite")]
    NotFinite(String),
    /// A relation that the standard does not have.
    #[error("relation {0:?} is not one of =, <, >, <=, >=")]
    Relation(String),
    /// Relations in two cells that differ.
    #[error("the relation is {column:?} in its own column and {value:?} before the value")]
    TwoRelations {
        /// In the relation column.
        column: String,
        /// In the value column.
        value: String,
    },
    /// A class with another value.
    #[error("the row says {class} and has the value {value:?}: expected {expected} or nothing")]
    Contradiction {
        /// The class word.
        class: &'static str,
        /// The value.
        value: String,
        /// What would fit.
        expected: u8,
    },
    /// A class that is censored.
    #[error("a Positive or Negative result cannot have the relation {0:?}")]
    CensoredClass(String),
}

/// Reads the label from the three cells of a row.
///
/// Classes: `Positive` or `Negative` (also `Toxic`, `Non-Toxic`) in the unit, value or relation cell; with it the
/// value may be 1 or 0, or empty. Everything else is a quantity, whose relation may also stand before the number.
pub(super) fn read_label(relation: &str, value: &str, unit: &str) -> Result<Label, LabelError> {
    let (relation, value, unit) = (unquoted(relation), unquoted(value), unquoted(unit));
    match class_word(unit).or_else(|| class_word(value)).or_else(|| class_word(relation)) {
        Some(class) => class_label(class, relation, value),
        None => quantity(relation, value),
    }
}

fn class_label(class: bool, relation: &str, value: &str) -> Result<Label, LabelError> {
    let (word, expected) = if class { ("Positive", 1) } else { ("Negative", 0) };
    if class_word(relation).is_none() && !matches!(relation, "" | "=") {
        return Err(LabelError::CensoredClass(relation.to_owned()));
    }
    let agrees = |cell: &str| match class_word(cell) {
        Some(other) => other == class,
        None => matches!(cell.parse::<f64>(), Ok(number) if number == f64::from(expected)),
    };
    if !value.is_empty() && !agrees(value) {
        return Err(LabelError::Contradiction { class: word, value: value.to_owned(), expected });
    }
    Ok(Label::Class(class))
}

fn quantity(relation: &str, value: &str) -> Result<Label, LabelError> {
    if value.is_empty() {
        return Err(LabelError::NoValue);
    }
    let split = value.find(|c: char| !is_relation(c)).unwrap_or(value.len());
    let (before, number) = value.split_at(split);
    let relation = match (relation, before) {
        (relation, "") => relation,
        ("", before) => before,
        (relation, before) if parse_relation(relation)? == parse_relation(before)? => relation,
        (relation, before) => {
            return Err(LabelError::TwoRelations { column: relation.to_owned(), value: before.to_owned() });
        }
    };
    let censoring = parse_relation(relation)?;
    let parsed: f64 = number.trim().parse().map_err(|_| LabelError::NotANumber(value.to_owned()))?;
    if !parsed.is_finite() {
        return Err(LabelError::NotFinite(value.to_owned()));
    }
    Ok(Label::Quantity { value: parsed, censoring })
}

fn is_relation(c: char) -> bool {
    matches!(c, '<' | '>' | '=' | '≤' | '≥' | '＝' | '＜' | '＞')
}

fn parse_relation(relation: &str) -> Result<Censoring, LabelError> {
    match relation {
        "" | "=" | "==" | "＝" => Ok(Censoring::Exact),
        "<" | "<=" | "≤" | "=<" | "＜" => Ok(Censoring::AtMost),
        ">" | ">=" | "≥" | "=>" | "＞" => Ok(Censoring::AtLeast),
        other => Err(LabelError::Relation(other.to_owned())),
    }
}

fn class_word(cell: &str) -> Option<bool> {
    match cell.to_lowercase().as_str() {
        "positive" | "toxic" => Some(true),
        "negative" | "non-toxic" | "nontoxic" => Some(false),
        _ => None,
    }
}

/// A cell without outer spaces and the quotes that spreadsheets leave around `=`.
fn unquoted(cell: &str) -> &str {
    cell.trim().trim_matches(|c| matches!(c, '"' | '\'')).trim()
}

/// A unit with one spelling for characters that exist several times: micro signs and middle dots. Case is kept,
/// because it carries meaning (`uM` is micromolar, `um` micrometre).
pub(super) fn read_unit(unit: &str) -> String {
    unquoted(unit)
        .chars()
        .map(|c| match c {
            'µ' | 'μ' => 'u',
            '∙' | '⋅' | '・' | '•' => '·',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity_of(value: f64, censoring: Censoring) -> Result<Label, LabelError> {
        Ok(Label::Quantity { value, censoring })
    }

    #[test]
    fn quantities_with_relations() {
        assert_eq!(read_label("", "4.5", "ug/mL"), quantity_of(4.5, Censoring::Exact));
        assert_eq!(read_label("\"=\"", " -1e-3 ", ""), quantity_of(-0.001, Censoring::Exact));
        assert_eq!(read_label(">", "50", "uM"), quantity_of(50.0, Censoring::AtLeast));
        assert_eq!(read_label("", "> 50", "uM"), quantity_of(50.0, Censoring::AtLeast));
        assert_eq!(read_label("≤", "≤0.5", "hr"), quantity_of(0.5, Censoring::AtMost));
    }

    #[test]
    fn classes_in_any_cell() {
        assert_eq!(read_label("", "", "Positive"), Ok(Label::Class(true)));
        assert_eq!(read_label("=", "0", "negative"), Ok(Label::Class(false)));
        assert_eq!(read_label("", "Positive", ""), Ok(Label::Class(true)));
        assert_eq!(read_label("Non-Toxic", "", ""), Ok(Label::Class(false)));
    }

    #[test]
    fn unusable_cells_are_refused_with_a_reason() {
        assert_eq!(read_label("", "", "uM"), Err(LabelError::NoValue));
        assert_eq!(read_label("~", "3", ""), Err(LabelError::Relation("~".into())));
        assert!(matches!(read_label("<", ">3", ""), Err(LabelError::TwoRelations { .. })));
        assert!(matches!(read_label("", "1,234", ""), Err(LabelError::NotANumber(_))));
        assert!(matches!(read_label("", "inf", ""), Err(LabelError::NotFinite(_))));
        assert!(matches!(read_label("", "[6,2]", ""), Err(LabelError::NotANumber(_))));
        assert!(matches!(read_label("", "1", "Negative"), Err(LabelError::Contradiction { .. })));
        assert!(matches!(read_label(">", "1", "Positive"), Err(LabelError::CensoredClass(_))));
        assert!(matches!(read_label(">", "", ""), Err(LabelError::NoValue)));
    }

    #[test]
    fn units_have_one_spelling_and_keep_their_case() {
        assert_eq!(read_unit(" µM "), "uM");
        assert_eq!(read_unit("μM"), "uM");
        assert_eq!(read_unit("ng∙h/mL"), "ng·h/mL");
        assert_eq!(read_unit("um"), "um");
    }
}
