//! Measurements in the K-MELLODDY standard format v4.6, read without losing a row silently.
//!
//! [`StandardFormatReader`] streams a CSV file row by row; [`Collection`] gathers the usable measurements by molecule;
//! [`ValidationReport`] lists every row that could not be used with its number and the reason. Which assays exist is
//! versioned data ([`Catalogue`]), not code.
//!
//! Not here: spreadsheets, unit conversion, and the agreement between sites on tasks.

mod catalogue;
mod collection;
mod header;
mod measurement;
mod reader;
mod report;
mod task_key;
mod task_spec;

pub use catalogue::{Catalogue, CatalogueError, TaskColumns};
pub use collection::{CollectError, Collection, Molecule, MoleculeLabel};
pub use measurement::{Censoring, Label, LabelError, Measurement};
pub use reader::{ReadError, RejectedRow, RowError, StandardFormatReader};
pub use report::{
    FileReport, QUORUM_CLASS, QUORUM_EXACT, QUORUM_VALUES, Quorum, TaskCounts, ValidationReport,
};
pub use task_key::{TaskKey, TaskKeyError};
pub use task_spec::{TaskFile, TaskFileError, TaskKind, TaskSpec};
