//! Reading policy files strictly: every key is asked for by name, every leftover is an error, and
//! every error knows its file, line and key and says what is allowed.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Why a policy file was not accepted. Its author must change the named line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {}{problem}", if key.is_empty() { String::new() } else { format!("`{key}`: ") })]
pub struct PolicyError {
    /// The file as it was named to the reader.
    pub file: String,
    /// The line, from 1; for a missing key the line where its table starts.
    pub line: usize,
    /// The key with its tables, such as `reward.budget_micro`; empty if the file is not TOML.
    pub key: String,
    /// What is wrong and what would be right.
    pub problem: Box<PolicyProblem>,
}

/// What is wrong with one key of a policy file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyProblem {
    /// The file is not TOML.
    #[error("not valid TOML: {message}")]
    Syntax {
        /// The TOML parser's words.
        message: String,
    },
    /// Nobody reads this key.
    #[error("unknown key; allowed here: {}", allowed.join(", "))]
    UnknownKey {
        /// The keys that are read.
        allowed: Vec<String>,
    },
    /// The key must be there.
    #[error("is missing; expected {expected}")]
    Missing {
        /// What its value would be.
        expected: String,
    },
    /// The value is of another kind.
    #[error("expected {expected}, found {found}")]
    NotAllowed {
        /// What is allowed.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Two keys contradict each other.
    #[error("{found} does not go with {other}: {rule}")]
    Conflict {
        /// The value found.
        found: u64,
        /// The other key with its value.
        other: String,
        /// How the two must relate.
        rule: &'static str,
    },
    /// A site's policy would allow what the consortium's does not.
    #[error("{found} is looser than the consortium's {consortium}; a site may only tighten: {allowed}")]
    Looser {
        /// The site's value.
        found: String,
        /// The consortium's value.
        consortium: String,
        /// What the site may set.
        allowed: String,
    },
}

/// A value and the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) line: usize,
}

/// A table of a policy file; each key can be taken once, and [`StrictTable::finish`] refuses leftovers.
pub(crate) struct StrictTable<'a> {
    file: &'a str,
    text: &'a str,
    path: String,
    line: usize,
    entries: DeTable<'a>,
    asked: Vec<String>,
}

impl<'a> StrictTable<'a> {
    pub(crate) fn parse(file: &'a str, text: &'a str) -> Result<Self, PolicyError> {
        let root = DeTable::parse(text).map_err(|error| PolicyError {
            file: file.to_owned(),
            line: line_of(text, error.span().unwrap_or_default()),
            key: String::new(),
            problem: Box::new(PolicyProblem::Syntax { message: error.message().to_owned() }),
        })?;
        let entries = root.into_inner();
        Ok(Self { file, text, path: String::new(), line: 1, entries, asked: Vec::new() })
    }

    /// An integer that must be there and in range.
    pub(crate) fn integer(
        &mut self,
        key: &str,
        allowed: &RangeInclusive<u64>,
    ) -> Result<Placed<u64>, PolicyError> {
        let found = self.optional_integer(key, allowed)?;
        found.ok_or_else(|| self.missing(key, in_range(allowed)))
    }

    /// An integer in range, if it is there.
    pub(crate) fn optional_integer(
        &mut self,
        key: &str,
        allowed: &RangeInclusive<u64>,
    ) -> Result<Option<Placed<u64>>, PolicyError> {
        let Some(entry) = self.take(key) else { return Ok(None) };
        let line = line_of(self.text, entry.span());
        let value = entry.get_ref();
        let found = value
            .as_integer()
            .and_then(|digits| u64::from_str_radix(digits.as_str(), digits.radix()).ok())
            .ok_or_else(|| describe(value));
        match found {
            Ok(value) if allowed.contains(&value) => Ok(Some(Placed { value, line })),
            Ok(value) => Err(self.not_allowed(key, line, in_range(allowed), value.to_string())),
            Err(found) => Err(self.not_allowed(key, line, in_range(allowed), found)),
        }
    }

    /// A string that must be there and not empty.
    pub(crate) fn string(&mut self, key: &str, expected: &str) -> Result<Placed<String>, PolicyError> {
        let Some(entry) = self.take(key) else { return Err(self.missing(key, expected.to_owned())) };
        let line = line_of(self.text, entry.span());
        match entry.get_ref().as_str() {
            Some(text) if is_a_name(text) => Ok(Placed { value: text.to_owned(), line }),
            Some(_) | None => {
                Err(self.not_allowed(key, line, expected.to_owned(), describe(entry.get_ref())))
            }
        }
    }

    /// A list of distinct names with at least one member, if it is there.
    pub(crate) fn optional_names(
        &mut self,
        key: &str,
    ) -> Result<Option<Placed<BTreeSet<String>>>, PolicyError> {
        let Some(entry) = self.take(key) else { return Ok(None) };
        let line = line_of(self.text, entry.span());
        let refuse = |found: String| self.not_allowed(key, line, NAMES.to_owned(), found);
        let Some(items) = entry.get_ref().as_array() else { return Err(refuse(describe(entry.get_ref()))) };
        let mut names = BTreeSet::new();
        for item in items.iter() {
            match item.get_ref().as_str() {
                Some(name) if is_a_name(name) => {
                    if !names.insert(name.to_owned()) {
                        return Err(refuse(format!("\"{name}\" twice")));
                    }
                }
                Some(_) | None => return Err(refuse(describe(item.get_ref()))),
            }
        }
        if names.is_empty() {
            return Err(refuse("an empty list".to_owned()));
        }
        Ok(Some(Placed { value: names, line }))
    }

    /// A list of distinct names that must be there.
    pub(crate) fn names(&mut self, key: &str) -> Result<Placed<BTreeSet<String>>, PolicyError> {
        let found = self.optional_names(key)?;
        found.ok_or_else(|| self.missing(key, NAMES.to_owned()))
    }

    /// `true` or `false`, if it is there.
    pub(crate) fn optional_flag(&mut self, key: &str) -> Result<Option<bool>, PolicyError> {
        let Some(entry) = self.take(key) else { return Ok(None) };
        let line = line_of(self.text, entry.span());
        match entry.get_ref().as_bool() {
            Some(flag) => Ok(Some(flag)),
            None => Err(self.not_allowed(key, line, "true or false".to_owned(), describe(entry.get_ref()))),
        }
    }

    /// A table that must be there.
    pub(crate) fn table(&mut self, key: &str) -> Result<StrictTable<'a>, PolicyError> {
        let found = self.optional_table(key)?;
        found.ok_or_else(|| self.missing(key, format!("a table [{}]", self.full(key))))
    }

    /// A table, if it is there.
    pub(crate) fn optional_table(&mut self, key: &str) -> Result<Option<StrictTable<'a>>, PolicyError> {
        let expected = format!("a table [{}]", self.full(key));
        let Some(entry) = self.take(key) else { return Ok(None) };
        let line = line_of(self.text, entry.span());
        let value = entry.into_inner();
        if let DeValue::Table(entries) = value {
            let path = format!("{}.", self.full(key));
            return Ok(Some(StrictTable {
                file: self.file,
                text: self.text,
                path,
                line,
                entries,
                asked: Vec::new(),
            }));
        }
        Err(self.not_allowed(key, line, expected, describe(&value)))
    }

    /// Ends the reading of this table.
    ///
    /// # Errors
    /// The first key, by line, that was never asked for.
    pub(crate) fn finish(self) -> Result<(), PolicyError> {
        let first = self.entries.keys().min_by_key(|key| key.span().start);
        match first {
            None => Ok(()),
            Some(key) => Err(PolicyError {
                file: self.file.to_owned(),
                line: line_of(self.text, key.span()),
                key: self.full(key.get_ref()),
                problem: Box::new(PolicyProblem::UnknownKey { allowed: self.asked }),
            }),
        }
    }

    /// An error about a key of this table.
    pub(crate) fn error(&self, key: &str, line: usize, problem: PolicyProblem) -> PolicyError {
        PolicyError { file: self.file.to_owned(), line, key: self.full(key), problem: Box::new(problem) }
    }

    fn take(&mut self, key: &str) -> Option<Spanned<DeValue<'a>>> {
        self.asked.push(key.to_owned());
        self.entries.remove(key)
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    fn missing(&self, key: &str, expected: String) -> PolicyError {
        self.error(key, self.line, PolicyProblem::Missing { expected })
    }

    fn not_allowed(&self, key: &str, line: usize, expected: String, found: String) -> PolicyError {
        self.error(key, line, PolicyProblem::NotAllowed { expected, found })
    }
}

const NAMES: &str = "a list of distinct names such as [\"admet\"]";

fn is_a_name(text: &str) -> bool {
    !text.trim().is_empty() && text.trim() == text && !text.chars().any(char::is_control)
}

fn in_range(allowed: &RangeInclusive<u64>) -> String {
    format!("an integer from {} to {}", allowed.start(), allowed.end())
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(digits) => digits.to_string(),
        DeValue::Float(digits) => digits.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn line_of(text: &str, span: Range<usize>) -> usize {
    let before = text.as_bytes().get(..span.start).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

impl<T: fmt::Display> fmt::Display for Placed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
