//! A site's measurements by molecule, with fingerprints: what training and evaluation read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::catalogue::Catalogue;
use super::reader::{ReadError, RowError, StandardFormatReader};
use super::report::{FileReport, ValidationReport};
use super::{Label, Measurement, TaskKey};
use crate::features::{Fingerprint, Structure, StructureError};

/// Why a data file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The file cannot be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is not a standard-format file.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reader's reason.
        source: ReadError,
    },
}

/// A molecule and everything measured on it.
#[derive(Clone)]
pub struct Molecule {
    structure: String,
    fingerprint: Fingerprint,
    labels: Vec<MoleculeLabel>,
}

/// One measurement of a molecule.
#[derive(Clone, Debug)]
pub struct MoleculeLabel {
    task: u32,
    unit: u32,
    /// What was measured.
    pub label: Label,
}

impl Molecule {
    /// Its parent structure as SMILES.
    #[must_use]
    pub fn structure(&self) -> &str {
        &self.structure
    }

    /// Its fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Its measurements.
    #[must_use]
    pub fn labels(&self) -> &[MoleculeLabel] {
        &self.labels
    }
}

/// Shows counts only: structures must not end up in logs.
impl std::fmt::Debug for Molecule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Molecule({} labels)", self.labels.len())
    }
}

/// Molecules with their measurements.
///
/// Rows with the same structure text belong to one molecule. Repeated measurements stay separate labels.
#[derive(Debug, Clone, Default)]
pub struct Collection {
    molecules: Vec<Molecule>,
    tasks: Vec<TaskKey>,
    units: Vec<String>,
}

impl Collection {
    /// Loads standard-format files; `progress` is called now and then with the number of rows read.
    ///
    /// # Errors
    /// [`CollectError`] when a file cannot be read at all. Rows that cannot be used are in the report.
    pub fn load(
        files: &[PathBuf],
        catalogue: &Catalogue,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(Self, ValidationReport), CollectError> {
        let mut gathering = Gathering::default();
        let mut report =
            ValidationReport { catalogue: catalogue.version().to_owned(), ..ValidationReport::default() };
        for path in files {
            let file = gathering.file(path, catalogue, &mut report, progress)?;
            report.files.push(file);
        }
        report.molecules = gathering.collection.molecules.len() as u64;
        Ok((gathering.collection, report))
    }

    /// The molecules, in the files' order.
    #[must_use]
    pub fn molecules(&self) -> &[Molecule] {
        &self.molecules
    }

    /// The task of a label.
    #[must_use]
    pub fn task(&self, label: &MoleculeLabel) -> Option<&TaskKey> {
        self.tasks.get(usize::try_from(label.task).ok()?)
    }

    /// The unit of a label.
    #[must_use]
    pub fn unit(&self, label: &MoleculeLabel) -> &str {
        usize::try_from(label.unit).ok().and_then(|index| self.units.get(index)).map_or("", String::as_str)
    }
}

/// A collection that grows, with the tables that find what it already has.
#[derive(Default)]
struct Gathering {
    collection: Collection,
    by_structure: BTreeMap<String, Result<usize, StructureError>>,
    task_ids: BTreeMap<TaskKey, u32>,
    unit_ids: BTreeMap<String, u32>,
}

impl Gathering {
    fn file(
        &mut self,
        path: &Path,
        catalogue: &Catalogue,
        report: &mut ValidationReport,
        progress: &mut dyn FnMut(u64),
    ) -> Result<FileReport, CollectError> {
        const PROGRESS_ROWS: u64 = 1_000;
        let file =
            File::open(path).map_err(|source| CollectError::Open { path: path.to_path_buf(), source })?;
        let unreadable = |source: ReadError| CollectError::Read { path: path.to_path_buf(), source };
        let mut reader =
            StandardFormatReader::new(BufReader::new(file), catalogue.clone()).map_err(unreadable)?;
        let (mut accepted, mut rejected) = (0_u64, Vec::new());
        for row in reader.by_ref() {
            let usable = row.map_err(unreadable)?.and_then(|measurement| {
                self.add(&measurement).map_err(|error| RowError::from(error).at(measurement.row))?;
                Ok(measurement)
            });
            match usable {
                Ok(measurement) => {
                    accepted += 1;
                    report.tasks.entry(measurement.task.clone()).or_default().count(&measurement);
                }
                Err(row) => rejected.push(row),
            }
            if (accepted + rejected.len() as u64).is_multiple_of(PROGRESS_ROWS) {
                progress(accepted + rejected.len() as u64);
            }
        }
        Ok(FileReport {
            file: path.to_path_buf(),
            accepted,
            blank: reader.blank_rows(),
            rejected,
            ignored_columns: reader.ignored_columns().to_vec(),
        })
    }

    fn add(&mut self, measurement: &Measurement) -> Result<(), StructureError> {
        let index = match self.by_structure.get(&measurement.structure) {
            Some(known) => known.clone()?,
            None => self.add_molecule(&measurement.structure)?,
        };
        let task = interned(&mut self.task_ids, &mut self.collection.tasks, &measurement.task);
        let unit = interned(&mut self.unit_ids, &mut self.collection.units, &measurement.unit);
        if let Some(molecule) = self.collection.molecules.get_mut(index) {
            molecule.labels.push(MoleculeLabel { task, unit, label: measurement.label });
        }
        Ok(())
    }

    fn add_molecule(&mut self, structure: &str) -> Result<usize, StructureError> {
        let read = Structure::read(structure).and_then(|read| read.fingerprint());
        let index = read.map(|fingerprint| {
            let molecule = Molecule { structure: structure.to_owned(), fingerprint, labels: Vec::new() };
            self.collection.molecules.push(molecule);
            self.collection.molecules.len() - 1
        });
        self.by_structure.insert(structure.to_owned(), index.clone());
        index
    }
}

/// The number of a value in a table of different values.
fn interned<T: Ord + Clone>(ids: &mut BTreeMap<T, u32>, table: &mut Vec<T>, value: &T) -> u32 {
    if let Some(id) = ids.get(value) {
        return *id;
    }
    // More than four thousand million different tasks or units do not fit into memory.
    let id = u32::try_from(table.len()).unwrap_or(u32::MAX);
    table.push(value.clone());
    ids.insert(value.clone(), id);
    id
}
