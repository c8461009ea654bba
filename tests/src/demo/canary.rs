//! A planted structure, and the search for it in everything that the gateway received or keeps.

use std::fs;
use std::path::Path;

use konclave_site::features::Structure;

use crate::error::HarnessError;
use crate::search::Needles;

/// A structure that is in no public collection: a chain of groups chosen by the seed, so that its text is unlike any
/// other of the file's.
pub(super) fn structure(seed: u64) -> String {
    const LINKS: [&str; 4] = ["OCC(F)", "NC(=O)C", "SCC(C)", "OCCN"];
    let mut text = String::from("Clc1ccc(cc1)");
    let mut rest = seed ^ 0x5eed;
    for _ in 0..6 {
        let link = usize::try_from(rest % 4).unwrap_or_default();
        text.push_str(LINKS.get(link).copied().unwrap_or("C"));
        rest = (rest / 4) ^ (rest.wrapping_mul(0x9e37_79b9) >> 7);
    }
    text.push_str("C(=O)N1CCOCC1");
    text
}

/// Adds a measurement of the structure to a site's file, as a copy of the file's last row with another structure.
pub(super) fn plant(file: &Path, structure: &str) -> Result<(), HarnessError> {
    let unreadable = |error: csv::Error| HarnessError::unexpected(file.display().to_string(), error);
    let mut reader = csv::Reader::from_path(file).map_err(unreadable)?;
    let headers = reader.headers().map_err(unreadable)?.clone();
    let column = |name: &str| headers.iter().position(|header| header == name);
    let last = reader.records().last().transpose().map_err(unreadable)?;
    let (Some(row), Some(smiles)) = (last, column("SMILES_Structure_Parent")) else {
        return Err(HarnessError::unexpected(file.display().to_string(), "it has no rows or no structures"));
    };
    let id = column("Chemical ID");
    let planted: csv::StringRecord = row
        .iter()
        .enumerate()
        .map(|(index, cell)| match index {
            index if index == smiles => structure,
            index if Some(index) == id => "CANARY-00001",
            _ => cell,
        })
        .collect();
    let append = fs::OpenOptions::new().append(true).open(file).map_err(HarnessError::file("open", file))?;
    let mut writer = csv::Writer::from_writer(append);
    writer.write_record(&planted).map_err(unreadable)?;
    writer.flush().map_err(HarnessError::file("write", file))
}

/// What would give it away: the text and the fingerprint (packed, either bit order), plain or encoded.
pub(super) fn needles(structure: &str) -> Result<Needles, HarnessError> {
    let molecule = Structure::read(structure).map_err(|error| HarnessError::unexpected(structure, error))?;
    let packed = molecule.fingerprint().map_err(|error| HarnessError::unexpected(structure, error))?;
    let packed = packed.as_bytes();
    let reversed: Vec<u8> = packed.iter().map(|byte| byte.reverse_bits()).collect();
    let mut needles = Needles::new();
    needles.add_text("the planted structure", structure);
    needles.add_text("the planted row's id", "CANARY-00001");
    needles.add_encodings("the planted structure's fingerprint", packed);
    needles.add_encodings("the planted structure's fingerprint (bits reversed)", &reversed);
    Ok(needles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_gives_a_readable_structure_and_many_give_different_ones() {
        let structures: std::collections::BTreeSet<String> = (0..50).map(structure).collect();
        assert!(structures.len() > 40);
        for text in &structures {
            assert!(!needles(text).unwrap().is_empty(), "{text}");
        }
    }

    #[test]
    fn the_planted_row_keeps_the_format() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("site.csv");
        fs::write(&file, "Chemical ID,SMILES_Structure_Parent,Test\nA-1,\"C,C\",Solubility\n").unwrap();
        plant(&file, "CCO").unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().last(), Some("CANARY-00001,CCO,Solubility"));
    }
}
