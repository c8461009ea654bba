//! Streams a standard-format CSV file.

use std::io::Read;

use csv::{ByteRecord, ReaderBuilder};

use super::catalogue::{Catalogue, CatalogueError, TaskColumns};
use super::header::{Column, Header, HeaderProblem};
use super::measurement::{LabelError, Measurement, read_label, read_unit};
use crate::features::StructureError;

/// The header must be among the first lines: exports of the programme's workbook have a title line above it.
const HEADER_WITHIN: usize = 5;

/// Longest cell in bytes. A longer one, or one with a line break, is the mark of a quote that was never closed, which
/// would otherwise swallow the rows behind it.
const MAX_CELL_BYTES: usize = 16_384;

/// A row that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// The line of the file on which the row starts, from 1.
    pub row: u64,
    /// Why.
    pub reason: RowError,
}

/// Why a row cannot be used. Structures are not repeated in messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// More or fewer cells than the header.
    #[error("the row has {found} cells, the header has {expected}")]
    Cells {
        /// Cells found.
        found: usize,
        /// Cells in the header.
        expected: usize,
    },
    /// A cell that is not UTF-8.
    #[error("column {column} is not UTF-8 text: save the file as CSV UTF-8")]
    Encoding {
        /// The column.
        column: &'static str,
    },
    /// A cell with a line break or of absurd length.
    #[error(
        "column {column} runs over {lines} lines: a quotation mark is not closed; these lines were not read as rows"
    )]
    Overlong {
        /// The column.
        column: &'static str,
        /// Lines that the cell covers.
        lines: usize,
    },
    /// No structure.
    #[error("the row has no structure")]
    NoStructure,
    /// The task is not in the catalogue.
    #[error(transparent)]
    Task(#[from] CatalogueError),
    /// No usable label.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// The structure cannot be read.
    #[error(transparent)]
    Structure(#[from] StructureError),
}

impl RowError {
    /// The column and the kind of error, for logs: the error's own text repeats what stands in the cell.
    pub(super) fn place_and_kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Cells { .. } => ("the whole row", "more or fewer cells than the header"),
            Self::Encoding { column } => (column, "not UTF-8 text"),
            Self::Overlong { column, .. } => (column, "a quotation mark is not closed"),
            Self::NoStructure => (Column::Structure.name(), "empty"),
            Self::Task(CatalogueError::Test { .. }) => (Column::Test.name(), "not in the catalogue"),
            Self::Task(CatalogueError::TestType { .. }) => (Column::TestType.name(), "not in the catalogue"),
            Self::Task(CatalogueError::Parameter { .. }) => {
                (Column::MeasurementType.name(), "not in the catalogue")
            }
            Self::Task(CatalogueError::Key(_)) => {
                ("the columns of the task", "characters that a task's name cannot have")
            }
            Self::Task(CatalogueError::Layout { .. } | CatalogueError::Terms { .. }) => {
                ("the catalogue", "broken")
            }
            Self::Label(LabelError::NoValue) => (Column::Value.name(), "empty"),
            Self::Label(LabelError::NotANumber(_)) => (Column::Value.name(), "not a number or a class"),
            Self::Label(LabelError::NotFinite(_)) => (Column::Value.name(), "not finite"),
            Self::Label(LabelError::Relation(_)) => (Column::Relation.name(), "not a relation"),
            Self::Label(LabelError::TwoRelations { .. }) => {
                (Column::Relation.name(), "another before the value")
            }
            Self::Label(LabelError::Contradiction { .. }) => (Column::Value.name(), "contradicts the class"),
            Self::Label(LabelError::CensoredClass(_)) => {
                (Column::Relation.name(), "a class cannot be censored")
            }
            Self::Structure(error) => (
                Column::Structure.name(),
                match error {
                    StructureError::Empty => "empty",
                    StructureError::TooLong { .. } => "too long",
                    StructureError::Smiles(_) => "not valid SMILES",
                    StructureError::Chemistry(_) => "chemically impossible",
                    StructureError::Fingerprint(_) => "no fingerprint",
                    StructureError::Library => "the chemistry library failed",
                },
            ),
        }
    }
}

/// Why a file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system failed, or the text is not CSV.
    #[error("reading failed: {0}")]
    Input(#[from] csv::Error),
    /// No header line.
    #[error("no header in the first {HEADER_WITHIN} lines: column {} missing", missing.join(", "))]
    NoHeader {
        /// The needed columns that were not found in the best candidate.
        missing: Vec<&'static str>,
    },
    /// Two columns of one name.
    #[error("column {column} occurs twice in the header")]
    ColumnTwice {
        /// The column.
        column: &'static str,
    },
}

/// Reads a standard-format file row by row; memory does not grow with the file.
///
/// Each item is a measurement or a rejected row; rows without any text are skipped and counted.
pub struct StandardFormatReader<R> {
    records: csv::Reader<R>,
    record: ByteRecord,
    header_record: ByteRecord,
    header: Header,
    catalogue: Catalogue,
    blank: u64,
}

impl<R: Read> StandardFormatReader<R> {
    /// Finds the header.
    ///
    /// # Errors
    /// [`ReadError`] when the file cannot be read or has no header of the standard format.
    pub fn new(input: R, catalogue: Catalogue) -> Result<Self, ReadError> {
        let mut records = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input);
        let mut record = ByteRecord::new();
        let mut fewest: Option<Vec<&'static str>> = None;
        for _ in 0..HEADER_WITHIN {
            if !records.read_byte_record(&mut record)? {
                break;
            }
            match Header::read(record.iter().map(|cell| std::str::from_utf8(cell).unwrap_or(""))) {
                Ok(header) => {
                    let header_record = record.clone();
                    return Ok(Self { records, record, header_record, header, catalogue, blank: 0 });
                }
                Err(HeaderProblem::Twice(column)) => return Err(ReadError::ColumnTwice { column }),
                Err(HeaderProblem::Missing(missing)) => {
                    if fewest.as_ref().is_none_or(|fewest| missing.len() < fewest.len()) {
                        fewest = Some(missing);
                    }
                }
            }
        }
        Err(ReadError::NoHeader { missing: fewest.unwrap_or_default() })
    }

    /// Columns of the file that are not read.
    #[must_use]
    pub fn ignored_columns(&self) -> &[String] {
        &self.header.ignored
    }

    /// Rows without any text so far.
    #[must_use]
    pub fn blank_rows(&self) -> u64 {
        self.blank
    }

    /// The header line as it stands in the file.
    #[must_use]
    pub fn header_record(&self) -> &ByteRecord {
        &self.header_record
    }

    /// The row given last, as it stands in the file.
    #[must_use]
    pub fn record(&self) -> &ByteRecord {
        &self.record
    }

    fn read_row(&self, row: u64) -> Result<Measurement, RowError> {
        if self.record.len() != self.header.width {
            return Err(RowError::Cells { found: self.record.len(), expected: self.header.width });
        }
        let structure = self.cell(Column::Structure)?.trim();
        if structure.is_empty() {
            return Err(RowError::NoStructure);
        }
        let task = self.catalogue.resolve(TaskColumns {
            test: self.cell(Column::Test)?,
            test_type: self.cell(Column::TestType)?,
            subject: self.cell(Column::Subject)?,
            measurement_type: self.cell(Column::MeasurementType)?,
            condition: self.cell(Column::Condition)?,
        })?;
        let unit = self.cell(Column::Unit)?;
        let label = read_label(self.cell(Column::Relation)?, self.cell(Column::Value)?, unit)?;
        let unit = match label {
            super::Label::Class(_) => String::new(),
            super::Label::Quantity { .. } => read_unit(unit),
        };
        Ok(Measurement {
            row,
            compound: self.cell(Column::Compound)?.trim().to_owned(),
            structure: structure.to_owned(),
            task,
            label,
            unit,
        })
    }

    /// A cell of the current record; empty when the file has no such column.
    fn cell(&self, column: Column) -> Result<&str, RowError> {
        let Some(cell) = self.header.position(column).and_then(|position| self.record.get(position)) else {
            return Ok("");
        };
        let breaks = cell.iter().filter(|byte| **byte == b'\n').count();
        if breaks > 0 || cell.len() > MAX_CELL_BYTES {
            return Err(RowError::Overlong { column: column.name(), lines: breaks + 1 });
        }
        std::str::from_utf8(cell).map_err(|_| RowError::Encoding { column: column.name() })
    }
}

impl<R: Read> Iterator for StandardFormatReader<R> {
    type Item = Result<Result<Measurement, RejectedRow>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.records.read_byte_record(&mut self.record) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error.into())),
            }
            if self.record.iter().all(<[u8]>::is_empty) {
                self.blank += 1;
                continue;
            }
            let row = self.record.position().map_or(0, csv::Position::line);
            return Some(Ok(self.read_row(row).map_err(|reason| RejectedRow { row, reason })));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Censoring, Label};

    const HEADER: &str = "Chemical ID,SMILES_Structure_Parent,Test,Test_Type,Measurement_Relation,Measurement_Value,\
        Measurement_Unit\n";

    fn rows(body: &str) -> Vec<Result<Measurement, RejectedRow>> {
        let text = format!("{HEADER}{body}");
        let reader = StandardFormatReader::new(text.as_bytes(), Catalogue::embedded().unwrap()).unwrap();
        reader.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn a_row_becomes_a_measurement() {
        let rows = rows("C1,CCO,Solubility,Solubility,>,3.5,µM\n");
        let measurement = rows[0].as_ref().unwrap();
        assert_eq!(
            (measurement.row, measurement.compound.as_str(), measurement.unit.as_str()),
            (2, "C1", "uM")
        );
        assert_eq!(measurement.label, Label::Quantity { value: 3.5, censoring: Censoring::AtLeast });
        assert_eq!(measurement.task.as_str(), "Solubility/Solubility");
    }

    #[test]
    fn every_unusable_row_is_reported_with_its_line() {
        let body = "C1,CCO,Solubility,Solubility,,1,\n,,,,,,\nC2,,Solubility,Solubility,,1,\nC3,CCO,Solubility\n\
                    C4,CCO,Alchemy,Gold,,1,\nC5,CCO,Solubility,Solubility,,,\n";
        let found: Vec<(u64, String)> = rows(body)
            .into_iter()
            .filter_map(Result::err)
            .map(|row| (row.row, row.reason.to_string()))
            .collect();
        let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [4, 5, 6, 7]);
        for ((_, reason), part) in found.iter().zip(["no structure", "3 cells", "Alchemy", "no value"]) {
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn logs_get_no_cell() {
        let body = "K1,CCO,Kanarie,Kanarie,,1,\nK1,CCO,Solubility,Kanarie,,1,\nK1,C1Kanarie,Solubility,Solubility,,1,\n\
                    K1,CCO,Solubility,Solubility,Kanarie,1,\nK1,CCO,Solubility,Solubility,,Kanarie,\n\
                    K1,CCO,Solubility,Solubility,Kanarie,,Positive\nK1,CCO,Solubility,Solubility,,Kanarie,Positive\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.csv");
        std::fs::write(&path, format!("{HEADER}{body}")).unwrap();
        let catalogue = Catalogue::embedded().unwrap();
        let (_, report) = crate::data::Collection::load(&[path], &catalogue, &mut |_| {}).unwrap();
        assert_eq!(report.rejected(), 7);
        let log: Vec<String> = report.without_cells().collect();
        assert!(log.iter().all(|line| !line.contains("Kanarie")), "{log:#?}");
        assert!(log.iter().any(|line| line == "  row 3, Test_Type: not in the catalogue"), "{log:#?}");
        assert!(report.to_string().contains("Kanarie"), "the owner at the terminal sees the text");
    }

    #[test]
    fn an_unclosed_quote_does_not_swallow_rows_silently() {
        let body = "C1,\"CCO,Solubility,Solubility,,1,\nC2,CCO,Solubility,Solubility,,2,\nC3,CC,Solubility,Solubility,,3,\n";
        let found = rows(body);
        assert_eq!(found.len(), 1);
        let reason = found[0].as_ref().unwrap_err().reason.clone();
        assert_eq!(reason, RowError::Cells { found: 2, expected: 7 });
        let closed = rows("C1,\"CCO\n\n\",Solubility,Solubility,,1,\n");
        let reason = closed[0].as_ref().unwrap_err().reason.clone();
        assert!(matches!(reason, RowError::Overlong { lines: 3, .. }), "{reason:?}");
    }

    #[test]
    fn a_title_line_above_the_header_and_a_byte_order_mark_are_accepted() {
        let text = format!("\u{feff}Konsortium,,\n{HEADER}C1,CCO,Solubility,Solubility,,1,\n");
        let reader = StandardFormatReader::new(text.as_bytes(), Catalogue::embedded().unwrap()).unwrap();
        assert_eq!(reader.filter(|row| matches!(row, Ok(Ok(_)))).count(), 1);
    }

    #[test]
    fn text_in_another_encoding_is_reported() {
        let mut bytes = HEADER.as_bytes().to_vec();
        bytes.extend(b"C1,CCO,Solubility,Solubility,,1,\xb5M\n");
        let mut reader = StandardFormatReader::new(&bytes[..], Catalogue::embedded().unwrap()).unwrap();
        let rejected = reader.next().unwrap().unwrap().unwrap_err();
        assert_eq!(rejected.reason, RowError::Encoding { column: "Measurement_Unit" });
    }

    #[test]
    fn damaged_files_never_panic_and_no_line_is_lost() {
        use rand_chacha::rand_core::{Rng, SeedableRng};
        let valid = format!("{HEADER}{}", "C1,CCO,Solubility,Solubility,>,3.5,uM\n".repeat(20));
        let mut random = rand_chacha::ChaCha12Rng::seed_from_u64(3);
        let mut below = |bound: usize| usize::try_from(random.next_u64() % bound as u64).unwrap();
        for _ in 0..2_000 {
            let mut bytes = valid.clone().into_bytes();
            for _ in 0..4 {
                let position = HEADER.len() + below(bytes.len() - HEADER.len());
                bytes[position] = *b"\",\n\r\0\xff<>.'=;".get(below(13)).unwrap_or(&b'x');
            }
            let mut reader = StandardFormatReader::new(&bytes[..], Catalogue::embedded().unwrap()).unwrap();
            let rows: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
            // Line breaks inside quotes join lines; such a row is rejected and stands for all of its lines.
            let joined = rows.iter().any(Result::is_err);
            assert!(
                joined || rows.len() as u64 + reader.blank_rows() >= 20,
                "{}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }

    #[test]
    fn files_without_the_needed_columns_are_refused() {
        let result = StandardFormatReader::new(&b"smiles,target\nC,1\n"[..], Catalogue::embedded().unwrap());
        let message = result.err().unwrap().to_string();
        assert!(message.contains("Test_Type"), "{message}");
    }
}
