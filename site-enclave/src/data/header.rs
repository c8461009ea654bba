//! The columns of a standard-format file, found by name.

use std::collections::BTreeMap;

/// A column of the standard format that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Column {
    Compound,
    Structure,
    Test,
    TestType,
    Subject,
    MeasurementType,
    Condition,
    Relation,
    Value,
    Unit,
}

impl Column {
    /// The standard's spelling.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Compound => "Chemical ID",
            Self::Structure => "SMILES_Structure_Parent",
            Self::Test => "Test",
            Self::TestType => "Test_Type",
            Self::Subject => "Test_Subject",
            Self::MeasurementType => "Measurement_Type",
            Self::Condition => "Measurement_Condition",
            Self::Relation => "Measurement_Relation",
            Self::Value => "Measurement_Value",
            Self::Unit => "Measurement_Unit",
        }
    }

    /// Recognises a header cell; case, spaces, `_`, `-`, `*` and the missing e of `Measurment` do not matter.
    fn recognise(cell: &str) -> Option<Self> {
        let name: String = cell
            .trim_start_matches('\u{feff}')
            .chars()
            .filter(|c| !matches!(c, ' ' | '_' | '-' | '*' | '\t' | '(' | ')'))
            .flat_map(char::to_lowercase)
            .collect();
        match name.replace("measurment", "measurement").as_str() {
            "chemicalid" | "compoundid" => Some(Self::Compound),
            "smilesstructureparent" | "smilesparent" | "smiles" => Some(Self::Structure),
            "test" => Some(Self::Test),
            "testtype" => Some(Self::TestType),
            "testsubject" | "testspecies" => Some(Self::Subject),
            "measurementtype" => Some(Self::MeasurementType),
            "measurementcondition" => Some(Self::Condition),
            "measurementrelation" => Some(Self::Relation),
            "measurementvalue" => Some(Self::Value),
            "measurementunit" => Some(Self::Unit),
            _ => None,
        }
    }
}

/// Where each column is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    positions: BTreeMap<Column, usize>,
    /// Columns that are not read, as written.
    pub(super) ignored: Vec<String>,
    /// Cells of a full row.
    pub(super) width: usize,
}

/// Why a line is not a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HeaderProblem {
    Missing(Vec<&'static str>),
    Twice(&'static str),
}

impl Header {
    /// Reads a header line.
    pub(super) fn read<'a>(cells: impl Iterator<Item = &'a str>) -> Result<Self, HeaderProblem> {
        const NEEDED: [Column; 4] = [Column::Structure, Column::Test, Column::TestType, Column::Value];
        let mut positions = BTreeMap::new();
        let mut ignored = Vec::new();
        let mut width = 0;
        for (position, cell) in cells.enumerate() {
            width = position + 1;
            match Column::recognise(cell) {
                Some(column) => {
                    if positions.insert(column, position).is_some() {
                        return Err(HeaderProblem::Twice(column.name()));
                    }
                }
                None => ignored.push(cell.trim().to_owned()),
            }
        }
        let missing: Vec<&'static str> = NEEDED
            .iter()
            .filter(|column| !positions.contains_key(column))
            .map(|column| column.name())
            .collect();
        if missing.is_empty() {
            Ok(Self { positions, ignored, width })
        } else {
            Err(HeaderProblem::Missing(missing))
        }
    }

    /// The position of a column.
    pub(super) fn position(&self, column: Column) -> Option<usize> {
        self.positions.get(&column).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: &str = "Chemical ID,Chemical Name,SMILES_Structure_Parent,SMILES_Salt,Test,Test_Type,Test_Subject,\
        Measurement_Type,Measurement_Condition,Measurement_Relation,Measurement_Value,Measurement_Unit";

    #[test]
    fn the_standard_header_is_read() {
        let header = Header::read(STANDARD.split(',')).unwrap();
        assert_eq!(
            (header.width, header.position(Column::Structure), header.position(Column::Unit)),
            (12, Some(2), Some(11))
        );
        assert_eq!(header.ignored, ["Chemical Name", "SMILES_Salt"]);
    }

    #[test]
    fn variants_seen_in_real_files_are_read() {
        let written = STANDARD
            .replace("Measurement_", "Measurment_")
            .replace("Test_Subject", "Test_Species*")
            .to_lowercase();
        let header = Header::read(written.split(',')).unwrap();
        assert_eq!(header.position(Column::Subject), Some(6));
        assert_eq!(header.position(Column::Relation), Some(9));
    }

    #[test]
    fn missing_and_repeated_columns_are_named() {
        let missing = Header::read("SMILES,Test,Value".split(','));
        assert_eq!(missing, Err(HeaderProblem::Missing(vec!["Test_Type", "Measurement_Value"])));
        let twice = Header::read("SMILES,Test,Test_Type,test,Measurement_Value".split(','));
        assert_eq!(twice, Err(HeaderProblem::Twice("Test")));
    }
}
