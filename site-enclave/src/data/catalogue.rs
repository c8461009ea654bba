//! The versioned list of tests and test types, and the mapping of a row's spelling to it.

use std::collections::{BTreeMap, BTreeSet};

use super::{TaskKey, TaskKeyError};

/// The catalogue that comes with this program.
const TASKS_V1: &str = include_str!("../../catalogue/tasks-v1.csv");

/// The subjects and measurement types that come with it.
const TERMS_V1: &str = include_str!("../../catalogue/terms-v1.csv");

/// Allows any measurement type.
const ANY_PARAMETER: &str = "*";

/// The tests and test types that a task may name.
#[derive(Debug, Clone)]
pub struct Catalogue {
    version: String,
    /// By normalised test, then normalised type or alias.
    tests: BTreeMap<String, BTreeMap<String, TestType>>,
    subjects: BTreeSet<String>,
    parameters: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct TestType {
    test: String,
    name: String,
    parameters: Vec<String>,
    suffix: bool,
}

/// The columns of a row that name its task.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskColumns<'a> {
    /// `Test`.
    pub test: &'a str,
    /// `Test_Type`.
    pub test_type: &'a str,
    /// `Test_Subject`.
    pub subject: &'a str,
    /// `Measurement_Type`.
    pub measurement_type: &'a str,
    /// `Measurement_Condition`.
    pub condition: &'a str,
}

/// Why a row names no task of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The test is not listed.
    #[error("test {test:?} is not in the task catalogue {version}")]
    Test {
        /// As written.
        test: String,
        /// The catalogue's version.
        version: String,
    },
    /// The type is not listed for the test.
    #[error("test type {test_type:?} of test {test} is not in the task catalogue {version}")]
    TestType {
        /// The test.
        test: String,
        /// As written.
        test_type: String,
        /// The catalogue's version.
        version: String,
    },
    /// The measurement type is not one that the type reports.
    #[error("{test}/{test_type} does not report {parameter:?}; the catalogue lists {allowed}")]
    Parameter {
        /// The test.
        test: String,
        /// The type.
        test_type: String,
        /// As written.
        parameter: String,
        /// What is listed.
        allowed: String,
    },
    /// The list of terms is broken.
    #[error("line {line} of the catalogue's terms is broken: expected subject or parameter, and a term")]
    Terms {
        /// Counted from 1, comments included.
        line: usize,
    },
    /// The parts make no task name.
    #[error(transparent)]
    Key(#[from] TaskKeyError),
    /// The catalogue file itself is broken.
    #[error("line {line} of the task catalogue is broken: expected test,test_type,parameters,aliases,suffix")]
    Layout {
        /// Counted from 1, comments included.
        line: usize,
    },
}

impl Catalogue {
    /// The catalogue that comes with this program, version 1.
    ///
    /// # Errors
    /// [`CatalogueError::Layout`] if the file was broken when the program was built.
    pub fn embedded() -> Result<Self, CatalogueError> {
        let mut catalogue = Self::parse("tasks-v1", TASKS_V1)?;
        catalogue.add_terms(TERMS_V1)?;
        Ok(catalogue)
    }

    /// Reads the subjects and measurement types that a deposit statement may name; a catalogue without them has none.
    ///
    /// # Errors
    /// [`CatalogueError::Terms`].
    pub fn add_terms(&mut self, text: &str) -> Result<(), CatalogueError> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
        for (index, line) in lines.skip(1) {
            match line.split_once(',') {
                Some(("subject", term)) => self.subjects.insert(term.to_owned()),
                Some(("parameter", term)) => self.parameters.insert(term.to_owned()),
                Some(_) | None => return Err(CatalogueError::Terms { line: index + 1 }),
            };
        }
        Ok(())
    }

    /// Reads a catalogue from text.
    ///
    /// # Errors
    /// [`CatalogueError::Layout`].
    pub fn parse(version: &str, text: &str) -> Result<Self, CatalogueError> {
        let mut tests: BTreeMap<String, BTreeMap<String, TestType>> = BTreeMap::new();
        let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
        for (index, line) in lines.skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let [test, name, parameters, aliases, suffix] = fields.as_slice() else {
                return Err(CatalogueError::Layout { line: index + 1 });
            };
            let entry = TestType {
                test: (*test).to_owned(),
                name: (*name).to_owned(),
                parameters: listed(parameters).map(str::to_owned).collect(),
                suffix: *suffix == "yes",
            };
            let types = tests.entry(normalised(test)).or_default();
            for spelling in std::iter::once(*name).chain(listed(aliases)) {
                types.insert(normalised(spelling), entry.clone());
            }
        }
        let (subjects, parameters) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self { version: version.to_owned(), tests, subjects, parameters })
    }

    /// The catalogue's version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The task that a row measures.
    ///
    /// The qualifier is the test subject; where that is empty, the suffix of a type that may have one
    /// (`Solubility_pH7.4`), and else a pH in the measurement's condition.
    ///
    /// # Errors
    /// [`CatalogueError`] naming the part that is not listed.
    pub fn resolve(&self, columns: TaskColumns<'_>) -> Result<TaskKey, CatalogueError> {
        let types = self.tests.get(&normalised(columns.test)).ok_or_else(|| CatalogueError::Test {
            test: columns.test.to_owned(),
            version: self.version.clone(),
        })?;
        let (found, suffix) = match types.get(&normalised(columns.test_type)) {
            Some(found) => (found, ""),
            None => with_suffix(types, columns.test_type).ok_or_else(|| CatalogueError::TestType {
                test: columns.test.to_owned(),
                test_type: columns.test_type.to_owned(),
                version: self.version.clone(),
            })?,
        };
        let parameter = found.parameter(columns.measurement_type)?;
        let ph = acidity(columns.condition);
        let qualifier =
            [columns.subject.trim(), suffix, ph].into_iter().find(|part| !part.is_empty()).unwrap_or("");
        Ok(TaskKey::from_parts(&found.test, &found.name, parameter, qualifier)?)
    }
}

impl Catalogue {
    /// The name under which labels of a task are declared to others: the task's own if subject and measurement type
    /// are terms of the catalogue, else test and type alone. Both columns are free text in data files, and what is
    /// declared stays in the ledger for ever; the spelling is the catalogue's, never the file's.
    #[must_use]
    pub fn declared(&self, task: &TaskKey) -> String {
        let (path, subject) = match task.as_str().split_once('@') {
            Some((path, subject)) => (path, Some(subject)),
            None => (task.as_str(), None),
        };
        let mut parts = path.splitn(3, '/');
        let [test, name, parameter] =
            [parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or("")];
        let Some(listed) = self.tests.get(&normalised(test)).and_then(|types| types.get(&normalised(name)))
        else {
            return "other".to_owned();
        };
        let general = format!("{}/{}", listed.test, listed.name);
        let own = listed.parameters.iter().filter(|own| *own != ANY_PARAMETER);
        let parameter = match parameter {
            "" => Some(String::new()),
            written => term(own.chain(&self.parameters), written).map(|term| format!("/{term}")),
        };
        let subject = match subject {
            None => Some(String::new()),
            Some(written) => term(self.subjects.iter(), written)
                .map(|term| format!("@{term}"))
                .or_else(|| plain_acidity(written).then(|| format!("@{written}"))),
        };
        match (parameter, subject) {
            (Some(parameter), Some(subject)) => format!("{general}{parameter}{subject}"),
            _ => general,
        }
    }
}

/// The listed spelling of a term.
fn term<'a>(mut listed: impl Iterator<Item = &'a String>, written: &str) -> Option<&'a String> {
    listed.find(|term| normalised_term(term) == normalised_term(written))
}

/// A term without what people write differently; signs stay, because `S9+` is not `S9-`.
fn normalised_term(term: &str) -> String {
    term.chars().filter(|c| !matches!(c, ' ' | '_' | '\t')).flat_map(char::to_lowercase).collect()
}

/// `pH7`, `pH7.4`: a number from 0 to 14 in one spelling.
fn plain_acidity(subject: &str) -> bool {
    let tenths = (0..=140_u32).map(|tenths| (tenths / 10, tenths % 10));
    subject.strip_prefix("pH").is_some_and(|number| {
        tenths.into_iter().any(|(whole, tenth)| {
            number == format!("{whole}.{tenth}") || (tenth == 0 && number == whole.to_string())
        })
    })
}

impl TestType {
    /// The listed spelling of a measurement type, or the row's own where any is allowed.
    fn parameter<'a>(&'a self, written: &'a str) -> Result<&'a str, CatalogueError> {
        let wanted = normalised(written);
        if let Some(listed) = self.parameters.iter().find(|listed| normalised(listed) == wanted) {
            return Ok(listed);
        }
        if self.parameters.iter().any(|listed| listed == ANY_PARAMETER) {
            return Ok(written.trim());
        }
        Err(CatalogueError::Parameter {
            test: self.test.clone(),
            test_type: self.name.clone(),
            parameter: written.to_owned(),
            allowed: self.parameters.join(", "),
        })
    }
}

/// A type written with a suffix behind its last underscore, where the catalogue allows one.
fn with_suffix<'a, 'b>(
    types: &'a BTreeMap<String, TestType>,
    written: &'b str,
) -> Option<(&'a TestType, &'b str)> {
    let (name, suffix) = written.trim().rsplit_once('_')?;
    let found = types.get(&normalised(name)).filter(|found| found.suffix)?;
    (!suffix.is_empty()).then_some((found, suffix))
}

/// The pH in a condition such as `pH7.4` or `pH 7.4, 25 C`, in the spelling `pH7.4`; empty when there is none.
fn acidity(condition: &str) -> &str {
    let starts = condition.char_indices().filter(|(_, c)| *c == 'p').map(|(index, _)| index);
    for start in starts {
        let candidate = condition.get(start..).unwrap_or("");
        let number = candidate.strip_prefix("pH").unwrap_or("");
        let digits = number.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        if digits > 0 {
            return candidate.get(..digits + 2).unwrap_or("").trim_end_matches('.');
        }
    }
    ""
}

fn listed(field: &str) -> impl Iterator<Item = &str> {
    field.split(';').map(str::trim).filter(|item| !item.is_empty())
}

/// A name without what people write differently: case, spaces, `_` and `-`.
fn normalised(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, ' ' | '_' | '-' | '\t')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(test: &str, test_type: &str, measurement_type: &str) -> Result<String, CatalogueError> {
        let columns = TaskColumns { test, test_type, measurement_type, ..TaskColumns::default() };
        Catalogue::embedded().unwrap().resolve(columns).map(|key| key.to_string())
    }

    #[test]
    fn spellings_are_mapped_to_the_catalogue() {
        assert_eq!(resolve("Plasma protein binding", "ppb", "").unwrap(), "Plasma_protein_binding/PPB");
        assert_eq!(resolve("TOXICITY", "Genetoxicity", "").unwrap(), "Toxicity/Genotoxicity");
        assert_eq!(resolve("In vivo PK", "PK_iv", "auclast").unwrap(), "In_vivo_PK/PK_iv/AUClast");
        assert_eq!(resolve("CYP Inhibition", "CYP2D6", "IC50").unwrap(), "CYP_Inhibition/CYP2D6/IC50");
    }

    #[test]
    fn qualifiers_come_from_subject_suffix_or_condition() {
        assert_eq!(resolve("Solubility", "Solubility_pH7.4", "").unwrap(), "Solubility/Solubility@pH7.4");
        assert_eq!(
            resolve("Toxicity", "Cytotoxicity_HepG2", "CC50").unwrap(),
            "Toxicity/Cytotoxicity/CC50@HepG2"
        );
        let catalogue = Catalogue::embedded().unwrap();
        let columns = TaskColumns {
            test: "Physicochem",
            test_type: "logP",
            measurement_type: "logD",
            condition: "shaken, pH7.4.",
            subject: "",
        };
        assert_eq!(catalogue.resolve(columns).unwrap().as_str(), "Physicochem/logP/logD@pH7.4");
        let columns = TaskColumns { subject: "Human", ..columns };
        assert_eq!(catalogue.resolve(columns).unwrap().as_str(), "Physicochem/logP/logD@Human");
    }

    #[test]
    fn unlisted_names_are_refused_by_part() {
        assert!(matches!(resolve("Astrology", "x", ""), Err(CatalogueError::Test { .. })));
        assert!(matches!(resolve("CYP_Inhibition", "CYP3A4", ""), Err(CatalogueError::TestType { .. })));
        assert!(matches!(resolve("Toxicity", "hERG_pH7", ""), Err(CatalogueError::TestType { .. })));
        assert!(matches!(resolve("In_vivo_PK", "PK_iv", "MRT"), Err(CatalogueError::Parameter { .. })));
    }

    #[test]
    fn only_terms_of_the_catalogue_are_declared() {
        let catalogue = Catalogue::embedded().unwrap();
        for (task, declared) in [
            ("Plasma_protein_binding/PPB@Human", "Plasma_protein_binding/PPB@Human"),
            ("Plasma_protein_binding/PPB@human ", "Plasma_protein_binding/PPB@Human"),
            ("Plasma_protein_binding/PPB@patient 0042, F, 63", "Plasma_protein_binding/PPB"),
            ("Physicochem/logP/logD@pH7.4", "Physicochem/logP/logD@pH7.4"),
            ("Physicochem/logP/logD@pH7.40042", "Physicochem/logP"),
            ("Physicochem/logP/logD@pH14.1", "Physicochem/logP"),
            ("Toxicity/Ames/TA98_S9+@S.typhimurium", "Toxicity/Ames/TA98_S9+@S.typhimurium"),
            ("Toxicity/Ames/seen by Dr Kim@Rat", "Toxicity/Ames"),
            ("In_vivo_PK/PK_iv/T1/2@Rat", "In_vivo_PK/PK_iv/T1/2@Rat"),
            ("Human_PK/PK_Concentration/day 3@Human", "Human_PK/PK_Concentration"),
            ("Secret/programme", "other"),
        ] {
            assert_eq!(catalogue.declared(&task.parse().unwrap()), declared);
        }
    }

    #[test]
    fn a_broken_catalogue_names_its_line() {
        let broken = "# note\ntest,test_type,parameters,aliases,suffix\na,b\n";
        assert_eq!(Catalogue::parse("x", broken).unwrap_err(), CatalogueError::Layout { line: 3 });
        let mut catalogue = Catalogue::parse("x", "a\n").unwrap();
        let broken = "kind,term\nspecies,Human\n";
        assert_eq!(catalogue.add_terms(broken), Err(CatalogueError::Terms { line: 2 }));
    }
}
