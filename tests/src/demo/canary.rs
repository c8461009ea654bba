//! A planted structure, and what would give it away in whatever the gateway received or keeps.

use std::fs;
use std::path::Path;

use konclave_openapi::deposits::Deposit;
use konclave_site::features::Structure;

use super::checks::check;
use super::options::Options;
use super::shares::Share;
use crate::consortium::Member;
use crate::error::HarnessError;
use crate::report::summary::Check;
use crate::search::Needles;

/// The planted row's id.
const ID: &str = "CANARY-00001";
/// The needle that every search of the site's own data must find.
const TEXT: &str = "the planted structure";

/// One made-up measurement.
#[derive(Debug, Clone)]
pub(super) struct Canary {
    /// Where it is planted.
    pub(super) site: String,
    /// What it is of.
    pub(super) structure: String,
}

impl Canary {
    pub(super) fn new(options: &Options) -> Self {
        Self { site: options.canary_site(), structure: structure(options.seed) }
    }

    /// Adds a measurement of the structure to a site's file, as a copy of the file's last row with another structure.
    pub(super) fn plant(&self, file: &Path) -> Result<(), HarnessError> {
        let unreadable = |error: csv::Error| HarnessError::unexpected(file.display().to_string(), error);
        let mut reader = csv::Reader::from_path(file).map_err(unreadable)?;
        let headers = reader.headers().map_err(unreadable)?.clone();
        let column = |name: &str| headers.iter().position(|header| header == name);
        let last = reader.records().last().transpose().map_err(unreadable)?;
        let (Some(row), Some(smiles)) = (last, column("SMILES_Structure_Parent")) else {
            let found = "it has no rows or no structures";
            return Err(HarnessError::unexpected(file.display().to_string(), found));
        };
        let id = column("Chemical ID");
        let planted: csv::StringRecord = row
            .iter()
            .enumerate()
            .map(|(index, cell)| match index {
                index if index == smiles => self.structure.as_str(),
                index if Some(index) == id => ID,
                _ => cell,
            })
            .collect();
        let append = fs::OpenOptions::new().append(true).open(file);
        let mut writer = csv::Writer::from_writer(append.map_err(HarnessError::file("open", file))?);
        writer.write_record(&planted).map_err(unreadable)?;
        writer.flush().map_err(HarnessError::file("write", file))
    }

    /// What would give it away: the text, the row's id and the fingerprint (packed, either bit order), plain or encoded.
    pub(super) fn needles(&self) -> Result<Needles, HarnessError> {
        let unreadable = |error| HarnessError::unexpected(&self.structure, error);
        let molecule = Structure::read(&self.structure).map_err(unreadable)?;
        let packed = molecule.fingerprint().map_err(unreadable)?;
        let packed = packed.as_bytes();
        let reversed: Vec<u8> = packed.iter().map(|byte| byte.reverse_bits()).collect();
        let mut needles = Needles::new();
        needles.add_text(TEXT, &self.structure);
        needles.add_text("the planted row's id", ID);
        needles.add_encodings("the planted structure's fingerprint", packed);
        needles.add_encodings("the planted structure's fingerprint (bits reversed)", &reversed);
        Ok(needles)
    }

    /// A search that finds nothing proves nothing unless it finds what is there: the same needles in the site's own
    /// folder, and the planted row among those that the site declared to train on.
    pub(super) fn control(
        &self,
        needles: &Needles,
        member: &Member,
        share: &Share,
        deposits: &[Deposit],
    ) -> Result<Check, HarnessError> {
        let own = needles.search_folder(&member.folder.join("data"))?;
        let seen = own.found.iter().any(|found| found.needle == TEXT);
        let deposit = deposits.iter().find(|deposit| deposit.site.as_str() == self.site);
        let declared = deposit.map_or((0, 0), |deposit| {
            let rows = deposit.statement.files.iter().map(|file| file.rows).sum();
            (rows, deposit.statement.catalogue_tasks.iter().map(|task| task.records).sum::<u64>())
        });
        let expected = (share.rows + 1, share.labels.values().sum::<u64>() + 1);
        let detail = format!(
            "the same search {} it in {}'s own data; its deposit declares {} rows with {} usable values; \
             without the planted one there were {} and {}",
            if seen { "finds" } else { "does not find" },
            self.site,
            declared.0,
            declared.1,
            share.rows,
            expected.1 - 1
        );
        let name = "The planted structure is where it was planted, and part of what that site trains on";
        Ok(check(name, seen && declared == expected, detail))
    }
}

/// A structure that is in no public collection: a chain of groups chosen by the seed, so that its text is unlike any
/// other of the file's.
fn structure(seed: u64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn canary(structure: String) -> Canary {
        Canary { site: "site-1".to_owned(), structure }
    }

    #[test]
    fn every_seed_gives_a_readable_structure_and_many_give_different_ones() {
        let structures: std::collections::BTreeSet<String> = (0..50).map(structure).collect();
        assert!(structures.len() > 40);
        for text in structures {
            assert!(!canary(text.clone()).needles().unwrap().is_empty(), "{text}");
        }
    }

    #[test]
    fn the_planted_row_keeps_the_format_and_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("site.csv");
        fs::write(&file, "Chemical ID,SMILES_Structure_Parent,Test\nA-1,\"C,C\",Solubility\n").unwrap();
        let canary = canary(structure(7));
        let found = |folder: &Path| canary.needles().unwrap().search_folder(folder).unwrap().found.len();
        assert_eq!(found(folder.path()), 0);
        canary.plant(&file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let expected = format!("CANARY-00001,{},Solubility", canary.structure);
        assert_eq!(text.lines().last(), Some(expected.as_str()));
        assert!(found(folder.path()) >= 2);
    }
}
